"""Confusion matrices read back from the drawn strokes, and the pairs of the table, against scikit-learn."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from sklearn.metrics import confusion_matrix

from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.karyotype import CLASSES
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.figures.confusion import (
    DENVER_GROUPS,
    HIT_SHADES,
    MISS_SHADES,
    confusion_figures,
    confusions_table,
)
from bandbridge.report.figures.illustration import Illustration, save_illustration

CONTEXT = TableContext(
    title="Two stains",
    protocol="strict",
    protocol_text="",
    folds=(0, 1),
    tasks=(TaskLabel("G band", "G-band"), TaskLabel("empty")),
    architectures=(ArchitectureLabel("ViT-S/16"), ArchitectureLabel("VGG-16")),
    arms=(Arm("G band", "scratch"), Arm("G band", "two-step", "Q"), Arm("empty", "scratch")),
)


def make_run(
    architecture: str,
    approach: str,
    fold: int,
    classes: tuple[str, ...] = CLASSES,
    drawn: int | None = None,
    images: int = 500,
) -> RunPredictions:
    """Predictions of the checkpoints that differ, right for most images; truth of the first ``drawn`` classes."""
    rng = np.random.default_rng([fold, len(architecture), len(approach)])
    truth = rng.integers(drawn or len(classes), size=images)
    frames = []
    for checkpoint in ("best", "last"):
        guess = np.where(rng.random(images) < 0.6, truth, rng.integers(drawn or len(classes), size=images))
        logits = rng.random((images, len(classes))) + np.eye(len(classes))[guess]
        frame = pd.DataFrame(logits.astype(np.float32), columns=[f"logit_{name}" for name in classes])
        frame.insert(0, "label", np.array(classes)[truth])
        frames.append(frame.assign(image=[f"{fold}-{i}" for i in range(images)], checkpoint=checkpoint))
    intermediate = "Q" if approach == "two-step" else ""
    return RunPredictions("G band", "", architecture, approach, intermediate, fold, pd.concat(frames))


def matrix_of(runs: list[RunPredictions]) -> np.ndarray:
    """Pooled counts by scikit-learn of the strict protocol's checkpoint."""
    rows = pd.concat([run.predictions for run in runs]).query("checkpoint == 'last'")
    logits = rows.filter(like="logit_")
    names = [name.removeprefix("logit_") for name in logits.columns]
    return confusion_matrix(rows["label"], np.array(names)[logits.to_numpy().argmax(1)], labels=names)


RUNS = [
    make_run(architecture, approach, fold)
    for architecture, approach, fold in itertools.product(("VGG-16", "ViT-S/16"), ("scratch", "two-step"), (0, 1))
]


def of(architecture: str, approach: str) -> list[RunPredictions]:
    return [run for run in RUNS if (run.architecture, run.approach) == (architecture, approach)]


def shades_of(illustration: Illustration, panels: int, classes: int) -> list[dict[tuple[int, int], tuple[str, float]]]:
    """Colour and opacity of every cell with something in it, read from the strokes, in units of points."""
    (axes,) = illustration.figure.axes
    titles = [text for text in axes.texts if text.get_text() in ("Scratch", "ImageNet", "Two-step")]
    corners = [(text.get_position()[0], text.get_position()[1] + 5) for text in titles]
    cell = 192 / classes
    found: list[dict[tuple[int, int], tuple[str, float]]] = [{} for _ in range(panels)]
    for patch in axes.patches:
        assert isinstance(patch, PathPatch)
        if patch.get_alpha() is None or patch.get_linewidth() != pytest.approx(cell):
            continue
        for (start, middle), (stop, _) in patch.get_path().vertices.reshape(-1, 2, 2):
            for panel, (left, top) in enumerate(corners):
                if left <= start < left + 192 and top <= middle < top + 192:
                    for column in range(round((start - left) / cell), round((stop - left) / cell)):
                        place = (int((middle - top) // cell), column)
                        assert place not in found[panel]
                        found[panel][place] = (to_hex(patch.get_edgecolor()).upper(), round(patch.get_alpha(), 6))
    return found


def test_every_cell_has_the_shade_of_its_share_of_the_row() -> None:
    first, second = confusion_figures(RUNS, CONTEXT)
    assert (first.name, second.name) == ("confusion-g-band-vit-s-16", "confusion-g-band-vgg-16")
    for illustration, architecture in ((first, "ViT-S/16"), (second, "VGG-16")):
        panels = shades_of(illustration, 2, 24)
        for shades, approach in zip(panels, ("scratch", "two-step"), strict=True):
            counts = matrix_of(of(architecture, approach))
            expected = {}
            for row, column in zip(*np.nonzero(counts), strict=True):
                share = counts[row, column] / counts[row].sum()
                colour, bounds = ("#0072B2", HIT_SHADES) if row == column else ("#D55E00", MISS_SHADES)
                level = next(index for index, bound in enumerate(bounds) if share <= bound)
                expected[row, column] = (colour, round(0.25 + 0.75 * level / (len(bounds) - 1), 6))
            assert shades == expected


def test_the_largest_confusions_are_printed_in_their_cells() -> None:
    illustration = confusion_figures(of("VGG-16", "scratch"), CONTEXT)[0]
    counts = matrix_of(of("VGG-16", "scratch"))
    np.fill_diagonal(counts, 0)
    (axes,) = illustration.figure.axes
    title = next(text for text in axes.texts if text.get_text() == "Scratch")
    left, top = title.get_position()[0], title.get_position()[1] + 5
    inside = [
        text
        for text in axes.texts
        if left <= text.get_position()[0] < left + 192 and top <= text.get_position()[1] < top + 192
    ]
    assert sorted(int(text.get_text()) for text in inside) == sorted(counts.ravel())[-6:]
    for text in inside:
        x, y = text.get_position()
        # The left end of the text's foot is inside its cell, at most half a point off.
        assert counts[int((y - 2 - top) // 8), int((x + 2 - left) // 8)] == int(text.get_text())


def test_lines_divide_the_denver_groups() -> None:
    illustration = confusion_figures(of("VGG-16", "scratch"), CONTEXT)[0]
    (axes,) = illustration.figure.axes
    title = next(text for text in axes.texts if text.get_text() == "Scratch")
    left = title.get_position()[0]
    (lines,) = [patch for patch in axes.patches if patch.get_alpha() is None and patch.get_linewidth() == 0.3]
    pairs = lines.get_path().vertices.reshape(-1, 2, 2)
    upright = {round((one[0] - left) / 8) for one, other in pairs if one[0] == other[0]}
    # After 3, 5, 12, 15, 18, 20, 22 and X; every class has one group.
    assert upright == {3, 5, 12, 15, 18, 20, 22, 23}
    assert sorted(" ".join(DENVER_GROUPS.values()).split()) == sorted(CLASSES)


def test_classes_that_do_not_occur_are_left_out_and_one_fold_is_enough() -> None:
    run = make_run("VGG-16", "scratch", 0, drawn=5)
    (illustration,) = confusion_figures([run], CONTEXT)
    (shades,) = shades_of(illustration, 1, 5)
    counts = matrix_of([run])
    assert set(shades) == {(int(row), int(column)) for row, column in zip(*np.nonzero(counts), strict=True)}


def test_other_names_than_chromosomes_are_kept_in_their_order() -> None:
    (illustration,) = confusion_figures([make_run("VGG-16", "scratch", 0, ("zebra", "ant", "cow"))], CONTEXT)
    texts = [text.get_text() for text in illustration.figure.axes[0].texts]
    assert [text for text in texts if text in ("zebra", "ant", "cow")][::2] == ["zebra", "ant", "cow"]


def test_a_figure_of_four_dense_panels_stays_below_60_kilobytes(tmp_path: Path) -> None:
    runs = [make_run("VGG-16", approach, 0) for approach in ("scratch", "imagenet", "two-step", "domain")]
    (illustration,) = confusion_figures(runs, CONTEXT)
    svg = next(path for path in save_illustration(illustration, tmp_path) if path.suffix == ".svg")
    assert min(np.count_nonzero(matrix_of([run])) for run in runs) > 150
    assert svg.stat().st_size < 60_000
    assert "<image" not in svg.read_text()


def test_pairs_are_counted_in_both_directions_over_architectures() -> None:
    table = confusions_table(RUNS, CONTEXT, shown=4)
    assert table is not None
    totals = {
        approach: sum(matrix_of(of(name, approach)) for name in ("VGG-16", "ViT-S/16"))
        for approach in ("scratch", "two-step")
    }
    both = sum(totals.values())
    pairs = sorted(
        itertools.combinations(range(24), 2), key=lambda pair: -(both[pair] + both[pair[::-1]])
    )  # stable: ties stay in karyotype order
    assert [row.cells[0].text for row in table.rows] == [f"{CLASSES[a]} and {CLASSES[b]}" for a, b in pairs[:4]]
    for row, (a, b) in zip(table.rows, pairs, strict=False):
        assert row.cells[1].text == str(both[a, b] + both[b, a])
        for cell, counts in zip(row.cells[2:], totals.values(), strict=True):
            count = counts[a, b] + counts[b, a]
            assert cell.text == f"{count} ({100 * count / counts[[a, b]].sum():.2f})"
    assert [column.title for column in table.columns] == ["Classes", "All", "Scratch", "Two-step"]
    assert table.data["count"].sum() == both.sum() - np.trace(both)
    assert table.notes == ()


def test_only_trainings_that_every_approach_has_are_counted() -> None:
    fewer = [run for run in RUNS if not (run.approach == "two-step" and run.fold == 1 and run.architecture == "VGG-16")]
    table = confusions_table(fewer, CONTEXT)
    assert table is not None
    kept = [run for run in RUNS if not (run.fold == 1 and run.architecture == "VGG-16")]
    wrong = matrix_of(kept)
    assert table.data["count"].sum() == wrong.sum() - np.trace(wrong)
    assert table.notes[0].startswith("1 of 7 runs are not counted")


def test_without_runs_there_is_nothing() -> None:
    assert confusion_figures([], CONTEXT) == []
    assert confusions_table([], CONTEXT) is None
