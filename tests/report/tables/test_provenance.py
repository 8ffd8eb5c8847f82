"""What a report says of data, splits, machines and runs, against the files that it speaks of."""

from __future__ import annotations

import json

import pytest

from bandbridge.dataset.store import dataset_fingerprint
from bandbridge.report.sections.cautions import read_environments
from bandbridge.report.tables.provenance import dataset_table, machine_table, provenance_tables, run_table, split_table
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture
def opened(small_study):
    return open_study(small_study.path), Ledger(small_study.runs)


def test_datasets_with_their_fingerprints_and_counts(opened):
    study, _ = opened
    data = dataset_table(study).data.set_index("task")
    dataset = study.tasks["Q"].dataset
    assert data.loc["Q", "fingerprint"] == dataset_fingerprint(dataset)
    assert data.loc["Q", "images"] == len(dataset.samples)
    assert data.loc["Q", "cells"] == 4 and data.loc["G", "role"] == "intermediate only"
    assert (
        data.loc["Q", "preparation"] == "size 64, crop foreground, scale cell, views both, contrast cell, upright True"
    )


def test_split_sizes_add_up_to_the_images(opened):
    study, _ = opened
    (row,) = split_table(study).data.to_dict("records")
    assert row["hash"] == study.tasks["Q"].split.hash
    assert sum(int(size) for size in row["held out"].split(", ")) == len(study.tasks["Q"].dataset.samples)


def test_every_run_with_its_state_and_the_time_of_its_history(opened):
    study, ledger = opened
    data = run_table(study, ledger).data.set_index("run")
    assert len(data) == len(study.runs) and set(data["state"]) == {"done"}
    run = next(run for run in study.runs if run.approach == "two-step")
    history = json.loads((ledger.folder(run) / "history.json").read_text())
    assert data.loc[run.name, "parent"] == run.parent.id
    assert data.loc[run.name, "epochs"] == len(history) == 3
    assert abs(data.loc[run.name, "seconds"] - sum(epoch["seconds"] for epoch in history)) <= 0.5


def test_machines_are_counted_by_what_the_runs_recorded(opened):
    study, ledger = opened
    environments = read_environments([ledger.folder(run) for run in study.runs])
    data = machine_table([*environments, {"device": "cuda", "packages": {"torch": "9.9"}}]).data
    assert data["runs"].tolist() == [len(study.runs), 1]
    assert data["device"].tolist() == ["cpu", "cuda"] and data.loc[1, "packages"] == "torch 9.9"


def test_absent_data_and_unfinished_runs_are_said(small_study, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(small_study.path.read_text())
    study = open_study(path, need_data=False)
    tables = {table.name: table for table in provenance_tables(study, Ledger(tmp_path / "runs"), [])}
    assert set(tables) == {"datasets", "runs"}
    assert tables["datasets"].data["fingerprint"].tolist() == ["absent:q", "absent:g"]
    assert set(tables["runs"].data["state"]) == {"pending"}
