"""Table cells against numbers worked out with numpy from hand-made fold scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from bandbridge.errors import ManyErrors, UserError
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.contrasts import differences_table, selection_table
from bandbridge.report.folder import build_tables, tables_markdown, write_tables
from bandbridge.report.rendering import Row, Table
from bandbridge.report.scores import fold_scores, missing_folds, summarise
from bandbridge.report.tables.published import fold_table, parameter_table, table2, table4

CONTEXT = TableContext(
    title="Two stains",
    protocol="paper",
    protocol_text="Image-stratified folds.",
    folds=(0, 1, 2),
    tasks=(TaskLabel("g", "G-band", "CIR"), TaskLabel("q", "Q-band", "BioImLab")),
    architectures=(
        ArchitectureLabel("ViT-S/16", "modern"),
        ArchitectureLabel("ResNet-34", "traditional"),
        ArchitectureLabel("VGG-16", "traditional"),
    ),
    arms=tuple(
        Arm(task, approach, other if approach == "two-step" else "")
        for task, other in (("g", "q"), ("q", "g"))
        for approach in ("scratch", "imagenet", "two-step")
    ),
)


def scores_of(values: dict[tuple[str, str, str, str], list[float]], checkpoint: str = "best") -> pd.DataFrame:
    """Fold scores from {(task, architecture, approach, intermediate): Macro-F1 of folds 0, 1, ...}."""
    rows = [
        {
            "task": task,
            "band": "",
            "architecture": architecture,
            "approach": approach,
            "intermediate": intermediate,
            "fold": fold,
            "checkpoint": checkpoint,
            "images": 100,
            "macro_f1": value,
            "accuracy": value / 2,
            "auc_ovr": 1 - value / 100,
            "macro_f1_present": value,
            "absent_classes": 0,
        }
        for (task, architecture, approach, intermediate), folds in values.items()
        for fold, value in enumerate(folds)
    ]
    return pd.DataFrame(rows)


SCORES = scores_of(
    {
        ("q", "ResNet-34", "scratch", ""): [0.90, 0.92, 0.91],
        ("q", "ResNet-34", "imagenet", ""): [0.95, 0.97, 0.93],
        ("q", "ResNet-34", "two-step", "g"): [0.94, 0.97, 0.91],
        ("q", "VGG-16", "imagenet", ""): [0.80, 0.82, 0.84],
        ("q", "VGG-16", "two-step", "g"): [0.99, 0.99],
        ("q", "VGG-16", "scratch", ""): [0.99],
        ("q", "ViT-S/16", "imagenet", ""): [0.90, 0.90, 0.90],
        ("q", "ViT-S/16", "two-step", "g"): [0.96, 0.98, 0.97],
        ("g", "ResNet-34", "imagenet", ""): [0.98, 0.98, 0.98],
        ("g", "ResNet-34", "two-step", "q"): [0.98, 0.98, 0.98],
    }
)


def texts(row: Row) -> list[str]:
    return [cell.text + ("*" if cell.bold else "") + ("†" if cell.dagger else "") for cell in row.cells]


def rows_of(table: Table) -> list[list[str]]:
    """The texts of all rows, an empty first cell filled from above."""
    filled, name = [], ""
    for row in table.rows:
        cells = texts(row)
        name = cells[0] or name
        filled.append([name, *cells[1:]])
    return filled


def row(table: Table, *start: str) -> list[str]:
    (found,) = [cells for cells in rows_of(table) if cells[: len(start)] == list(start)]
    return found[len(start) :]


def test_table2_prints_mean_and_sample_deviation_of_the_folds_in_percent() -> None:
    table = table2(SCORES, CONTEXT)
    values = np.array([0.94, 0.97, 0.91])
    assert row(table, "ResNet-34", "Two-step")[3:] == [
        f"{100 * values.mean():.2f} ± {100 * np.std(values, ddof=1):.2f}",
        f"{50 * values.mean():.2f} ± {50 * np.std(values, ddof=1):.2f}",
        f"{100 - values.mean():.2f} ± {np.std(values, ddof=1):.2f}",
    ]
    assert [column.group for column in table.columns] == ["", "", *["G-band"] * 3, *["Q-band"] * 3]
    exact = table.data.query("task == 'q' and architecture == 'ResNet-34' and approach == 'two-step'").iloc[0]
    assert exact["macro_f1_mean"] == pytest.approx(values.mean(), abs=1e-15)
    assert exact["macro_f1_sd"] == pytest.approx(values.std(ddof=1), abs=1e-15)
    assert (exact["folds"], exact["planned_folds"], exact["best"]) == (3, 3, False)


def test_table2_marks_best_and_overall_best_among_finished_cells_only() -> None:
    table = table2(SCORES, CONTEXT)
    marked = {
        (cells[0], cells[1], column): cells[2 + column].lstrip("0123456789. ±")
        for cells in rows_of(table)
        for column in range(6)
        if cells[2 + column].endswith(("*", "†"))
    }
    assert marked == {
        ("ViT-S/16", "Two-step", 3): "*†",
        ("ResNet-34", "ImageNet", 3): "*",
        ("ResNet-34", "ImageNet", 0): "*†",  # G-band: an exact tie marks both
        ("ResNet-34", "Two-step", 0): "*†",
    }


def test_table2_shows_the_folds_of_unfinished_cells_and_names_what_is_missing() -> None:
    table = table2(SCORES, CONTEXT)
    assert row(table, "VGG-16", "Two-step")[3:5] == ["99.00 ± 0.00 (2/3)", "49.50 ± 0.00"]
    assert row(table, "VGG-16", "Scratch")[3:5] == ["99.00 (1/3)", "49.50"]
    assert row(table, "VGG-16", "Scratch")[:3] == ["–", "–", "–"]
    notes = "\n".join(table.notes)
    assert "27 of 54 runs are missing" in notes
    assert "Q-band, VGG-16, Two-step: fold 2." in notes
    assert "G-band, ViT-S/16, ImageNet: every fold." in notes
    missing = missing_folds(SCORES, CONTEXT, "best")
    assert missing["VGG-16", Arm("q", "scratch")] == [1, 2]
    assert ("ResNet-34", Arm("q", "scratch")) not in missing


def test_rows_are_grouped_by_family_in_the_order_of_the_study() -> None:
    table = table2(SCORES, CONTEXT)
    sections = [(one.section, one.cells[0].text) for one in table.rows if one.cells[0].text]
    assert sections == [
        ("Traditional CNNs", "ResNet-34"),
        ("", "VGG-16"),
        ("Modern architectures", "ViT-S/16"),
    ]
    unknown = replace(CONTEXT, architectures=tuple(ArchitectureLabel(a.name) for a in CONTEXT.architectures))
    plain = [(one.section, one.cells[0].text) for one in table2(SCORES, unknown).rows if one.cells[0].text]
    assert plain == [("", "ViT-S/16"), ("", "ResNet-34"), ("", "VGG-16")]


def test_several_intermediates_are_rows_of_their_own() -> None:
    more = scores_of({("q", "ResNet-34", "two-step", "g30"): [0.96, 0.96, 0.96]})
    scores = pd.concat([SCORES, more], ignore_index=True)
    table = table2(scores, CONTEXT)
    assert row(table, "ResNet-34", "Two-step via g30") == ["", "", "", "96.00 ± 0.00*", "48.00 ± 0.00", "99.04 ± 0.00"]
    assert row(table, "ResNet-34", "Two-step via CIR")[:3] == ["", "", ""]
    assert row(table, "ResNet-34", "Two-step via BioImLab")[:1] == ["98.00 ± 0.00*†"]
    gains = differences_table(scores, CONTEXT)
    assert "+1.00" in row(gains, "ResNet-34", "Two-step via g30 minus ImageNet")[0]


def test_runs_outside_the_plan_are_shown_not_dropped() -> None:
    bare = TableContext("t", "paper", "")
    table = table2(SCORES, bare)
    assert row(table, "ResNet-34", "ImageNet")[:1] == ["95.00 ± 2.00*"]
    assert {cells[0] for cells in rows_of(table)} == {"ResNet-34", "VGG-16", "ViT-S/16"}
    assert [column.group for column in table.columns][2] == "q"


def test_one_planned_fold_has_no_deviation_and_no_count() -> None:
    single = SCORES[SCORES.fold == 0]
    table = table2(single, replace(CONTEXT, folds=(0,)))
    assert row(table, "ResNet-34", "Two-step")[3] == "94.00"


def test_a_study_without_finished_runs_has_only_dashes() -> None:
    table = table2(fold_scores([]), CONTEXT)
    assert {text for cells in rows_of(table) for text in cells[2:]} == {"–"}
    assert "54 of 54 runs are missing" in "\n".join(table.notes)


def test_the_protocol_chooses_the_checkpoint() -> None:
    both = pd.concat([SCORES, SCORES.assign(checkpoint="last", macro_f1=SCORES.macro_f1 - 0.1)])
    strict = replace(CONTEXT, protocol="strict")
    assert row(table2(both, strict), "ResNet-34", "ImageNet")[3].startswith("85.00")
    assert row(table2(both, CONTEXT), "ResNet-34", "ImageNet")[3].startswith("95.00")
    with pytest.raises(UserError, match="checkpoint 'last'"):
        table2(SCORES, strict)


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ({0: 0, 1: 1, 2: 2}, "4 held-out folds lack images of up to 2 classes."),
        ({0: 0, 1: 1, 2: 1}, "4 held-out folds lack images of one class."),
        ({0: 0, 1: 0, 2: 1}, "2 held-out folds lack images of one class."),
    ],
)
def test_absent_classes_are_told_under_the_table(absent: dict[int, int], words: str) -> None:
    notes = table2(SCORES.assign(absent_classes=SCORES.fold.map(absent)), CONTEXT).notes
    assert any(note.startswith(words) for note in notes)


@pytest.mark.parametrize(("count", "words"), [(1, "one class"), (3, "3 classes")])
def test_absent_classes_of_one_fold(count: int, words: str) -> None:
    absent = np.where((SCORES.task == "q") & (SCORES.fold == 1), count, 0)
    notes = table2(SCORES.assign(absent_classes=absent), CONTEXT).notes
    assert any(note.startswith(f"1 held-out fold lacks images of {words}. Macro-F1") for note in notes)


def test_fold_table_holds_every_fold_and_its_data_every_metric() -> None:
    table = fold_table(SCORES, CONTEXT)
    q_rows = rows_of(table)[9:]
    assert [c for c in q_rows if c[:2] == ["ResNet-34", "Two-step"]] == [
        ["ResNet-34", "Two-step", "94.00", "97.00", "91.00"]
    ]
    assert [c for c in q_rows if c[:2] == ["VGG-16", "Scratch"]] == [["VGG-16", "Scratch", "99.00", "–", "–"]]
    assert [one.section for one in table.rows if one.section] == ["G-band", "Q-band"]
    assert table.data is SCORES


def test_differences_are_paired_by_fold_in_percentage_points() -> None:
    table = differences_table(SCORES, CONTEXT)
    expected = 100 * (np.array([0.96, 0.98, 0.97]) - 0.90)
    record = table.data.query("task == 'q' and architecture == 'ViT-S/16'").iloc[0]
    assert record[["fold_0_pp", "fold_1_pp", "fold_2_pp"]].to_list() == pytest.approx(expected, abs=1e-12)
    assert record["mean_pp"] == pytest.approx(7.0, abs=1e-12)
    # Of the 27 resamples one has the mean 6 and one the mean 8 (3.7% each): the 2.5% ends are these.
    assert (record["low_pp"], record["high_pp"]) == pytest.approx((6.0, 8.0), abs=1e-12)
    q_rows = rows_of(table)[3:]
    shown = {cells[0]: cells[2:] for cells in q_rows}
    assert shown["ViT-S/16"] == ["+7.00", "+6.00 to +8.00", "+6.00", "+8.00", "+7.00"]
    assert shown["VGG-16"] == ["+18.00 (2/3)", "–", "+19.00", "+17.00", "–"]
    assert shown["ResNet-34"][2:] == ["-1.00", "0.00", "-2.00"]
    assert table.data.query("architecture == 'VGG-16'")["low_pp"].isna().all()


def test_an_interval_does_not_depend_on_the_rest_of_the_table() -> None:
    whole = differences_table(SCORES, CONTEXT).data
    alone = differences_table(SCORES[SCORES.architecture == "ResNet-34"], CONTEXT).data
    query = "task == 'q' and architecture == 'ResNet-34'"
    pd.testing.assert_frame_equal(whole.query(query).reset_index(drop=True), alone.query(query).reset_index(drop=True))


def test_domain_is_compared_with_scratch() -> None:
    more = scores_of({("q", "ResNet-34", "domain", "g"): [0.95, 0.92, 0.96]})
    table = differences_table(pd.concat([SCORES, more]), CONTEXT)
    found = table.data.query("approach == 'domain' and architecture == 'ResNet-34'").iloc[0]
    assert (found["reference"], found["intermediate"]) == ("scratch", "g")
    assert found["mean_pp"] == pytest.approx((5 + 0 + 5) / 3, abs=1e-12)


def test_selection_optimism_is_best_minus_last() -> None:
    last = SCORES.assign(checkpoint="last")
    last.loc[(last.architecture == "ResNet-34") & (last.fold == 1), "macro_f1"] -= 0.06
    table = selection_table(pd.concat([SCORES, last], ignore_index=True), CONTEXT)
    assert table is not None
    record = table.data.query("task == 'q' and approach == 'imagenet'").iloc[0]
    assert record["runs"] == 9
    assert record["mean_gain_pp"] == pytest.approx(6 / 9, abs=1e-12)
    assert record["largest_gain_pp"] == pytest.approx(6, abs=1e-12)
    assert record["accuracy_gain_pp"] == pytest.approx(0, abs=1e-12)
    assert record["macro_f1_best"] == pytest.approx(np.mean([0.95, 0.80, 0.90, 0.97, 0.82, 0.9, 0.93, 0.84, 0.9]))
    assert selection_table(SCORES, CONTEXT) is None


def test_table4_lists_the_data_of_each_step() -> None:
    context = replace(CONTEXT, arms=(*CONTEXT.arms, Arm("q", "domain", "g")))
    assert rows_of(table4(context)) == [
        ["G-band", "Scratch", "–", "–", "CIR"],
        ["G-band", "ImageNet", "ImageNet", "–", "CIR"],
        ["G-band", "Two-step", "ImageNet", "BioImLab", "CIR"],
        ["Q-band", "Scratch", "–", "–", "BioImLab"],
        ["Q-band", "ImageNet", "ImageNet", "–", "BioImLab"],
        ["Q-band", "Two-step", "ImageNet", "CIR", "BioImLab"],
        ["Q-band", "Domain", "–", "CIR", "BioImLab"],
    ]


def complexity_rows() -> list[SimpleNamespace]:
    vgg = SimpleNamespace(name="VGG-16", timm_name="vgg16_bn", family="traditional", year=2015)
    other = SimpleNamespace(name="tiny", timm_name="test_resnet", family="other", year=None)
    return [
        SimpleNamespace(architecture=vgg, parameters=134_371_416, macs=15_503_489_024),
        SimpleNamespace(architecture=other, parameters=9_000, macs=5_000_000),
    ]


def test_parameter_table_prints_millions_and_keeps_whole_numbers() -> None:
    table = parameter_table(complexity_rows())
    assert rows_of(table) == [
        ["VGG-16", "vgg16_bn", "Traditional CNNs", "2015", "134.37", "15.50"],
        ["tiny", "test_resnet", "Other", "–", "0.01", "0.01"],
    ]
    assert table.data.to_csv(index=False).splitlines()[1:] == [
        "VGG-16,vgg16_bn,traditional,2015,134371416,15503489024",
        "tiny,test_resnet,other,,9000,5000000",
    ]


def make_run(fold: int, approach: str = "imagenet", images: range | None = None, seed: int = 0) -> RunPredictions:
    rng = np.random.default_rng([fold, seed])
    names = [f"{index}.png" for index in images or range(40 * fold, 40 * fold + 40)]
    labels = np.array(["1", "2", "X"])[np.arange(40) % 3]
    parts = []
    for checkpoint in ("best", "last"):
        text = {"image": names, "cell": "", "patient": "", "label": labels, "checkpoint": checkpoint}
        logits = pd.DataFrame(rng.normal(size=(40, 3)).astype(np.float32), columns=["logit_1", "logit_2", "logit_X"])
        parts.append(pd.concat([pd.DataFrame(text), logits], axis=1))
    return RunPredictions("q", "Q-band", "VGG-16", approach, "", fold, pd.concat(parts, ignore_index=True))


def test_fold_scores_equal_scikit_learn_on_the_predictions() -> None:
    runs = [make_run(fold) for fold in range(3)]
    scores = fold_scores(runs)
    assert len(scores) == 6
    for _, record in scores.iterrows():
        frame = runs[record["fold"]].predictions.query("checkpoint == @record.checkpoint")
        logits = frame[["logit_1", "logit_2", "logit_X"]].to_numpy(dtype=float)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        guesses = np.array(["1", "2", "X"])[logits.argmax(axis=1)]
        assert record["macro_f1"] == pytest.approx(f1_score(frame["label"], guesses, average="macro"), abs=1e-12)
        assert record["accuracy"] == pytest.approx(accuracy_score(frame["label"], guesses), abs=1e-12)
        expected = roc_auc_score(frame["label"], chances, multi_class="ovr", average="macro")
        assert record["auc_ovr"] == pytest.approx(expected, abs=1e-12)
    summary = summarise(scores, "last").iloc[0]
    values = scores.query("checkpoint == 'last'")["auc_ovr"]
    assert summary["auc_ovr_mean"] == pytest.approx(np.mean(values), abs=1e-15)
    assert summary["auc_ovr_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert summary["folds"] == 3


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(ManyErrors, match="more than once") as error:
        fold_scores([make_run(0), make_run(1), make_run(0, seed=1)])
    assert error.value.problems == ["q / VGG-16 / imagenet / fold 0"]


def test_folds_that_share_an_image_are_refused() -> None:
    with pytest.raises(ManyErrors) as error:
        fold_scores([make_run(0), make_run(1, images=range(39, 79))])
    assert error.value.problems == ["39.png: folds 0 and 1"]


def test_approaches_held_out_on_different_images_are_refused() -> None:
    with pytest.raises(ManyErrors, match="cannot be compared") as error:
        fold_scores([make_run(0), make_run(0, "scratch", images=range(100, 140))])
    assert len(error.value.problems) == 1


def test_diverged_runs_are_all_named() -> None:
    runs = [make_run(fold) for fold in range(3)]
    for run in runs[1:]:
        run.predictions.loc[3, "logit_2"] = np.nan
    with pytest.raises(ManyErrors, match="not finite") as error:
        fold_scores(runs)
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "q / VGG-16 / imagenet / fold 1, checkpoint best",
        "q / VGG-16 / imagenet / fold 2, checkpoint best",
    ]


def test_every_table_is_written_three_ways_and_gathered_under_the_protocol(tmp_path: Path) -> None:
    both = pd.concat([SCORES, SCORES.assign(checkpoint="last")], ignore_index=True)
    tables = build_tables(both, CONTEXT, complexity_rows())
    paths = write_tables(tmp_path, tables, CONTEXT)
    names = ["table2", "differences", "selection", "table3", "table4", "folds"]
    assert [table.name for table in tables] == names
    assert {path.name for path in paths} == {"tables.md"} | {f"{n}.{e}" for n in names for e in ("md", "csv", "tex")}
    page = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert page.splitlines()[0] == "# Two stains (protocol: paper)"
    assert page == tables_markdown(tables, CONTEXT)
    for table in tables:
        assert f"\n## {table.title}\n\n{table.sentence}\n" in page
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "folds.csv", keep_default_na=False), both, check_dtype=False, check_exact=True
    )
    before = {path: path.read_bytes() for path in paths}
    write_tables(tmp_path, build_tables(both, CONTEXT, complexity_rows()), CONTEXT)
    assert before == {path: path.read_bytes() for path in paths}


def test_a_gain_is_an_intermediate_domain_s_only_where_every_comparison_is_of_one():
    detour, other = (SCORES[SCORES["approach"].isin(["imagenet", arm])] for arm in ("two-step", "scratch"))
    boxed = other.assign(approach=other["approach"].replace("scratch", "boxed"))
    table = differences_table(detour, CONTEXT)
    assert table.title.startswith("Gain from an intermediate domain (") and "the intermediate helped" in table.sentence
    for scores in (boxed, pd.concat([boxed, detour[detour["approach"] == "two-step"]])):
        table = differences_table(scores, CONTEXT)
        assert "boxed" in set(table.data["approach"])
        assert table.title.startswith("Gain (") and "intermediate" not in table.sentence
