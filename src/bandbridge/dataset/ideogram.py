"""The banded human chromosomes as a table, and how strongly each band stains.

The table is ``bands.csv`` beside this file: NCBI ideogram tables for *Homo sapiens*, GRCh38
(GCF_000001305.14), 550-band level, retold with one line a band. Lengths are in the ISCN units of that table,
which measure chromosomes as they look under a microscope; they are not base pairs.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import numpy as np

from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES

Stain = Literal["Q", "G"]
STAINS: tuple[Stain, ...] = ("Q", "G")
#: Chromosomes whose short arm is only a stalk and a satellite.
ACROCENTRIC: tuple[str, ...] = ("13", "14", "15", "21", "22")

# What takes the dye where: 0 for a G-negative band, 1 for the darkest G-positive one. The two stains share
# the AT-rich bands (dark in G, bright in Q) and differ in constitutive heterochromatin.
_DYE: dict[str, float] = {"gneg": 0.0, "gpos25": 0.3, "gpos50": 0.55, "gpos75": 0.8, "gpos100": 1.0}
_STALK_DYE = 0.05
_CENTROMERE_DYE: dict[str, float] = {"G": 0.6, "Q": 0.3}
# Heterochromatin by stain and (chromosome, band); quinacrine makes distal Yq the most brilliant of all, picks
# out 3q11.2 and the satellites, and leaves the large blocks of 1, 9 and 16 dull.
_HETEROCHROMATIN: dict[str, dict[tuple[str, str], float]] = {
    "G": {
        ("1", "12"): 0.9,
        ("3", "11.2"): 0.6,
        ("9", "12"): 0.25,
        ("16", "11.2"): 0.95,
        ("19", "12"): 0.6,
        ("Y", "12"): 0.75,
    },
    "Q": {
        ("1", "12"): 0.15,
        ("3", "11.2"): 1.3,
        ("9", "12"): 0.05,
        ("16", "11.2"): 0.15,
        ("19", "12"): 0.2,
        ("Y", "12"): 1.7,
    },
}
_SATELLITE_DYE: dict[str, float] = {"G": 0.5, "Q": 0.75}


@dataclass(frozen=True)
class Band:
    """One band: ``arm`` "p" or "q", ``name`` as in "36.3", ``start`` and ``stop`` in ISCN units, ``stain``
    its kind.

    ``stain`` is ``gneg``, ``gpos25``, ``gpos50``, ``gpos75``, ``gpos100``, ``acen`` (centromere), ``gvar``
    (variable heterochromatin) or ``stalk``.
    """

    arm: str
    name: str
    start: int
    stop: int
    stain: str

    @property
    def length(self) -> int:
        return self.stop - self.start


@cache
def load_ideogram() -> MappingProxyType[str, tuple[Band, ...]]:
    """Return the bands of each chromosome, short arm's end first, keyed by label in karyotype order.

    Bands touch: each starts where the one before it stops, and the first starts at 0.
    """
    text = files("bandbridge.dataset").joinpath("bands.csv").read_text(encoding="utf-8")
    bands: dict[str, list[Band]] = {label: [] for label in CLASSES}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        band = Band(row["arm"], row["band"], int(row["start"]), int(row["stop"]), row["stain"])
        bands[row["chromosome"]].append(band)
    return MappingProxyType({label: tuple(found) for label, found in bands.items()})


def chromosome_length(label: str) -> int:
    """Return the length of chromosome ``label`` in ISCN units (3,200 for 21, 15,100 for 1)."""
    return load_ideogram()[label][-1].stop


def centromere(label: str) -> int:
    """Return where the short arm of chromosome ``label`` ends and the long arm begins, in ISCN units."""
    return next(band.start for band in load_ideogram()[label] if band.arm == "q")


def dye_levels(label: str, stain: Stain) -> np.ndarray:
    """Return how much dye each band of ``label`` takes, float64 [bands]: 0 for none, 1 for a gpos100 band.

    More dye is darker in a G-banded image and brighter in a Q-banded one. Only distal Yq and 3q11.2 pass 1,
    in Q.
    """
    return np.array([_dye(label, band, stain) for band in load_ideogram()[label]])


def _dye(label: str, band: Band, stain: Stain) -> float:
    if band.stain == "acen":
        return _CENTROMERE_DYE[stain]
    if band.stain == "stalk":
        return _STALK_DYE
    if band.stain == "gvar":
        return _HETEROCHROMATIN[stain].get((label, band.name), _SATELLITE_DYE[stain])
    return _DYE[band.stain]


def check_stain(stain: str) -> Stain:
    """Return ``stain`` if it is one of the two that can be drawn; raise :class:`UserError` otherwise."""
    for known in STAINS:
        if stain == known:
            return known
    raise UserError(f"{stain!r} is not a stain that can be drawn", 'The stains are "Q" and "G".')
