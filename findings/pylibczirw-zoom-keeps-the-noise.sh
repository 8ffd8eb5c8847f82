#!/usr/bin/env bash
# pylibCZIrw 6.1.0: a CZI field read at a smaller zoom is not averaged; single pixels are picked, so that its noise stays.
#
# Tried: slide scanners keep whole slides of metaphases as CZI, and a first look at them is taken at a small zoom.
# A field of 512 x 512 pixels, gray level 1000 with noise of SD 50, and a chequerboard of 0 and 1000, pixel by pixel,
# were written with create_czi and read with open_czi(...).read(zoom=...).
# Guessed: at zoom 0.25 each pixel stands for 4 x 4 of the file, so that the noise is a quarter (SD 12.5), and the
# chequerboard an even 500.
# Seen: the SD at zoom 0.5 and 0.25 is that of the file. The chequerboard is 1000 everywhere at both, twice as bright
# as it is. What is found at a small zoom (focus, ground, thin or faint chromosomes) is found in one pixel of sixteen:
# read all of it and average.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pylibCZIrw==6.1.0 numpy==2.4.6

cat >look.py <<'END'
import sys

import numpy as np
from pylibCZIrw import czi

rows, columns = np.mgrid[:512, :512]
fields = {
    "noise": np.random.default_rng(0).normal(1000, 50, (512, 512)).round().astype(np.uint16),
    "chequerboard": (1000 * ((rows + columns) % 2 == 0)).astype(np.uint16),
}
told = {}
for name, field in fields.items():
    with czi.create_czi(f"{name}.czi") as written:
        written.write(data=field, plane={"C": 0})
    with czi.open_czi(f"{name}.czi") as opened:
        for zoom in (1.0, 0.5, 0.25):
            read = opened.read(plane={"C": 0}, zoom=zoom)[..., 0].astype(float)
            told[name, zoom] = read.mean(), read.std()
            by = round(1 / zoom)
            averaged = field.reshape(512 // by, by, 512 // by, by).mean(axis=(1, 3))
            print(f"{name} at zoom {zoom}: {read.shape}, mean {read.mean():.1f}, SD {read.std():.1f}; "
                  f"averaged it would be {averaged.mean():.1f}, {averaged.std():.1f}")
picked = all(abs(told["noise", zoom][1] - 50) < 2 and told["chequerboard", zoom] == (1000.0, 0.0) for zoom in (0.5, 0.25))
print("single pixels are picked" if picked else "no longer so")
sys.exit(0 if picked else 1)
END
venv/bin/python look.py
