"""Whether an image looks like those a classifier was trained on, by plain statistics of the photograph.

A classifier's own scores do not tell: its last layer puts a chromosome of another stain among those it knows. The
ground, the contrast, the size and the outline do. They are compared by their Mahalanobis distance from the training
images, with the shrunk covariance of Ledoit & Wolf 2004 (J. Multivariate Analysis 88:365-411).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, SerializerFunctionWrapHandler, model_serializer
from scipy import ndimage

from bandbridge.dataset.prepare import Preparation, background_level, foreground_mask
from bandbridge.files import write_text
from bandbridge.seal import COPY_AGAIN, parsed, read_product

FILE = "likeness.json"
#: What is measured of an image, in the order of :func:`describe_image`.
STATISTICS = (
    "ground",
    "foreground, mean above ground",
    "foreground, SD",
    "foreground, 10% quantile above ground",
    "foreground, median above ground",
    "foreground, 90% quantile above ground",
    "ground, SD",
    "share of foreground",
    "log longer side",
    "log shorter side",
    "log aspect",
    "gradient",
    "gradient in foreground",
    "share of the largest piece",
    "log area",
    "log outline",
    "outline over root of area",
)
#: Of the training images this share is farther from the others than what is still taken for one of them.
UNLIKE_SHARE = 0.005
_SMALLEST_SD = 1e-6


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_T = TypeVar("_T")
#: One value for each of the statistics.
_Each = Annotated[tuple[_T, ...], Field(min_length=len(STATISTICS), max_length=len(STATISTICS))]


class Likeness(BaseModel):
    """The training images by their statistics: ``mean`` and ``sd`` of each, and the ``precision`` of the standardised.

    An image whose squared Mahalanobis distance exceeds ``farthest`` is unlike them. images: how many there were. of:
    what is described, the photograph, or the close-up that a model sees which knows nothing of the photograph's ground,
    size and exposure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: NonNegativeInt
    mean: _Each[_Finite]
    sd: _Each[Annotated[_Finite, Field(gt=0)]]
    precision: _Each[_Each[_Finite]]
    farthest: Annotated[float, Field(ge=0)]
    of: Literal["photograph", "close-up"] = "photograph"

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out that a photograph is described, as files did that knew nothing else."""
        value: dict[str, Any] = handler(self)
        return {key: item for key, item in value.items() if (key, item) != ("of", "photograph")}

    def distances(self, statistics: np.ndarray) -> np.ndarray:
        """Return squared Mahalanobis distances, float64 [N], of float ``statistics`` [N, S]."""
        z = (statistics - np.array(self.mean)) / np.array(self.sd)
        return np.einsum("ni,ij,nj->n", z, np.array(self.precision), z)

    def unlike(self, images: Sequence[np.ndarray], prepared: np.ndarray) -> np.ndarray:
        """Return which images look unlike the training images, bool [N].

        They are given as taken, uint8 [H, W] each, and as ``prepared`` for the model, uint8 [N, *preparation.shape].
        """
        described = images if self.of == "photograph" else close_ups(prepared)
        return self.distances(np.array([describe_image(image) for image in described])) > self.farthest


def describe_image(image: np.ndarray) -> np.ndarray:
    """Return :data:`STATISTICS` of a uint8 image [H, W], float64 [S]; gray values in 0..255, lengths in pixels."""
    values, ground = image.astype(np.float64), background_level(image)
    mask = foreground_mask(image)
    inside = values[mask] - ground if mask.any() else np.zeros(1)
    outside = values[~mask] if not mask.all() else np.zeros(1)
    gradient = np.hypot(ndimage.sobel(values, 0), ndimage.sobel(values, 1))
    pieces, count = ndimage.label(mask)
    largest = np.bincount(pieces.ravel())[1:].max() / mask.sum() if count else 0.0
    outline = int((mask & ~ndimage.binary_erosion(mask)).sum())
    height, width = image.shape
    return np.array(
        [
            ground,
            inside.mean(),
            inside.std(),
            *np.quantile(inside, (0.1, 0.5, 0.9)),
            outside.std(),
            mask.mean(),
            np.log(max(height, width)),
            np.log(min(height, width)),
            np.log(max(height, width) / min(height, width)),
            gradient.mean(),
            gradient[mask].mean() if mask.any() else 0.0,
            largest,
            np.log1p(mask.sum()),
            np.log1p(outline),
            outline / np.sqrt(mask.sum() + 1),
        ]
    )


def close_ups(prepared: np.ndarray) -> np.ndarray:
    """Return the first view of uint8 ``prepared`` [N, *preparation.shape], [N, S, S]."""
    return prepared if prepared.ndim == 3 else prepared[:, 0]


def described(preparation: Preparation) -> Literal["photograph", "close-up"]:
    """Return what is described of the images of a model with ``preparation``."""
    return "close-up" if preparation.contrast == "cell" else "photograph"


def fit_likeness(
    statistics: np.ndarray, groups: np.ndarray, of: Literal["photograph", "close-up"] = "photograph"
) -> Likeness:
    """Learn from the ``statistics`` of the training images, float [N, S]; ``groups`` [N] are their cells.

    How far an image of a new cell may be is measured on one half of the cells with what the other half taught. Raises
    ValueError for fewer than two groups.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError("likeness is learned from two cells or more")
    halves = np.isin(groups, names[::2])
    far = []
    for taught in (halves, ~halves):
        far.append(_fit(statistics[taught], np.inf).distances(statistics[~taught]))
    found = _fit(statistics, float(np.quantile(np.concatenate(far), 1 - UNLIKE_SHARE)))
    return found.model_copy(update={"of": of})


def _fit(statistics: np.ndarray, farthest: float) -> Likeness:
    from sklearn.covariance import LedoitWolf  # half a second, which predicting does without

    mean, sd = statistics.mean(axis=0), np.maximum(statistics.std(axis=0), _SMALLEST_SD)
    precision = LedoitWolf().fit((statistics - mean) / sd).precision_
    return Likeness(
        images=len(statistics),
        mean=tuple(mean.tolist()),
        sd=tuple(sd.tolist()),
        precision=tuple(map(tuple, precision.tolist())),
        farthest=farthest,
    )


def write_likeness(likeness: Likeness, folder: Path) -> None:
    """Write it beside a model."""
    write_text(folder / FILE, likeness.model_dump_json() + "\n")


def read_likeness(folder: Path) -> Likeness | None:
    """Return the likeness beside the model in ``folder``, None where there is none.

    Raises :class:`UserError` when the file is damaged.
    """
    path = folder / FILE
    value = read_product(path)
    return parsed(Likeness, value, path, COPY_AGAIN) if value else None
