"""A study that compares nothing says how good its classifiers are, with intervals recomputed here."""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.metrics import f1_score
from tests.made_up import images

from bandbridge.evaluation.cluster_intervals import estimate_share
from bandbridge.report.content import gather
from bandbridge.report.html import render
from bandbridge.report.sections.blocks import Wishes
from bandbridge.report.study import study_predictions

ONE = {"Q": {"dataset": "q"}}
PLAIN = Wishes(cases=False, attention=False)


def pooled(study, root) -> pd.DataFrame:
    parts = [run.predictions for run in study_predictions(study, root)]
    frame = pd.concat(parts).loc[lambda data: data["checkpoint"] == "last"]
    names = [column.removeprefix("logit_") for column in frame if column.startswith("logit_")]
    guess = frame[[f"logit_{name}" for name in names]].to_numpy().argmax(axis=1)
    return frame.assign(guess=[names[index] for index in guess])


def test_a_study_of_one_approach_shows_its_own_results(made_up) -> None:
    study, root = made_up({"q": images(32)}, tasks=ONE, approaches=["scratch"])
    content = gather(study, root, PLAIN)
    (answer,) = content.answers
    frame = pooled(study, root)
    right = frame["guess"] == frame["label"]
    by_patient = right.groupby(frame["patient"]).agg(["sum", "count"])
    share = estimate_share(by_patient["sum"].to_numpy(), by_patient["count"].to_numpy())
    f1 = f1_score(frame["label"], frame["guess"], average="macro")
    assert answer.verdict == "alone" and answer.reference == ""
    assert answer.claim == f"Scratch names {100 * right.mean():.1f}% of the held-out chromosomes right."
    told = f"accuracy {100 * right.mean():.1f}% (95% interval {100 * share.low:.1f} to {100 * share.high:.1f})"
    assert told in answer.sentence and f"Macro-F1 {100 * f1:.1f}%" in answer.sentence
    assert "128 held-out images of 32 patients" in answer.sentence
    page = render(content)
    assert "No run" not in page and "Does the intermediate" not in page and "How good is the classifier?" in page
    assert "by itself: nothing is compared with it" in page


@pytest.mark.parametrize(
    ("approaches", "titles"),
    [(["imagenet"], ["ImageNet"]), (["scratch", "imagenet"], ["Scratch", "ImageNet"]), (["two-step"], ["Two-step"])],
)
def test_approaches_that_nothing_is_compared_with_each_have_theirs(made_up, approaches, titles) -> None:
    study, root = made_up(approaches=approaches)
    content = gather(study, root, PLAIN)
    assert [answer.approach for answer in content.answers] == titles
    assert {answer.verdict for answer in content.answers} == {"alone"}


def test_several_architectures_are_told_by_their_mean_and_range(made_up) -> None:
    study, root = made_up(
        {"q": images(32)}, tasks=ONE, approaches=["scratch"], architectures=["test_resnet", "test_vit"], image_size=64
    )
    (answer,) = gather(study, root, PLAIN).answers
    assert "mean of 2 architectures" in answer.claim and "(test_resnet)" in answer.sentence
    assert "95%" not in answer.sentence


def test_an_unfinished_one_says_how_far_it_is(made_up) -> None:
    study, root = made_up({"q": images(32)}, ["Q/test_resnet/scratch/fold2"], tasks=ONE, approaches=["scratch"])
    (answer,) = gather(study, root, PLAIN).answers
    assert answer.sentence.endswith("3 of 4 trainings are finished.")


def test_two_patients_give_no_interval_and_say_so(made_up) -> None:
    study, root = made_up({"q": images(2, 8)}, tasks=ONE, approaches=["scratch"], split={"folds": 2})
    (answer,) = gather(study, root, PLAIN).answers
    assert "95%" not in answer.sentence and "Too few of them to give an interval" in answer.sentence
