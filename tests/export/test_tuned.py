"""A tuned model's folder: measured on what nobody had seen, its confidence its own or said to be borrowed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.export.folder import export_folder
from bandbridge.export.tuned import doubts, measure_tuning, unseen_images, write_tuned
from bandbridge.model.classifier import open_classifier
from bandbridge.predict.confidence import read_confidence
from bandbridge.predict.likeness import read_likeness
from bandbridge.predict.trained_on import TrainedOn, keep_trained_on, read_trained_on
from bandbridge.study.execute import Executor
from bandbridge.study.fine_tune import Settings, plan_tuning
from bandbridge.study.given import open_base
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study

UNKNOWN = TrainedOn((), frozenset(), files_known=False)


@pytest.fixture(scope="module")
def run(small_study):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    return next(ledger.folder(run) for run in study.runs if run.approach == "two-step")


@pytest.fixture(scope="module")
def site(drawn_set, tmp_path_factory):
    """Four cells of two patients."""
    return open_dataset(shutil.copytree(drawn_set("Q", 4, 8), tmp_path_factory.mktemp("site") / "cells"))


def few(dataset, cells):
    samples = dataset.samples
    chosen = samples["cell"].isin(cells) & samples["label"].isin(["1", "2", "9", "X"])
    return replace(dataset, samples=samples.loc[chosen].reset_index(drop=True))


def carried_out(base, dataset, root):
    tuning = plan_tuning(open_base(base), dataset, Settings(epochs=1, folds=2))
    executor = Executor(tuning, root, "cpu", say=lambda _: None, show=lambda _: None)
    keep_trained_on(read_trained_on(base), root, tuning.base.given.identity)
    assert not executor.run(tuning.runs).failed
    return tuning, executor


@pytest.fixture(scope="module")
def tuned(run, site, tmp_path_factory):
    return carried_out(run, few(site, site.samples["cell"].unique()), tmp_path_factory.mktemp("tuned"))


def test_before_is_the_original_model_on_the_same_images(run, tuned):
    tuning, executor = tuned
    unseen = unseen_images(tuning, read_trained_on(run))
    assert unseen == set(tuning.dataset.samples["file_name"])
    measured = measure_tuning(tuning, executor, unseen)
    store = executor.store(tuning.whole.task)
    answers = open_classifier(run, "last", "cpu").logits(np.array(store.images)).argmax(axis=1)
    assert measured.before == (answers == store.targets).mean()
    assert (measured.images, measured.cells, measured.groups) == (len(store.targets), 4, 2)
    right = [frame.loc[frame["checkpoint"] == "last"] for frame in measured.folds]
    logits = [frame.filter(like="logit_").to_numpy() for frame in right]
    named = [frame.filter(like="logit_").columns.str.removeprefix("logit_") for frame in right]
    hits = np.concatenate(
        [names[one.argmax(1)] == frame["label"] for names, one, frame in zip(named, logits, right, strict=True)]
    )
    assert measured.after == hits.mean()
    assert list(doubts(tuning, read_trained_on(run), measured)) == []


def test_a_patient_of_whom_one_image_was_seen_is_not_counted(tuned):
    tuning, executor = tuned
    samples, contents = tuning.dataset.samples, tuning.data.contents
    first = samples.iloc[0]
    known = TrainedOn((), frozenset({contents.files[first["file_name"]]}), True)
    unseen = unseen_images(tuning, known)
    assert unseen == set(samples.loc[samples["patient"] != first["patient"], "file_name"])
    kept = tuning.holding_out(unseen)
    measured = measure_tuning(kept, executor, unseen)
    assert measured.groups == 1 and measured.images == len(unseen)
    (line,) = doubts(tuning, known, measured)
    assert line.startswith(f"not counted: {len(samples) - len(unseen)} images")
    everything = TrainedOn((), frozenset(contents.files.values()), True)
    assert unseen_images(tuning, everything) == frozenset()
    assert measure_tuning(tuning, executor, frozenset()) is None
    (line,) = doubts(tuning, everything, None)
    assert "trained on images of every one of these cells" in line


def test_a_model_that_does_not_know_its_images_is_doubted(tuned):
    tuning, executor = tuned
    measured = measure_tuning(tuning, executor, unseen_images(tuning, UNKNOWN))
    (line,) = doubts(tuning, UNKNOWN, measured)
    assert "may have seen some of these" in line


def test_its_confidence_and_likeness_are_of_the_new_cells(run, tuned, tmp_path):
    tuning, executor = tuned
    measured = measure_tuning(tuning, executor, unseen_images(tuning, UNKNOWN))
    assert write_tuned(tuning, executor, measured, tmp_path / "new") == []
    confidence = read_confidence(tmp_path / "new")
    assert (confidence.images, confidence.groups, confidence.unit) == (measured.images, 2, "patient")
    assert confidence.accuracy == measured.after
    assert read_likeness(tmp_path / "new").images == len(tuning.dataset.samples)
    facts = json.loads((tmp_path / "new" / "config.json").read_text())["bandbridge"]
    (entry,) = facts["tuned_on"]
    assert entry == {
        "base": json.loads((run / "run.json").read_text())["id"],
        "task": "cells",
        "dataset": tuning.data.fingerprint,
        "stain": "Q",
        "images": len(tuning.dataset.samples),
        "cells": 4,
        "patients": 2,
        "epochs": 1,
    }
    assert facts["confidence_of"] is None and facts["run"]["approach"] == "fine-tuned"
    card = (tmp_path / "new" / "README.md").read_text()
    for text in (entry["base"], "4 cells (2 patients)", f"{100 * measured.before:.1f}% before it was fine-tuned"):
        assert text in card
    assert "None" not in card and str(tmp_path) not in card
    sources = read_trained_on(tmp_path / "new").sources
    assert [source.task for source in sources] == ["G", "Q", "cells"]
    assert sources[-1].held_out == () and sources[-1].tuned_from == entry["base"]


def test_of_one_cell_the_confidence_is_borrowed_and_said_to_be(run, site, tmp_path):
    base = export_folder(run, tmp_path / "base")
    one = few(site, site.samples["cell"].unique()[:1])
    tuning, executor = carried_out(base, one, tmp_path / "runs")
    assert measure_tuning(tuning, executor, unseen_images(tuning, UNKNOWN)) is None
    notes = write_tuned(tuning, executor, None, tmp_path / "new")
    assert len(notes) == 2 and "the original model's" in notes[0] and "two cells" in notes[1]
    assert read_confidence(tmp_path / "new") == read_confidence(base)
    assert read_likeness(tmp_path / "new") is None
    identity = tuning.base.given.identity
    assert json.loads((tmp_path / "new" / "config.json").read_text())["bandbridge"]["confidence_of"] == identity
    assert f"`{identity}`, on its own images" in (tmp_path / "new" / "README.md").read_text()
    # Tuned again, it is still the first one's.
    tuning, executor = carried_out(tmp_path / "new", few(site, site.samples["cell"].unique()[1:2]), tmp_path / "runs")
    write_tuned(tuning, executor, None, tmp_path / "newer")
    facts = json.loads((tmp_path / "newer" / "config.json").read_text())["bandbridge"]
    assert facts["confidence_of"] == identity and [one["cells"] for one in facts["tuned_on"]] == [1, 1]
