"""The picture that opens a report: its numbers counted from the predictions, its words, and labels that stay apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.effects import measure_effects
from bandbridge.report.figures.answer import SHOWN, Step, answer_figure, answer_sentence, answer_steps
from bandbridge.report.inline import inline_svg
from bandbridge.report.scores import fold_scores
from bandbridge.report.tables.published import table2

CLASSES = ("1", "2", "X")
SHARES = {"scratch": 0.4, "imagenet": 0.6, "two-step": 0.8, "domain": 0.5}
ELEVEN = (
    *("VGG-16", "VGG-19", "ResNet-34", "ResNet-50", "ResNet-101", "ResNeXt-50", "ResNeXt-101"),
    *("ConvNeXt-Tiny", "Swin-T", "ViT-S/16", "MobileNetV3-L"),
)


def context_of(architectures=("A",), folds=(0, 1), tasks=("q",)) -> TableContext:
    """Every target's intermediate domain is g."""
    arms = [
        Arm(task, approach, "g" if approach in ("two-step", "domain") else "") for task in tasks for approach in SHARES
    ]
    return TableContext(
        title="Small",
        protocol="strict",
        protocol_text="",
        folds=folds,
        tasks=tuple(TaskLabel(task, f"{task.upper()}-band") for task in tasks),
        domains=(TaskLabel("g", "G-band"),),
        architectures=tuple(ArchitectureLabel(name) for name in architectures),
        arms=tuple(arms),
        bootstrap_iterations=200,
    )


def make_runs(context: TableContext, approaches=tuple(SHARES)) -> list[RunPredictions]:
    """Folds of 40 and of 60 images, in cells of five, right with the share of their approach."""
    return [
        RunPredictions(
            arm.task,
            context.task(arm.task).shown,
            name.name,
            arm.approach,
            arm.intermediate,
            fold,
            _predictions(fold, [place, fold, len(arm.approach), ord(arm.task)], SHARES[arm.approach]),
        )
        for place, name in enumerate(context.architectures)
        for arm in context.arms
        if arm.approach in approaches
        for fold in context.folds
    ]


def _predictions(fold: int, seed: list[int], share: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    number = np.arange(100 * fold, 100 * fold + 40 + 20 * (fold % 2))
    truth = number % 3
    guess = np.where(rng.random(len(number)) < share, truth, (truth + 1) % 3)
    frame = pd.DataFrame({"image": [f"{one}.png" for one in number], "cell": [f"c{one // 5}" for one in number]})
    frame = frame.assign(patient="", label=np.array(CLASSES)[truth], checkpoint="last")
    return frame.join(pd.DataFrame(np.eye(3, dtype=np.float32)[guess], columns=[f"logit_{one}" for one in CLASSES]))


def steps_of(context: TableContext, approaches=tuple(SHARES)) -> list[Step]:
    runs = make_runs(context, approaches)
    scores = fold_scores(runs)
    return answer_steps(scores, measure_effects(scores, runs, context, 3), context)


def accuracy(runs: list[RunPredictions], architecture: str, approach: str) -> float:
    """The mean over folds of how many images in a hundred are right, counted."""
    shares = []
    for run in runs:
        if (run.architecture, run.approach) == (architecture, approach):
            logits = run.predictions[[f"logit_{name}" for name in CLASSES]].to_numpy()
            right = [
                CLASSES[row.argmax()] == label for row, label in zip(logits, run.predictions["label"], strict=True)
            ]
            shares.append(100 * sum(right) / len(right))
    return sum(shares) / len(shares)


def test_each_step_goes_from_the_counted_accuracy_of_one_approach_to_that_of_the_other():
    context = context_of(("A", "B"))
    steps = steps_of(context)
    runs = make_runs(context)
    assert [(step.architecture, step.reference.approach, step.arm.approach) for step in steps] == [
        ("A", "imagenet", "two-step"),
        ("A", "scratch", "domain"),
        ("B", "imagenet", "two-step"),
        ("B", "scratch", "domain"),
    ]
    for step in steps:
        assert step.start == pytest.approx(accuracy(runs, step.architecture, step.reference.approach), abs=1e-10)
        assert step.end == pytest.approx(accuracy(runs, step.architecture, step.arm.approach), abs=1e-10)
        assert step.unit == "cell" and step.low < step.high


def test_the_numbers_are_those_of_table_2():
    context = context_of()
    runs = make_runs(context)
    shown = {row.cells[1].text: row.cells[3].text for row in table2(fold_scores(runs), context).rows}
    two_step, domain = steps_of(context)
    for step, before, after in ((two_step, "ImageNet", "Two-step"), (domain, "Scratch", "Domain")):
        assert shown[before].startswith(f"{step.start:.2f}") and shown[after].startswith(f"{step.end:.2f}")


def step(
    start: float,
    end: float,
    architecture: str = "A",
    approach: str = "two-step",
    unit: str = "cell",
    groups: int = 119,
    folds: int = 2,
) -> Step:
    reference = {"two-step": "imagenet", "domain": "scratch"}[approach]
    gain = end - start
    return Step(
        Arm("q", approach, "g"),
        Arm("q", reference),
        architecture,
        start,
        end,
        gain - 4.0,
        gain + 4.0,
        unit,
        groups,
        folds,
    )


def test_the_sentence_says_what_the_detour_adds_and_on_what_that_stands():
    one_fold, two_folds = context_of(folds=(0,)), context_of()
    detour = "On Q-band, the detour by way of G-band"
    assert answer_sentence([step(50.0, 61.6)], one_fold) == (
        f"{detour} adds 11.6 points of accuracy to ImageNet's weights (50.0 → 61.6%), one fold: too few to tell "
        "chance apart."
    )
    assert answer_sentence([step(61.6, 50.0)], two_folds) == (
        f"{detour} takes 11.6 points of accuracy from ImageNet's weights (61.6 → 50.0%), mean of 2 folds, 95% interval "
        "-15.6 to -7.6 for new cells."
    )
    assert answer_sentence([step(50.0, 50.04, approach="domain")], one_fold).startswith(
        f"{detour} neither adds accuracy to nor takes it from random weights (50.0 → 50.0%)"
    )
    # The mean of both, by hand: 45 to 50.
    assert answer_sentence([step(50.0, 61.0), step(40.0, 39.0, "B")], two_folds) == (
        f"{detour} adds 5.0 points of accuracy to ImageNet's weights (45.0 → 50.0%), mean of 2 architectures (1 gain) "
        "and 2 folds."
    )


def test_random_weights_are_spoken_of_only_where_imagenets_were_not_measured():
    both = [step(50.0, 61.6), step(20.0, 30.0, approach="domain")]
    assert answer_sentence(both, context_of()).count("On Q-band") == 1
    assert "random" not in answer_sentence(both, context_of())
    assert "adds 10.0 points of accuracy to random weights" in answer_sentence(both[1:], context_of())


def test_every_gain_and_accuracy_stands_in_the_picture():
    illustration = answer_figure([step(50.0, 61.6), step(30.0, 20.5, approach="domain")], context_of())
    (axes,) = illustration.figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert {"+11.6", "-9.5", "50.0", "61.6", "30.0", "20.5"} <= set(texts)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ImageNet → Two-step", "Scratch → Domain"]
    marks = {(line.get_marker(), float(line.get_xdata()[0])) for line in axes.lines if line.get_marker() != "None"}
    assert marks == {("s", 50.0), ("^", 61.6), ("o", 30.0), ("D", 20.5)}
    spans = {tuple(np.round(line.get_xdata(), 6)) for line in axes.lines if line.get_linewidth() == 5}
    assert spans == {(57.6, 65.6), (16.5, 24.5)}


def test_without_a_finished_pair_there_is_no_picture():
    assert steps_of(context_of(), ("scratch", "imagenet", "two-step"))[0].arm.approach == "two-step"
    assert steps_of(context_of(), ("scratch", "two-step")) == []
    assert answer_figure([], context_of()) is None and answer_sentence([], context_of()) == ""


def test_a_pair_that_lacks_a_planned_fold_is_left_out():
    context = context_of()
    runs = [run for run in make_runs(context) if (run.approach, run.fold) != ("two-step", 1)]
    scores = fold_scores(runs)
    steps = answer_steps(scores, measure_effects(scores, runs, context, 3), context)
    assert [one.arm.approach for one in steps] == ["domain"]


def test_one_held_out_cell_has_accuracies_and_no_bar():
    context = context_of(folds=(0,))
    runs = [replace(run, predictions=run.predictions.assign(cell="one")) for run in make_runs(context)]
    scores = fold_scores(runs)
    steps = answer_steps(scores, measure_effects(scores, runs, context, 3), context)
    assert len(steps) == 2 and all(np.isnan(one.low) for one in steps)
    illustration = answer_figure(steps, context)
    assert "Pale bar" not in illustration.sentence
    assert not [line for line in illustration.figure.axes[0].lines if line.get_linewidth() == 5]


@pytest.mark.parametrize("architectures", [("A",), ("A", "B"), ELEVEN])
def test_no_text_covers_another_or_leaves_the_page(architectures):
    context = context_of(architectures, tasks=("q", "r"))
    illustration = answer_figure(steps_of(context), context)
    renderer = FigureCanvasAgg(illustration.figure).get_renderer()
    illustration.figure.draw(renderer)
    page = illustration.figure.bbox
    left, right = illustration.figure.axes
    assert all(not label.get_visible() for tick in right.yaxis.get_major_ticks() for label in [tick.label1])
    texts = [*left.texts, *right.texts, *left.get_yticklabels()]
    for axes in (left, right):
        texts += [axes.xaxis.label, axes.title, *axes.get_xticklabels()]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text() and text.get_visible()]
    assert len(boxes) >= 4 * len(architectures)
    for box in boxes:
        assert box.x0 >= -1 and box.x1 <= page.width + 1 and box.y0 >= -1 and box.y1 <= page.height + 1
    for one, other in combinations(boxes, 2):
        across, up = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        # Boxes hold room for letters that go below the line; those of neighbours may share a point of it.
        assert across <= 1 or up <= 0.25 * min(one.height, other.height)


def test_of_very_many_architectures_the_first_are_drawn_and_the_caption_says_so():
    many = tuple(f"model {number}" for number in range(SHOWN + 8))
    illustration = answer_figure([step(50.0, 60.0, name) for name in many], context_of(many))
    names = [label.get_text() for label in illustration.figure.axes[0].get_yticklabels()]
    assert names == list(many[:SHOWN])
    assert f"The first {SHOWN} of {SHOWN + 8} architectures" in illustration.sentence


@pytest.mark.parametrize("architectures", [("a$x_2$",), ("a$x_2$", r"$\frac$")])
def test_names_are_no_mathematics_and_no_markup(architectures):
    context = context_of(architectures)
    task = TaskLabel("q", r"Q $\notacommand$ <b>")
    context = replace(context, tasks=(task,))
    text = inline_svg(answer_figure([step(50.0, 60.0, name) for name in architectures], context))
    assert r"$\notacommand$ &lt;b&gt;" in text and "a$x_2$" in text


def test_drawn_again_it_is_the_same():
    illustration = answer_figure([step(50.0, 61.6)], context_of())
    assert inline_svg(illustration) == inline_svg(illustration)


def test_the_scale_ends_where_accuracy_does():
    (axes,) = answer_figure([step(1.0, 99.0)], context_of()).figure.axes
    assert min(axes.get_xticks()) >= 0 and max(axes.get_xticks()) <= 100
