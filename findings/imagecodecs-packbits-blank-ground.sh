#!/usr/bin/env bash
# imagecodecs 2026.3.6: PackBits takes four times as long for twice as much blank ground.
#
# Guessed: run-length coding is one pass, and fastest where there is most to gain, on the empty ground that is most of a
# masked microscope image; noise, where no run is found, should be the slow case.
# Seen: noise is linear, a fifth of a millisecond for 400 KB; a constant ground is quadratic in the length of its run: from
# 400 KB to 800 KB the processor time grows fourfold, to more than a thousand times that of noise. Decoding is linear in
# both. The code is right, and as short as it should be. An image in many strips meets little of it; one in a single strip
# or tile, of a few thousand pixels a side, takes minutes by that growth.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  imagecodecs==2026.3.6 numpy==2.4.6 2>/dev/null
"$place/venv/bin/python" - <<'PYTHON'
import sys
import time

import imagecodecs
import numpy as np


def seconds(work, times):
    """The least processor time of one call."""
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


generator = np.random.default_rng(0)
took = {}
for size in (400_000, 800_000):
    for name, data in (("blank", bytes(size)), ("noise", generator.integers(0, 256, size, np.uint8).tobytes())):
        code = imagecodecs.packbits_encode(data)
        assert imagecodecs.packbits_decode(code) == data
        encode = seconds(lambda data=data: imagecodecs.packbits_encode(data), 3)
        decode = seconds(lambda code=code: imagecodecs.packbits_decode(code), 3)
        took[name, size] = encode
        print(f"{name} {size:,} bytes: code {len(code):,}, encoded in {encode * 1e3:.2f} ms, decoded in {decode * 1e3:.2f} ms")
growth = took["blank", 800_000] / took["blank", 400_000]
against_noise = took["blank", 800_000] / max(took["noise", 800_000], 1e-6)
print(f"twice the blank ground takes {growth:.1f} times as long; {against_noise:.0f} times as long as noise of that size")
sys.exit(0 if growth > 3 and against_noise > 20 else 1)
PYTHON
