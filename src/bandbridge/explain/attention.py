"""How the evidence for a class lies on the chromosome: inside it, on its border, on its arms; against chance.

Everything is measured on the raw map enlarged to the prepared image. Chance is what a map that is equal everywhere
would give: the share of the area. Padding is no part of the image: what lies on it is measured by itself, and all
other shares are of the evidence on the image proper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from bandbridge.dataset.by_cell import prepare_cell
from bandbridge.dataset.prepare import Preparation, background_level, foreground_mask, prepare_image
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.comparison import Interval, percentile_bootstrap
from bandbridge.explain.overlay import Placement, place
from bandbridge.karyogram.arms import Arms, find_centromere

#: Every share that is measured, and what it is a share of.
SHARES = {
    "padding": "of all evidence, the share on the padding beside the image",
    "chromosome": "of the evidence on the image, the share inside the chromosome",
    "border": "of the evidence on the image, the share on the chromosome's outline",
    "short_arm": "of the evidence inside the chromosome, the share on its short arm",
    "long_arm": "of the evidence inside the chromosome, the share on its long arm",
    "both_arms": "the density of evidence on the arm that has less of it, over that of the whole chromosome",
}
_CLOSE_UP = {"views": "close-up", "scale": "each"}
#: Half the width of the outline's ring, in parts of the chromosome's width.
_RING = 0.1


@dataclass(frozen=True, eq=False)
class Regions:
    """Where things are in one prepared image; masks bool [S, S].

    content: the image without its padding. border: the ring astride the chromosome's outline, a tenth of the
    chromosome's width to either side. arms: None where the image shows nothing. ground: gray value of the background.
    """

    placement: Placement
    content: np.ndarray
    chromosome: np.ndarray
    border: np.ndarray
    arms: Arms | None
    ground: int


def find_regions(image: np.ndarray, preparation: Preparation) -> Regions:
    """Find chromosome, outline and arms in what ``preparation`` makes of uint8 ``image`` [H, W].

    Of two views this is the close-up; the map of a classifier that sees both lies over both, and the one to scale has
    the chromosome in its middle. A chromosome that comes with its ground is :func:`foreground_mask` of the image
    prepared with its own background for padding: black beside a white ground would be taken for the chromosome.
    """
    placement = place(image, preparation)
    content = placement.content()
    if preparation.contrast == "cell":
        shown, ground = prepare_cell([image], preparation.model_copy(update=_CLOSE_UP))[0], 0
        foreground = shown > 0
    else:
        close = preparation.shown[0] == "close-up"
        way = preparation.of_view("each" if close else "common", preparation.extent)
        shown = prepare_image(image, way.model_copy(update={"padding": "background"}))
        foreground, ground = foreground_mask(shown), background_level(shown)
    mask = binary_fill_holes(foreground) & content  # a pale band is no hole with an outline of its own
    arms = find_centromere(mask)
    ring = max(1.0, _RING * arms.width) if arms else 0.0
    # Distances are to the nearest pixel beyond the outline, so those that touch it are at 1.
    near = np.where(mask, distance_transform_edt(mask), distance_transform_edt(~mask)) <= ring
    return Regions(placement, content, mask, near & content, arms, ground)


def measure_shares(evidence: np.ndarray, regions: Regions) -> dict[str, float]:
    """Return each of :data:`SHARES` of ``evidence``, float [S, S], 0 or more; NaN where there is nothing to share.

    ``both_arms`` is min(s / a, (1 - s) / (1 - a)) for the short arm's share s of the evidence and a of the area: 0
    where an arm gets none, 1 where both get as much for their area. So do they in a map that is equal everywhere: it
    speaks for a classifier only together with ``chromosome``. The arms have no share where the chromosome has no waist.
    """
    total, on_image = _mass(evidence), _mass(evidence[regions.content])
    inside = _mass(evidence[regions.chromosome])
    shares = {
        "padding": _ratio(total - on_image, total),
        "chromosome": _ratio(inside, on_image),
        "border": _ratio(_mass(evidence[regions.border]), on_image),
        "short_arm": float("nan"),
        "long_arm": float("nan"),
        "both_arms": float("nan"),
    }
    if regions.arms is not None and regions.arms.waisted:
        short = _ratio(_mass(evidence[regions.arms.short]), inside)
        area = regions.arms.short.sum() / regions.chromosome.sum()
        shares |= {"short_arm": short, "long_arm": 1 - short}
        shares["both_arms"] = min(_ratio(short, area), _ratio(1 - short, 1 - area))
    return shares


def chance_shares(regions: Regions) -> dict[str, float]:
    """Return what :func:`measure_shares` gives for evidence that is equal everywhere: shares of the area."""
    return measure_shares(np.ones(regions.content.shape), regions)


def _mass(values: np.ndarray) -> float:
    return float(values.sum(dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def mean_over_cells(
    values: np.ndarray, cells: Sequence[str], generator: np.random.Generator, iterations: int = 2000
) -> Interval:
    """Return the mean of ``values``, float [N], over cells, and its 95% percentile bootstrap over them.

    Each cell counts once, by the mean of its images; NaN values are left out. The interval is NaN with fewer cells than
    :data:`~bandbridge.evaluation.cluster_intervals.FEWEST_RESAMPLED`, and all is NaN without any value.
    """
    frame = pd.DataFrame({"value": values, "cell": list(cells)}).dropna(subset="value")
    means = frame.groupby("cell", sort=True)["value"].mean().to_numpy(dtype=np.float64)
    if len(means) < FEWEST_RESAMPLED:
        return Interval(float(means.mean()) if len(means) else float("nan"), float("nan"), float("nan"))
    return percentile_bootstrap(means, iterations, generator=generator)
