"""A study's finished runs as one file: everything that counts is in it, and nothing that was packed is lost."""

import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.finished import seal
from tests.made_up import MACHINE

from bandbridge.codes import Codes
from bandbridge.errors import ManyErrors, UserError
from bandbridge.evaluation.pack import read_pack
from bandbridge.evaluation.predictions import logits_of, read_predictions, write_predictions
from bandbridge.report.contrasts import differences_table
from bandbridge.report.effects import measure_effects
from bandbridge.report.scores import fold_scores
from bandbridge.report.study import study_predictions, table_context
from bandbridge.seal import AlteredError
from bandbridge.study.pack import pack_study
from bandbridge.study.plan import open_study

UNFINISHED = ("Q/test_resnet/domain/fold3", "Q/test_resnet/scratch/fold2")


def test_a_pack_holds_what_its_runs_are(made_up, tmp_path):
    study, runs = made_up(intermediate_rows="all")
    packed = pack_study(study, runs, tmp_path / "p.zip")
    facts = read_pack(tmp_path / "p.zip").facts
    # Four folds of two approaches, and one model of G, trained on all of it.
    assert (packed.runs, packed.planned) == (9, 9) and facts.complete
    assert packed.size == (tmp_path / "p.zip").stat().st_size
    assert facts.study_file == study.path.read_text() and facts.protocol == "strict" and facts.folds == (0, 1, 2, 3)
    for run in study.runs:
        (kept,) = [one for one in facts.runs if one.id == run.id]
        assert kept.record == run.record.model_dump(mode="json") and kept.parent == run.record.init.run
        assert (kept.task, kept.approach, kept.fold) == (run.task, run.approach, run.fold)
        assert kept.checkpoints == (("last",) if run.task == "Q" else ())
        assert kept.versions == {"bandbridge": "1", "torch": "2", "timm": "1"}
        assert (kept.seconds, kept.epochs, kept.best_epoch, kept.device) == (3.0, 1, 1, "cpu")
    (task,) = facts.tasks
    samples, split = study.tasks["Q"].dataset.samples, study.tasks["Q"].split
    assert list(task.images) == list(samples["file_name"]) and list(task.patients) == list(samples["patient"])
    assert list(task.cells) == list(samples["cell"]) and [task.classes[label] for label in task.labels] == list(
        samples["label"]
    )
    assert list(task.folds) == split.assignment.tolist() and task.split == split.hash


@pytest.mark.parametrize(("protocol", "checkpoint"), [("strict", "last"), ("paper", "best")])
def test_scores_and_gains_of_a_pack_are_those_of_its_runs(made_up, tmp_path, protocol, checkpoint):
    study, runs = made_up(protocol=protocol)
    pack_study(study, runs, tmp_path / "p.zip")
    packed, own = read_pack(tmp_path / "p.zip").predictions(), study_predictions(study, runs)
    assert len(packed) == len(own) == 8
    for ours, theirs in zip(packed, own, strict=True):
        assert str(ours) == str(theirs) and set(ours.predictions["checkpoint"]) == {checkpoint}
        # An oracle of its own: the share of right answers of the parquet, by hand.
        whole = theirs.predictions.loc[theirs.predictions["checkpoint"] == checkpoint].set_index("image")
        guess = whole.filter(like="logit_").idxmax(axis=1).str.removeprefix("logit_")
        truth, logits, classes = logits_of(ours.predictions, checkpoint)
        again = np.array(classes)[logits.argmax(axis=1)]
        assert (again == guess.loc[ours.predictions["image"]]).all(), "no image changes its class"
        assert (np.array(classes)[truth] == whole.loc[ours.predictions["image"], "label"]).all()
    context = replace(table_context(study), bootstrap_iterations=200)
    scores, expected = fold_scores(packed), fold_scores(own)
    expected = expected.loc[expected["checkpoint"] == checkpoint].reset_index(drop=True)
    names = ["accuracy", "macro_f1"]
    pd.testing.assert_frame_equal(scores.drop(columns="auc_ovr"), expected.drop(columns="auc_ovr"))
    assert scores[names].nunique().min() > 1
    assert np.abs(scores["auc_ovr"] - expected["auc_ovr"]).max() < 1e-3
    assert differences_table(scores, context).data.equals(differences_table(expected, context).data)
    effects = [measure_effects(scores, packed, context, 4), measure_effects(expected, own, context, 4)]
    pd.testing.assert_frame_equal(effects[0].comparisons, effects[1].comparisons)


def test_equal_runs_make_equal_files(made_up, tmp_path):
    study, runs = made_up()
    for name in ("a.zip", "b.zip"):
        pack_study(study, runs, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_unfinished_study_grows_and_loses_nothing(made_up, tmp_path, bandbridge):
    study, runs = made_up(unfinished=UNFINISHED)
    out = tmp_path / "sub" / "p.zip"
    command = ("study", "pack", study.path, "--runs", runs, "--out", out)
    said = bandbridge(*command)
    assert said.code == 0 and f"{out}: 10 of 12 runs, " in said.out
    before = out.read_bytes()
    facts = read_pack(out).facts
    assert not facts.complete and len(facts.run_ids) == 10 and facts.planned == 12
    assert bandbridge(*command).code == 0 and out.read_bytes() == before, "nothing new, nothing changed"
    shutil.rmtree(tmp_path / "q"), shutil.rmtree(tmp_path / "g"), study.path.unlink()
    whole = made_up()
    assert pack_study(whole.study, whole.runs, out).runs == 12
    assert facts.run_ids < read_pack(out).facts.run_ids


def test_a_study_trained_in_parts_is_packed_by_turns_as_if_it_were_trained_in_one_place(made_up, tmp_path, bandbridge):
    """Half of the runs are in one folder, half in another; the last pack is byte for byte that of all of them."""
    study, runs = made_up()
    whole, parts = tmp_path / "whole.zip", tmp_path / "parts.zip"
    pack_study(study, runs, whole)
    elsewhere = tmp_path / "elsewhere"
    for run in study.runs[::2]:
        target = elsewhere / run.folder(runs).relative_to(runs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(run.folder(runs), target)
    command = ("study", "pack", study.path, "--out", parts, "--runs")
    first, second = bandbridge(*command, runs), bandbridge(*command, elsewhere)
    assert first.code == second.code == 0 and f"{parts}: 6 of 12 runs, " in first.out and "kept" not in first.out
    assert f"{parts}: 12 of 12 runs, 6 of them kept from the pack that was there, " in second.out
    assert parts.read_bytes() == whole.read_bytes()
    refused = bandbridge(*command, elsewhere, "--report")
    assert refused.code == 2 and f"6 runs of {parts} are not in {elsewhere}" in refused.err
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("changed", ["another recipe", "codes"])
def test_runs_of_another_study_or_under_other_names_are_not_kept_and_not_lost(made_up, tmp_path, changed):
    study, runs = made_up()
    out = tmp_path / "p.zip"
    pack_study(study, runs, out)
    before = out.read_bytes()
    if changed == "another recipe":
        shutil.rmtree(tmp_path / "q"), shutil.rmtree(tmp_path / "g"), study.path.unlink()
        study, runs = made_up(recipe={"base": "fast", "epochs": 3})
        count = 12
    else:
        shutil.rmtree(next(run for run in study.runs if run.name == "Q/test_resnet/scratch/fold0").folder(runs))
        count = 1
    with pytest.raises(UserError, match=rf"holds {count} runs? that would be lost"):
        pack_study(study, runs, out, codes=Codes(bytes(32)) if changed == "codes" else None)
    assert out.read_bytes() == before


def test_the_pack_of_another_study_is_named_and_not_written_over(made_up, tmp_path):
    study, runs = made_up(name="first")
    out = tmp_path / "p.zip"
    pack_study(study, runs, out)
    before = out.read_bytes()
    shutil.rmtree(tmp_path / "q"), shutil.rmtree(tmp_path / "g"), study.path.unlink()
    study, runs = made_up(name="second", recipe={"base": "fast", "epochs": 3})
    with pytest.raises(UserError, match=r"is the pack of another study, first") as caught:
        pack_study(study, runs, out)
    assert caught.value.remedy == "Name another file with --out." and out.read_bytes() == before


def test_what_is_no_pack_is_not_written_over(made_up, tmp_path):
    study, runs = made_up()
    out = tmp_path / "notes.zip"
    out.write_text("notes")
    with pytest.raises(UserError, match=r"would be written over: .*notes\.zip is no pack") as caught:
        pack_study(study, runs, out)
    assert out.read_text() == "notes" and "--out" in caught.value.remedy


def test_there_is_nothing_to_pack(made_up, tmp_path):
    study, runs = made_up()
    shutil.rmtree(runs)
    with pytest.raises(UserError, match=r"no run of .*study\.yaml is finished"):
        pack_study(study, runs, tmp_path / "p.zip")
    assert not (tmp_path / "p.zip").exists()


@pytest.mark.parametrize("name", ["run.json", "environment.json", "history.json", "predictions.parquet"])
def test_an_altered_run_is_not_packed(made_up, tmp_path, name):
    study, runs = made_up(unfinished=UNFINISHED)
    path = study.runs[0].folder(runs) / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(AlteredError, match=f"{name} was altered"):
        pack_study(study, runs, tmp_path / "p.zip")
    assert not (tmp_path / "p.zip").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda frame: frame.loc[frame["image"] != frame["image"].iloc[0]], "other images or classes than its fold"),
        (lambda frame: frame.assign(cell="elsewhere"), "other labels, cells or patients than the dataset"),
    ],
)
def test_runs_that_agree_with_one_another_and_not_with_the_set(made_up, tmp_path, change, reason):
    study, runs = made_up()
    folders = [run.folder(runs) for run in study.runs if run.task == "Q" and run.fold == 1]
    for folder in folders:
        frame = change(read_predictions(folder / "predictions.parquet"))
        write_predictions(folder / "predictions.parquet", frame.reset_index(drop=True))
        seal(folder)
    with pytest.raises(ManyErrors, match=reason) as caught:
        pack_study(study, runs, tmp_path / "p.zip")
    assert [line.partition(": ")[0] for line in caught.value.problems] == list(map(str, folders))
    assert not (tmp_path / "p.zip").exists()


def test_runs_that_know_neither_their_time_nor_their_versions(made_up, tmp_path):
    study, runs = made_up(machines=[{**MACHINE, "packages": {}, "bandbridge": ""}])
    for run in study.runs:
        (run.folder(runs) / "history.json").write_text(json.dumps([{"epoch": 1}]))
        seal(run.folder(runs), run.id)
    pack_study(study, runs, tmp_path / "p.zip")
    assert {(run.seconds, len(run.versions)) for run in read_pack(tmp_path / "p.zip").facts.runs} == {(None, 0)}


def test_runs_of_a_set_that_is_not_here(made_up, tmp_path):
    study, runs = made_up()
    shutil.rmtree(tmp_path / "q")
    absent = open_study(study.path, need_data=False)
    with pytest.raises(UserError, match="the dataset of task Q is not here") as caught:
        pack_study(absent, runs, tmp_path / "p.zip")
    assert "--data-dir" in caught.value.remedy


def test_under_codes_no_name_is_in_it_and_every_score_is_the_same(made_up, tmp_path, bandbridge):
    study, runs = made_up()
    pack_study(study, runs, tmp_path / "plain.zip")
    codes = Codes(bytes(32))
    pack_study(study, runs, tmp_path / "coded.zip", codes=codes)
    plain, coded = (read_pack(tmp_path / name) for name in ("plain.zip", "coded.zip"))
    names = dict(codes.names())
    for before, after in zip(plain.facts.tasks, coded.facts.tasks, strict=True):
        for column in ("images", "cells", "patients"):
            assert [names[code] for code in getattr(after, column)] == list(getattr(before, column))
    scores = [
        [one.predictions.drop(columns=["image", "cell", "patient"]) for one in p.predictions()] for p in (plain, coded)
    ]
    for first, second in zip(*scores, strict=True):
        pd.testing.assert_frame_equal(first, second)
    with zipfile.ZipFile(tmp_path / "coded.zip") as packed:
        told = b"".join(packed.read(name) for name in packed.namelist())
    patients = {name for name in study.tasks["Q"].dataset.samples["patient"] if name}
    assert patients and not any(
        name.encode() in told for name in [*patients, *study.tasks["Q"].dataset.samples["file_name"]]
    )


def test_the_key_of_a_packs_codes_lies_beside_it_and_a_report_stays_out(made_up, tmp_path, bandbridge):
    study, runs = made_up()
    given = ("study", "pack", study.path, "--data-dir", study.path.parent, "--runs", runs, "--out", tmp_path / "p.zip")
    refused = bandbridge(*given, "--de-identify", "--report")
    assert refused.code == 2 and "may name" in refused.err and not (tmp_path / "p.zip").exists()
    made = bandbridge(*given, "--de-identify")
    assert made.code == 0 and "do not pass it on" in made.err and (tmp_path / "p-codes" / "codes.key").is_file()
    again = (tmp_path / "p.zip").read_bytes()
    assert bandbridge(*given, "--de-identify").code == 0 and (tmp_path / "p.zip").read_bytes() == again
