"""The page of questions and answers says what the packs beside it say."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import ttest_1samp
from tests.made_up import images
from tests.scripts import load_script

from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.evaluation.pack import read_pack
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.report.study import study_material
from bandbridge.study.pack import pack_study

ANSWER = load_script("docs/results/answer.py")
TASKS = {
    "Q": {"dataset": "q", "intermediates": ["G"], "band": "Q-band"},
    "G": {"dataset": "g", "intermediates": ["Q"], "band": "G-band"},
}
#: How the publication's statements of gains begin.
STATED = {"Q": "gain of two-step over ImageNet on Q-band", "G": "the same on G-band"}
SETS = {"q": images(32), "g": images(24)}
APPROACHES = ["scratch", "imagenet", "domain", "two-step"]


@pytest.fixture
def folder(tmp_path):
    """A folder with the page of the repository, without its answers and packs."""
    place = tmp_path / "results"
    (place / "packs").mkdir(parents=True)
    page = (ANSWER.FOLDER / "README.md").read_text(encoding="utf-8")
    (place / "README.md").write_text(ANSWER.with_answers(page, ""), encoding="utf-8")
    return place


def made(made_up, folder, name="1a-by-cell", **options):
    """Make up the study, pack it, and return it with its runs."""
    found = made_up(name=name, tasks=TASKS, approaches=APPROACHES, sets=SETS, **options)
    pack_study(found.study, found.runs, folder / "packs" / f"{name}.zip")
    return found


def rows_of(page):
    """Return the cells of the rows that begin with a task, by that."""
    lines = [line.strip("| ").split("|") for line in page.splitlines() if line.startswith(("| Q-band", "| G-band"))]
    return {line[0].strip(): [cell.strip() for cell in line] for line in lines}


def test_the_page_is_what_the_packs_say(capsys):
    assert ANSWER.main(["--check"]) == 0, capsys.readouterr().out
    page = (ANSWER.FOLDER / "README.md").read_text(encoding="utf-8")
    for image in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (ANSWER.FOLDER / image).is_file(), image


def test_answers_of_a_finished_study(made_up, folder):
    study, runs = made(made_up, folder)
    assert ANSWER.main([], folder) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "incomplete" not in page and "No pack of 1a-published is there yet." in page
    rows = rows_of(page)
    for task, band in (("Q", "Q-band"), ("G", "G-band")):
        right: dict[str, list[np.ndarray]] = {}
        for run in study.runs:
            if run.task == task:
                frame = read_predictions(run.folder(runs) / "predictions.parquet")
                frame = frame.loc[frame["checkpoint"] == "last"]
                guess = frame.filter(like="logit_").idxmax(axis=1).str.removeprefix("logit_")
                right.setdefault(run.approach, []).append((guess == frame["label"]).to_numpy())
        shares = {approach: 100 * np.concatenate(parts).mean() for approach, parts in right.items()}
        for cell, approach in zip(rows[band][3:7], APPROACHES, strict=True):
            told, low, high = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", cell).groups())
            assert told == pytest.approx(shares[approach], abs=0.006) and low < told < high
        gain = float(rows[band][7].split()[0])
        assert gain == pytest.approx(shares["two-step"] - shares["imagenet"], abs=0.006)
        # Two epochs of a second and a half, four folds of four approaches.
        assert rows[band][11:] == ["16", "48 s"]
    effects = study_material(study, runs).effects.comparisons.set_index(["task", "reference"])
    for task, band in (("Q", "Q-band"), ("G", "G-band")):
        for name, cell in (("pooled", rows[band][8]), ("corrected", rows[band][9])):
            row = effects.loc[(task, "imagenet")]
            low, high = row[f"{name}_low_pp"], row[f"{name}_high_pp"]
            assert cell.endswith(f"({low:+.2f} to {high:+.2f})"), "the numbers of the study's own report"
        # Two one-sided tests, by scipy, of differences scaled so that its plain test is the corrected one.
        folds = np.array([row[f"fold_{fold}_pp"] for fold in range(4)])
        scaled = (folds - folds.mean()) * np.sqrt(1 + 4 / 3) + folds.mean()
        sides = (ttest_1samp(scaled, -0.5, alternative="greater"), ttest_1samp(scaled, 0.5, alternative="less"))
        p = max(side.pvalue for side in sides)
        found = re.search(rf"- {band}, images prepared by the cell, test_resnet: .*\(P = (\S+)\)\.", page)
        assert float(found[1]) == pytest.approx(p, abs=6e-4)
        gain = effects.loc[(task, "imagenet"), "mean_pp"]
        stated = re.search(rf"\| {STATED[task]}.*", page)[0].split("|")
        assert float(stated[3].split()[0]) == pytest.approx(gain, rel=0.01) and stated[4].strip() in ("met", "missed")
        row = effects.loc[(task, "imagenet")]
        assert f"({row['moderated_low_pp']:+.2f} to {row['moderated_high_pp']:+.2f})" in stated[3]
        low, high = map(float, stated[2].split(" to "))
        assert (stated[4].strip() == "met") == (low <= round(gain, 1) <= high)
    assert (folder / "images" / "question-1.svg").read_text(encoding="utf-8").count("Q-band, images prepared") == 1
    # As the study file says it, for the recipe takes its 16 epochs and its batches of 32 where nothing else is written.
    (line,) = (line for line in page.partition("## 2. ")[0].splitlines() if line.startswith("Trained: "))
    assert line.startswith(
        "Trained: test_resnet, 32 px; images prepared by the cell; recipe `fast` (16 epochs, 32 images"
    )
    assert "folds 0 to 3 of 4 by patient; seed 0: one training a number and fold" in line


def test_what_was_not_told_apart_is_not_called_the_same(made_up, folder):
    made(made_up, folder)
    assert ANSWER.main([], folder) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    low, high = re.search(r"Not settled: anything from (\S+) to (\S+) points of Macro-F1 is left open", page).groups()
    assert float(low) < 0 < float(high)
    assert "No clear difference" not in page and "neither helps nor hurts" not in page
    assert f"not settled, {low} to {high} points are left open" in page


def test_the_same_packs_make_the_same_page(made_up, folder, capsys):
    made(made_up, folder)
    assert ANSWER.main(["--check"], folder) == 1 and "make results" in capsys.readouterr().out
    files = []
    for _ in range(2):
        assert ANSWER.main([], folder) == 0 and ANSWER.main(["--check"], folder) == 0
        files.append([(folder / name).read_bytes() for name in ("README.md", "images/question-1.svg")])
    assert files[0] == files[1]


def test_answers_of_an_unfinished_study_say_so(made_up, folder):
    made(made_up, folder, unfinished=["Q/test_resnet/two-step/fold3"])
    assert ANSWER.main([], folder) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page.count("incomplete: 31 of 32 trainings are in") == 4
    assert "Q-band not known yet" in page and "so far, without intervals" in page
    rows = rows_of(page)
    assert rows["Q-band"][7:] == ["–"] * 4 + ["15", "45 s"] and rows["Q-band"][6].endswith("(3/4)")
    assert "–" not in rows["G-band"], "that of the other task is all there"


def test_few_patients_give_no_interval_for_others(made_up, folder):
    made_up_images = {"q": images(32), "g": images(8)}
    found = made_up(name="1a-published", tasks=TASKS, approaches=APPROACHES, sets=made_up_images)
    pack_study(found.study, found.runs, folder / "packs" / "x.zip")
    assert ANSWER.main([], folder) == 0
    rows = rows_of((folder / "README.md").read_text(encoding="utf-8"))
    assert rows["G-band"][2] == "8 patients" and re.search(r"\(p = 0\.\d{3}\)$", rows["G-band"][7])
    assert " to " in rows["Q-band"][7]


@pytest.mark.parametrize("unlabelled", [False, True])
def test_what_the_box_gains_is_told_over_the_number_of_labelled_cells(made_up, folder, unlabelled):
    """The accuracies and the gain are those counted from the runs' own predictions."""
    cells = (20, 3)  # as the study file may have them
    of_task = {"dataset": "q", "intermediates": ["G"], "box": "Q"}
    tasks = {f"Q-{n}": {**of_task, "band": f"Q-band, {n} cells", "cells": n} for n in cells}
    found = made_up(
        name="3-curve-q",
        tasks={**tasks, "G": {"dataset": "g", "target": False, "box": "G"}},
        approaches=["imagenet", "boxed", "two-step", "boxed-two-step", *["self-supervised", "scratch"] * unlabelled],
        architectures=["tf_efficientnet_lite0"],
        sets=SETS,
        image_size=64,
        run_folds=[0, 1, 2],
    )
    pack_study(found.study, found.runs, folder / "packs" / "curve.zip")
    assert ANSWER.main([], folder) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    section = page.partition("## 3. ")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if "patients |" in line
    ]
    assert [row[0] for row in rows] == ["3", "20"] and {row[1] for row in rows} == {"24 patients"}
    for row in rows:
        right: dict[str, list[np.ndarray]] = {}
        for run in found.study.runs:
            if run.task == f"Q-{row[0]}" and run.predicts:
                frame = read_predictions(run.folder(found.runs) / "predictions.parquet")
                frame = frame.loc[frame["checkpoint"] == "last"]
                guess = frame.filter(like="logit_").idxmax(axis=1).str.removeprefix("logit_")
                right.setdefault(run.approach, []).append((guess == frame["label"]).to_numpy())
        share = {approach: 100 * np.concatenate(parts).mean() for approach, parts in right.items()}
        told = [float(cell.split()[0]) for cell in row[2:]]
        gains = [share["boxed"] - share["imagenet"], share["boxed-two-step"] - share["two-step"]]
        names = ("imagenet", "boxed", "two-step", "boxed-two-step")
        if unlabelled:
            names = ("scratch", "imagenet", "self-supervised", "boxed", "two-step", "boxed-two-step")
            gains.append(share["self-supervised"] - share["imagenet"])
        assert told == pytest.approx([*(share[name] for name in names), *gains], abs=0.006)
        short = section.partition("**In short:**")[2].partition("\n")[0]
        assert f"{gains[0]:+.1f}" in short.partition("labelled cells.")[0]
        assert ("without labels" in short) == unlabelled
        assert not unlabelled or f"{gains[2]:+.1f}" in short.partition("labelled cells.")[2]
    assert "one fold and one training" not in section, "three folds were trained"
    assert "No pack of 3-curve-g or 3-curve-p is there yet." in section
    drawn = (folder / "images" / "question-3.svg").read_text(encoding="utf-8")
    assert drawn.count("labelled cells") == 1
    for told in (drawn, section):
        assert ("Self-supervised" in told) == unlabelled


def test_no_pack_is_no_answer(folder):
    assert ANSWER.main([], folder) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "Not answered yet: no pack of 1a-by-cell or 1a-published is there." in page
    assert "Not answered yet: no pack of 3-curve-q or 3-curve-g or 3-curve-p is there." in page
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["question-2.svg", "question-6.svg"]


def test_packs_that_cannot_be_read_leave_the_page_alone(made_up, folder, capsys):
    made(made_up, folder)
    before = (folder / "README.md").read_bytes()
    shutil.copy(folder / "packs" / "1a-by-cell.zip", folder / "packs" / "again.zip")
    assert ANSWER.main([], folder) == 2 and "second pack of the study 1a-by-cell" in capsys.readouterr().err
    (folder / "packs" / "again.zip").write_bytes((folder / "packs" / "1a-by-cell.zip").read_bytes()[:-9])
    assert ANSWER.main([], folder) == 2 and "again.zip is no pack" in capsys.readouterr().err
    assert (folder / "README.md").read_bytes() == before
    (folder / "packs" / "again.zip").unlink()
    (folder / "README.md").write_text("no marks")
    assert ANSWER.main([], folder) == 2 and "has no marks" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "no marks"


def test_which_set_gains_what_is_told_with_what_was_changed_in_it_apart(made_up, folder):
    """Gains are counted from the runs' own predictions; the order of pairs from them and measures.json."""
    found = made_up(
        name="4-why-q",
        tasks={
            "B": {"dataset": "q", "intermediates": ["G", "P", "P-shuffled"], "band": "Q-band", "cells": 5},
            "G": {"dataset": "g", "target": False, "band": "sixty-five"},
            "P": {"dataset": "h", "target": False, "band": "Pki"},
            "P-shuffled": {"dataset": "h", "target": False, "band": "Pki shuffled", "labels": "shuffled"},
        },
        approaches=["imagenet", "two-step"],
        sets={**SETS, "h": images(24)},
        seed=5,
    )
    pack_study(found.study, found.runs, folder / "packs" / "why.zip")
    assert ANSWER.main([], folder) == 0
    section = (folder / "README.md").read_text(encoding="utf-8").partition("## 4. ")[2]
    right: dict[str, list[np.ndarray]] = {}
    for run in found.study.runs:
        if run.task == "B":
            frame = read_predictions(run.folder(found.runs) / "predictions.parquet")
            frame = frame.loc[frame["checkpoint"] == "last"]
            guess = frame.filter(like="logit_").idxmax(axis=1).str.removeprefix("logit_")
            right.setdefault(run.intermediate, []).append((guess == frame["label"]).to_numpy())
    share = {name: 100 * np.concatenate(parts).mean() for name, parts in right.items()}
    gains = {name: share[name] - share[""] for name in ("G", "P", "P-shuffled")}
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if "| " in line]
    told = {row[0]: float(row[1].split()[0]) for row in rows if row[0] in ("sixty-five", "Pki", "Pki shuffled")}
    named = {"sixty-five": "G", "Pki": "P", "Pki shuffled": "P-shuffled"}
    assert told == {title: pytest.approx(gains[name], abs=0.06) for title, name in named.items()}
    assert list(told)[-1] == "Pki shuffled", "what was changed comes last"
    measures = json.loads((ANSWER.FOLDER / "measures.json").read_text(encoding="utf-8"))["measures"]
    values = measures["mmd2"]["values"]["4-why-q"]
    assert gains["G"] != gains["P"]
    agrees = (values["G"] < values["P"]) == (gains["G"] > gains["P"])
    assert f"MMD² {int(agrees)} of 1" in section
    # Of one pair each order is as likely, and some measure of 14 is right, or none: both sides of a coin.
    assert (
        "have half of them right, 0.5, and 1 or more in 50 of 100 draws; the best of 14 such orders has that in 100"
        in section
    )
    first, last = sorted(("G", "P"), key=lambda name: -gains[name])
    shown = {"G": "sixty-five", "P": "Pki"}
    (short,) = (line for line in section.splitlines() if line.startswith("- *BioImLab (Q-band), 10 labelled cells.*"))
    assert (
        f"Best: {shown[first]} {gains[first]:+.1f} (" in short
        and f"; worst: {shown[last]} {gains[last]:+.1f} (" in short
    )
    assert f"with its labels shuffled: Pki {gains['P-shuffled']:+.1f} (" in short
    assert (folder / "images" / "question-4.svg").read_text(encoding="utf-8").count("Pki shuffled") == 1


def test_what_models_make_of_real_cells_that_saw_drawn_ones_alone_is_counted(folder):
    """Shares of the page against those counted here, from the file of every image."""
    assert ANSWER.main([], folder) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    rows = pd.read_csv(ANSWER.FOLDER / "unseen.csv.gz", dtype=str, keep_default_na=False)
    second, sixth = (page.partition(f"## {number}. ")[2].partition("\n## ")[0] for number in (2, 6))
    assert rows.groupby("set").size().to_dict() == {"65 cells": 2 * 2806, "BioImLab": 2 * 5474, "Pki-3": 2 * 21287}
    for (model, name), frame in rows.groupby(["model", "set"]):
        alone = 100 * (frame["by_itself"] == frame["label"]).mean()
        whole = frame.loc[frame["whole"] == "yes"]
        placed = 100 * (whole["placed"] == whole["label"]).mean()
        (line,) = (line for line in second.splitlines() if line.startswith(f"| {model}") and f"| {name}" in line)
        assert [float(cell.split()[0]) for cell in line.strip("| ").split("|")[4:]] == pytest.approx(
            [alone, placed], abs=0.006
        )
        if name == "Pki-3":
            assert f"missed by {70 - alone:.2f} and missed by {85 - placed:.2f}" in second
        if model.startswith("box:"):
            wrong, flagged = frame["placed"] != frame["label"], frame["flagged"] == "yes"
            shares = [flagged.mean(), wrong[~flagged].mean(), flagged[wrong].mean()]
            (line,) = (line for line in sixth.splitlines() if line.startswith(f"| {model}, {name}"))
            told = [float(cell.split()[0]) for cell in line.strip("| ").split("|")[2:]]
            assert told == pytest.approx([100 * share for share in shares], abs=0.006)
            promised = {"box:G": 2, "box:Q": 5}[model]  # on their cards
            left = 100 * shares[1]
            kept = "kept" if left <= promised else f"missed by {left - promised:.2f}"
            (line,) = (line for line in sixth.splitlines() if line.startswith(f"- *{model}, {name}:*"))
            assert f"at most {promised}% promised: {kept}" in line and f"{left:.2f}% (" in line
    assert "box:G, Pki-3:*" in sixth and "missed by 2.84" in sixth.partition("box:G, Pki-3:*")[2].splitlines()[0]


def test_the_sets_of_the_page_are_those_of_the_packs():
    """The table before the answers, against the images that packs list."""
    page = (ANSWER.FOLDER / "README.md").read_text(encoding="utf-8")
    for study in ("5-best-q", "5-best-g", "5-best-p"):
        task = read_pack(ANSWER.FOLDER / "packs" / f"{study}.zip").facts.tasks[0]
        (row,) = (
            line.split("|") for line in page.splitlines() if line.startswith("| ") and f"`{task.dataset}`" in line
        )
        patients = set(task.patients) - {""}
        counts = [f"{len(task.images):,}", str(len(set(task.cells))), str(len(patients)) if patients else "not stated"]
        assert [cell.strip() for cell in row[3:6]] == counts


@pytest.mark.parametrize(
    ("value", "wanted", "at_most", "told"),
    [
        (0.98467, 98.5, False, "missed by 0.03"),
        (0.985, 98.5, False, "met"),
        (0.98499, 98.5, False, "missed by 0.001"),
        (0.0484, 2.0, True, "missed by 2.84"),
        (0.0195, 2.0, True, "met"),
        (float("nan"), 2.0, True, "not known"),
    ],
)
def test_what_is_wanted_is_met_or_missed_by_so_much(value, wanted, at_most, told):
    from answers.evidence import met

    assert met(Estimate(value), wanted, at_most=at_most) == told


def test_the_best_models_are_counted_alone_and_together(made_up, folder):
    """By itself: the runs' own predictions; together: the mean of their probabilities, counted here again."""
    task = {"dataset": "q", "intermediates": ["G"], "band": "Q-band", "box": "Q"}
    found = made_up(
        name="5-best-q",
        tasks={"Q": task, "G": {"dataset": "g", "target": False, "box": "G"}},
        approaches=["boxed", "boxed-two-step"],
        architectures=["tf_efficientnet_lite0"],
        sets=SETS,
        image_size=64,
    )
    pack_study(found.study, found.runs, folder / "packs" / "best.zip")
    assert ANSWER.main([], folder) == 0
    section = (folder / "README.md").read_text(encoding="utf-8").partition("## 5. ")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if "patients |" in line
    ]
    by_fold: dict[int, list[np.ndarray]] = {}
    right: dict[str, list[np.ndarray]] = {}
    together = []
    for run in sorted(found.study.runs, key=lambda run: run.name):
        if run.task == "Q":
            frame = read_predictions(run.folder(found.runs) / "predictions.parquet")
            frame = frame.loc[frame["checkpoint"] == "last"].sort_values("image")
            logits = frame.filter(like="logit_")
            names = logits.columns.str.removeprefix("logit_").to_numpy()
            right.setdefault(run.approach, []).append(names[logits.to_numpy().argmax(axis=1)] == frame["label"])
            by_fold.setdefault(run.fold, []).append(softmax(logits.to_numpy().astype(float), axis=1))
            if len(by_fold[run.fold]) == 2:
                together.append(names[sum(by_fold[run.fold]).argmax(axis=1)] == frame["label"])
    expected = [100 * np.concatenate(parts).mean() for parts in (right["boxed"], right["boxed-two-step"], together)]
    assert [float(row[3].split()[0]) for row in rows] == pytest.approx(expected, abs=0.006)
    assert rows[2][0] == "all 2 together" and expected[2] != expected[1]
    worst = 95.24 - min(expected[:2])
    mean = 95.24 - expected[2]
    told = f"met by 0 of 2 models (missed by {worst:.2f} by the worst), missed by {mean:.2f} by all together"
    assert f"wanted by itself more than 95.24: {told}" in section
    low, high = sorted(expected[:2])
    assert f"each of 2 models {low:.2f} to {high:.2f}% by itself" in section
    assert (folder / "images" / "question-5.svg").is_file()
