"""The evidence of a study as one small file, from its finished runs: written here, read by ``evaluation/pack.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from bandbridge.codes import Codes
from bandbridge.dataset.findings import counted
from bandbridge.errors import ManyErrors, UserError, first_few
from bandbridge.evaluation.pack import (
    Checkpoint,
    Pack,
    PackedRun,
    PackedTask,
    PackFacts,
    read_pack,
    to_halves,
    write_pack,
)
from bandbridge.evaluation.predictions import FACTS, class_names, logits_of
from bandbridge.files import is_present, read_regular
from bandbridge.seal import parsed, read_done, read_product, read_run, remake, require_unaltered
from bandbridge.study.held_out import held_out_predictions
from bandbridge.study.ledger import ENVIRONMENT, HISTORY, Ledger, history_of
from bandbridge.study.plan import Study
from bandbridge.study.resolve import TaskData
from bandbridge.study.run import PlannedRun, distinct
from bandbridge.study.written import MAX_BYTES


@dataclass(frozen=True)
class Packed:
    """What was written: how many trainings of how many, and the bytes of the file.

    kept: how many of the trainings are those of the pack that was there, and of no run folder.
    """

    runs: int
    planned: int
    size: int
    kept: int = 0


class _Environment(BaseModel):
    bandbridge: str = ""
    python: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    started: str = ""


def pack_study(study: Study, root: Path, path: Path, report: bytes | None = None, codes: Codes | None = None) -> Packed:
    """Write what the finished runs of ``study`` under ``root`` are and predict to ``path``: see :class:`Pack`.

    Packed are the predictions of the checkpoint that the protocol reports. Everything is read with its seal compared;
    the datasets must be at hand. Runs of a pack at ``path`` that are not under ``root`` are kept in it, so that a study
    may be trained in parts, in several places. report: a page of HTML to put in. codes: stand in the place of the names
    of images, cells and patients. Raises :class:`UserError` where no run is finished, a run is damaged or predicts
    other images than its fold holds, or ``path`` is no pack, one of finished runs that this study does not have, or of
    other images or names.
    """
    before = _packed_before(path)
    ledger = Ledger(root)
    facts = _facts(study, ledger)
    if not facts.runs:
        raise UserError(f"no run of {study.path} is finished in {root}", "Name the folder of its runs with --runs.")
    logits = _logits(study, ledger, facts)
    if codes is not None:
        facts = facts.model_copy(update={"tasks": tuple(_coded(task, codes) for task in facts.tasks)})
    whole = _with_kept(Pack(facts, logits), before, study)
    lost = sorted(before.facts.run_ids - whole.facts.run_ids) if before else []
    if lost and before and before.facts.study != facts.study:
        raise UserError(f"{path} is the pack of another study, {before.facts.study}", "Name another file with --out.")
    if lost:
        raise UserError(
            f"{path} holds {counted(len(lost), 'run')} that would be lost: {first_few(lost)}",
            "Name the folder that has these runs with --runs, or another file with --out.",
        )
    kept = len(whole.facts.run_ids - facts.run_ids)
    if kept and report is not None:
        raise UserError(
            f"{counted(kept, 'run')} of {path} are not in {root}, and a report would be without them",
            "Leave out --report, or name the folder that has all runs with --runs.",
        )
    size = write_pack(path, whole, report)
    return Packed(len(whole.facts.run_ids), facts.planned, size, kept)


def _packed_before(path: Path) -> Pack | None:
    """The pack that is to be written over; None where there is no file."""
    if not is_present(path):
        return None
    try:
        return read_pack(path)
    except UserError as fault:
        remedy = f"Name another file with --out, or move {path} away."
        raise UserError(f"what is there would be written over: {fault.message}", remedy) from fault


def _with_kept(fresh: Pack, before: Pack | None, study: Study) -> Pack:
    """``fresh`` with the runs of ``before`` that the study plans, on the same images, and that are not in it."""
    if before is None:
        return fresh
    same = {task.name for task in fresh.facts.tasks if task in before.facts.tasks}
    old = {(run.id, *_place(run).values()): run for run in before.facts.runs}
    new = {(run.id, *_place(run).values()): run for run in fresh.facts.runs}
    runs, logits = [], dict(fresh.logits)
    for planned in study.runs:
        place = (planned.id, *_place(planned).values())
        run = new.get(place) or old.get(place)
        if run is None or (place not in new and run.checkpoints and run.task not in same):
            continue
        runs.append(run)
        for member in () if place in new else map(run.member, run.checkpoints):
            logits[member] = before.logits[member]
    return Pack(fresh.facts.model_copy(update={"runs": tuple(runs)}), logits)


def _facts(study: Study, ledger: Ledger) -> PackFacts:
    targets = [task for task in study.tasks.values() if task.spec.target]
    return PackFacts(
        study=study.spec.name,
        study_file=read_regular(study.path, MAX_BYTES).decode("utf-8"),
        protocol=study.spec.protocol,
        seed=study.spec.seed,
        folds=study.spec.folds,
        planned=len(distinct(study.runs)),
        tasks=tuple(_task(task) for task in targets),
        runs=tuple(_runs(study, ledger, {task.name for task in targets})),
    )


def _task(task: TaskData) -> PackedTask:
    if task.dataset is None or task.split is None:
        raise UserError(f"the dataset of task {task.name} is not here", "Name its folder with --data-dir.")
    samples = task.dataset.samples
    return PackedTask(
        name=task.name,
        band=task.spec.band,
        dataset=task.spec.named,
        fingerprint=task.fingerprint,
        scheme=task.split.scheme,
        split_folds=task.split.folds,
        split=task.split.hash,
        classes=task.classes,
        images=tuple(samples["file_name"]),
        cells=tuple(samples["cell"]),
        patients=tuple(samples["patient"]),
        labels=tuple(task.classes.index(label) for label in samples["label"]),
        folds=tuple(task.split.assignment.tolist()),
    )


def _coded(task: PackedTask, codes: Codes) -> PackedTask:
    named = {"images": "file", "cells": "cell", "patients": "patient"}
    return task.model_copy(
        update={
            column: tuple(codes.code(kind, name) for name in getattr(task, column)) for column, kind in named.items()
        }
    )


def _runs(study: Study, ledger: Ledger, targets: set[str]) -> Iterator[PackedRun]:
    reported: Checkpoint = "best" if study.spec.protocol == "paper" else "last"
    for run in study.runs:
        folder = ledger.folder(run)
        done = read_done(folder)
        if done is None or ledger.state(run).kind != "done":
            continue
        facts = read_run(folder)
        if not facts:
            raise UserError(f"{folder} has no run.json", remake(folder))
        ran = parsed(_Environment, read_product(folder / ENVIRONMENT), folder / ENVIRONMENT, remake(folder))
        require_unaltered(folder / HISTORY)
        epochs = history_of(folder)
        versions = {"bandbridge": ran.bandbridge, "python": ran.python, **ran.packages}
        yield PackedRun(
            id=run.id,
            **_place(run),
            parent=run.record.init.run,
            record=facts["record"],
            versions={name: version for name, version in versions.items() if version},
            device=ran.device,
            epochs=done.epochs,
            best_epoch=done.best_epoch,
            seconds=round(sum(epoch.seconds for epoch in epochs), 3) if epochs else None,
            started=ran.started,
            checkpoints=(reported,) if run.predicts and run.task in targets else (),
        )


def _place(run: PlannedRun | PackedRun) -> dict[str, Any]:
    names = ("task", "architecture", "approach", "intermediate", "fold")
    return {name: getattr(run, name) for name in names}


def _logits(study: Study, ledger: Ledger, facts: PackFacts) -> Mapping[str, np.ndarray]:
    packed = {(run.task, run.architecture, run.approach, run.intermediate, run.fold): run for run in facts.runs}
    found, problems = {}, []
    for run, fold, frame in held_out_predictions(study, ledger):
        kept = packed.get(tuple(_place(run).values()))
        if kept is None:  # it was finished since
            continue
        for checkpoint in kept.checkpoints:
            try:
                found[kept.member(checkpoint)] = _in_order(frame, checkpoint, facts.task(run.task), fold)
            except ValueError as fault:
                problems.append(f"{ledger.folder(run)}: {fault}")
    if problems:
        raise ManyErrors(
            "predictions of some runs cannot be packed:",
            problems,
            "Move these folders away and run the same study command again: they are made again.",
        )
    return found


def _in_order(frame: pd.DataFrame, checkpoint: str, task: PackedTask, fold: int) -> np.ndarray:
    """The logits of ``checkpoint`` as halves, in the order of the task's images."""
    rows = frame.loc[frame["checkpoint"] == checkpoint].set_index("image", drop=False)
    held_out = task.facts.iloc[task.held_out(fold)]
    if class_names(frame) != task.classes or set(rows.index) != set(held_out["image"]):
        raise ValueError("it predicts other images or classes than its fold and task have")
    rows = rows.loc[held_out["image"].tolist()]
    if not (rows[list(FACTS)].to_numpy() == held_out[list(FACTS)].to_numpy()).all():
        raise ValueError("it has other labels, cells or patients than the dataset")
    return to_halves(logits_of(rows, checkpoint)[1])
