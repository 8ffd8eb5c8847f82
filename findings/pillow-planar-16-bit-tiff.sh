#!/usr/bin/env bash
# Pillow 13.0.0: an uncompressed 16-bit colour TIFF whose planes lie apart is read as scrambled rows, without a word.
#
# Guessed: what Pillow opens without an error it reads right, and compression changes nothing about the pixels; at 8 bits
# and at 16 bits in one plane both hold, so a set that was checked on those would pass.
# Seen: planes apart at 8 bits are right, stored plainly or with Deflate; at 16 bits they are right with Deflate and
# wrong when stored plainly, in strips, in tiles and in either byte order, with and without alpha: hardly a pixel in
# twenty is what was written (of noise, one in 256 fits by chance). tifffile reads every one of these files right.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6 2>/dev/null
"$place/venv/bin/python" - <<'PYTHON'
import io
import sys
from itertools import product

import numpy as np
import tifffile
from PIL import Image

generator = np.random.default_rng(0)
agreed = True
for bits, samples, compression, layout, order in product(
    (8, 16), (3, 4), (None, "zlib"), ({}, {"rowsperstrip": 8}, {"tile": (16, 16)}), "<>"
):
    planes = generator.integers(0, 1 << bits, (samples, 40, 30)).astype(f"u{bits // 8}")
    stream = io.BytesIO()
    extra = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    tifffile.imwrite(
        stream, planes, photometric="rgb", planarconfig="separate", compression=compression, byteorder=order,
        **layout, **extra,
    )
    assert (tifffile.imread(io.BytesIO(stream.getvalue())) == planes).all()
    read = np.asarray(Image.open(io.BytesIO(stream.getvalue())))
    wanted = np.moveaxis(planes >> (bits - 8), 0, 2).astype(np.uint8)  # Pillow keeps the upper 8 bits
    share = float((read == wanted).mean())
    expected_wrong = bits == 16 and compression is None
    agreed &= share < 0.06 if expected_wrong else share == 1
    kind = next(iter(layout), "one strip")
    print(f"{bits:2} bits, {samples} samples, {compression or 'plain':5} {kind:12} {order}  right: {share:6.1%}")
sys.exit(not agreed)
PYTHON
