"""The banded human chromosomes as a table, and how strongly each band stains.

The table is ``bands.csv`` beside this file: NCBI ideogram tables for *Homo sapiens*, GRCh38
(GCF_000001305.14), at 400, 550 and 850 bands, retold with one line a band. Lengths are in the ISCN units of those
tables, which measure chromosomes as they look under a microscope, and in base pairs, which do not.
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
#: Bands of a haploid set that can be told apart: the longer chromosomes are, the more.
Resolution = Literal[400, 550, 850]
RESOLUTIONS: tuple[Resolution, ...] = (400, 550, 850)
#: Chromosomes whose short arm is only a stalk and a satellite.
ACROCENTRIC: tuple[str, ...] = ("13", "14", "15", "21", "22")

#: Percent of bases that are G or C, of each chromosome of GRCh37: what is rich in them takes less of either dye
#: (counts over the assembly's sequences; the genome has 40.9%: Piovesan et al., BMC Research Notes 12:106, 2019).
GC_CONTENT: dict[str, float] = {
    **{"1": 41.7, "2": 40.2, "3": 39.7, "4": 38.2, "5": 39.5, "6": 39.6, "7": 40.8, "8": 40.2, "9": 41.3, "10": 41.6},
    **{"11": 41.6, "12": 40.8, "13": 38.5, "14": 40.9, "15": 42.2, "16": 44.8, "17": 45.5, "18": 39.8, "19": 48.4},
    **{"20": 44.1, "21": 40.8, "22": 48.0, "X": 39.5, "Y": 39.1},
}

#: G-negative bands that are richest in G, C and genes and take least of either dye: the T-bands of Dutrillaux (1973)
#: and their like (Holmquist, American Journal of Human Genetics 51:17, 1992). By chromosome, how their names begin.
RICH_BANDS: dict[str, tuple[str, ...]] = {
    **{"1": ("p36.3", "p36.1", "p34", "q21"), "2": ("q37",), "3": ("p21", "q21"), "4": ("p16",)},
    **{"5": ("q35",), "6": ("p21",), "7": ("p22", "q11.2", "q22", "q36"), "8": ("q24.3",), "9": ("q34",)},
    **{"10": ("q26.3",), "11": ("p15.5", "q13", "q23"), "12": ("q13", "q24"), "13": ("q34",), "14": ("q24", "q32")},
    **{"15": ("q22", "q24"), "16": ("p13", "q24"), "17": ("p13", "q21", "q25"), "19": ("p13", "q13"), "20": ("q13",)},
    **{"21": ("q22",), "22": ("q11", "q13"), "X": ("q28",)},
}

# What takes the dye where: 0 for a G-negative band, 1 for the darkest G-positive one. The two stains share
# the AT-rich bands (dark in G, bright in Q) and differ in constitutive heterochromatin.
_DYE: dict[str, float] = {"gneg": 0.0, "gpos25": 0.3, "gpos50": 0.55, "gpos75": 0.8, "gpos100": 1.0}
_STALK_DYE = 0.05
_CENTROMERE_DYE: dict[str, float] = {"G": 0.95, "Q": 0.3}
# Heterochromatin by stain and (chromosome, band); quinacrine makes distal Yq the most brilliant of all, picks
# out 3q11.2 and the satellites, and leaves the large blocks of 1, 9 and 16 duller than any other band.
_HETEROCHROMATIN: dict[str, dict[tuple[str, str], float]] = {
    "G": {
        ("1", "12"): 0.9,
        ("3", "11.2"): 0.6,
        ("9", "12"): 0.25,
        ("16", "11.2"): 0.95,
        ("19", "12"): 0.9,
        ("Y", "12"): 0.75,
    },
    "Q": {
        ("1", "12"): -0.15,
        ("3", "11.2"): 1.3,
        ("9", "12"): -0.25,
        ("16", "11.2"): -0.15,
        ("19", "12"): 0.5,
        ("Y", "12"): 1.7,
    },
}
_SATELLITE_DYE: dict[str, float] = {"G": 0.5, "Q": 0.75}


@dataclass(frozen=True)
class Band:
    """One band: ``arm`` "p" or "q", ``name`` as in "36.3", ``start`` and ``stop`` in ISCN units, ``kilobases`` of its
    sequence, ``stain`` its kind.

    ``stain`` is ``gneg``, ``gpos25``, ``gpos50``, ``gpos75``, ``gpos100``, ``acen`` (centromere), ``gvar``
    (variable heterochromatin) or ``stalk``.
    """

    arm: str
    name: str
    start: int
    stop: int
    kilobases: int
    stain: str

    @property
    def length(self) -> int:
        return self.stop - self.start


@cache
def load_ideogram(resolution: Resolution = 550) -> MappingProxyType[str, tuple[Band, ...]]:
    """Return the bands of each chromosome, short arm's end first, keyed by label in karyotype order.

    Bands touch: each starts where the one before it stops, and the first starts at 0.
    """
    text = files("bandbridge.dataset").joinpath("bands.csv").read_text(encoding="utf-8")
    bands: dict[str, list[Band]] = {label: [] for label in CLASSES}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        if row["bands"] == str(resolution):
            place, sequence = (int(row["start"]), int(row["stop"])), int(row["kilobases"])
            bands[row["chromosome"]].append(Band(row["arm"], row["band"], *place, sequence, row["stain"]))
    return MappingProxyType({label: tuple(found) for label, found in bands.items()})


def chromosome_length(label: str) -> int:
    """Return the length of chromosome ``label`` in ISCN units (3,200 for 21, 15,100 for 1)."""
    return load_ideogram()[label][-1].stop


def centromere(label: str) -> int:
    """Return where the short arm of chromosome ``label`` ends and the long arm begins, in ISCN units."""
    return next(band.start for band in load_ideogram()[label] if band.arm == "q")


def dye_levels(label: str, stain: Stain, resolution: Resolution = 550) -> np.ndarray:
    """Return how much dye each band of ``label`` takes, float64 [bands]: 0 for none, 1 for a gpos100 band.

    More dye is darker in a G-banded image and brighter in a Q-banded one. Only distal Yq and 3q11.2 pass 1,
    in Q.
    """
    return np.array([_dye(label, band, stain) for band in load_ideogram(resolution)[label]])


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
