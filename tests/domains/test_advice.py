"""The measures of a candidate, assembled: what is compared with what, what is undefined and why, and the ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from bandbridge.domains.advice import (
    MEASURES,
    Candidate,
    assess,
    check_target,
    common_gamma,
    firsts,
    imagenet_alone,
    ranks,
    thinned,
)
from bandbridge.domains.coral import coral_distance
from bandbridge.domains.embeddings import Embeddings
from bandbridge.domains.mmd import mmd2
from bandbridge.domains.transferability import h_score, logme
from bandbridge.errors import UserError

NAMES = ("1", "2", "10", "X")
DIMENSIONS = 10
BY_KEY = {measure.key: measure for measure in MEASURES}


def domain(
    name: str, images: int, *, seed: int, shift: float = 0.0, blur: float = 1.0, names: tuple[str, ...] = NAMES
) -> Embeddings:
    """Images around one centre for each class; ``shift`` moves the domain, ``blur`` widens its classes."""
    generator = np.random.default_rng(seed)
    centres = 2 * np.random.default_rng(5).normal(size=(len(names), DIMENSIONS))
    classes = np.arange(images) % len(names)
    values = centres[classes] + blur * generator.normal(size=(images, DIMENSIONS)) + shift
    labels = np.array(names, dtype=object)[classes]
    return Embeddings(name, values.astype(np.float32), labels, np.arange(images).astype(str).astype(object), {})


TARGET = domain("target", 80, seed=1)
NEAR = domain("near", 120, seed=2)
FAR = domain("far", 120, seed=3, shift=1.5, blur=12.0)
GAMMA = common_gamma([TARGET, NEAR, FAR])


@pytest.fixture(scope="module")
def near() -> Candidate:
    return assess(TARGET, NEAR, GAMMA)


@pytest.fixture(scope="module")
def far() -> Candidate:
    return assess(TARGET, FAR, GAMMA)


def test_distances_are_those_of_plain_calls(near: Candidate, far: Candidate) -> None:
    assert near.values["mmd2"] == pytest.approx(mmd2(TARGET.values, NEAR.values, GAMMA), abs=1e-9)
    # For round normal clouds E|C_s|^2 = |C|^2 (1 + (D + 1) / (n - 1)); pairs of an image with itself are this excess.
    plain = coral_distance(TARGET.values, FAR.values)
    assert far.values["coral"] == pytest.approx(plain / (1 + (DIMENSIONS + 1) / (len(FAR.values) - 1)), rel=0.04)


def test_the_probe_is_fitted_on_the_source_and_read_on_the_target(near: Candidate) -> None:
    pca = PCA(svd_solver="full").fit(StandardScaler().fit_transform(NEAR.values))
    source, target = (pca.transform(StandardScaler().fit_transform(one.values)) for one in (NEAR, TARGET))
    probe = LogisticRegression(C=1 / (1e-2 * len(source)), tol=1e-8).fit(source, NEAR.labels.astype(str))
    predicted = probe.predict(target)
    truth = TARGET.labels.astype(str)
    assert near.values["probe_accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert near.values["probe_macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    logits = probe.decision_function(target)
    assert near.values["logme"] == pytest.approx(logme(logits, truth), abs=1e-4)
    assert near.values["h_score"] == pytest.approx(h_score(logits, truth), abs=1e-3)


def test_the_near_domain_with_clear_classes_is_first_by_every_measure(near: Candidate, far: Candidate) -> None:
    for measure in MEASURES:
        assert not math.isnan(near.values[measure.key]), measure.key
        np.testing.assert_array_equal(ranks([far, near], measure), [2, 1], err_msg=measure.key)
    assert firsts([far, near]) == {"near": len(MEASURES), "far": 0}
    assert near.shared == NAMES and not near.reasons and near.images == 120


def test_every_class_is_nearest_to_its_own(near: Candidate) -> None:
    assert near.class_ranks == dict.fromkeys(NAMES, 1)
    assert near.values["class_nearest"] == 1 and near.values["class_rank"] == 1
    assert abs(near.values["class_contrast"]) < 0.05


def test_a_source_of_other_classes_has_the_measures_that_need_none_in_common() -> None:
    found = assess(TARGET, domain("animals", 60, seed=4, names=("cat", "dog", "eel")), GAMMA)
    undefined = {key for key, value in found.values.items() if math.isnan(value)}
    assert undefined == {measure.key for measure in MEASURES if measure.group == BY_KEY["knn_accuracy"].group}
    assert found.reasons == dict.fromkeys(undefined, "it shares no class with the target")
    assert found.shared == ()


def test_a_source_of_one_class_has_distances_only() -> None:
    found = assess(TARGET, domain("one", 40, seed=4, names=("X",)), GAMMA)
    defined = {key for key, value in found.values.items() if not math.isnan(value)}
    assert defined == {"mmd2", "coral", "domain_auc"}
    assert "fewer than two classes" in found.reasons["logme"] and "fewer than two classes" in found.reasons["leep"]


def test_a_source_that_looks_all_alike_has_distances_only() -> None:
    alike = Embeddings("blank", np.ones_like(NEAR.values), NEAR.labels, NEAR.units, {})
    found = assess(TARGET, alike, GAMMA)
    undefined = {key for key, value in found.values.items() if math.isnan(value)}
    assert undefined == {measure.key for measure in MEASURES} - {"mmd2", "coral", "domain_auc"}
    assert set(found.reasons.values()) == {"all its images look alike to the model"}


def test_domains_without_a_kernel_width_are_a_mistake() -> None:
    alike = [Embeddings(name, np.ones_like(NEAR.values), NEAR.labels, NEAR.units, {}) for name in ("a", "b")]
    with pytest.raises(UserError, match="pairs of images of a, b look alike"):
        common_gamma(alike)


def test_a_source_of_one_cell_has_no_distances() -> None:
    one_cell = Embeddings("cell", NEAR.values, NEAR.labels, np.array(["cell"] * 120, dtype=object), {})
    found = assess(TARGET, one_cell, GAMMA)
    assert set(found.reasons) == {"mmd2", "coral", "domain_auc"} and math.isnan(found.values["mmd2"])
    assert found.values["probe_accuracy"] > 0.9


def test_only_shared_classes_count_by_name() -> None:
    """Classes the target lacks can neither be guessed nor be neighbours; those the source lacks are not asked for."""
    source = domain("other", 160, seed=6, names=(*NAMES, "Y"))
    target = domain("target", 100, seed=7, names=(*NAMES, "22"))
    found = assess(target, source, GAMMA)
    assert found.shared == NAMES and set(found.class_ranks) == set(NAMES)
    assert found.values["probe_accuracy"] > 0.9 and found.values["knn_accuracy"] > 0.9


def test_ranks_average_ties_and_leave_out_what_is_undefined() -> None:
    candidates = [
        Candidate(str(index), 1, {"leep": value, "mmd2": value})
        for index, value in enumerate([0.2, math.nan, 0.5, 0.2])
    ]
    np.testing.assert_array_equal(ranks(candidates, BY_KEY["leep"]), [2.5, math.nan, 1, 2.5])
    np.testing.assert_array_equal(ranks(candidates, BY_KEY["mmd2"]), [1.5, math.nan, 3, 1.5])


def test_domains_that_are_told_apart_all_but_always_rank_alike() -> None:
    candidates = [Candidate(name, 1, {"domain_auc": value}) for name, value in (("a", 0.99999), ("b", 1.0), ("c", 0.9))]
    np.testing.assert_array_equal(ranks(candidates, BY_KEY["domain_auc"]), [2.5, 2.5, 1])


def test_imagenet_alone_is_the_target_by_itself() -> None:
    labels = TARGET.labels.astype(str)
    expected = {"logme": logme(TARGET.values, labels), "h_score": h_score(TARGET.values, labels)}
    found = imagenet_alone(TARGET)
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["h_score_shrunk"] < found["h_score"]


def test_thinning_keeps_whole_cells_spread_over_all() -> None:
    units = np.repeat(np.arange(100), 10)
    rows = thinned(units, 250)
    assert len(rows) == 250 and (np.bincount(units[rows]) % 10 == 0).all()
    assert np.diff(np.unique(units[rows])).max() == 4
    np.testing.assert_array_equal(thinned(units, 1000), np.arange(1000))


@pytest.mark.parametrize("labels", [["X"] * 9, [str(number) for number in range(9)], ["1", "1", "2"]])
def test_a_target_without_labels_is_refused(labels: list[str]) -> None:
    with pytest.raises(UserError, match="no usable labels"):
        check_target("target", np.array(labels, dtype=object))
    check_target("target", np.array([*labels, "U", "U", "V", "V"], dtype=object))
