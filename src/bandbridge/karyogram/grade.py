"""How good a cell is for karyotyping, from its crops alone: crowding, sharpness, length, and how its bands show.

The band level is that of the ideogram table (400, 550 or 850 bands a haploid set) whose blurred profiles are likest to
those along the axes of the cell's longer chromosomes, and how like they are is what cells are ranked by: of all
measures tried on the cells of BioImLab it goes best with what a classifier names rightly (docs/results/patient.md). The
number of bands is counted as it is by eye: places along the axis that are darker, or paler, than both sides by more
than a small share of the whole range. All three need classes and take those that the chromosomes are placed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.signal import find_peaks

from bandbridge.dataset.ideogram import RESOLUTIONS, Stain, chromosome_length, dye_levels, load_ideogram
from bandbridge.dataset.prepare import background_level, foreground_mask
from bandbridge.karyogram.axis import Axis, largest_piece, profile_along, trace_axis
from bandbridge.karyotype import CLASSES

#: Chromosomes that are long enough to count bands on.
LONG = (*(str(number) for number in range(1, 13)), "X")
#: Fewer of them are no measure of a cell.
FEWEST_LONG = 6
#: SD of the blur of a template, in lengths of chromosome 1.
_BLURS = (0.013, 0.018, 0.025, 0.035)
#: SD of the blur that profiles get before they are compared, in the same: what is finer is noise, and a sharp cell has
#: more of it.
_SMOOTHING = 0.018
_PLACES = 100
#: Of a profile, this share at either end is left out, where a chromosome is only paler for being round.
_ENDS = 5
#: A band is darker or paler than its neighbours by this share of the profile's range.
_PROMINENCE = 0.06
#: Another piece in a crop counts from this share of the largest.
_PIECE = 0.1
#: A chromosome goes on beyond a border of its crop where it is nearly as wide there as a quarter of its width further
#: in, and as elsewhere: from this product of both shares. Crops that fit tightly meet all four borders. Of chromosomes
#: of BioImLab and of the 65 cells, cropped tightly, up to 1% reach it whole and 85% with a fifth cut off.
_CONTACT = 0.65
#: What crowding takes from the score of a cell whose crops all touch; of real cells it tells little.
_CROWDED = 0.1


@dataclass(frozen=True)
class CellGrade:
    """A cell's grade; NaN, and level 0, for what too few chromosomes tell.

    chromosomes: how many. touching: share of the crops with a piece of another chromosome in them, or one that goes on
    beyond the crop: 0..1. sharpness: how steep outlines are, in the chromosome's contrast over its width. length_of_1:
    of chromosome 1, in widths. bands: that show on the longer chromosomes, mean of each. banding: how like the profiles
    of these are to the ideogram's at that level, mean correlation, up to 1. level: 400, 550 or 850.
    """

    chromosomes: int
    touching: float
    sharpness: float
    length_of_1: float
    bands: float
    banding: float
    level: int

    @property
    def score(self) -> float:
        """What cells are ranked by: the banding, less for crops that touch and for chromosomes too many or few."""
        complete = max(0.0, 1 - abs(self.chromosomes - 46) / 46)
        return self.banding * (1 - _CROWDED * self.touching) * complete**2


@dataclass(frozen=True, eq=False)
class _Seen:
    label: str
    axis: Axis
    profile: np.ndarray
    width: float
    sharpness: float
    touching: bool


def grade_cell(chromosomes: Iterable[tuple[str, np.ndarray]]) -> CellGrade:
    """Grade a cell of (class, uint8 [H, W]); class "" for a chromosome without a place."""
    given = list(chromosomes)
    seen = [one for one in (_look(label, image) for label, image in given) if one is not None]
    if not seen:
        return CellGrade(len(given), np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    width = float(np.median([one.width for one in seen]))
    first = [one.axis.length for one in seen if one.label == "1"]
    long = [one for one in seen if one.label in LONG]
    bands, banding, level = float("nan"), float("nan"), 0
    if len(long) >= FEWEST_LONG:
        bands = float(np.mean([_bands(one.profile) for one in long]))
        level, banding = _level(long, _stain([image for _, image in given]))
    return CellGrade(
        chromosomes=len(given),
        touching=float(np.mean([one.touching for one in seen])),
        sharpness=float(np.median([one.sharpness for one in seen])),
        length_of_1=float(np.mean(first)) / width if first else float("nan"),
        bands=bands,
        banding=banding,
        level=level,
    )


def _look(label: str, image: np.ndarray) -> _Seen | None:
    axis = trace_axis(image)
    if axis is None:
        return None
    width = float(axis.mask.sum() / axis.length)
    every = foreground_mask(image)
    others = int((every & ~largest_piece(every)).sum())
    profile = profile_along(image, axis, max(10, round(axis.length)))
    touching = others > _PIECE * axis.mask.sum() or _goes_on(axis.mask, width)
    return _Seen(label, axis, profile, width, _sharpness(image, axis.mask, width), touching)


def _goes_on(mask: np.ndarray, width: float) -> bool:
    """Whether the chromosome goes on beyond a border of its crop: an end of its own would be narrower there."""
    deep = max(1, round(width / 4))
    for side in (mask, mask[::-1], mask.T, mask.T[::-1]):
        at_border, further_in = int(side[0].sum()), max(1, int(side[min(deep, len(side) - 1)].sum()))
        if min(at_border / further_in, 1.0) * min(at_border / width, 1.0) >= _CONTACT:
            return True
    return False


def _sharpness(image: np.ndarray, mask: np.ndarray, width: float) -> float:
    density = np.abs(image.astype(np.float64) - background_level(image))
    contrast = float(np.percentile(density[mask], 75))
    outline = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    steep = np.hypot(*np.gradient(density))[outline]
    return float(np.percentile(steep, 75)) / max(contrast, 1.0) * width


def _bands(profile: np.ndarray) -> int:
    core = profile[2:-2]
    least = max(_PROMINENCE * float(np.ptp(core)), 1e-9)
    return sum(len(find_peaks(sign * core, prominence=least)[0]) for sign in (1, -1))


def _stain(images: Sequence[np.ndarray]) -> Stain:
    """Bright chromosomes on a dark ground are Q-banded, or look so."""
    return "Q" if float(np.median([background_level(image) for image in images])) < 128 else "G"


def _level(seen: Sequence[_Seen], stain: Stain) -> tuple[int, float]:
    """The table whose templates the profiles are most like, with the blur that suits it, either end up; how like."""
    templates = _templates(stain)
    total = np.zeros(templates.shape[1:3])
    for one in seen:
        reach = _SMOOTHING * chromosome_length("1") / chromosome_length(one.label) * len(one.profile)
        smooth = ndimage.gaussian_filter1d(one.profile, reach, mode="nearest")
        places = (np.arange(_PLACES) + 0.5) / _PLACES * len(smooth) - 0.5
        profile = _normed(np.interp(places, np.arange(len(smooth)), smooth)[_ENDS:-_ENDS])
        way = templates[CLASSES.index(one.label)]
        total += np.maximum(way @ profile, way @ profile[::-1])
    of_tables = total.max(axis=1)
    return RESOLUTIONS[int(of_tables.argmax())], float(of_tables.max()) / len(seen)


def _normed(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=-1, keepdims=True)
    normed: np.ndarray = centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-9)
    return normed


@cache
def _templates(stain: Stain) -> np.ndarray:
    """Return the normed profile of each class at each resolution and blur, float64 [24, 3, 4, 90]."""
    fine = 1200
    found = np.zeros((len(CLASSES), len(RESOLUTIONS), len(_BLURS), _PLACES))
    for row, label in enumerate(CLASSES):
        length = chromosome_length(label)
        for column, resolution in enumerate(RESOLUTIONS):
            stops = np.array([band.stop for band in load_ideogram(resolution)[label]])
            places = (np.arange(fine) + 0.5) / fine * stops[-1]
            dye = dye_levels(label, stain, resolution)[np.searchsorted(stops, places, side="right")]
            for number, blur in enumerate(_BLURS):
                reach = blur * chromosome_length("1") / length * fine
                soft = ndimage.gaussian_filter1d(dye, reach, mode="nearest")
                found[row, column, number] = soft.reshape(_PLACES, -1).mean(axis=1)
    return _normed(found[..., _ENDS:-_ENDS])
