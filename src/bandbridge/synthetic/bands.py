"""The bands of many chromosomes side by side as flat arrays, for drawing a whole cell at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from bandbridge.dataset.ideogram import (
    ACROCENTRIC,
    GC_CONTENT,
    RICH_BANDS,
    Band,
    Resolution,
    Stain,
    dye_levels,
    load_ideogram,
)
from bandbridge.karyotype import CLASSES

_MEAN_GC = 40.9  # percent, of the genome
#: How wide the short arm of an acrocentric is where it has a satellite, a stalk or its centromere, in full widths.
_NARROW = {"gvar": 0.75, "stalk": 0.5, "acen": 0.8}


@dataclass(frozen=True)
class BandTable:
    """The bands of all 24 classes at one resolution, one after another, float64 [bands] where not said otherwise.

    first: int [25], where each class begins. iscn and pairs: size in units of the ideogram and in base pairs. dye: by
    the ideogram. pale: 1 for a G-negative band, else 0. width: of the full width. variable: whether its size is a
    person's own. arm: whether it belongs to the long arm. richness: GC content of its chromosome above the genome's,
    in tenths. rich: 1 for one of the G-negative bands that are richest in G and C, else 0.
    """

    first: np.ndarray
    iscn: np.ndarray
    pairs: np.ndarray
    dye: np.ndarray
    pale: np.ndarray
    width: np.ndarray
    variable: np.ndarray
    long_arm: np.ndarray
    richness: np.ndarray
    rich: np.ndarray

    def rows(self, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the bands of ``classes`` [n], and which of the n each belongs to, both int64 [rows]."""
        counts = np.diff(self.first)[classes]
        owner = np.repeat(np.arange(len(classes)), counts)
        start = np.cumsum(counts) - counts
        return self.first[classes][owner] + np.arange(counts.sum()) - start[owner], owner


@cache
def band_table(stain: Stain, resolution: Resolution) -> BandTable:
    """Return the bands of all classes in karyotype order at ``resolution`` bands a haploid set."""
    ideogram = load_ideogram(resolution)
    bands = [(label, band) for label in CLASSES for band in ideogram[label]]
    counts = [len(ideogram[label]) for label in CLASSES]
    return BandTable(
        first=np.concatenate([[0], np.cumsum(counts)]),
        iscn=np.array([band.length for _, band in bands], dtype=float),
        pairs=np.array([band.kilobases for _, band in bands], dtype=float),
        dye=np.concatenate([dye_levels(label, stain, resolution) for label in CLASSES]),
        pale=np.array([float(band.stain == "gneg") for _, band in bands]),
        width=np.array([_width(label, band.arm, band.stain) for label, band in bands]),
        variable=np.array([band.stain in ("gvar", "stalk") for _, band in bands]),
        long_arm=np.array([band.arm == "q" for _, band in bands]),
        richness=np.array([(GC_CONTENT[label] - _MEAN_GC) / 10 for label, _ in bands]),
        rich=np.array([float(_is_rich(label, band)) for label, band in bands]),
    )


def _is_rich(label: str, band: Band) -> bool:
    return band.stain == "gneg" and f"{band.arm}{band.name}".startswith(RICH_BANDS.get(label, ()) or ("-",))


def _width(label: str, arm: str, stain: str) -> float:
    return _NARROW.get(stain, 1.0) if label in ACROCENTRIC and arm == "p" else 1.0
