"""How well a source domain might serve a target before any training: pure functions over frozen embeddings.

Embeddings of one ImageNet model do not change with the candidate source, so every measure here lets the source
speak: a classifier is fitted on the source's labels and read on the target's images, or the two domains are told
apart. Classes are integers; which of them two domains share is the caller's to say.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from scipy.stats import rankdata

from bandbridge.evaluation.metrics import auc_ovr
from bandbridge.progress import note

#: Principal axes kept of the embeddings: of 1,280 features they hold three quarters of the variance or more, and 64 or
#: 128 axes classified held-out cells worse. Fits stay a matter of seconds.
DIMENSIONS = 256
#: L2 penalty of the logistic regressions, on the mean loss: the same strength for a small source and a large one.
#: Of 1e-4 to 0.1 it classified held-out cells of the same set best, in three sets of chromosomes.
PENALTY = 1e-2
#: Of 1, 5, 10 and 20 neighbours the most did best there.
NEIGHBOURS = 20
#: Variance below this part of the largest is rounding: embeddings are float32, whose own is 1e-14 of theirs.
_NEGLIGIBLE = 1e-11
_ROUNDS = 1000


@dataclass(frozen=True, eq=False)
class ClasswiseSummary:
    """What a matrix of distances between classes says of the classes that both domains hold.

    ranks: float64 [C], the place of the same class among the source classes by distance to the target class, 1 is
    nearest, ties averaged. diagonal: float64 [C], the distance between the two domains' images of one class. Both are
    NaN for a class that does not count. nearest_share: the share of target classes whose nearest source class is the
    same class, 0..1. contrast: mean distance of a class to the same class, over that to the other classes; below 1
    the same class is nearer.
    """

    ranks: np.ndarray
    diagonal: np.ndarray
    nearest_share: float
    mean_rank: float
    contrast: float


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """One-hot labels in the basis of the features' SVD.

    power: float64 [r, 1], squared singular values. squared: [r, C], squared coordinates of each class's labels.
    outside: [C], what of their squared length no feature reaches; total: [C], all of it.
    """

    power: np.ndarray
    squared: np.ndarray
    outside: np.ndarray
    total: np.ndarray


def align(source: np.ndarray, target: np.ndarray, dimensions: int = DIMENSIONS) -> tuple[np.ndarray, np.ndarray]:
    """Return both domains on common axes, float64 [Ns, d] and [Nt, d], from real [Ns, D] and [Nt, D].

    Each domain is standardised by its own mean and standard deviation, feature by feature, which takes away a
    difference in gray level or contrast and uses no label. Both are then projected on the source's leading
    principal axes, at most ``dimensions`` and no more than it has. Raises ValueError for fewer than two rows.
    """
    source, target = standardise(source), standardise(target)
    axes = _principal_axes(source, dimensions)
    return source @ axes, target @ axes


def standardise(values: np.ndarray) -> np.ndarray:
    """Return float64 [N, D] with mean 0 and population standard deviation 1; a constant feature becomes 0."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"embeddings must be [N, D] with N at least 2, not {list(values.shape)}")
    centred = values - values.mean(axis=0)
    spread = np.sqrt(np.einsum("nd,nd->d", centred, centred) / len(values))
    # Rounding leaves a constant feature with a spread of its size times 1e-16: that is no spread.
    constant = spread <= 1e-12 * np.abs(values).max(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=~constant)


def nearest_neighbours(
    source: np.ndarray, source_classes: np.ndarray, target: np.ndarray, neighbours: int = NEIGHBOURS
) -> np.ndarray:
    """Return int64 [Nt], the commonest class among the nearest source images of each target image (Euclidean).

    ``source`` float [Ns, d] with ``source_classes`` integers [Ns], ``target`` float [Nt, d]; a tied vote goes to
    the lowest class.
    """
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(neighbours, len(source)), algorithm="brute")
    predicted: np.ndarray = model.fit(source, source_classes).predict(target)
    return predicted.astype(np.int64)


def probe_logits(
    source: np.ndarray, source_classes: np.ndarray, target: np.ndarray, penalty: float = PENALTY
) -> np.ndarray:
    """Return float64 [Nt, C]: a linear probe, fitted on the source, read on the target.

    The probe is multinomial logistic regression with an L2 penalty, minimising mean cross-entropy +
    ``penalty``/2 |W|^2; C counts the distinct ``source_classes``, columns in their order. The softmax of a row is
    the probability of each source class. Raises ValueError for fewer than two classes.
    """
    if len(np.unique(source_classes)) < 2:
        raise ValueError("a linear probe needs a source of at least two classes")
    scores = _fit_logistic(source, source_classes, penalty).decision_function(target)
    # Of two classes scikit-learn gives the difference of their logits alone.
    return scores if scores.ndim == 2 else np.stack([-scores / 2, scores / 2], axis=1)


def logme(features: np.ndarray, classes: np.ndarray) -> float:
    """Return LogME, the largest log evidence per image of a Bayesian linear model of the labels.

    You et al. 2021 (ICML, "LogME", Algorithm 1): one-hot labels y, a weight prior N(0, I/alpha), noise
    1/beta; alpha and beta by MacKay's fixed point, here run to convergence; the mean over classes of the evidence
    divided by N. ``features`` real [N, D] (no column of ones is added), ``classes`` integers [N]. Higher is
    better; it has no fixed range. Labels that are an exact linear function of the features have unbounded
    evidence: their residual is taken as the rounding error of float64.
    """
    labels = _one_hot(classes)
    images = len(labels)
    spectrum = _spectrum(np.asarray(features, dtype=np.float64), labels)
    alpha, beta = np.ones(labels.shape[1]), np.ones(labels.shape[1])
    for _ in range(_ROUNDS):
        before = np.log([alpha, beta])
        weights, residual = _posterior(alpha, beta, spectrum)
        effective = (beta * spectrum.power / (alpha + beta * spectrum.power)).sum(axis=0)
        # Labels that the features do not explain send alpha to infinity; the evidence has long converged by then.
        alpha = np.minimum(effective / weights, 1e12)
        beta = (images - effective) / residual
        if np.abs(np.log([alpha, beta]) - before).max() < 1e-9:
            break
    weights, residual = _posterior(alpha, beta, spectrum)
    evidence = images * np.log(beta / (2 * np.pi)) - beta * residual - alpha * weights
    evidence -= np.log1p(beta / alpha * spectrum.power).sum(axis=0)
    return float(evidence.mean() / (2 * images))


def h_score(features: np.ndarray, classes: np.ndarray, shrink: bool = False) -> float:
    """Return the H-score tr(cov(f)^-1 cov(E[f|y])), 0 to C - 1, higher is better.

    Bao et al. 2019 (ICIP, "An information-theoretic approach to transferability"); a singular covariance is inverted
    on its range. With ``shrink`` the covariance is shrunk by Ledoit and Wolf's (2004) share and that of the class
    means scaled by one minus it (Ibrahim et al. 2022, "Newer is not always better"), which keeps many features of few
    images from counting as explained. Covariances are of the population. ``features`` real [N, D], ``classes``
    integers [N].
    """
    features = np.asarray(features, dtype=np.float64)
    centred = features - features.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    share = 0.0
    if shrink:
        from sklearn.covariance import ledoit_wolf_shrinkage

        share = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
        covariance *= 1 - share
        covariance.flat[:: len(covariance) + 1] += share * (centred**2).mean()
    members = _one_hot(classes)
    counts = members.sum(axis=0)
    # sqrt(p_c) (mean_c - mean), so that the covariance of the class means is this matrix with itself.
    means = members.T @ centred / np.sqrt(counts * len(centred))[:, None]
    values, axes = linalg.eigh(covariance)
    kept = values > _NEGLIGIBLE * values[-1]
    return float((1 - share) * (((means @ axes[:, kept]) ** 2) / values[kept]).sum())


def leep(probabilities: np.ndarray, classes: np.ndarray) -> float:
    """Return LEEP, the mean log likelihood of the labels from a source classifier's ``probabilities`` [N, Z].

    Nguyen et al. 2020 (ICML, "LEEP"): with the joint distribution P(y, z) of target label and source class
    counted from the probabilities, the mean of log sum_z P(y|z) p(z|x). At most 0, higher is better; the entropy
    of the labels with its sign turned is what a classifier that says nothing gets.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    joint = _one_hot(classes).T @ probabilities / len(probabilities)
    marginal = joint.sum(axis=0)
    conditional = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    _, own = np.unique(classes, return_inverse=True)
    return float(np.log(np.einsum("nz,nz->n", conditional[own], probabilities)).mean())


def domain_auc(
    first: np.ndarray, first_units: np.ndarray, second: np.ndarray, second_units: np.ndarray, folds: int = 5
) -> float:
    """Return how well a classifier tells two domains apart, as AUC: 0.5 not at all, 1 always.

    A logistic regression on the pooled, standardised embeddings' leading principal axes, each domain with the same
    weight. Whole units (cells) are held out, ``folds`` times or as often as the poorer domain has units; the AUC is
    of all held-out scores together. ``first`` real [N, D] with ``first_units`` [N], ``second`` likewise. Raises
    ValueError when a domain has fewer than two units.
    """
    folds = min(folds, len(np.unique(first_units)), len(np.unique(second_units)))
    if folds < 2:
        raise ValueError("telling domains apart needs at least two cells of each")
    pooled = standardise(np.concatenate([first, second]))
    pooled = pooled @ _principal_axes(pooled, DIMENSIONS)
    domain = np.repeat([0, 1], [len(first), len(second)])
    held_out = np.concatenate([_deal(first_units, folds), _deal(second_units, folds)])
    scores = np.empty(len(pooled))
    for fold in range(folds):
        train, test = held_out != fold, held_out == fold
        model = _fit_logistic(pooled[train], domain[train], PENALTY, class_weight="balanced")
        scores[test] = model.decision_function(pooled[test])
    return auc_ovr(domain, np.stack([-scores, scores], axis=1))


def classwise_summary(distances: np.ndarray) -> ClasswiseSummary:
    """Summarise ``distances`` float [C, C] between source class ``row`` and target class ``column``.

    NaN marks what is not defined; a class counts when the distance to itself is. What is taken over the classes that
    count is NaN where none does.
    """
    diagonal = np.diagonal(distances).astype(np.float64)
    counted = np.flatnonzero(~np.isnan(diagonal))
    ranks = np.full(len(diagonal), np.nan)
    if not len(counted):
        return ClasswiseSummary(ranks, diagonal, float("nan"), float("nan"), float("nan"))
    both = distances[np.ix_(counted, counted)]
    ranks[counted] = np.diagonal(rankdata(both, axis=0))
    others = both[~np.eye(len(counted), dtype=bool)]
    contrast = float(diagonal[counted].mean() / others.mean()) if len(others) else float("nan")
    return ClasswiseSummary(
        ranks, diagonal, float(np.mean(ranks[counted] == 1)), float(ranks[counted].mean()), contrast
    )


def _principal_axes(centred: np.ndarray, dimensions: int) -> np.ndarray:
    """Return float64 [D, d], the orthonormal axes of largest variance of ``centred`` [N, D], largest first."""
    side = centred.shape[1]
    lowest = max(side - dimensions, 0)
    values, axes = linalg.eigh(centred.T @ centred / len(centred), subset_by_index=[lowest, side - 1])
    kept = values > _NEGLIGIBLE * values[-1]
    return axes[:, kept][:, ::-1]


def _fit_logistic(features: np.ndarray, classes: np.ndarray, penalty: float, **options: object) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # scikit-learn's C weighs the sum of the losses against |W|^2 / 2. Its own tolerance leaves logits half a unit off.
    model = LogisticRegression(C=1 / (penalty * len(features)), tol=1e-6, max_iter=_ROUNDS, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, classes)
    if any(issubclass(one.category, ConvergenceWarning) for one in caught):
        note(f"a linear probe did not settle within {_ROUNDS} rounds: what is measured by it is nearly right")
    return model


def _deal(units: np.ndarray, folds: int) -> np.ndarray:
    """Return int64 [N], the fold of each image: whole units, the largest first, each to the emptiest fold."""
    from sklearn.model_selection import GroupKFold

    fold_of = np.empty(len(units), dtype=np.int64)
    for fold, (_, test) in enumerate(GroupKFold(folds).split(units, groups=units)):
        fold_of[test] = fold
    return fold_of


def _spectrum(features: np.ndarray, labels: np.ndarray) -> _Spectrum:
    left, singular, _ = linalg.svd(features, full_matrices=False)
    squared = (left.T @ labels) ** 2
    total = (labels**2).sum(axis=0)
    # The evidence does not depend on the features' scale, for alpha takes it up; without it the start does not either.
    return _Spectrum((singular[:, None] / singular[0]) ** 2, squared, np.maximum(total - squared.sum(axis=0), 0), total)


def _posterior(alpha: np.ndarray, beta: np.ndarray, spectrum: _Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Return |m|^2 and |Fm - y|^2 of the posterior mean m for each class, float64 [C]."""
    precision = alpha + beta * spectrum.power
    weights = (beta**2 * spectrum.power * spectrum.squared / precision**2).sum(axis=0)
    residual = ((alpha / precision) ** 2 * spectrum.squared).sum(axis=0) + spectrum.outside
    limits = np.finfo(float)
    return np.maximum(weights, limits.tiny), np.maximum(residual, limits.eps * spectrum.total)


def _one_hot(classes: np.ndarray) -> np.ndarray:
    """Return float64 [N, C] over the classes that occur, in order. Raises ValueError for fewer than two."""
    present, index = np.unique(classes, return_inverse=True)
    if len(present) < 2:
        raise ValueError("a measure of labels needs images of at least two classes")
    return np.eye(len(present))[index]
