"""What a report says of training without labels first: its own comparison, in its own words."""

from __future__ import annotations

import pytest
from tests.made_up import images

from bandbridge.report.content import gather
from bandbridge.report.contrasts import differences_table
from bandbridge.report.figures.answer import answer_figure, answer_sentence, answer_steps
from bandbridge.report.figures.few_cells import few_cells_figures
from bandbridge.report.figures.gains import difference_figures
from bandbridge.report.html import write_report
from bandbridge.report.sections.answer import answer_study
from bandbridge.report.sections.blocks import Wishes
from bandbridge.report.study import study_material
from bandbridge.report.tables.published import table4

TASKS = {f"q{cells}": {"dataset": "q", "cells": cells, "band": f"Q, {cells} cells"} for cells in (2, 5, 20)}


@pytest.fixture
def made(made_up):
    """A study of few cells, from ImageNet, without labels first, and from random weights."""
    return made_up(tasks=TASKS, approaches=["scratch", "imagenet", "self-supervised"], sets={"q": images(32)})


def test_it_is_compared_with_imagenet_alone(made):
    material = study_material(made.study, made.runs)
    answers = answer_study(material.scores, material.effects, material.context)
    assert [(one.approach, one.reference) for one in answers] == [("Self-supervised", "ImageNet")] * 3
    assert all("training on the target's images without labels, after ImageNet," in one.claim for one in answers)
    last = material.scores[material.scores["checkpoint"] == "last"].groupby(["task", "approach"])["macro_f1"].mean()
    told = differences_table(material.scores, material.context).data.set_index("task")
    for task in TASKS:
        expected = 100 * (last[task, "self-supervised"] - last[task, "imagenet"])
        assert told.loc[task, "mean_pp"] == pytest.approx(expected)


def test_the_headline_and_the_figures_name_it(made):
    material = study_material(made.study, made.runs)
    steps = answer_steps(material.scores, material.effects, material.context)
    headline = answer_sentence(steps, material.context)
    assert headline.count("training without labels after ImageNet") == 2 and "box" not in headline
    assert "On Q, 2 cells, training without labels" in headline and "by way of" not in headline
    assert answer_figure(steps, material.context) is not None
    (few,) = few_cells_figures(material.runs, material.context)
    assert "Self-supervised" in [text.get_text() for text in few.figure.legends[0].get_texts()]
    drawn = difference_figures(material.effects, material.context, material.parameters)
    assert [one.name for one in drawn] == ["figure2-self-supervised"]
    before = table4(material.context).data.set_index("approach")["pretraining"]
    assert set(before["self-supervised"]) == {"ImageNet, the target's images without labels"}


def test_the_page_is_written_without_the_runs_that_predict_nothing(made, tmp_path):
    content = gather(made.study, made.runs, Wishes(cases=False, attention=False))
    page = write_report(content, tmp_path / "out").read_text(encoding="utf-8")
    assert "Self-supervised models were trained before that without labels" in page and "Unlabelled" not in page
