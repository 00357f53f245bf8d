#!/usr/bin/env python3
"""Packs a folder of inputs for `fixtures/corpus`: pack.py FOLDER FILE.zst

Each input follows its size in 4 little-endian bytes, in the order of names; zstd compresses all of
them together, since they are variations of a few seeds. Needs the `zstd` program.
"""

import pathlib
import struct
import subprocess
import sys

folder, out = sys.argv[1:]
inputs = [path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())]
packed = b"".join(struct.pack("<I", len(data)) + data for data in inputs)
subprocess.run(["zstd", "-q", "-f", "-19", "--long=25", "-o", out], input=packed, check=True)
print(f"{len(inputs)} inputs, {len(packed)} bytes")
