#!/usr/bin/env bash
# pyideogram 0.1.1: a mouse chromosome cannot be drawn; with a centromere put in, two of its four greys are white.
#
# Guessed: a drawer of ideograms that takes any cytoband file of the UCSC kind knows the stains of such files, or says
# which one it does not know, and draws a chromosome whose centromere lies at its very end, as the autosomes of the mouse do.
# Seen (with matplotlib 3.11.2): a chromosome without two bands called acen, as mouse files are, is an IndexError. With
# them it is drawn, but human files have the stains gpos25, 50, 75 and 100, those of the mouse gpos33, 66, 75 and 100,
# and what is not in the table of colours becomes pure white without a word: gpos33 and gpos66 come out lighter than
# gneg (0.95), so that the picture is in part the negative of the chromosome. A stain that exists nowhere is white too.
# With color=pyideogram.BANDCOL | {"gpos33": ..., "gpos66": ...} they are grey.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pyideogram==0.1.1 matplotlib==3.11.2 numpy==2.2.6 2>/dev/null
MPLBACKEND=agg "$place/venv/bin/python" - "$place/bands.txt" <<'PYTHON'
import sys

import matplotlib.pyplot as plt
import numpy as np
import pyideogram

LONG = 10_000_000
CENTROMERE = ("acen", "acen")
MOUSE = ("gpos100", "gneg", "gpos33", "gneg", "gpos66", "gneg", "gpos75", "gneg", "gpos25", "gneg", "gposnone", "gneg")


def drawn(stains, **settings):
    """The gray level, 0 to 1, in the middle of the band of each stain, as it is drawn."""
    with open(sys.argv[1], "w", newline="\n") as file:
        for place, stain in enumerate(stains):
            file.write(f"chr1\t{place * LONG}\t{(place + 1) * LONG}\tq{place}\t{stain}\n")
    figure, axes = plt.subplots(figsize=(8, 1), dpi=100)
    pyideogram.ideogramh("chr1", bands=sys.argv[1], ax=axes, **settings)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].mean(axis=2) / 255
    seen = {}
    for place, stain in enumerate(stains):
        x, y = axes.transData.transform(((place + 0.5) * LONG, 0))
        seen[stain] = round(float(pixels[len(pixels) - 1 - int(y), int(x)]), 2)
    plt.close(figure)
    return seen


try:
    drawn(MOUSE)
    refused = False
except IndexError as error:
    refused = True
    print("without a centromere: IndexError,", error)
plain = drawn(("gneg", *CENTROMERE, *MOUSE))
told = drawn(("gneg", *CENTROMERE, *MOUSE), color=pyideogram.BANDCOL | {"gpos33": (0.65,) * 3, "gpos66": (0.4,) * 3})
print(f"{'stain':10} drawn   with two colours given")
for stain in ("gneg", "gpos25", "gpos33", "gpos66", "gpos75", "gpos100", "gposnone"):
    print(f"{stain:10} {plain[stain]:.2f}    {told[stain]:.2f}")
ordered = plain["gneg"] > plain["gpos25"] > plain["gpos75"] > plain["gpos100"]
white = all(plain[stain] == 1 > plain["gneg"] for stain in ("gpos33", "gpos66", "gposnone"))
sys.exit(not (refused and ordered and white and told["gpos33"] < 0.7 and told["gpos66"] < 0.5))
PYTHON
