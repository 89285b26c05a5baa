#!/usr/bin/env python3
"""Makes the data of the example: make_data.py FOLDER.

dataset.json: 50 items. static/: 20 files of 3 to 300 kB, the text files with compressed siblings:
.gz, and .br if the program brotli is installed. The same bytes on every machine.
"""

import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

KB = 1000
FILES = {
    "reset.css": 8, "layout.css": 25, "theme.css": 60, "fonts.css": 17, "vendor.css": 200,
    "loader.js": 12, "router.js": 22, "state.js": 36, "plots.js": 205, "bundle.js": 300,
    "index.html": 55, "manual.html": 120,
    "logo.svg": 15, "plan.svg": 70,
    "text.woff2": 18, "title.woff2": 22,
    "icon.webp": 6, "thumb.webp": 9, "photo.webp": 45,
    "manifest.json": 3,
}
MAGIC = {"woff2": b"wOF2", "webp": b"RIFF"}
THINGS = ["chair", "desk", "lamp", "mug", "notebook", "pen", "plant", "rug", "shelf", "stool"]
CATEGORIES = ["electronics", "garden", "kitchen", "office", "sports", "toys"]
TAGS = ["cheap", "fair", "fragile", "large", "new", "popular", "rare", "small", "sturdy"]


def items(r):
    for number in range(1, 51):
        yield {
            "id": number,
            "name": f"{r.choice(THINGS)} no. {number}",
            "category": r.choice(CATEGORIES),
            "price": r.randint(1, 500),
            "quantity": r.randint(1, 100),
            "active": r.random() < 0.75,
            "tags": r.sample(TAGS, r.randint(1, 4)),
            "rating": {"score": r.randint(1, 50), "count": r.randint(1, 1000)},
        }


def line(r, kind, words):
    a, b, c = r.choice(words), r.choice(words), r.choice(words)
    n, m = r.randint(0, 999), r.randint(0, 99)
    if kind == "css":
        return f".{a} > .{b}::after {{ padding: {n}px {m}%; background: #{n:03x}; order: {m}; }}\n"
    if kind == "js":
        return f"const {a}{n} = ({b}) => {b}.map((x) => x.{c} * {m}).filter(Boolean);\n"
    if kind == "html":
        return f'<p id="{a}-{n}">The {b} of <a href="/{c}/{m}">{c} {m}</a> has {n} of {a}.</p>\n'
    if kind == "svg":
        return f'<rect class="{a}" x="{n}" y="{m}" width="{m}.{n}" height="{n}" fill="#{n:03x}"/>\n'
    return json.dumps({a: n, b: [m, c]}) + "\n"


def content(name, size):
    """Text that compresses as source code does; noise where a file is compressed already."""
    r = random.Random(name)
    kind = name.rpartition(".")[2]
    if kind in MAGIC:
        return MAGIC[kind] + r.randbytes(size - 4)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(r.choices(letters, k=r.randint(3, 9))) for _ in range(150)]
    text = ""
    while len(text) < size:
        text += line(r, kind, words)
    return text[:size].encode()


def main(folder):
    static = folder / "static"
    static.mkdir(parents=True, exist_ok=True)
    dataset = json.dumps(list(items(random.Random(1))), indent=1)
    (folder / "dataset.json").write_text(dataset)
    brotli = shutil.which("brotli")
    if not brotli:
        print("brotli is not installed: no .br files", file=sys.stderr)
    for name, size in FILES.items():
        data = content(name, size * KB)
        path = static / name
        path.write_bytes(data)
        if name.rpartition(".")[2] in MAGIC:
            continue
        path.with_name(name + ".gz").write_bytes(gzip.compress(data, 9, mtime=0))
        if brotli:
            subprocess.run([brotli, "-f", "-q", "11", str(path)], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_data.py FOLDER")
    main(Path(sys.argv[1]))
