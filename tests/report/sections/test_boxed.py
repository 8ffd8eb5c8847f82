"""What a report says of the model in the box: of its own comparisons, in their own words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.made_up import images

from bandbridge.report.contrasts import comparisons_of
from bandbridge.report.figures.answer import answer_figure, answer_sentence, answer_steps
from bandbridge.report.figures.few_cells import few_cells_figures
from bandbridge.report.sections.answer import answer_study
from bandbridge.report.study import study_material

SETS = {"q": images(32), "g": images(24), "h": images(24)}
OTHERS = {name: {"dataset": name, "target": False, "box": "G", "band": f"{name.upper()}-band"} for name in ("g", "h")}


def target(cells: int, intermediates: list[str]) -> dict[str, object]:
    return {"dataset": "q", "box": "Q", "band": f"Q, {cells} cells", "cells": cells, "intermediates": intermediates}


@pytest.fixture
def material(made_up):
    """Return a function that makes up a study of few cells."""

    def make(approaches: list[str], intermediates: list[str], numbers: tuple[int, ...] = (2, 5, 20)):
        found = made_up(
            name="boxed",
            tasks={**{f"q{n}": target(n, intermediates) for n in numbers}, **OTHERS},
            approaches=approaches,
            architectures=["tf_efficientnet_lite0"],
            sets=SETS,
            image_size=64,
        )
        return study_material(found.study, found.runs)

    return make


def told(made) -> str:
    steps = answer_steps(made.scores, made.effects, made.context)
    assert answer_figure(steps, made.context) is not None
    return answer_sentence(steps, made.context)


def test_the_box_is_no_detour(material):
    made = material(["imagenet", "boxed", "two-step", "boxed-two-step"], ["g"])
    answers = answer_study(made.scores, made.effects, made.context)
    assert len(answers) == 9 and not any("over ," in answer.claim for answer in answers)
    claims = {(answer.approach, answer.reference): answer.claim for answer in answers}
    assert "the detour over g, after ImageNet," in claims["Two-step", "ImageNet"]
    assert "the model in the box, in place of ImageNet alone," in claims["Boxed", "ImageNet"]
    before = "the model in the box, in place of ImageNet before the detour over g,"
    assert before in claims["Boxed two-step", "Two-step"]
    assert not any("Two-step alone" in answer.sentence for answer in answers)


def test_the_headline_tells_of_the_fewest_and_the_most_cells(material):
    headline = told(material(["imagenet", "boxed", "two-step"], ["g"]))
    assert headline.count("the detour by way of G-band") == headline.count("the box in place of ImageNet") == 2
    assert "On Q, 2 cells, the box in place of ImageNet" in headline and "Q, 5 cells" not in headline


def test_without_imagenet_alone_the_box_before_the_detour_is_told_of(material):
    headline = told(material(["two-step", "boxed-two-step"], ["g"], (2, 5)))
    assert headline.count("the box in place of ImageNet before G-band") == 2


def test_a_detour_from_the_box_is_compared_with_the_same_detour(material):
    made = material(["two-step", "boxed-two-step"], ["g", "h"], (2,))
    pairs = comparisons_of(made.context, "q2")
    assert [(arm.intermediate, reference.intermediate) for arm, reference in pairs] == [("g", "g"), ("h", "h")]
    rows = made.effects.comparisons.set_index("intermediate")
    last = made.scores[made.scores["checkpoint"] == "last"]
    means = last.groupby(["approach", "intermediate"])["macro_f1"].mean()
    for name in ("g", "h"):
        expected = 100 * (means["boxed-two-step", name] - means["two-step", name])
        assert rows.loc[name, "mean_pp"] == pytest.approx(expected)
    told(made)


def test_few_cells_are_drawn_where_there_are_several_numbers_of_them(material):
    made = material(["imagenet", "boxed"], ["g"])
    (found,) = few_cells_figures(made.runs, made.context)
    (axes,) = found.figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "5", "20"]
    runs = [run for run in made.runs if run.task == "q5" and run.approach == "boxed"]
    right = [
        (rows.filter(like="logit_").idxmax(axis=1).str.removeprefix("logit_") == rows["label"]).to_numpy()
        for run in runs
        for rows in [run.predictions[run.predictions["checkpoint"] == "last"]]
    ]
    expected = 100 * sum(map(sum, right)) / sum(map(len, right))
    assert any(line.get_ydata()[1] == pytest.approx(expected) for line in axes.lines if len(line.get_ydata()) == 3)
    alone = replace(made.context, tasks=made.context.tasks[:1])
    assert few_cells_figures(made.runs, alone) == []
