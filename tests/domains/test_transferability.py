"""Each measure against scikit-learn called plainly, an explicit loop, or direct numerical maximisation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from bandbridge.domains.transferability import (
    align,
    classwise_summary,
    domain_auc,
    h_score,
    leep,
    logme,
    nearest_neighbours,
    probe_logits,
    standardise,
)


def blobs(images: int, classes: int = 4, dimensions: int = 12, seed: int = 0, noise: float = 1.0):
    """Features float [N, D] around one random centre for each class, and the classes [N]."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dimensions))
    labels = generator.integers(classes, size=images)
    labels[:classes] = np.arange(classes)
    return centres[labels] + noise * generator.normal(size=(images, dimensions)), labels


SOURCE, SOURCE_CLASSES = blobs(150, seed=1)
TARGET, TARGET_CLASSES = blobs(90, seed=2)


def plain_evidence(features: np.ndarray, labels: np.ndarray) -> float:
    """The evidence per image as the density of the labels, N(0, F F^T / alpha + I / beta), at its highest."""
    gram, identity = features @ features.T, np.eye(len(features))

    def negative(logs: np.ndarray) -> float:
        covariance = gram * math.exp(-logs[0]) + identity * math.exp(-logs[1])
        return -float(multivariate_normal(np.zeros(len(labels)), covariance).logpdf(labels)) / len(labels)

    starts = [(0.0, 0.0), (3.0, 3.0), (-3.0, 2.0)]
    fits = [
        minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}) for start in starts
    ]
    return -min(fit.fun for fit in fits)


@pytest.mark.parametrize(("images", "dimensions"), [(60, 5), (30, 40)], ids=["more images", "more features"])
def test_logme_is_the_highest_evidence(images: int, dimensions: int) -> None:
    features, labels = blobs(images, 3, dimensions, seed=3, noise=2.0)
    expected = np.mean([plain_evidence(features, (labels == value).astype(float)) for value in range(3)])
    assert logme(features, labels) == pytest.approx(expected, abs=1e-8)


def test_logme_of_features_that_say_nothing_is_the_evidence_of_noise_alone() -> None:
    """Features at right angles to the labels: alpha goes to infinity, y is N(0, I / beta) with beta = n / y'y."""
    labels = np.repeat([0, 1], 20)
    features = np.tile([1.0, -1.0], 20)[:, None]
    expected = -0.5 * (1 + math.log(2 * math.pi * 0.5))
    assert logme(features, labels) == pytest.approx(expected, abs=1e-9)


def test_logme_stays_finite_for_labels_that_are_a_linear_function_of_the_features() -> None:
    exact = np.eye(2)[np.repeat([0, 1], 20)]
    assert logme(SOURCE[:40], np.repeat([0, 1], 20)) < logme(exact, np.repeat([0, 1], 20)) < math.inf


def plain_h_score(features: np.ndarray, labels: np.ndarray, covariance: np.ndarray, share: float = 0.0) -> float:
    mean = features.mean(axis=0)
    between = np.zeros_like(covariance)
    for image in range(len(features)):
        difference = features[labels == labels[image]].mean(axis=0) - mean
        between += np.outer(difference, difference) / len(features)
    return float(np.trace(np.linalg.pinv(covariance, hermitian=True) @ between * (1 - share)))


def test_h_score_is_the_plain_formula() -> None:
    covariance = np.cov(TARGET, rowvar=False, bias=True)
    expected = plain_h_score(TARGET, TARGET_CLASSES, covariance)
    assert 0 < expected < 3
    assert h_score(TARGET, TARGET_CLASSES) == pytest.approx(expected, rel=1e-10)


def test_h_score_with_shrinkage_uses_the_ledoit_wolf_covariance() -> None:
    features, labels = blobs(30, 3, 60, seed=5)
    covariance, share = ledoit_wolf(features)
    assert 0.05 < share < 1
    expected = plain_h_score(features, labels, covariance, share)
    assert h_score(features, labels, shrink=True) == pytest.approx(expected, rel=1e-9)
    # Without shrinkage more features than images explain every label.
    assert h_score(features, labels) == pytest.approx(2, rel=1e-9)


def test_h_score_inverts_a_singular_covariance_on_its_range() -> None:
    doubled = np.concatenate([TARGET, TARGET @ np.ones((12, 1)), np.ones((90, 1))], axis=1)
    assert h_score(doubled, TARGET_CLASSES) == pytest.approx(h_score(TARGET, TARGET_CLASSES), rel=1e-9)


def test_leep_is_the_plain_formula() -> None:
    generator = np.random.default_rng(6)
    probabilities = generator.dirichlet(np.ones(5), size=40)
    labels = generator.integers(3, size=40)
    joint = np.zeros((3, 5))
    for image in range(40):
        joint[labels[image]] += probabilities[image] / 40
    total = 0.0
    for image in range(40):
        total += math.log(sum(joint[labels[image], z] / joint[:, z].sum() * probabilities[image, z] for z in range(5)))
    assert leep(probabilities, labels) == pytest.approx(total / 40, rel=1e-12)


def test_leep_of_a_classifier_that_says_nothing_is_minus_the_entropy() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    shares = np.array([10, 20, 30]) / 60
    probabilities = np.tile([0.2, 0.8, 0.0], (60, 1))
    assert leep(probabilities, labels) == pytest.approx(float((shares * np.log(shares)).sum()), rel=1e-12)


@pytest.mark.parametrize("measure", [logme, h_score, lambda f, y: h_score(f, y, shrink=True)])
def test_names_of_classes_and_directions_of_features_do_not_matter(measure) -> None:
    turned = TARGET @ ortho_group(12, seed=0).rvs()
    renamed = np.array([30, 10, 20, 0])[TARGET_CLASSES]
    expected = measure(TARGET, TARGET_CLASSES)
    assert measure(turned, TARGET_CLASSES) == pytest.approx(expected, rel=1e-9)
    assert measure(TARGET, renamed) == pytest.approx(expected, rel=1e-9)
    assert measure(7e3 * TARGET, TARGET_CLASSES) == pytest.approx(expected, rel=1e-7)


def test_measures_of_labels_refuse_a_single_class() -> None:
    one = np.zeros(len(TARGET), dtype=int)
    for call in (lambda: logme(TARGET, one), lambda: h_score(TARGET, one), lambda: leep(TARGET, one)):
        with pytest.raises(ValueError, match="two classes"):
            call()
    with pytest.raises(ValueError, match="two classes"):
        probe_logits(TARGET, one, TARGET)


def test_alignment_is_each_domains_own_scaling_and_the_sources_principal_axes() -> None:
    source, target = align(SOURCE, TARGET, 5)
    pca = PCA(5, svd_solver="full").fit(StandardScaler().fit_transform(SOURCE))
    expected_source, expected_target = (
        pca.transform(StandardScaler().fit_transform(domain)) for domain in (SOURCE, TARGET)
    )
    signs = np.sign((source * expected_source).sum(axis=0))
    np.testing.assert_allclose(source * signs, expected_source, atol=1e-10)
    np.testing.assert_allclose(target * signs, expected_target, atol=1e-10)


def test_alignment_takes_away_brightness_and_contrast_of_a_domain() -> None:
    np.testing.assert_allclose(align(SOURCE, 3 * TARGET + 50)[1], align(SOURCE, TARGET)[1], atol=1e-9)


def test_constant_features_become_zero() -> None:
    values = np.full((10, 2), 0.1, dtype=np.float32)
    values[:, 1] = np.arange(10)
    scaled = standardise(values)
    assert (scaled[:, 0] == 0).all() and scaled[:, 1].std() == pytest.approx(1, abs=1e-12)
    assert align(values, values)[0].shape == (10, 1)


def test_neighbours_and_probe_are_scikit_learns() -> None:
    plain = KNeighborsClassifier(7, algorithm="kd_tree").fit(SOURCE, SOURCE_CLASSES)
    assert (nearest_neighbours(SOURCE, SOURCE_CLASSES, TARGET, 7) == plain.predict(TARGET)).all()
    probe = LogisticRegression(C=1 / (0.02 * len(SOURCE)), tol=1e-10, solver="newton-cg").fit(SOURCE, SOURCE_CLASSES)
    logits = probe_logits(SOURCE, SOURCE_CLASSES, TARGET, 0.02)
    np.testing.assert_allclose(logits, probe.decision_function(TARGET), atol=1e-3)


def test_a_probe_of_two_classes_has_two_columns() -> None:
    two = SOURCE_CLASSES < 2
    logits = probe_logits(SOURCE[two], SOURCE_CLASSES[two], TARGET)
    plain = LogisticRegression(C=1 / (1e-2 * two.sum()), tol=1e-8).fit(SOURCE[two], SOURCE_CLASSES[two])
    np.testing.assert_allclose(
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), plain.predict_proba(TARGET), atol=1e-4
    )


def test_few_source_images_are_all_neighbours() -> None:
    assert (nearest_neighbours(SOURCE[:3], np.array([1, 1, 0]), TARGET, 20) == 1).all()


def test_domain_auc_is_that_of_held_out_cells() -> None:
    first, second = SOURCE[:60], TARGET + 0.4
    first_units, second_units = np.arange(60) // 10, np.arange(90) // 10
    pooled = StandardScaler().fit_transform(np.concatenate([first, second]))
    domain = np.repeat([0, 1], [60, 90])
    # Six and nine equal cells dealt to five folds, the later cells first, each to the emptiest.
    folds = np.concatenate([np.array([0, 4, 3, 2, 1, 0])[first_units], (8 - second_units) % 5])
    scores = np.empty(150)
    for fold in range(5):
        train = folds != fold
        model = LogisticRegression(C=1 / (1e-2 * train.sum()), class_weight="balanced", tol=1e-8)
        scores[~train] = model.fit(pooled[train], domain[train]).decision_function(pooled[~train])
    expected = roc_auc_score(domain, scores)
    assert 0.6 < expected < 0.95
    assert domain_auc(first, first_units, second, second_units) == pytest.approx(expected, abs=1e-9)


def test_domain_auc_does_not_count_on_having_seen_the_cell() -> None:
    """Cells differ much and domains not at all: only whole held-out cells show that nothing tells them apart."""
    generator = np.random.default_rng(8)
    units = np.arange(400) // 20
    values = generator.normal(size=(20, 30))[units] + 0.1 * generator.normal(size=(400, 30))
    first, second = values[:200], values[200:]
    by_cell = domain_auc(first, units[:200], second, units[200:])
    by_image = domain_auc(first, np.arange(200), second, np.arange(200))
    assert by_image > 0.99 and by_cell < 0.75


def test_domain_auc_needs_two_cells_of_each() -> None:
    with pytest.raises(ValueError, match="two cells"):
        domain_auc(SOURCE, np.zeros(150), TARGET, np.arange(90))
    assert domain_auc(SOURCE, np.arange(150) % 2, TARGET + 9, np.arange(90)) == pytest.approx(1, abs=1e-12)


def test_classwise_summary_ranks_the_same_class_among_the_others() -> None:
    nan = np.nan
    distances = np.array(
        [
            [0.1, 0.5, 0.9, nan],
            [0.4, 0.6, 0.3, nan],
            [0.7, 0.2, 0.3, nan],
            [nan, nan, nan, nan],
        ]
    )
    summary = classwise_summary(distances)
    np.testing.assert_array_equal(summary.ranks, [1, 3, 1.5, nan])
    np.testing.assert_array_equal(summary.diagonal, [0.1, 0.6, 0.3, nan])
    assert summary.nearest_share == pytest.approx(1 / 3)
    assert summary.mean_rank == pytest.approx(5.5 / 3)
    assert summary.contrast == pytest.approx((1 / 3) / ((0.5 + 0.9 + 0.4 + 0.3 + 0.7 + 0.2) / 6))


def test_classwise_summary_of_nothing_is_nan() -> None:
    summary = classwise_summary(np.full((3, 3), np.nan))
    assert np.isnan([summary.nearest_share, summary.mean_rank, summary.contrast]).all()
