"""What is done and what is not, read from the run folders themselves; there is no other record to disagree with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter

from bandbridge.errors import UserError
from bandbridge.files import is_present, read_json
from bandbridge.leftovers import clear_leftovers
from bandbridge.seal import DONE, parsed, read_done, read_run
from bandbridge.study.run import PlannedRun

PROGRESS, FAILED, CHECKPOINT = "progress.json", "failed.json", "checkpoint.pt"
PREDICTIONS = "predictions.parquet"
ENVIRONMENT = "environment.json"
HISTORY = "history.json"


@dataclass(frozen=True)
class RunState:
    """``kind``: done, paused (some epochs finished), failed or pending. ``epochs``: how many are finished.

    ``message`` and ``remedy`` say why it failed.
    """

    kind: Literal["done", "paused", "failed", "pending"]
    epochs: int = 0
    message: str = ""
    remedy: str = ""


class Progress(BaseModel):
    """``progress.json``, the entry of the last epoch of a training: for display, and to tell how fast it goes."""

    architecture: str = ""
    image_size: int = Field(default=0, ge=0)
    epoch: int = Field(default=0, ge=0)
    images_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    training_loss: float = 0.0
    held_out_accuracy: float | None = None


class Epoch(BaseModel):
    """What an estimate needs of an entry of ``history.json``."""

    images_per_second: float = Field(ge=0, allow_inf_nan=False)
    seconds: float = Field(ge=0, allow_inf_nan=False)


class _Failure(BaseModel):
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class TrainingSpeed:
    """How fast one training went, and on what.

    architecture: timm's name and options, as in the run's record. images_per_second: the median of its epochs; of an
    unfinished run, the last. overhead: seconds beside its epochs, from the model's making to the last file; None where
    they cannot be told (it is unfinished, or was resumed). device, precision, threads: as in environment.json.
    """

    architecture: str
    image_size: int
    images_per_second: float
    finished: bool
    overhead: float | None
    device: str
    precision: str
    threads: int | None


@dataclass(frozen=True)
class OtherRun:
    """A finished run that is none of a study's. study, data: what it was made for, "" where it does not say."""

    id: str
    record: dict[str, Any]
    study: str
    data: str


class Ledger:
    """The run folders under one root, found by id wherever they lie: another study may have made them."""

    def __init__(self, root: Path) -> None:
        """Raises :class:`UserError` when ``root`` is something else than a folder."""
        if is_present(root) and not root.is_dir():
            raise UserError(f"{root} is not a folder", "Name the folder of the runs with --runs.")
        self.root = root
        self._known = {folder.name.rsplit("-", 1)[-1]: folder for folder in root.glob("*/*/*/*-*") if folder.is_dir()}

    def folder(self, run: PlannedRun) -> Path:
        """The folder that holds ``run``, or will: of runs with one id, the place of the first that is asked for."""
        return self._known.setdefault(run.id, run.folder(self.root))

    def state(self, run: PlannedRun) -> RunState:
        """How far ``run`` has come.

        A finished run whose predictions were deleted counts as unfinished: it is made again. Raises
        :class:`UserError` when what says that it is finished is damaged, or another run's.
        """
        folder = self.folder(run)
        if read_done(folder) is not None and (not run.predicts or (folder / PREDICTIONS).exists()):
            return RunState("done", run.record.recipe.epochs)
        begun = (folder / CHECKPOINT).exists()
        epochs = min(_read(Progress, folder / PROGRESS).epoch, run.record.recipe.epochs) if begun else 0
        if (folder / FAILED).exists():
            why = _read(_Failure, folder / FAILED)
            return RunState("failed", epochs, why.message, why.remedy)
        return RunState("paused" if begun else "pending", epochs)

    def clear_leftovers(self) -> None:
        """Remove what killed processes left half written in the folders of runs."""
        for folder in self._known.values():
            clear_leftovers(folder)

    def otherwise_prepared(self, run: PlannedRun) -> Path | None:
        """The folder of a finished run that differs from ``run`` in the preparation of images alone; None without one.

        Its parent, if it has one, may differ in the same way.
        """
        return next((folder for folder, _ in self._same_but_for(run, "preparation")), None)

    def of_other_sets(self, run: PlannedRun) -> Iterator[OtherRun]:
        """Yield the finished runs in the place of ``run`` that differ in their set, folds or parent alone."""
        for folder, record in self._same_but_for(run, "dataset", "split"):
            made = _read(_Environment, folder / ENVIRONMENT)
            yield OtherRun(folder.name.rpartition("-")[2], record, made.study, made.data)

    def holds(self, identity: str) -> bool:
        """Whether the run of this id has a folder here."""
        return identity in self._known

    def _same_but_for(self, run: PlannedRun, *fields: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the folder and the record of each finished run in the place of ``run`` that differs in these alone."""
        own = _without(run.record.model_dump(mode="json"), fields)
        for folder in sorted(run.folder(self.root).parent.glob(f"{run.name.rpartition('/')[2]}-*")):
            try:
                record = read_run(folder).get("record")
                if folder.name.endswith(run.id) or record is None or read_done(folder) is None:
                    continue
            except UserError:  # of no use to compare with
                continue
            if _without(record, fields) == own:
                yield folder, record

    def progress(self, run: PlannedRun) -> dict[str, Any]:
        """The history entry of the last epoch of ``run``; {} where there is none yet, or where the file is damaged."""
        path = self.folder(run) / PROGRESS
        found = _read(Progress, path)
        return found.model_dump(exclude_none=True) if found.epoch else {}

    def threads(self, run: PlannedRun) -> int | None:
        """The torch threads that ``run`` was begun with; None where that is not known."""
        return _read(_Environment, self.folder(run) / ENVIRONMENT).threads

    def speeds(self) -> list[TrainingSpeed]:
        """The speed of every run with a finished epoch, by folder."""
        found = (_speed(self._known[name]) for name in sorted(self._known))
        return [speed for speed in found if speed is not None]


def _without(record: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    return {**record, **dict.fromkeys(fields), "init": {**record.get("init", {}), "run": None}}


def _speed(folder: Path) -> TrainingSpeed | None:
    progress, ran = _read(Progress, folder / PROGRESS), _read(_Environment, folder / ENVIRONMENT)
    # progress.json has the name that the study calls it by.
    architecture = _read(_Config, folder / "config.json").architecture or progress.architecture
    finished = (folder / DONE).exists()
    epochs = history_of(folder) if finished else []
    rate = median(entry.images_per_second for entry in epochs) if epochs else progress.images_per_second
    if rate <= 0 or not architecture or not progress.image_size:  # rounded away, or damaged
        return None
    return TrainingSpeed(
        architecture,
        progress.image_size,
        rate,
        finished,
        _overhead(folder, sum(entry.seconds for entry in epochs)) if epochs else None,
        ran.device,
        ran.precision,
        ran.threads,
    )


_Kind = TypeVar("_Kind", bound=BaseModel)


def _read(kind: type[_Kind], path: Path) -> _Kind:
    """Return what ``path`` says for display and estimates; nothing where it is damaged: no result hangs on it."""
    try:
        return parsed(kind, read_json(path), path, "")
    except UserError:
        return kind()


class _Config(BaseModel):
    architecture: str = ""


class _Environment(BaseModel):
    device: str = ""
    precision: str = ""
    threads: int | None = None
    study: str = ""
    data: str = ""


def _overhead(folder: Path, trained: float) -> float | None:
    """Return the seconds between the first and the last file of a run, beside the ``trained`` ones of its epochs."""
    try:
        passed = (folder / DONE).stat().st_mtime - (folder / "run.json").stat().st_mtime
    except OSError:  # a folder copied in part
        return None
    # The first file is written anew when a run goes on, or a folder is copied: the time is then too short.
    return passed - trained if passed >= trained else None


def history_of(folder: Path) -> list[Epoch]:
    """Return how fast each epoch of the run in ``folder`` went; nothing where that is not known or damaged."""
    try:
        return TypeAdapter(list[Epoch]).validate_json((folder / HISTORY).read_bytes())
    except (OSError, ValueError):  # not for an estimate to complain of
        return []
