"""Which way up a chromosome goes: the tilt of its axis, and which of its ends is the short arm's.

Staining pattern and shape along the axis (:mod:`bandbridge.karyogram.axis`) are compared with the mean of the class,
both ways up. Only what differs between the two ways speaks: the antisymmetric half of the profile, a(s) - a(1 - s). The
score is the cosine between the antisymmetric halves of the chromosome and of its class, in -1..1, and changes its sign
when the image is turned by 180 degrees. A logistic curve without intercept, whose slope is learned for each class on
held-out cells, makes it a probability. Dark bands on white and bright bands on black give the same profile.

A set whose crops are all short arm up, as those of the public sets are, gives its labels for free. Without one,
:func:`ideogram_profiles` has profiles learned from chromosomes drawn from the ideogram.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import expit

from bandbridge.dataset.prepare import background_level
from bandbridge.errors import UserError
from bandbridge.files import write_json
from bandbridge.karyogram.arms import find_centromere
from bandbridge.karyogram.axis import PLACES, Axis, read_along, trace_axis
from bandbridge.karyogram.sheet import Chromosome, Pose
from bandbridge.karyogram.upright_share import judge_together
from bandbridge.karyotype import CLASSES

#: Numbers to a profile: half the places, of density and of width.
BINS = PLACES
_LEAST_IMAGES = 5
#: No certainty beyond this: of the surest, held-out photographs of three public sets were right in 99.1 to 99.8%.
_HIGHEST = 0.995
#: How often the short side of a waist is the short arm on the public sets: 90 to 93% of those that have a waist.
_WAIST_CERTAINTY = 0.9
#: SD of the logarithm of a class's slope about that of all classes.
_SLOPE_SPREAD = 0.4
#: The slope before anything was held out: half of what photographs show.
_CAUTIOUS_SLOPE = 5.0


@dataclass(frozen=True, eq=False)
class Profiles:
    """What tells up from down. ``classes``: names in order. ``means``: float64 [K, 40], unit vectors, the antisymmetric
    half of the mean profile of a class, 20 places of density and 20 of width. ``slopes``: float64 [K], from the
    cosine to log-odds. ``images``: int64 [K], how many each class was learned from, 0 for one taken from elsewhere.
    """

    classes: tuple[str, ...]
    means: np.ndarray
    slopes: np.ndarray
    images: np.ndarray

    def only(self, label: str) -> np.ndarray:
        """Return the probabilities float64 [K] of one that is known to be ``label``; zeros for an unknown class."""
        return np.array([float(name == label) for name in self.classes])


def learn_profiles(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    cells: Sequence[str] | None = None,
    base: Profiles | None = None,
) -> Profiles:
    """Learn from uint8 ``images`` [H, W] that all have the short arm up, tilted by less than 90 degrees.

    A slope is learned from scores against the mean of the other ``cells`` (None: of the other images). Classes of fewer
    than five images, and those that only ``base`` has, are taken from ``base``, by default the ideogram's; a class that
    is not there either tells nothing. Raises :class:`UserError` when no class has five images to learn from.
    """
    base = base or ideogram_profiles()
    traced = [antisymmetric_profile(image) for image in images]
    seen = np.array([one is not None for one in traced], dtype=bool)
    profiles = np.array([one for one in traced if one is not None]).reshape(-1, BINS)
    names = np.asarray(labels, dtype=str)[seen]
    groups = (
        np.arange(len(traced))[seen] if cells is None else np.unique(np.asarray(cells), return_inverse=True)[1][seen]
    )
    learned = {label: profiles[names == label] for label in dict.fromkeys(names.tolist())}
    learned = {label: rows for label, rows in learned.items() if len(rows) >= _LEAST_IMAGES}
    if not learned:
        raise UserError(
            f"no class has {_LEAST_IMAGES} chromosomes to learn the upright position from",
            "Give more labelled images, or use the profiles of the ideogram.",
        )
    scores = {label: _held_out_scores(rows, groups[names == label]) for label, rows in learned.items()}
    slopes = _fit_slopes(scores)
    classes = (*base.classes, *(label for label in learned if label not in base.classes))
    means, slope, counts = (np.zeros((len(classes), BINS)), np.zeros(len(classes)), np.zeros(len(classes), np.int64))
    means[: len(base.classes)], slope[: len(base.classes)] = base.means, base.slopes
    for label, rows in learned.items():
        place = classes.index(label)
        means[place], slope[place], counts[place] = _unit(rows.mean(axis=0)), slopes[label], len(rows)
    return Profiles(classes, means, slope, counts)


def antisymmetric_profile(image: np.ndarray) -> np.ndarray | None:
    """Return what differs between the two ways up, float64 [40], a unit vector; None where nothing is to be seen.

    Density and width along the axis, each standardised over its 40 places, minus the same read from the other end.
    """
    axis = trace_axis(image)
    return None if axis is None else _profile(image, axis)


def _profile(image: np.ndarray, axis: Axis) -> np.ndarray:
    half = PLACES // 2
    read = [(values - values.mean()) / (values.std() + 1e-9) for values in read_along(image, axis)]
    return _unit(np.concatenate([(values - values[::-1])[:half] for values in read]))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) + 1e-12)


def _held_out_scores(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The cosine of each row with the mean of the rows of other groups; 0 where there is no other group."""
    own = groups[:, None] == groups[None, :]
    others = (~own).astype(np.float64) @ rows
    return np.array([row @ _unit(other) for row, other in zip(rows, others, strict=True)])


def _fit_slopes(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """The most probable slope of each class, drawn to that of all of them so that few images promise little."""
    common = _most_probable(np.concatenate(list(scores.values())), np.log(_CAUTIOUS_SLOPE), 1.0)
    return {label: float(np.exp(_most_probable(own, common, _SLOPE_SPREAD))) for label, own in scores.items()}


def _most_probable(scores: np.ndarray, centre: float, spread: float) -> float:
    """The logarithm of the slope that fits scores of upright images best; before any is seen, ``centre``."""

    def cost(log_slope: float) -> float:
        misfit = float(np.logaddexp(0, -np.exp(log_slope) * scores).sum())
        return misfit + ((log_slope - centre) / spread) ** 2 / 2

    return float(minimize_scalar(cost, bounds=(np.log(0.05), np.log(60)), method="bounded").x)


def find_pose(image: np.ndarray, profiles: Profiles, probabilities: np.ndarray) -> Pose:
    """Return how to turn the chromosome in uint8 ``image`` [H, W] upright.

    probabilities: float [K], of each of ``profiles.classes``; ``profiles.only(label)`` where the class is known. The
    certainty is averaged over the classes. Where they are all 0, the shorter side of the narrowest place is taken for
    the short arm. An image with nothing to see is left as it is, with certainty 0.5.
    """
    axis = trace_axis(image)
    if axis is None:
        return Pose()
    up = _waist_up(axis) if not probabilities.any() else _up(_profile(image, axis), profiles, probabilities)
    return _pose(axis.angle, up)


def find_poses(images: Sequence[np.ndarray], profiles: Profiles, probabilities: np.ndarray) -> list[Pose]:
    """Return the poses of one cell's chromosomes; ``probabilities`` is float [N, K].

    Crops of one cell are often all upright already, cut from a finished karyogram: the share that is, estimated from
    the cell (expectation-maximisation, with one upright and one inverted added), is the prior for each. In crops that
    lie in any direction it stays near one half and changes nothing.
    """
    axes = [trace_axis(image) for image in images]
    alone = np.array(
        [
            0.5
            if axis is None
            else _waist_up(axis)
            if not weights.any()
            else _up(_profile(image, axis), profiles, weights)
            for image, axis, weights in zip(images, axes, probabilities, strict=True)
        ]
    )
    together = judge_together(alone)
    return [Pose() if axis is None else _pose(axis.angle, up) for axis, up in zip(axes, together, strict=True)]


def upright(chromosomes: Sequence[Chromosome], classes: tuple[str, ...]) -> list[Chromosome]:
    """Return ``chromosomes`` of one cell with the poses that turn them short arm up; other classes know no such way."""
    if classes != CLASSES or not chromosomes:
        return list(chromosomes)
    likely = np.stack([one.probabilities for one in chromosomes])
    poses = find_poses([one.image for one in chromosomes], ideogram_profiles(), likely)
    return [replace(one, pose=pose) for one, pose in zip(chromosomes, poses, strict=True)]


def _up(profile: np.ndarray, profiles: Profiles, probabilities: np.ndarray) -> float:
    """Probability that the short arm is the upper end."""
    weights = np.asarray(probabilities, dtype=np.float64)
    return float(expit(profiles.slopes * (profiles.means @ profile)) @ weights / weights.sum())


def _waist_up(axis: Axis) -> float:
    arms = find_centromere(axis.mask)
    if arms is None or not arms.waisted:
        return 0.5
    rows = np.indices(axis.mask.shape)[0]
    return _WAIST_CERTAINTY if rows[arms.short].mean() < rows[arms.long].mean() else 1 - _WAIST_CERTAINTY


def _pose(angle: float, up: float) -> Pose:
    return Pose(angle, bool(up < 0.5), float(min(max(up, 1 - up), _HIGHEST)))


def turn_upright(image: np.ndarray, pose: Pose) -> np.ndarray:
    """Return uint8 ``image`` [H, W] turned as ``pose`` says, on a ground large enough for its corners, at its scale.

    New ground has the image's own level. Multiples of 90 degrees move pixels and change none; others are read by
    bicubic interpolation.
    """
    picture = Image.fromarray(image)
    angle = pose.angle + (180 if pose.flipped else 0)
    ground = background_level(image)
    return np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=ground))


def save_profiles(profiles: Profiles, path: Path) -> None:
    """Write ``profiles`` as JSON, whole or not at all."""
    rows = {
        label: {"slope": round(float(slope), 3), "images": int(images), "mean": np.round(mean, 4).tolist()}
        for label, mean, slope, images in zip(
            profiles.classes, profiles.means, profiles.slopes, profiles.images, strict=True
        )
    }
    write_json(path, {"kind": "bandbridge upright profiles", "version": 1, "classes": rows})


def load_profiles(path: Path) -> Profiles:
    """Read what :func:`save_profiles` wrote. Raises :class:`UserError` naming the file for anything else."""
    try:
        return _read_profiles(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise UserError(f"{path} holds no upright profiles: {fault}", "Learn them again.") from fault


def _read_profiles(text: str) -> Profiles:
    content = json.loads(text)
    if content["kind"] != "bandbridge upright profiles" or content["version"] != 1:
        raise ValueError("another kind or version")
    rows = content["classes"]
    means = np.array([row["mean"] for row in rows.values()], dtype=np.float64).reshape(len(rows), BINS)
    slopes, images = ([row[name] for row in rows.values()] for name in ("slope", "images"))
    if not np.isfinite(means).all():
        raise ValueError("numbers that are not finite")
    return Profiles(tuple(rows), means, np.array(slopes, dtype=np.float64), np.array(images, dtype=np.int64))


@cache
def ideogram_profiles() -> Profiles:
    """Return profiles for use without a set of one's own: ``upright.json`` beside this file.

    Means are those of G-banded chromosomes drawn from the ideogram (as version 0.1 drew them: seed 7, cells 0, 3, ...
    42, none inverted, no neighbours). Slopes were fitted to scores of these means on photographs, short arm up, of
    three public sets (up to 110 images a class of BioImLab, Pki-3 and a third, G-banded one).
    """
    return _read_profiles(files("bandbridge.karyogram").joinpath("upright.json").read_text(encoding="utf-8"))
