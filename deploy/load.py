#!/usr/bin/env python3
"""Constant load on a server, in phases that the standard input begins and ends.

    load.py HOST:PORT

A line `begin NAME all` begins a phase; `begin NAME idempotent` one without POST. A line `end` ends
it after a further round of requests by each client, and `NAME REQUESTS FAILED` is printed, and on
the standard error why the first ones failed. Half of the clients keep their connections, the
others open one for each request.
"""

import http.client
import sys
import threading

CLIENTS = 8
# Rounds that each client makes in a phase at least, a part of them after `end` has been read.
ROUNDS = 20
ROUNDS_AFTER = 5

GETS = [
    ("GET", "/plaintext", None, b"Hello, World!"),
    ("GET", "/slow?ms=10", None, b"slept for 10 ms\n"),
    ("GET", "/json", None, b'{"message":"Hello, World!"}'),
    ("GET", "/slow?ms=40", None, b"slept for 40 ms\n"),
]
POSTS = [("POST", "/echo", b"a body", b"a body")]


class Phase:
    def __init__(self, requests):
        self.requests = requests
        self.end = threading.Event()
        self.lock = threading.Lock()
        self.count = 0
        self.failures = []

    def add(self, failure):
        with self.lock:
            self.count += 1
            if failure is not None:
                self.failures.append(failure)


def ask(connection, method, path, body, expected, keep):
    """One request; why it has failed, if it has."""
    try:
        connection.request(method, path, body, {} if keep else {"Connection": "close"})
        response = connection.getresponse()
        got = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"{method} {path}: {error!r}"
    if not keep:
        connection.close()
    if (response.status, got) != (200, expected):
        return f"{method} {path}: {response.status} {got[:80]!r}"
    return None


def client(address, phase, keep):
    connection = http.client.HTTPConnection(address, timeout=10)
    rounds, after = 0, 0
    while rounds < ROUNDS or after < ROUNDS_AFTER:
        # Read before the round: this round is whole after the end of the phase was asked for.
        ending = phase.end.is_set()
        for request in phase.requests:
            phase.add(ask(connection, *request, keep))
        rounds += 1
        after += ending
    connection.close()


def main():
    address = sys.argv[1]
    name, phase, threads = None, None, []
    for line in sys.stdin:
        match line.split():
            case ["begin", name, kind]:
                phase = Phase(GETS + POSTS if kind == "all" else GETS)
                threads = [
                    threading.Thread(target=client, args=(address, phase, n % 2 == 0))
                    for n in range(CLIENTS)
                ]
                for thread in threads:
                    thread.start()
            case ["end"]:
                phase.end.set()
                for thread in threads:
                    thread.join()
                for failure in phase.failures[:5]:
                    print(f"  {name}: {failure}", file=sys.stderr, flush=True)
                print(name, phase.count, len(phase.failures), flush=True)
            case words:
                sys.exit(f"load.py: not understood: {words}")


main()
