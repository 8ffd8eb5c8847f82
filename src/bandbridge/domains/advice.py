"""Which source domains may help a target: every measure of every candidate, each with its direction and its ranks.

Nothing here has seen a training. What a ranking is worth is for :mod:`bandbridge.domains.evidence` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from scipy.stats import rankdata

from bandbridge.domains.coral import two_sample_coral
from bandbridge.domains.embeddings import Embeddings
from bandbridge.domains.kernel import ALIKE_REMEDY, CONVENTIONS, median_distance
from bandbridge.domains.mmd import classwise_mmd, pool, two_sample_mmd
from bandbridge.domains.transferability import (
    align,
    classwise_summary,
    domain_auc,
    h_score,
    leep,
    logme,
    nearest_neighbours,
    probe_logits,
)
from bandbridge.errors import UserError
from bandbridge.evaluation.metrics import accuracy, class_probabilities, macro_f1
from bandbridge.karyotype import order_classes

#: Images of a domain whose pairs are compared; their number grows with the square.
PAIRED_IMAGES = 4000


@dataclass(frozen=True)
class Measure:
    """A measure of transferability: its ``key``, what a reader calls it, and which direction promises more.

    Values that differ by less than ``resolution`` rank alike: an AUC of all but 1 says only that domains differ.
    """

    key: str
    title: str
    better: Literal["higher", "lower"]
    group: str
    resolution: float = 0.0


_DISTANCE, _LABELS, _CLASSES = "Distance of the images", "What the source's labels say", "Same class, both domains"
#: Every measure, in the order of the tables.
MEASURES: tuple[Measure, ...] = (
    Measure("mmd2", "MMD²", "lower", _DISTANCE),
    Measure("coral", "CORAL", "lower", _DISTANCE),
    Measure("domain_auc", "Domain classifier AUC", "lower", _DISTANCE, 1e-4),
    Measure("logme", "LogME of source logits", "higher", _LABELS),
    Measure("h_score", "H-score of source logits", "higher", _LABELS),
    Measure("h_score_shrunk", "H-score, shrunk", "higher", _LABELS),
    Measure("leep", "LEEP", "higher", _LABELS),
    Measure("probe_accuracy", "Linear probe accuracy", "higher", _CLASSES),
    Measure("probe_macro_f1", "Linear probe Macro-F1", "higher", _CLASSES),
    Measure("knn_accuracy", "k-NN accuracy", "higher", _CLASSES),
    Measure("knn_macro_f1", "k-NN Macro-F1", "higher", _CLASSES),
    Measure("class_nearest", "Classes nearest to their own", "higher", _CLASSES),
    Measure("class_rank", "Mean rank of the own class", "lower", _CLASSES),
    Measure("class_contrast", "Own class MMD² over others'", "lower", _CLASSES),
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate source domain, measured against one target.

    values: each measure by key, NaN where it is not defined; reasons: why not, by key. shared: names of the classes
    that both domains hold. class_ranks: for each of these the rank of the same class among the source's classes, by
    class-wise MMD² to the target's, 1 is nearest.
    """

    name: str
    images: int
    values: dict[str, float]
    reasons: dict[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    class_ranks: dict[str, float] = field(default_factory=dict)


def check_target(name: str, labels: np.ndarray) -> None:
    """Raise :class:`UserError` unless ``labels`` [N] hold two classes of two images at least: measures need them."""
    names, counts = np.unique(np.asarray(labels, dtype=str), return_counts=True)
    usable = int(np.sum(counts >= 2))
    if usable < 2:
        raise UserError(
            f"the target {name} has no usable labels: of its {len(names)} classes {usable} have two images or more",
            "Give a target with at least two images of at least two classes; a few labelled cells will do.",
        )


def common_gamma(domains: Sequence[Embeddings]) -> float:
    """Return the kernel's gamma for all comparisons of one target: 1 / (2 median²) over all domains together.

    One kernel for all candidates puts their MMD² on one scale. The median is that of at most ``PAIRED_IMAGES`` images
    of each domain. Raises :class:`UserError` where that median is 0.
    """
    values = np.concatenate([domain.values[thinned(domain.units)] for domain in domains])
    median = median_distance(torch.from_numpy(values))
    if median == 0:
        names = ", ".join(domain.name for domain in domains)
        raise UserError(f"half of all pairs of images of {names} look alike to the model", ALIKE_REMEDY)
    return CONVENTIONS["sigma-median"] / median**2


def thinned(units: np.ndarray, limit: int = PAIRED_IMAGES) -> np.ndarray:
    """Return the rows, int64, of evenly spaced whole units (cells) [N] that hold about ``limit`` images or all."""
    if len(units) <= limit:
        return np.arange(len(units))
    names, index = np.unique(units, return_inverse=True)
    places = np.arange(len(names)) * limit // len(units)
    kept = np.diff(places, prepend=-1) > 0
    return np.flatnonzero(kept[index])


def assess(target: Embeddings, source: Embeddings, gamma: float, device: str = "cpu") -> Candidate:
    """Measure how well ``source`` might serve ``target``; ``gamma`` is that of :func:`common_gamma`.

    MMD² and CORAL are the corrected ones, with whole cells as units, of at most ``PAIRED_IMAGES`` images of a domain,
    as is class-wise MMD; all else is taken from every image. LogME, H-score and LEEP are those of the target's labels
    given what a linear probe, fitted on the source's own classes, says of the target's images: they need no class in
    common. Accuracy, Macro-F1 and class-wise MMD compare classes by name, and only shared ones count.
    """
    source_labels, target_labels = (domain.labels.astype(str) for domain in (source, target))
    common = set(source_labels) & set(target_labels)
    shared = tuple(name for name in order_classes({*source_labels, *target_labels}) if name in common)
    values, reasons = _distances(target, source, gamma, device)
    class_ranks: dict[str, float] = {}
    source_names, source_classes = np.unique(source_labels, return_inverse=True)
    aligned = align(source.values, target.values) if len(source_names) > 1 else None
    if aligned is None:
        reasons |= dict.fromkeys(_keys(_LABELS, _CLASSES), "the source has fewer than two classes")
    elif aligned[0].shape[1] == 0:
        reasons |= dict.fromkeys(_keys(_LABELS, _CLASSES), "all its images look alike to the model")
    else:
        logits = probe_logits(aligned[0], source_classes, aligned[1])
        values |= _label_measures(logits, target_labels)
        if len(shared) < 2:
            found = f"only class {shared[0]}" if shared else "no class"
            reasons |= dict.fromkeys(_keys(_CLASSES), f"it shares {found} with the target")
        else:
            own, other = (
                _side(features, labels, domain.units, shared)
                for features, labels, domain in zip(
                    aligned, (source_labels, target_labels), (source, target), strict=True
                )
            )
            columns = np.searchsorted(source_names, shared)
            values |= _same_class_measures(own, other, logits[np.ix_(other.rows, columns)], len(shared))
            summary = classwise_summary(_class_distances(own, other, len(shared)))
            values |= {"class_nearest": summary.nearest_share, "class_rank": summary.mean_rank}
            values |= {"class_contrast": summary.contrast}
            class_ranks = dict(zip(shared, summary.ranks.tolist(), strict=True))
    everything = dict.fromkeys((measure.key for measure in MEASURES), float("nan")) | values
    return Candidate(source.name, len(source.values), everything, reasons, shared, class_ranks)


def imagenet_alone(target: Embeddings) -> dict[str, float]:
    """Return LogME and both H-scores of the target's labels given its frozen embeddings: no source takes part.

    They show how much the ImageNet model already separates. With many more features than a source has classes they
    are not on the scale of the candidates' values.
    """
    classes = np.unique(target.labels.astype(str), return_inverse=True)[1]
    return {
        "logme": logme(target.values, classes),
        "h_score": h_score(target.values, classes),
        "h_score_shrunk": h_score(target.values, classes, shrink=True),
    }


def promises(candidates: Sequence[Candidate], measure: Measure) -> np.ndarray:
    """Return float64 [k], what ``measure`` promises of each candidate, higher being more; NaN where undefined."""
    values = np.array([candidate.values[measure.key] for candidate in candidates])
    if measure.resolution:
        values = np.round(values / measure.resolution)
    return values if measure.better == "higher" else -values


def ranks(candidates: Sequence[Candidate], measure: Measure) -> np.ndarray:
    """Return float64 [k], the place of each candidate by ``measure``: 1 promises most, ties averaged, NaN undefined."""
    return np.asarray(rankdata(-promises(candidates, measure), nan_policy="omit"))


def firsts(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Return how many measures put each candidate first, most often first; a shared first place counts for each."""
    places = [ranks(candidates, measure) for measure in MEASURES]
    counts = {
        candidate.name: sum(int(place[index] == np.nanmin(place)) for place in places if not np.isnan(place).all())
        for index, candidate in enumerate(candidates)
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, eq=False)
class _Side:
    """The images of shared classes in one domain: aligned features, classes 0..C-1, units, and rows in the domain."""

    features: np.ndarray
    classes: np.ndarray
    units: np.ndarray
    rows: np.ndarray


def _side(features: np.ndarray, labels: np.ndarray, units: np.ndarray, shared: Sequence[str]) -> _Side:
    place = {name: index for index, name in enumerate(shared)}
    rows = np.flatnonzero(np.isin(labels, list(shared)))
    return _Side(features[rows], np.array([place[name] for name in labels[rows]]), units[rows], rows)


def _keys(*groups: str) -> list[str]:
    return [measure.key for measure in MEASURES if measure.group in groups]


def _distances(
    target: Embeddings, source: Embeddings, gamma: float, device: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the distances of the images, and why some are not defined."""
    (first, first_units), (second, second_units) = (
        (domain.values[rows], domain.units[rows])
        for domain, rows in ((domain, thinned(domain.units)) for domain in (target, source))
    )
    try:
        samples = pool(first, second, first_units, second_units, device)
    except ValueError as fault:
        return {}, dict.fromkeys(_keys(_DISTANCE), str(fault))
    distances = {
        "mmd2": two_sample_mmd(samples, gamma, bootstraps=0, permutations=0).corrected.value,
        "coral": two_sample_coral(samples, bootstraps=0, permutations=0).corrected.value,
        "domain_auc": domain_auc(target.values, target.units, source.values, source.units),
    }
    return distances, {}


def _label_measures(logits: np.ndarray, target_labels: np.ndarray) -> dict[str, float]:
    classes = np.unique(target_labels, return_inverse=True)[1]
    return {
        "logme": logme(logits, classes),
        "h_score": h_score(logits, classes),
        "h_score_shrunk": h_score(logits, classes, shrink=True),
        "leep": leep(class_probabilities(logits), classes),
    }


def _same_class_measures(source: _Side, target: _Side, logits: np.ndarray, classes: int) -> dict[str, float]:
    guesses = {
        "probe": logits.argmax(axis=1),
        "knn": nearest_neighbours(source.features, source.classes, target.features),
    }
    values = {}
    for name, guessed in guesses.items():
        values[f"{name}_accuracy"] = accuracy(target.classes, guessed)
        values[f"{name}_macro_f1"] = macro_f1(target.classes, guessed, classes)
    return values


def _class_distances(source: _Side, target: _Side, classes: int) -> np.ndarray:
    """Return class-wise MMD² float64 [C, C], source class by target class, at the median distance of both together."""
    sides = [(side, thinned(side.units)) for side in (source, target)]
    features = [side.features[rows] for side, rows in sides]
    labels = [side.classes[rows] for side, rows in sides]
    if min(len(np.unique(own)) for own in labels) < 2:
        return np.full((classes, classes), np.nan)
    median = median_distance(torch.from_numpy(np.concatenate(features)))
    if median == 0:
        return np.full((classes, classes), np.nan)
    gamma = CONVENTIONS["sigma-median"] / median**2
    return classwise_mmd(features[0], labels[0], features[1], labels[1], classes, gamma)
