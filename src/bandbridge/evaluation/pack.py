"""A study's evidence in one small file: what every finished run predicts, and what it was.

A pack is a zip of ``pack.json`` and, for each run and packed checkpoint, ``logits/<run id>-<checkpoint>.npy``: float16
[N, C], a row for each image that the run's fold holds out, in the order in which ``pack.json`` lists the images of the
task, once for all runs. ``ro-crate-metadata.json`` tells other programs what it is (``crate.py``; earlier packs have
none), and ``report.html`` is the study's report where that was asked for; no number is read from either. The last 64
bytes, the comment of the zip, are the SHA-256 of all that is before them. One content gives the same bytes wherever
zlib does.

Of each image the largest logit is 0 and the others are what they are below it: that leaves every probability as it is,
and halves are finest near 0. One differs from what it was made of by at most 2^-11 of it, below 2^-14 by at most 2^-24,
and none that was below 0 becomes 0: the class that wins is the same, and with it accuracy and every F1. What is below
-65504, the least half, is kept as that.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from bandbridge.errors import UserError
from bandbridge.evaluation.crate import CRATE, crate_of
from bandbridge.evaluation.predictions import APPROACHES, RunPredictions
from bandbridge.files import canonical_json, parse_json, read_regular, replacing
from bandbridge.seal import AlteredError, parsed

FORMAT = "bandbridge pack 1"
_FACTS = "pack.json"
#: What people read, and no number comes from.
REPORT = "report.html"
_NO_PACK = "Write it with 'bandbridge study pack', or copy it again."
_SEAL = 64
_SIGNATURE = b"PK\x03\x04"
#: Of the file, and of what ``pack.json`` unpacks to: a study of 330 runs on 8,000 images takes 15 MB, and 1 MB.
MAX_BYTES, _MAX_FACTS = 2**27, 2**26
#: The header of a .npy, which numpy pads to a multiple of 64 bytes.
_NPY_HEADER = 128
#: All members have the time that a zip begins with: the same content is the same file.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

#: What reading a zip that nobody wrote as one may raise.
_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, KeyError),
)

RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Checkpoint = Literal["best", "last"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackedTask(_Frozen):
    """A task with its images, as its split divides them.

    dataset: as the study file names it; fingerprint: of its content. images, cells, patients, labels and folds have an
    entry for each image: names ("" where a cell or patient is unknown), a place in ``classes``, and the fold that holds
    the image out.
    """

    name: str
    band: str
    dataset: str
    fingerprint: str
    scheme: str
    split_folds: int = Field(ge=2)
    split: str
    classes: tuple[str, ...] = Field(min_length=2)
    images: tuple[str, ...]
    cells: tuple[str, ...]
    patients: tuple[str, ...]
    labels: tuple[int, ...]
    folds: tuple[int, ...]

    @model_validator(mode="after")
    def _columns_agree(self) -> PackedTask:
        columns = (self.cells, self.patients, self.labels, self.folds)
        if any(len(column) != len(self.images) for column in columns):
            raise ValueError("the images do not all have a cell, a patient, a label and a fold")
        if not all(0 <= label < len(self.classes) for label in self.labels):
            raise ValueError("a label is none of the classes")
        if len(set(self.images)) < len(self.images) or len(set(self.classes)) < len(self.classes):
            raise ValueError("an image or a class is named twice")
        return self

    def held_out(self, fold: int) -> np.ndarray:
        """Return the places int64 [N] of the images that ``fold`` holds out."""
        return np.flatnonzero(np.array(self.folds, dtype=np.int64) == fold)

    @cached_property
    def facts(self) -> pd.DataFrame:
        """The columns ``image``, ``cell``, ``patient`` and ``label`` (text) of a table of predictions, in order."""
        labels = [self.classes[label] for label in self.labels]
        return pd.DataFrame({"image": self.images, "cell": self.cells, "patient": self.patients, "label": labels})


class PackedRun(_Frozen):
    """A finished run in its place in the study: what ``run.json`` says of it, and how it was made.

    versions: of Python, Bandbridge and the packages of the run's environment. device: "" where it is not known.
    best_epoch: counted from 1. seconds: of all its epochs, None where they are not known. started: when it was begun or
    last went on, UTC as in ISO 8601; "" where that is not known. checkpoints: whose predictions are packed, none of a
    run that no table reports.
    """

    id: RunId
    task: str
    architecture: str
    approach: str
    intermediate: str
    fold: int | None
    parent: str | None
    record: dict[str, Any]
    versions: dict[str, str]
    device: str
    epochs: int = Field(ge=0)
    best_epoch: int = Field(ge=0)
    seconds: float | None = Field(ge=0, allow_inf_nan=False)
    started: str = ""
    checkpoints: tuple[Checkpoint, ...]

    def member(self, checkpoint: str) -> str:
        """Return the name of the logits of ``checkpoint`` in the zip."""
        return f"logits/{self.id}-{checkpoint}.npy"


class PackFacts(_Frozen):
    """What ``pack.json`` says. study_file: its text. folds: those that the study trains. planned: how many trainings.

    seed: of the study; tables seed their intervals from it.
    """

    format: Literal["bandbridge pack 1"] = "bandbridge pack 1"
    study: str
    study_file: str
    protocol: Literal["paper", "strict"]
    seed: int
    folds: tuple[int, ...]
    planned: int = Field(ge=0)
    tasks: tuple[PackedTask, ...]
    runs: tuple[PackedRun, ...]

    @model_validator(mode="after")
    def _runs_have_tasks(self) -> PackFacts:
        named = {task.name for task in self.tasks}
        for run in self.runs:
            if run.checkpoints and (run.task not in named or run.fold is None or run.approach not in APPROACHES):
                raise ValueError(f"run {run.id} is of no task, fold or approach that there is")
        return self

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """The finished trainings: places of a study may share one."""
        return frozenset(run.id for run in self.runs)

    @property
    def complete(self) -> bool:
        """Whether every training of the study is in."""
        return len(self.run_ids) == self.planned

    def task(self, name: str) -> PackedTask:
        """Return the task of that name."""
        return next(task for task in self.tasks if task.name == name)

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return the rows and columns of every member that holds logits."""
        found: dict[str, tuple[int, int]] = {}
        for run in self.runs:
            for checkpoint in run.checkpoints:
                task = self.task(run.task)
                found[run.member(checkpoint)] = (len(task.held_out(run.fold or 0)), len(task.classes))
        return found


@dataclass(frozen=True, eq=False)
class Pack:
    """What a pack holds. logits: float16 [N, C] by the name of its member, see :meth:`PackedRun.member`."""

    facts: PackFacts
    logits: Mapping[str, np.ndarray]

    def predictions(self) -> list[RunPredictions]:
        """Return the runs with predictions; of the float32 logits of an image the largest is 0."""
        found = []
        for run in self.facts.runs:
            if not run.checkpoints or run.fold is None:
                continue
            task = self.facts.task(run.task)
            held_out = task.facts.iloc[task.held_out(run.fold)].reset_index(drop=True)
            names = [f"logit_{name}" for name in task.classes]
            parts = []
            for checkpoint in sorted(run.checkpoints):
                logits = pd.DataFrame(self.logits[run.member(checkpoint)].astype(np.float32), columns=names)
                parts.append(pd.concat([held_out.assign(checkpoint=checkpoint), logits], axis=1))
            frame = pd.concat(parts, ignore_index=True)
            place = (run.task, task.band, run.architecture, run.approach, run.intermediate, run.fold)
            found.append(RunPredictions(*place, frame))
        return found


def to_halves(logits: np.ndarray) -> np.ndarray:
    """Return ``logits`` real [N, C] minus the largest of their row, as float16: see the top of this module.

    Raises :class:`ValueError` for values that are not finite.
    """
    below = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(below).all():
        raise ValueError("logits that are not finite cannot be packed")
    below = below - below.max(axis=1, keepdims=True)
    halves = np.maximum(below, -float(np.finfo(np.float16).max)).astype(np.float16)
    return np.where((below < 0) & (halves == 0), -np.finfo(np.float16).smallest_subnormal, halves)


def write_pack(path: Path, pack: Pack, report: bytes | None = None) -> int:
    """Write ``pack`` to ``path``, whole or not at all; returns its size in bytes.

    report: a page of HTML to put in. Raises :class:`ValueError` where the logits are not those that its facts speak of,
    :class:`UserError` where it is larger than :func:`read_pack` would read.
    """
    shapes = pack.facts.shapes()
    if {name: values.shape for name, values in pack.logits.items()} != shapes:
        raise ValueError("the logits are not those of the runs and images that the pack names")
    members = {_FACTS: canonical_json(pack.facts.model_dump(mode="json")).encode()}
    for name, values in pack.logits.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.ascontiguousarray(values, dtype="<f2"), (1, 0), allow_pickle=False)
        members[name] = stream.getvalue()
    if report is not None:
        members[REPORT] = report
    crate = crate_of(pack.facts, {name: len(content) for name, content in members.items()}, REPORT, _FACTS)
    members[CRATE] = (json.dumps(crate, indent=1, ensure_ascii=False) + "\n").encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, members[name], compresslevel=9)
        archive.comment = b"0" * _SEAL
    data = stream.getvalue()[:-_SEAL]
    data += hashlib.sha256(data).hexdigest().encode()
    if len(data) > MAX_BYTES or len(members[_FACTS]) > _MAX_FACTS:
        raise UserError(f"a pack of {len(data)} bytes is larger than any that is read", "Pack a smaller study.")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read_pack(path: Path) -> Pack:
    """Return what :func:`write_pack` wrote to ``path``.

    Raises :class:`UserError` when there is no such file, or it is none of ours, :class:`AlteredError` when a byte of it
    was changed, :class:`bandbridge.errors.EnvironmentFault` when it cannot be read. Nothing is unpacked before its
    size was compared with what ``pack.json`` leads to expect, and nothing is unpickled.
    """
    try:
        data = read_regular(path, MAX_BYTES, f"No pack is as large. {_NO_PACK}")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no pack {path}", "Write it with 'bandbridge study pack'.") from None
    _require_sealed(data, path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_members(archive, path)
    except _FAULTS as fault:
        raise UserError(f"{path} is no pack of a study: {fault}", _NO_PACK) from fault


def _require_sealed(data: bytes, path: Path) -> None:
    seal = data[-_SEAL:]
    if not data.startswith(_SIGNATURE) or len(seal) < _SEAL or not set(seal) <= set(b"0123456789abcdef"):
        raise UserError(f"{path} is no pack of a study, or was cut short", _NO_PACK)
    if hashlib.sha256(data[:-_SEAL]).hexdigest().encode() != seal:
        raise AlteredError(f"{path} was altered after it was written: its own hash disagrees", _NO_PACK)


def _read_members(archive: zipfile.ZipFile, path: Path) -> Pack:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) < len(archive.infolist()) or _FACTS not in entries:
        raise ValueError(f"it holds a file twice, or no {_FACTS}")
    value = parse_json(_unpacked(archive, entries[_FACTS], _MAX_FACTS))
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{_FACTS} is not in the format {FORMAT!r}")
    facts = parsed(PackFacts, value, path, _NO_PACK)
    shapes = facts.shapes()
    if shapes.keys() | {_FACTS} != entries.keys() - {CRATE, REPORT}:
        raise ValueError("its files are not those of the runs that it names")
    logits = {}
    for name, shape in shapes.items():
        content = _unpacked(archive, entries[name], _NPY_HEADER + 2 * shape[0] * shape[1])
        logits[name] = _halves(content, shape, name)
    return Pack(facts, logits)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Return a member that is of ``most`` bytes by its header: zipfile reads no more of it than the header says."""
    if entry.file_size > most or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is of {entry.file_size} bytes, more than the {most} of such a file")
    return archive.read(entry)


def _halves(content: bytes, shape: tuple[int, int], name: str) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    stated, by_columns, kind = np.lib.format.read_array_header_1_0(stream) if version == (1, 0) else ((), True, None)
    rest = content[stream.tell() :]
    if stated != shape or by_columns or kind != np.dtype("<f2") or len(rest) != 2 * shape[0] * shape[1]:
        raise ValueError(f"{name} holds no halves of {shape[0]} images and {shape[1]} classes")
    values = np.frombuffer(rest, dtype="<f2").reshape(shape)
    if not (values.max(axis=1, initial=-np.inf) == 0).all() or np.isinf(values).any():
        raise ValueError(f"{name} holds other values than 0 and what is below it")
    return values
