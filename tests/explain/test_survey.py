"""Case panels and the attention table of a study, finished and not."""

from __future__ import annotations

import shutil
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bandbridge.dataset.read_prepared import read_prepared
from bandbridge.errors import UserError
from bandbridge.evaluation.comparison import Interval, percentile_bootstrap
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.explain import panels, survey
from bandbridge.explain.attention import chance_shares, find_regions, measure_shares
from bandbridge.explain.cases import KINDS, judge
from bandbridge.explain.gradcam import grad_cam, has_evidence
from bandbridge.explain.maps import normalise, upsample
from bandbridge.explain.overlay import overlay, place
from bandbridge.explain.panels import CasePanel, study_cases
from bandbridge.explain.perturbation import deletion_insertion
from bandbridge.explain.runs import comparable_runs, missing_runs
from bandbridge.explain.seen import open_seeing as open_classifier
from bandbridge.explain.survey import MEASURES, attention_table
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study


@pytest.fixture(scope="module")
def study(small_study) -> Study:
    return open_study(small_study.path)


@pytest.fixture(scope="module")
def cases(study, small_study) -> list[CasePanel]:
    return study_cases(study, small_study.runs, limit=2, device="cpu")


def folder(study: Study, root: Path, approach: str) -> Path:
    run = next(run for run in study.runs if run.task == "Q" and run.approach == approach)
    return Ledger(root).folder(run)


@pytest.fixture
def unfinished(small_study, tmp_path) -> Path:
    """The same runs, of which the two-step one is not done."""
    shutil.copytree(small_study.runs, tmp_path / "runs")
    done = next((tmp_path / "runs" / "Q").glob("*/two-step/*/done.json"))
    done.unlink()
    return tmp_path / "runs"


def test_every_kind_comes_in_reading_order_with_all_approaches(cases: list[CasePanel]) -> None:
    kinds = [case.kind for case in cases]
    assert kinds == sorted(kinds, key=list(KINDS).index) and {"error", "confused"} <= set(kinds)
    assert max(kinds.count(kind) for kind in kinds) <= 2
    for case in cases:
        assert [view.approach for view in case.views] == ["scratch", "imagenet", "two-step"]
        assert (case.task, case.architecture, case.fold, case.missing) == ("Q", "test_resnet", 0, ())
        assert case.rule and case.picture.dtype == np.uint8
        for view in case.views:
            assert view.predicted_overlay.shape == view.truth_overlay.shape == case.picture.shape
            assert view.correct == (view.predicted == case.truth)
        if case.kind == "error":
            assert not next(view for view in case.views if view.approach == case.about).correct


def test_a_view_is_what_the_run_predicted_and_what_its_model_sees(study, small_study, cases) -> None:
    """Put together again from the run's files: normalised by hand, Grad-CAM, overlay."""
    home = folder(study, small_study.runs, "two-step")
    judged = judge({"two-step": read_predictions(home / "predictions.parquet")}, "last").set_index("image")
    classifier = open_classifier(home, "last", "cpu")
    case = cases[-1]
    view = case.views[2]
    told = judged.loc[case.image]
    assert (view.predicted, case.truth, case.cell) == (told["predicted"], told["label"], told["cell"])
    assert view.probability == told["probability"] and view.truth_probability == told["truth_probability"]
    gray = np.asarray(Image.open(small_study.path.parent / "q" / case.image))
    where = place(gray, classifier.preparation)
    images = classifier.normalised(read_prepared(study.tasks["Q"].dataset, [case.image], classifier.preparation))
    for label, picture, maximum in (
        (view.predicted, view.predicted_overlay, view.predicted_maximum),
        (case.truth, view.truth_overlay, view.truth_maximum),
    ):
        maps = grad_cam(classifier.model, "layer4", images, [classifier.classes.index(label)]).maps
        expected = overlay(gray, upsample(normalise(maps), 64, 64)[0], where, case.factor)
        assert maximum == pytest.approx(maps.max(), rel=1e-3, abs=1e-7)
        assert np.abs(picture.astype(int) - expected).max() <= 1


def test_each_model_is_loaded_once(study, small_study, monkeypatch) -> None:
    opened = []
    real = panels.open_seeing
    monkeypatch.setattr(panels, "open_seeing", lambda *a, **k: (opened.append(a[0]), real(*a, **k))[1])
    study_cases(study, small_study.runs, limit=1, device="cpu")
    assert len(opened) == len(set(opened)) == 3


def test_the_same_seed_chooses_the_same_cases(study, small_study, cases) -> None:
    again = study_cases(study, small_study.runs, limit=2, device="cpu")
    assert [(case.kind, case.image) for case in again] == [(case.kind, case.image) for case in cases]


def test_what_is_not_finished_is_left_out_and_said(study, unfinished) -> None:
    cases = study_cases(study, unfinished, limit=1, device="cpu")
    assert cases and all(case.missing == ("two-step",) for case in cases)
    assert all([view.approach for view in case.views] == ["scratch", "imagenet"] for case in cases)
    assert not {"mended", "broken"} & {case.kind for case in cases}
    assert missing_runs(study, unfinished) == ["Q, test_resnet, fold 0: not finished: two-step"]
    table = attention_table(study, unfinished, limit=4, steps=0, device="cpu")
    assert set(table["approach"]) == {"scratch", "imagenet"}


def test_a_study_without_any_run_gives_nothing_and_says_so(study, tmp_path) -> None:
    assert study_cases(study, tmp_path) == [] and attention_table(study, tmp_path).empty
    assert missing_runs(study, tmp_path) == ["Q, test_resnet: no run is finished"]
    assert comparable_runs(study, tmp_path) == []


def test_a_study_whose_dataset_is_gone_gives_nothing_and_says_so(small_study, tmp_path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(small_study.path.read_text())
    study = open_study(path, need_data=False)
    assert study_cases(study, small_study.runs) == []
    assert "the dataset q was not found" in missing_runs(study, small_study.runs)


def test_the_attention_table_is_the_mean_over_cells_of_what_is_measured(study, small_study, monkeypatch) -> None:
    table = attention_table(study, small_study.runs, limit=10, steps=4, device="cpu", seed=3)
    assert list(table["measure"].unique()) == list(MEASURES)
    assert set(table["approach"]) == {"scratch", "imagenet", "two-step"} and len(table) == 24
    assert (table["grid"] == "2 x 2").all() and (table["images"] == 10).all() and (table["unit"] == "patient").all()
    kept = []
    real = survey._draw
    monkeypatch.setattr(survey, "_draw", lambda *a: (kept.append(real(*a)), kept[-1])[1])
    attention_table(study, small_study.runs, limit=10, steps=0, device="cpu", seed=3)
    names, labels = kept[0].names, kept[0].labels
    classifier = open_classifier(folder(study, small_study.runs, "imagenet"), "last", "cpu")
    assert set(names) <= classifier.held_out()
    shares = []
    for name, label in zip(names, labels, strict=True):
        gray = np.asarray(Image.open(small_study.path.parent / "q" / name))
        regions = find_regions(gray, classifier.preparation)
        (prepared,) = read_prepared(study.tasks["Q"].dataset, [name], classifier.preparation)
        target = np.array([classifier.classes.index(label)])
        total = sum(
            np.flip(upsample(classifier.evidence(np.flip(prepared, axes)[None], target).maps, 64, 64)[0], axes)
            for axes in ((), (-2, -1))
        )
        shares.append(measure_shares(total, regions)["chromosome"])
    row = table[(table["approach"] == "imagenet") & (table["measure"] == "chromosome")].iloc[0]
    assert row["empty"] == np.isnan(shares).sum()
    patients = np.array(kept[0].cells)
    means = [np.nanmean(np.array(shares)[patients == patient]) for patient in np.unique(patients)]
    assert row["mean"] == pytest.approx(np.nanmean(means), rel=1e-4)
    assert row["over_chance"] == pytest.approx(row["mean"] - row["chance"])


def test_intervals_and_differences_are_over_cells(study, small_study, monkeypatch) -> None:
    """With made-up measurements, one of them missing: means, chance and differences written out."""
    monkeypatch.setattr("bandbridge.explain.attention.FEWEST_RESAMPLED", 2)
    kept, given = [], {}
    real = survey._draw

    def draw(*arguments):
        kept.append(real(*arguments))
        return replace(kept[-1], cells=["a", "a", "b", "b", "c", "d"])

    def measure(classifier, sample, *_):
        rng = np.random.default_rng(len(given))
        frame = pd.DataFrame(rng.uniform(size=(6, len(MEASURES))), columns=list(MEASURES))
        frame = frame.assign(empty=False, grid="1 x 1", layer="layer4")
        frame[["deletion_chance", "insertion_chance"]] = rng.uniform(size=(6, 2))
        frame.loc[len(given), :"both_arms"] = np.nan
        given[classifier.facts["approach"]] = frame
        return frame

    monkeypatch.setattr(survey, "_draw", draw)
    monkeypatch.setattr(survey, "_measure", measure)
    table = attention_table(study, small_study.runs, limit=6, device="cpu", seed=8).set_index(["approach", "measure"])
    cells = np.array(["a", "a", "b", "b", "c", "d"])
    chances = pd.DataFrame([chance_shares(regions) for regions in kept[0].regions])

    def interval(values: np.ndarray) -> Interval:
        there = ~np.isnan(values)
        means = [values[there & (cells == cell)].mean() for cell in "abcd" if (there & (cells == cell)).any()]
        return percentile_bootstrap(np.array(means), 2000, generator=np.random.default_rng(8))

    for approach, frame in given.items():
        for measure_ in ("border", "deletion"):
            row, values = table.loc[(approach, measure_)], frame[measure_].to_numpy()
            assert (row["mean"], row["low"], row["high"]) == astuple(interval(values))
            chance = chances["border"] if measure_ == "border" else frame["deletion_chance"]
            over = interval(values - chance.to_numpy())
            assert (row["over_chance"], row["over_chance_low"], row["over_chance_high"]) == astuple(over)
            assert row["over_chance"] == pytest.approx(row["mean"] - row["chance"])
            assert row["measured"] == (~np.isnan(values)).sum()
            if approach != "imagenet":
                apart = interval(values - given["imagenet"][measure_].to_numpy())
                assert (row["difference"], row["difference_low"], row["difference_high"]) == astuple(apart)
            else:
                assert np.isnan(row["difference"])


def test_what_was_measured_is_kept_and_damage_is_measured_again(study, small_study, monkeypatch, tmp_path) -> None:
    shutil.copytree(small_study.runs, tmp_path / "runs", ignore=shutil.ignore_patterns(".attention"))
    first = attention_table(study, tmp_path / "runs", limit=5, seed=1, device="cpu")
    opened = []
    real = survey.open_seeing
    monkeypatch.setattr(survey, "open_seeing", lambda *a: (opened.append(a[0]), real(*a))[1])
    pd.testing.assert_frame_equal(attention_table(study, tmp_path / "runs", limit=5, seed=1, device="cpu"), first)
    assert not opened
    next((tmp_path / "runs" / ".attention").iterdir()).write_bytes(b"nothing")
    pd.testing.assert_frame_equal(attention_table(study, tmp_path / "runs", limit=5, seed=1, device="cpu"), first)
    assert len(opened) == 1
    attention_table(study, tmp_path / "runs", limit=5, seed=2, device="cpu")
    assert len(opened) == 4


def test_chance_of_deletion_is_a_random_map_of_the_same_grid(study, small_study) -> None:
    """By hand, on one run: the same images painted over in the order of values drawn on the 2 x 2 grid."""
    table = attention_table(study, small_study.runs, limit=6, steps=4, seed=5, device="cpu")
    classifier = open_classifier(folder(study, small_study.runs, "scratch"), "last", "cpu")
    predictions = judge({"scratch": read_predictions(classifier.folder / "predictions.parquet")}, "last")
    dataset = study.tasks["Q"].dataset
    sample = survey._draw(predictions, dataset, classifier.preparation, 6, 5)
    targets = np.array([classifier.classes.index(label) for label in sample.labels])
    values = np.random.default_rng(5).uniform(size=(6, 2, 2)).astype(np.float32)
    seen = has_evidence(classifier.centred_maps(sample.prepared, targets))
    scores = deletion_insertion(
        classifier.probabilities, sample.prepared, upsample(values, 64, 64), targets, sample.regions, 4, 5
    )
    cells = np.array(sample.cells)
    for column, measure in enumerate(("deletion", "insertion")):
        row = table[(table["approach"] == "scratch") & (table["measure"] == measure)].iloc[0]
        means = [scores[seen & (cells == cell), column].mean() for cell in np.unique(cells[seen])]
        assert row["chance"] == pytest.approx(np.mean(means), rel=1e-3)


def test_another_layer_gives_a_finer_grid_and_is_kept_apart(study, small_study) -> None:
    last = attention_table(study, small_study.runs, limit=4, device="cpu")
    earlier = attention_table(study, small_study.runs, limit=4, device="cpu", layer="layer3")
    assert set(last["grid"]) == {"2 x 2"} and set(last["layer"]) == {"layer4"}
    assert set(earlier["grid"]) == {"4 x 4"} and set(earlier["layer"]) == {"layer3"}
    with pytest.raises(UserError, match="no layer 'layer9'"):
        attention_table(study, small_study.runs, limit=4, device="cpu", layer="layer9")
