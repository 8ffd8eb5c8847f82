"""What models were trained on: runs, what came before, exported models of this build and earlier ones; who saw what."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.finished import unseal, with_record

from bandbridge.api.model import load_model
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.export.folder import export_folder
from bandbridge.predict.trained_on import (
    Source,
    TrainedOn,
    keep_trained_on,
    notes_on_stain,
    notes_on_training,
    read_trained_on,
    remark_on_training,
    write_trained_on,
)
from bandbridge.seal import AlteredError
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture(scope="module")
def study(small_study):
    return open_study(small_study.path)


@pytest.fixture(scope="module")
def folders(small_study, study):
    ledger = Ledger(small_study.runs)
    return {f"{run.task}/{run.approach}": ledger.folder(run) for run in study.runs}


def files_of(dataset, names):
    return {hashlib.sha256((dataset.path / name).read_bytes()).hexdigest()[:16] for name in names}


def test_a_run_was_trained_on_all_but_its_fold_and_on_what_its_parent_was(study, folders):
    q, g = study.tasks["Q"], study.tasks["G"]
    trained = {}
    for name, task in (("Q/two-step", q), ("G/imagenet", g)):
        held_out = set(read_predictions(folders[name] / "predictions.parquet")["image"])
        trained[name] = [file for file in task.dataset.samples["file_name"] if file not in held_out]
    found = read_trained_on(folders["Q/two-step"])
    assert found.files_known
    expected = files_of(q.dataset, trained["Q/two-step"]) | files_of(g.dataset, trained["G/imagenet"])
    assert found.digests == expected and len(expected) == 92 + 46
    before, own = found.sources
    assert (before.dataset, before.task, before.stain) == (g.fingerprint, "G", "G")
    assert (own.dataset, own.task, own.stain, own.tuned_from) == (q.fingerprint, "Q", "Q", "")
    assert (own.images, own.cells, own.epochs) == (92, 2, 3) and len(own.held_out) == 92
    rows = q.dataset.samples.set_index("file_name").loc[trained["Q/two-step"]]
    assert own.patients == rows["patient"].nunique()


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_of_few_labelled_cells_was_trained_on_no_others(study, small_study, tmp_path, kept):
    """Two cells are left to train on; of one, which the seed of the division puts first, everything else is not seen.

    Where the division is not kept, it is not known which cell that was.
    """
    shutil.copytree(small_study.runs, tmp_path / "runs")
    run = next(run for run in study.runs if (run.task, run.approach) == ("Q", "imagenet"))
    folder = Ledger(tmp_path / "runs").folder(run)
    facts = json.loads((folder / "run.json").read_text())
    folder = with_record(folder, {**facts, "record": {**facts["record"], "cells": 1}})
    if not kept:
        shutil.rmtree(tmp_path / "runs" / ".splits")
    held_out = set(read_predictions(folder / "predictions.parquet")["image"])
    samples = study.tasks["Q"].dataset.samples
    training = samples.loc[~samples["file_name"].isin(held_out)]
    names = sorted(set(training["cell"]))
    first = names[np.random.default_rng(study.tasks["Q"].split.seed).permutation(len(names))[0]]
    shown = set(training.loc[training["cell"] == first, "file_name"])
    found = read_trained_on(folder)
    (source,) = found.sources
    if kept:
        assert len(names) == 2 and (source.cells, source.images) == (1, 46)
        assert set(source.held_out) == set(samples["file_name"]) - shown
        assert found.files_known and found.digests == files_of(study.tasks["Q"].dataset, shown)
    else:
        assert (source.cells, source.images, source.held_out) == (None, None, None) and not found.files_known


def test_an_exported_model_says_the_same_as_its_run(folders, tmp_path):
    run = folders["Q/two-step"]
    out = export_folder(run, tmp_path / "model")
    assert read_trained_on(out) == read_trained_on(run)
    value = json.loads((out / "training.json").read_text())
    assert set(value) == {"version", "sources", "files", "files_known", "sha256"} and value["version"] == 1
    assert value["files"] == sorted(value["files"])


def test_a_model_of_an_earlier_build_opens_and_says_what_little_it_knows(study, folders, tmp_path):
    out = export_folder(folders["Q/imagenet"], tmp_path / "model")
    for name in ("training.json", "SHA256SUMS"):
        (out / name).unlink(missing_ok=True)
    found = read_trained_on(out)
    assert not found.files_known and not found.digests
    (source,) = found.sources
    assert source.dataset == study.tasks["Q"].fingerprint and source.held_out is None
    seen = found.seen(source.dataset, ["any", "other"], ["0" * 64, "1" * 64])
    assert seen.tolist() == [True, True]


def test_runs_of_an_earlier_build_tell_by_names(study, small_study, tmp_path):
    shutil.copytree(small_study.runs, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / ".datasets")
    shutil.rmtree(tmp_path / "runs" / ".stores")
    ledger = Ledger(tmp_path / "runs")
    run = next(run for run in study.runs if run.approach == "two-step")
    found = read_trained_on(ledger.folder(run))
    task = study.tasks["Q"]
    assert not found.files_known and len(found.sources) == 2 and found.sources[1].images is None
    held_out = set(read_predictions(ledger.folder(run) / "predictions.parquet")["image"])
    names = task.dataset.samples["file_name"].tolist()
    seen = found.seen(task.fingerprint, names, task.dataset.content_hashes())
    assert seen.tolist() == [name not in held_out for name in names]
    shutil.rmtree(ledger.folder(run.parent))
    assert [source.task for source in read_trained_on(ledger.folder(run)).sources] == ["Q"]


def oracle(trained: TrainedOn, dataset: str, name: str, digest: str) -> bool:
    """In words of the docstring, one image at a time."""
    if digest and digest[:16] in trained.digests:
        return True
    if digest and trained.files_known:
        return False
    sources = [source for source in trained.sources if source.dataset == dataset]
    return any(source.held_out is None or name not in source.held_out for source in sources)


def test_who_has_seen_what_against_one_image_at_a_time():
    chance = random.Random(0)
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(8)]
    names = [f"{number}.png" for number in range(8)]
    answers = set()
    for held_out, known in itertools.product((None, (), tuple(names[:3]), tuple(names)), (True, False)):
        sources = (Source(dataset="A", held_out=held_out), Source(dataset="B", held_out=()))
        kept = frozenset(digest[:16] for digest in chance.sample(digests, 4))
        trained = TrainedOn(sources, kept, known)
        for dataset, _ in itertools.product(("A", "B", "C"), range(5)):
            given = [chance.choice([*digests, digests[0][:16], "", "f" * 64]) for _ in names]
            found = trained.seen(dataset, names, given)
            expected = [oracle(trained, dataset, *pair) for pair in zip(names, given, strict=True)]
            assert found.dtype == bool and found.tolist() == expected
            answers |= set(expected)
    assert answers == {True, False}
    assert trained.seen("A", [], []).tolist() == []
    with pytest.raises(ValueError, match="names and"):
        trained.seen("A", names, digests[:2])


def test_a_file_is_known_again_under_another_name_in_another_set(study, folders):
    found, dataset = read_trained_on(folders["Q/imagenet"]), study.tasks["Q"].dataset
    held_out = set(read_predictions(folders["Q/imagenet"] / "predictions.parquet")["image"])
    names = dataset.samples["file_name"].tolist()
    seen = found.seen("another set", [f"copy of {name}" for name in names], dataset.content_hashes())
    assert seen.tolist() == [name not in held_out for name in names]


@pytest.mark.parametrize("text", ["{", '{"version": 2, "sources": [], "files": [], "files_known": true}', "[1]"])
def test_a_damaged_record_is_named_with_its_remedy(folders, tmp_path, text):
    out = export_folder(folders["Q/imagenet"], tmp_path / "model")
    (out / "training.json").write_text(text)
    with pytest.raises(AlteredError, match=r"training\.json was altered"):
        read_trained_on(out)
    unseal(out)
    with pytest.raises(UserError, match=r"training\.json is damaged") as caught:
        read_trained_on(out)
    assert caught.value.remedy == "Export the model again."


def test_a_record_that_was_edited_is_refused_by_its_own_hash(folders, tmp_path):
    out = export_folder(folders["Q/imagenet"], tmp_path / "model")
    text = (out / "training.json").read_text()
    unseal(out)
    (out / "training.json").write_text(text.replace('"epochs": 3', '"epochs": 4'))
    assert (out / "training.json").read_text() != text
    with pytest.raises(AlteredError, match=r"training\.json was altered after it was written"):
        read_trained_on(out)


def test_a_damaged_run_and_a_folder_that_is_none_are_said_to_be_so(folders, tmp_path):
    folder = tmp_path / "runs" / "Q" / "net" / "imagenet" / "fold0-x"
    shutil.copytree(folders["Q/imagenet"], folder)
    facts = json.loads((folder / "run.json").read_text())
    del facts["record"]["preparation"]
    with_record(folder, facts)
    with pytest.raises(UserError, match=r"run\.json is damaged") as caught:
        read_trained_on(folder)
    assert f"delete {folder}" in caught.value.remedy
    with pytest.raises(UserError, match="neither a run nor an exported model"):
        read_trained_on(tmp_path)


def test_a_run_that_starts_from_itself_is_damaged(folders, tmp_path):
    folder = tmp_path / "runs" / "Q" / "net" / "two-step" / "fold0-abc"
    shutil.copytree(folders["Q/two-step"], folder)
    facts = json.loads((folder / "run.json").read_text())
    facts["record"]["init"]["run"] = "abc"
    with_record(folder, facts)
    with pytest.raises(UserError, match="starts from itself"):
        read_trained_on(folder)


def test_what_a_model_from_elsewhere_was_trained_on_is_kept_and_not_forgotten(tmp_path):
    full = TrainedOn((Source(dataset="A", held_out=()),), frozenset({"0" * 16}), True)
    poor = TrainedOn((Source(dataset="A"),), frozenset(), False)
    path = tmp_path / ".models" / "sha256-00ff.json"
    keep_trained_on(poor, tmp_path, "sha256:00ff")
    keep_trained_on(full, tmp_path, "sha256:00ff")
    before = path.read_bytes()
    keep_trained_on(poor, tmp_path, "sha256:00ff")
    assert path.read_bytes() == before
    write_trained_on(full, tmp_path / "same.json")
    assert (tmp_path / "same.json").read_bytes() == before


def test_it_needs_no_torch():
    code = "import sys, bandbridge.predict.trained_on; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_whether_all_of_it_was_drawn_is_known_and_told(folders, tmp_path):
    """The sets of these runs are drawn; of one real source among them the model has seen something real."""
    trained = read_trained_on(folders["Q/two-step"])
    assert trained.drawn_alone and all(source.drawn for source in trained.sources)
    real = TrainedOn((*trained.sources, Source(dataset="another")), trained.digests, True)
    write_trained_on(real, tmp_path / "training.json")
    assert remark_on_training([trained]).startswith("Sorted by a model that has seen drawn chromosomes alone")
    assert remark_on_training([trained, real]) == remark_on_training([]) == ""
    assert not real.drawn_alone and not TrainedOn((), frozenset(), True).drawn_alone
    folder = export_folder(folders["Q/two-step"], tmp_path / "model")
    assert read_trained_on(folder) == trained
    (first, *_) = load_model(folder).notes()
    assert first.startswith("trained on drawn chromosomes alone, no real one was seen")
    both = load_model([folder, folders["G/imagenet"]]).notes()
    assert any(line.startswith("1 of the models") or line.startswith("trained on drawn") for line in both)


def test_notes_name_other_stains_and_what_was_drawn_of_several():
    def model(stain, drawn=False):
        return TrainedOn(
            (Source(dataset="first", stain="Q"), Source(dataset=stain, stain=stain, drawn=drawn)), frozenset(), True
        )

    drawn = TrainedOn((Source(dataset="d", stain="G", drawn=True),), frozenset(), True)
    assert list(notes_on_training([model("G")])) == list(notes_on_stain([model("G")], {"G", ""})) == []
    (strange,) = notes_on_stain([model("G")], {"Q"})
    assert strange == "warning: these images are said to be of stain Q, and the model was trained on G"
    (mixed,) = notes_on_training([model("G"), model("Q")])
    assert "different stains, G and Q" in mixed
    (some,) = notes_on_training([drawn, model("G")])
    assert some.startswith("1 of the models were trained on drawn")
    assert list(notes_on_stain([model("")], {"Q"})) == [], "it is not known what it was trained on"
