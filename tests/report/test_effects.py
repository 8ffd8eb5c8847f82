"""The effects of a small study against scipy, scikit-learn and the functions that they are made of; their tables."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from bandbridge.evaluation.comparison import detectable_difference, holm
from bandbridge.evaluation.mixed import crossed_effects
from bandbridge.evaluation.moderation import moderate
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.effects import Effects, measure_effects
from bandbridge.report.figures.gains import difference_figures
from bandbridge.report.folder import build_tables, tables_markdown, write_tables
from bandbridge.report.rendering import Table
from bandbridge.report.scores import fold_scores
from bandbridge.report.tables.effects import class_table, comparison_table, mixed_table, p_text

CLASSES = ("1", "2", "X")
SHARES = {"imagenet": 0.7, "two-step": 0.85, "scratch": 0.5, "domain": 0.6}
CONTEXT = TableContext(
    title="Small",
    protocol="strict",
    protocol_text="",
    folds=(0, 1, 2),
    tasks=(TaskLabel("q", "Q-band"),),
    architectures=(
        ArchitectureLabel("VGG-16", "traditional"),
        ArchitectureLabel("ResNet-34", "traditional"),
        ArchitectureLabel("ViT-S/16", "modern"),
    ),
    arms=(Arm("q", "imagenet"), Arm("q", "two-step", "g")),
    bootstrap_iterations=400,
)


def make_run(architecture: str, approach: str, fold: int, unit: str = "cell") -> RunPredictions:
    """Sixty images of ten cells that are right with the share of their approach."""
    rng = np.random.default_rng([len(architecture), len(approach), fold])
    number = np.arange(60 * fold, 60 * fold + 60)
    label = number % 3
    guess = np.where(rng.random(60) < SHARES[approach], label, rng.integers(3, size=60))
    text = {"image": [f"{index}.png" for index in number], "cell": "", "patient": ""}
    text |= {unit: [f"u{index // 6}" for index in number]} if unit != "image" else {}
    text |= {"label": np.array(CLASSES)[label], "checkpoint": "last"}
    logits = pd.DataFrame(np.eye(3, dtype=np.float32)[guess], columns=[f"logit_{name}" for name in CLASSES])
    frame = pd.concat([pd.DataFrame(text), logits], axis=1)
    intermediate = "g" if approach in ("two-step", "domain") else ""
    return RunPredictions("q", "Q-band", architecture, approach, intermediate, fold, frame)


def make_runs(architectures=("VGG-16", "ResNet-34", "ViT-S/16"), approaches=("imagenet", "two-step"), folds=(0, 1, 2)):
    return [make_run(name, approach, fold) for name in architectures for approach in approaches for fold in folds]


def measure(runs: list[RunPredictions], context: TableContext = CONTEXT) -> Effects:
    return measure_effects(fold_scores(runs), runs, context, split_folds=5)


@cache
def whole() -> Effects:
    return measure(make_runs())


def fold_differences(architecture: str) -> np.ndarray:
    values = {
        approach: [f1(pd.DataFrame(make_run(architecture, approach, fold).predictions)) for fold in range(3)]
        for approach in ("imagenet", "two-step")
    }
    return 100 * (np.array(values["two-step"]) - np.array(values["imagenet"]))


def f1(frame: pd.DataFrame) -> float:
    guess = frame[[f"logit_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    return float(f1_score(frame["label"], np.array(CLASSES)[guess], average="macro"))


def row(effects: Effects, architecture: str = "VGG-16") -> pd.Series:
    return effects.comparisons.set_index("architecture").loc[architecture]


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[cell.text for cell in one.cells] for one in table.rows]


def test_fold_tests_are_scipys_and_the_corrected_one_is_wider() -> None:
    differences = fold_differences("VGG-16")
    found = row(whole())
    expected = stats.ttest_1samp(differences, 0)
    low, high = expected.confidence_interval(0.95)
    assert (found["mean_pp"], found["student_low_pp"], found["student_high_pp"]) == pytest.approx(
        (differences.mean(), low, high)
    )
    # Three folds of five: the variance factor is 1/3 + 1/4 instead of 1/3.
    t = expected.statistic / np.sqrt((1 / 3 + 1 / 4) * 3)
    assert whole().test_share == 1 / 4
    assert found["corrected_p"] == pytest.approx(2 * stats.t.sf(abs(t), 2))
    assert found["corrected_detectable_pp"] == pytest.approx(
        detectable_difference(differences.std(ddof=1), 3, 1 / 4), rel=1e-9
    )


def test_holm_runs_over_the_architectures_of_one_comparison() -> None:
    data = whole().comparisons
    assert data["corrected_p_holm"].to_list() == pytest.approx(holm(data["corrected_p"].to_numpy()))
    assert data["pooled_p_holm"].to_list() == pytest.approx(holm(data["pooled_p"].to_numpy()))
    both = measure(make_runs(approaches=("imagenet", "two-step", "scratch", "domain"))).comparisons
    kept = both.loc[both["approach"] == "two-step", "corrected_p_holm"]
    assert kept.to_list() == pytest.approx(data["corrected_p_holm"].to_list())


def test_the_pooled_difference_is_that_of_all_images_together() -> None:
    pooled = [
        pd.concat([make_run("ViT-S/16", approach, fold).predictions for fold in range(3)])
        for approach in ("two-step", "imagenet")
    ]
    found = row(whole(), "ViT-S/16")
    assert found["pooled_pp"] == pytest.approx(100 * (f1(pooled[0]) - f1(pooled[1])), abs=1e-9)
    assert found["pooled_low_pp"] < found["pooled_pp"] < found["pooled_high_pp"]
    assert (found["unit"], found["groups"], found["images"]) == ("cell", 30, 180)


def test_a_row_does_not_depend_on_the_rest_but_for_what_all_tell_together() -> None:
    alone = measure(make_runs(["VGG-16"])).comparisons
    columns = [name for name in alone.columns if not name.endswith("_holm") and not name.startswith("moderated_")]
    complete = alone.loc[alone["groups"] > 0, columns]
    pd.testing.assert_frame_equal(
        complete, whole().comparisons.loc[lambda data: data.architecture == "VGG-16", columns]
    )


def test_the_spread_of_new_trainings_is_that_which_all_comparisons_tell() -> None:
    found = whole().comparisons
    differences = np.array([fold_differences(name) for name in found["architecture"]])
    spreads = list(moderate(differences.var(axis=1, ddof=1), 2))
    for spread, own, line in zip(spreads, differences, found.to_dict("records"), strict=True):
        expected = spread.test(own.mean(), 1 / 3 + 1 / 4)
        ends = [line[f"moderated_{name}"] for name in ("low_pp", "high_pp", "p")]
        assert ends == pytest.approx([expected.low, expected.high, expected.p])
        assert line["moderated_over"] == 3
    widths, own = (
        (found[f"{name}_high_pp"] - found[f"{name}_low_pp"]).to_numpy() for name in ("moderated", "corrected")
    )
    # All are believed more than they would be alone, but for those whose folds agree most.
    assert widths[own.argmax()] < 0.8 * own.max() and widths[own.argmin()] > 0.95 * own.min()


def test_fewer_than_twenty_groups_have_no_interval_anywhere() -> None:
    effects = measure(make_runs(folds=(0,)), replace(CONTEXT, folds=(0,)))
    assert set(effects.comparisons["groups"]) == {10}
    for frame, names in (
        (effects.comparisons, ("pooled_low_pp", "pooled_high_pp", "accuracy_pooled_low_pp", "accuracy_pooled_high_pp")),
        (effects.classes, ("low_pp", "high_pp")),
    ):
        assert frame[list(names)].isna().all(axis=None)
        assert frame["p" if "p" in frame else "pooled_p"].between(0, 1).all()
    assert any("Fewer than 20 groups" in note for note in comparison_table(effects, CONTEXT).notes)


def test_a_missing_fold_leaves_its_architecture_out_by_name() -> None:
    runs = [run for run in make_runs() if (run.architecture, run.approach, run.fold) != ("VGG-16", "two-step", 1)]
    effects = measure(runs)
    found = row(effects)
    assert (found["folds"], found["groups"], found["unit"]) == (2, 0, "")
    assert found[["corrected_p", "pooled_pp", "corrected_p_holm", "corrected_detectable_pp"]].isna().all()
    two = effects.comparisons.loc[lambda data: data.groups > 0]
    assert two["corrected_p_holm"].to_list() == pytest.approx(holm(two["corrected_p"].to_numpy()))
    assert effects.mixed["left_out"].to_list() == ["VGG-16"]
    assert any("left out for missing folds: VGG-16" in note for note in mixed_table(effects, CONTEXT).notes)
    assert texts(comparison_table(effects, CONTEXT))[0][3:] == ["–"] * 9


def test_the_mixed_view_is_that_of_the_table_of_folds() -> None:
    names = ["VGG-16", "ResNet-34", "ViT-S/16"]
    expected = crossed_effects(np.array([fold_differences(name) for name in names]), 1 / 4)
    found = whole().mixed.set_index("family")
    # One modern architecture is no family.
    assert list(found.index) == ["all", "traditional"]
    assert found.loc["all", ["low_pp", "high_pp", "p", "df"]].to_list() == pytest.approx(
        [expected.overall.low, expected.overall.high, expected.overall.p, expected.overall.df]
    )
    assert found.loc["traditional", "architectures"] == 2
    assert found.loc["all", "pooled_pp"] == pytest.approx(whole().comparisons["pooled_pp"].mean(), abs=1e-9)


def test_every_class_of_every_architecture_is_in_the_data() -> None:
    data = whole().classes
    assert len(data) == 3 * (3 + 1)
    one = data.loc[data["architecture"] == "ViT-S/16"].set_index("class")
    frame = pd.concat([make_run("ViT-S/16", "two-step", fold).predictions for fold in range(3)])
    guess = np.array(CLASSES)[frame[[f"logit_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)]
    expected = f1_score(frame["label"], guess, average=None, labels=list(CLASSES))
    assert one["f1_approach"].to_list() == pytest.approx(expected)
    assert one["images"].to_list() == [60, 60, 60]
    assert one["p_holm"].to_list() == pytest.approx(holm(one["p"].to_numpy()))
    mean = data.loc[data["architecture"] == "all"].set_index("class")["difference_pp"]
    others = data.loc[data["architecture"] != "all"].groupby("class")["difference_pp"].mean()
    assert mean.to_dict() == pytest.approx(others.to_dict())


def test_the_tables_name_protocol_checkpoint_and_groups() -> None:
    tables = [table(whole(), CONTEXT) for table in (comparison_table, mixed_table, class_table)]
    for table in tables:
        assert "last checkpoint" in table.sentence and "protocol: strict" in table.sentence
        assert {len(one.cells) for one in table.rows} == {len(table.columns)}
        assert table.rows[0].section == "Q-band"
    notes = " ".join(tables[0].notes)
    assert "Q-band: 30 cells with 180 images" in notes
    assert "(1/3 + 0.25) times" in notes and "all 3 comparisons of the study" in notes
    assert "3 folds and 3 comparisons cannot tell" in notes and "6 folds or more would do" in notes
    assert "share cells" not in notes
    assert "share cells" in " ".join(comparison_table(whole(), replace(CONTEXT, protocol="paper")).notes)
    assert [line[0] for line in texts(tables[1])] == ["All (3)", "Traditional CNNs (2)"]
    assert [line[0] for line in texts(tables[2])] == ["Mean of all", "VGG-16", "ResNet-34", "ViT-S/16"]


def test_an_architecture_is_named_once_for_its_comparisons() -> None:
    effects = measure(make_runs(["VGG-16", "ViT-S/16"], ("imagenet", "two-step", "scratch", "domain")))
    context = replace(CONTEXT, arms=(*CONTEXT.arms, Arm("q", "scratch"), Arm("q", "domain", "g")))
    lines = [line[:2] for line in texts(comparison_table(effects, context))]
    pair = ["Two-step minus ImageNet", "Domain minus Scratch"]
    names = ["VGG-16", "", "ResNet-34", "", "ViT-S/16", ""]
    assert lines == [[name, title] for name, title in zip(names, pair * 3, strict=True)]


def test_two_folds_are_called_too_few() -> None:
    context = replace(CONTEXT, folds=(0, 1))
    effects = measure(make_runs(folds=(0, 1)), context)
    assert any("2 folds and 3 comparisons cannot tell" in note for note in comparison_table(effects, context).notes)
    assert any("7 folds or more would do" in note for note in mixed_table(effects, context).notes)


def test_one_fold_has_pooled_intervals_alone() -> None:
    context = replace(CONTEXT, folds=(0,))
    # Each image by itself: ten cells of one fold would be too few.
    runs = [make_run(name, approach, 0, "image") for name in ("VGG-16", "ViT-S/16") for approach in SHARES]
    effects = measure(runs, context)
    assert effects.mixed.empty and mixed_table(effects, context) is None
    table = comparison_table(effects, context)
    assert texts(table)[0][3:9] == ["–"] * 6
    assert "–" not in texts(table)[0][9:]
    assert table.notes[0].startswith("One fold has no scatter")


@pytest.mark.parametrize("unit", ["patient", "image"])
def test_the_unit_is_named(unit: str) -> None:
    runs = [make_run("VGG-16", approach, fold, unit) for approach in ("imagenet", "two-step") for fold in range(3)]
    effects = measure(runs)
    groups = {"patient": 30, "image": 180}[unit]
    assert (row(effects)["unit"], row(effects)["groups"]) == (unit, groups)
    assert any(f"{groups} {unit}s with 180 images" in note for note in comparison_table(effects, CONTEXT).notes)


def test_a_study_without_finished_comparisons_has_no_such_tables() -> None:
    for runs in ([], make_runs(approaches=("imagenet",))):
        effects = measure(runs)
        assert [table(effects, CONTEXT) for table in (comparison_table, mixed_table, class_table)] == [None] * 3


def test_p_values_are_printed_to_a_thousandth() -> None:
    assert [p_text(p) for p in (0.0004, 0.0312, 1.0, float("nan"))] == ["<0.001", "0.031", "1.000", "–"]


def test_effects_add_tables_and_figures_to_the_folder_and_to_the_page(tmp_path: Path) -> None:
    runs = make_runs()
    scores, effects = fold_scores(runs), measure(runs)
    tables = build_tables(scores, CONTEXT, effects=effects)
    names = ["table2", "differences", "comparison", "mixed", "classes", "table4", "folds"]
    assert [table.name for table in tables] == names
    figures = difference_figures(effects, CONTEXT, {label.name: 10**7 for label in CONTEXT.architectures})
    paths = write_tables(tmp_path, tables, CONTEXT, figures)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {path.name for path in paths}
    assert {f"figure2.{kind}" for kind in ("svg", "pdf", "png")} <= written
    page = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert page == tables_markdown(tables, CONTEXT, figures)
    assert page.splitlines()[0] == "# Small (protocol: strict)"
    assert f"{figures[0].sentence}\n\n![{figures[0].title}](figure2.svg)\n" in page
