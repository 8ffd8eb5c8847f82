"""``bandbridge advise`` from the command line, on tiny sets, a tiny model and a tiny study."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.networks import write_moved

from bandbridge.domains.advice import MEASURES
from bandbridge.evaluation.metrics import macro_f1
from bandbridge.evaluation.predictions import logits_of
from bandbridge.report.study import study_predictions
from bandbridge.report.tables.advice import PREDICTION
from bandbridge.study.plan import open_study

OPTIONS = ("--architecture", "test_resnet", "--image-size", 32, "--weights-dir", "weights")


@pytest.fixture
def place(tmp_path, chromosome_set, monkeypatch):
    """A folder with a target and two candidates, g2-0, q2-0 and g2-7, natural images and weights."""
    monkeypatch.chdir(tmp_path)
    write_moved(tmp_path / "weights" / "test_resnet.safetensors", classes=1000, size=32)
    chromosome_set("G", 2), chromosome_set("Q", 2), chromosome_set("G", 2, seed=7)
    return tmp_path


def natural_images(folder, labels=("cat", "dog")):
    folder.mkdir()
    rows = [("file_name", "label")]
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append((f"{number}.png", labels[number % len(labels)]))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_candidates_are_ranked_and_the_ranking_is_called_a_prediction(bandbridge, place):
    natural_images(place / "animals")
    result = bandbridge("advise", "g2-0", "--candidates", "q2-0", "g2-7", "animals", *OPTIONS)
    assert result.code == 0, result.err
    assert "Candidate source domains for g2-0" in result.out and PREDICTION in result.out
    assert "animals has no Linear probe accuracy" in result.out and "it shares no class with the target" in result.out
    assert "g2-7 is first by" in result.out
    written = {path.name for path in (place / "results" / "advice").iterdir()}
    assert {f"{stem}.{kind}" for stem in ("advice", "advice-classes") for kind in ("md", "csv", "tex")} <= written
    assert "conclusion.txt" in written


def test_json_holds_every_measure_of_every_candidate(bandbridge, place):
    result = bandbridge("advise", "g2-0", "--candidates", "g2-7", "--candidates", "q2-0", *OPTIONS, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert {record["measure"] for record in found["advice"]} == {measure.key for measure in MEASURES}
    assert {record["candidate"] for record in found["advice"]} == {"g2-7", "q2-0"}
    assert len(found["advice-classes"]) == 2 * len({record["class"] for record in found["advice-classes"]})
    assert found["conclusion"].startswith(PREDICTION)


@pytest.fixture
def study(place):
    value = {
        "name": "pilot",
        "protocol": "strict",
        "tasks": {
            "T": {"dataset": "g2-0", "intermediates": ["Q", "G"]},
            "Q": {"dataset": "q2-0", "target": False},
            "G": {"dataset": "g2-7", "target": False},
        },
        "architectures": ["test_resnet"],
        "approaches": ["imagenet", "two-step"],
        "split": {"folds": 2, "scheme": "image"},
        "image_size": 32,
        "preparation": {"base": "published", "padding": "background"},
        "intermediate_rows": "all",
        "recipe": {"base": "fast", "epochs": 1},
    }
    path = place / "pilot.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_the_prediction_stands_beside_the_gain_that_a_study_measured(bandbridge, place, study):
    arguments = ("advise", "g2-0", "q2-0", "g2-7", *OPTIONS, "--study", study, "--runs", "runs")
    before = bandbridge(*arguments)
    assert before.code == 0, before.err
    assert (
        "Study pilot has nothing to say: q2-0: no finished fold to compare" in before.out and PREDICTION in before.out
    )
    trained = bandbridge("study", "run", study, "--runs", "runs", "--weights-dir", "weights", "--device", "cpu")
    assert trained.code == 0, trained.err
    shutil.move(place / "q2-0", place / "renamed")  # a candidate is known by its content
    (place / "elsewhere").mkdir()
    shutil.copytree(place / "renamed", place / "elsewhere" / "q2-0")
    study.write_text(study.read_text().replace("dataset: q2-0", "dataset: elsewhere/q2-0"))
    result = bandbridge("advise", "g2-0", "renamed", "g2-7", *arguments[4:], "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    gains = {record["candidate"]: record["gain_pp"] for record in found["advice-gains"]}
    assert gains == pytest.approx({"renamed": plain_gain(study, "Q"), "g2-7": plain_gain(study, "G")}, abs=1e-9)
    verdicts = {record["verdict"] for record in found["advice-agreement"]}
    assert all("no evidence" in verdict for verdict in verdicts) and len(found["advice-agreement"]) == len(MEASURES)
    assert "No evidence that any measure orders candidates (2 gains measured)." in found["conclusion"]
    assert PREDICTION not in found["conclusion"]


def plain_gain(study, intermediate):
    """Mean over folds of Macro-F1 of the last checkpoint, two-step minus ImageNet, straight from the predictions."""
    scores = {}
    for run in study_predictions(open_study(study), study.parent / "runs"):
        truth, logits, classes = logits_of(run.predictions, "last")
        scores[run.approach, run.intermediate, run.fold] = macro_f1(truth, logits.argmax(1), len(classes))
    return 100 * np.mean([scores["two-step", intermediate, fold] - scores["imagenet", "", fold] for fold in (0, 1)])


def test_a_study_of_other_data_has_nothing_to_say(bandbridge, place, study):
    result = bandbridge("advise", "q2-0", "g2-7", *OPTIONS, "--study", study)
    assert result.code == 0, result.err
    assert "it has no task that classifies the target" in result.out and PREDICTION in result.out


def test_the_images_are_prepared_as_in_the_study(bandbridge, place, study):
    options = (*OPTIONS, "--json", "--runs", "runs")
    plain = json.loads(bandbridge("advise", "g2-0", "q2-0", *options).out)["advice"]
    prepared = json.loads(bandbridge("advise", "g2-0", "q2-0", *options, "--study", study).out)["advice"]
    assert plain[0]["measure"] == "mmd2" and plain[0]["value"] != prepared[0]["value"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("g2-0",), "no candidate"),
        (("g2-0", "nowhere", "neither"), "no such dataset: nowhere neither"),
        (("g2-0", "q2-0", "g2-0"), "same images as g2-0, the target"),
        (("g2-0", "q2-0", "copy"), "same images as q2-0"),
        (("g2-0", "other/q2-0", "q2-0"), "has the name of another set"),
        (("plain", "q2-0"), "no usable labels"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_remedy(bandbridge, place, arguments, words):
    if "copy" in arguments:
        shutil.copytree(place / "q2-0", place / "copy")
    if "other/q2-0" in arguments:
        shutil.copytree(place / "g2-7", place / "other" / "q2-0")
    if "plain" in arguments:
        natural_images(place / "plain", labels=("none",))
    result = bandbridge("advise", *arguments, *OPTIONS)
    assert result.code == 2 and words in result.err.replace(" .", "."), result.err


def test_datasets_are_looked_for_in_the_data_folder(bandbridge, place, monkeypatch):
    (place / "away").mkdir()
    monkeypatch.chdir(place / "away")
    result = bandbridge("advise", "g2-0", "q2-0", *OPTIONS[:-1], place / "weights", "--data-dir", place)
    assert result.code == 0, result.err
