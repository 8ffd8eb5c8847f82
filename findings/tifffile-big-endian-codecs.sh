#!/usr/bin/env bash
# tifffile 2026.3.3: with byteorder=">" it writes 12-bit and JPEG 2000 images whose pixels have their bytes swapped.
#
# Guessed: `imwrite(..., byteorder=">")` gives a file that reads back as what was written, whatever the compression, or
# refuses; the byte order is a matter of the file, not of the pixels.
# Seen: packed samples (`bitspersample=12`) and lossless JPEG 2000 of 16 bits have no byte order of their own, yet they
# are made of the array's big-endian memory: every value comes back with its two bytes swapped, without a word. The
# stream itself holds the swapped values (imagecodecs reads the same), so it is the writer and no reader mends it.
# JPEG XL, PNG and LERC refuse the same array; plain, LZW and Deflate are right, and so is every one of them with "<".
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6 2>/dev/null
"$place/venv/bin/python" - <<'PYTHON'
import io
import sys

import imagecodecs
import numpy as np
import tifffile

pixels = (np.arange(16 * 24, dtype=np.uint16) * 10).reshape(16, 24)  # a ramp of 12 bits
ways = {
    "plain": {},
    "LZW": {"compression": "lzw"},
    "Deflate": {"compression": "zlib"},
    "12 bits, packed": {"bitspersample": 12},
    "JPEG 2000, lossless": {"compression": "jpeg2000", "compressionargs": {"level": 0, "reversible": True}},
    "JPEG XL, lossless": {"compression": "jpegxl", "compressionargs": {"lossless": True}},
    "PNG": {"compression": "png"},
    "LERC": {"compression": "lerc"},
}


def outcome(order, options):
    """What comes back of `pixels` from a file in memory."""
    stream = io.BytesIO()
    try:
        tifffile.imwrite(stream, pixels, byteorder=order, **options)
    except Exception as fault:
        return f"refused ({type(fault).__name__})"
    data = stream.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        back = page.asarray()
        start, count = page.dataoffsets[0], page.databytecounts[0]
    if options.get("compression") == "jpeg2000":
        assert (imagecodecs.jpeg2k_decode(data[start : start + count]) == back).all()  # reader and stream agree
    if (back == pixels).all():
        return "as written"
    swapped = pixels.byteswap() & 0xFFF if "bitspersample" in options else pixels.byteswap()
    return "bytes swapped" if (back == swapped).all() else "otherwise wrong"


expected = dict.fromkeys(ways, "as written")
found = {order: {name: outcome(order, options) for name, options in ways.items()} for order in "<>"}
for name in ways:
    print(f"{name:20}  little-endian: {found['<'][name]:14} big-endian: {found['>'][name]}")
right = all(value == "as written" for value in found["<"].values())
wrong = {name for name, value in found[">"].items() if value != "as written" and not value.startswith("refused")}
refused = {name for name, value in found[">"].items() if value.startswith("refused")}
sys.exit(
    not (
        right
        and wrong == {"12 bits, packed", "JPEG 2000, lossless"}
        and refused == {"JPEG XL, lossless", "PNG", "LERC"}
    )
)
PYTHON
