"""Everything needed to repeat a study, as tables: datasets, splits, machines and versions, every run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table
from bandbridge.seal import read_done
from bandbridge.study.ledger import Ledger, history_of
from bandbridge.study.plan import Study
from bandbridge.study.run import PlannedRun

_SHORT = 12  # hexadecimal digits that a reader compares; the CSV files hold all


def provenance_tables(study: Study, ledger: Ledger, environments: Sequence[dict[str, Any]]) -> list[Table]:
    """Return the tables datasets, splits, machines and runs; one without rows is left out."""
    tables = [dataset_table(study), split_table(study), machine_table(environments), run_table(study, ledger)]
    return [table for table in tables if table.rows]


def dataset_table(study: Study) -> Table:
    """Return each task's dataset with its counts, preparation and fingerprint."""
    records = []
    for task in study.tasks.values():
        samples = task.dataset.samples if task.dataset else None
        changed = task.preparation.model_dump(exclude_defaults=True)
        records.append(
            {
                "task": task.name,
                "dataset": task.spec.named,
                "role": "target" if task.spec.target else "intermediate only",
                "images": None if samples is None else len(samples),
                "cells": _groups(samples, "cell"),
                "patients": _groups(samples, "patient"),
                "classes": None if samples is None else samples["label"].nunique(),
                "preparation": ", ".join(f"{name} {value}" for name, value in changed.items()),
                "fingerprint": task.fingerprint,
            }
        )
    titles = ("Task", "Dataset", "Role", "Images", "Cells", "Patients", "Classes", "Preparation", "Fingerprint")
    return _table(
        "datasets",
        "Datasets",
        "What each task trains and is evaluated on. The fingerprint is a SHA-256 over names, labels and contents; a "
        "dash: not known.",
        titles,
        records,
        numbers=("images", "cells", "patients", "classes"),
    )


def split_table(study: Study) -> Table:
    """Return how each target is divided into folds."""
    records = []
    for task in study.tasks.values():
        if task.split is None or not task.spec.target:
            continue
        sizes = np.bincount(task.split.assignment, minlength=task.split.folds)
        records.append(
            {
                "task": task.name,
                "divided by": task.split.scheme,
                "folds": task.split.folds,
                "seed": task.split.seed,
                "held out": ", ".join(f"{size:,}" for size in sizes),
                "hash": task.split.hash,
            }
        )
    return _table(
        "splits",
        "Splits",
        "Which groups are never divided between folds, and how many images each fold holds out. 'bandbridge study "
        "split' writes them as files.",
        ("Task", "Divided by", "Folds", "Seed", "Images held out", "Hash"),
        records,
        numbers=("folds", "seed"),
    )


def machine_table(environments: Sequence[dict[str, Any]]) -> Table:
    """Return each combination of machine and versions with the number of runs made there."""
    counts = Counter(json.dumps(_machine(one)) for one in environments if one)
    records = [{"runs": number, **json.loads(text)} for text, number in counts.most_common()]
    return _table(
        "machines",
        "Machines and versions",
        "As each finished run recorded them when it started.",
        ("Runs", "Device", "Precision", "Threads", "System", "Bandbridge", "Python", "Packages"),
        records,
        numbers=("runs", "threads"),
    )


def run_table(study: Study, ledger: Ledger) -> Table:
    """Return every planned run: its name, id, parent, state, epochs and training time."""
    records = [_run(run, ledger) for run in study.runs]
    return _table(
        "runs",
        "Runs",
        "Every training of the study. A run's id is the hash of all that decides it; its folder's name ends in it.",
        ("Run", "Id", "Parent", "State", "Epochs", "Best epoch", "Images/s", "Seconds"),
        records,
        numbers=("epochs", "best epoch", "images/s", "seconds"),
    )


def _run(run: PlannedRun, ledger: Ledger) -> dict[str, Any]:
    folder, state = ledger.folder(run), ledger.state(run)
    epochs = history_of(folder)
    seconds = sum(epoch.seconds for epoch in epochs)
    rate = epochs[-1].images_per_second if epochs else None
    done = read_done(folder) if state.kind == "done" else None
    return {
        "run": run.name,
        "id": run.id,
        "parent": run.parent.id if run.parent else "",
        "state": state.kind,
        "epochs": state.epochs,
        "best epoch": done.best_epoch if done else None,
        "images/s": None if rate is None else round(rate),
        "seconds": round(seconds) if seconds else None,
    }


def _machine(environment: dict[str, Any]) -> dict[str, Any]:
    packages = environment.get("packages", {})
    return {
        "device": environment.get("device", ""),
        "precision": environment.get("precision", ""),
        "threads": environment.get("threads"),
        "system": environment.get("system", ""),
        "bandbridge": environment.get("bandbridge", ""),
        "python": environment.get("python", ""),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }


def _groups(samples: pd.DataFrame | None, column: str) -> int | None:
    if samples is None or (samples[column] == "").all():
        return None
    return int(samples.loc[samples[column] != "", column].nunique())


def _table(
    name: str,
    title: str,
    sentence: str,
    titles: Sequence[str],
    records: Sequence[dict[str, Any]],
    numbers: Sequence[str],
) -> Table:
    fields = list(records[0]) if records else []
    columns = tuple(
        Column(title, align="right" if field in numbers else "left")
        for title, field in zip(titles, fields, strict=False)
    )
    rows = tuple(Row(tuple(_cells(record, numbers))) for record in records)
    return Table(name, title, sentence, columns, rows, pd.DataFrame(list(records)))


def _cells(record: dict[str, Any], numbers: Sequence[str]) -> Iterator[Cell]:
    for field, value in record.items():
        if value is None or value == "":
            yield Cell(MISSING)
        elif field in ("fingerprint", "hash"):
            yield Cell(str(value) if str(value).startswith("absent") else str(value)[:_SHORT])
        elif field in numbers:
            yield Cell(f"{value:,}" if field != "seed" else str(value))
        else:
            yield Cell(str(value))
