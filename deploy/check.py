#!/usr/bin/env python3
"""Checks what the files of this folder promise to each other, and prints the arguments that they
give to the server, a line for each file."""

import json
import pathlib
import re

import yaml

here = pathlib.Path(__file__).parent
source = (here.parent / "src/http/server/plan.rs").read_text()
grace = int(re.search(r"DRAIN_GRACE: Duration = Duration::from_secs\((\d+)\)", source)[1])

objects = list(yaml.safe_load_all((here / "kubernetes.yaml").read_text()))
deployment, service, budget = objects
assert [each["kind"] for each in objects] == ["Deployment", "Service", "PodDisruptionBudget"]
labels = deployment["spec"]["template"]["metadata"]["labels"]
assert deployment["spec"]["selector"]["matchLabels"] == labels
assert service["spec"]["selector"] == labels
assert budget["spec"]["selector"]["matchLabels"] == labels
assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]

pod = deployment["spec"]["template"]["spec"]
[container] = pod["containers"]
[port] = container["ports"]
assert f":{port['containerPort']}" in " ".join(container["args"])
assert service["spec"]["ports"][0]["targetPort"] == port["name"]
for probe, path in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")]:
    assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
assert pod["terminationGracePeriodSeconds"] > pause + grace

unit = (here / "ethreads.service").read_text()
assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) > grace
start = re.search(r"^ExecStart=\S+ (.*)$", unit, re.M)[1]

image = (here / "Dockerfile").read_text()
first, *rest = json.loads(re.search(r"^ENTRYPOINT (.*)$", image, re.M)[1])
assert f"COPY --from=build /http_server {first}\n" in image
assert f"COPY --from=build /src/examples/http_server/static {rest[1]}\n" in image
rest += json.loads(re.search(r"^CMD (.*)$", image, re.M)[1])
exposed = re.search(r"^EXPOSE (\d+)$", image, re.M)[1]
assert f":{exposed}" in " ".join(rest)

print(*container["args"])
print(start)
print(*rest)
