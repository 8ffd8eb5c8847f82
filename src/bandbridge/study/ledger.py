"""What is done and what is not, read from the run folders themselves; there is no other record to disagree with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from bandbridge.errors import UserError
from bandbridge.files import is_present, read_json
from bandbridge.leftovers import clear_leftovers
from bandbridge.study.run import PlannedRun

DONE, PROGRESS, FAILED, CHECKPOINT = "done.json", "progress.json", "failed.json", "checkpoint.pt"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class RunState:
    """``kind``: done, paused (some epochs finished), failed or pending. ``epochs``: how many are finished.

    ``message`` and ``remedy`` say why it failed.
    """

    kind: Literal["done", "paused", "failed", "pending"]
    epochs: int = 0
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
        """How far ``run`` has come."""
        folder = self.folder(run)
        if (folder / DONE).exists():
            return RunState("done", run.record.recipe.epochs)
        progress = read_json(folder / PROGRESS)
        epochs = int(progress.get("epoch", 0)) if (folder / CHECKPOINT).exists() else 0
        if (folder / FAILED).exists():
            why = read_json(folder / FAILED)
            return RunState("failed", epochs, str(why.get("message", "")), str(why.get("remedy", "")))
        return RunState("paused" if epochs else "pending", epochs)

    def clear_leftovers(self) -> None:
        """Remove what killed processes left half written in the folders of runs."""
        for folder in self._known.values():
            clear_leftovers(folder)

    def otherwise_prepared(self, run: PlannedRun) -> Path | None:
        """The folder of a finished run that differs from ``run`` in the preparation of images alone; None without one.

        Its parent, if it has one, may differ in the same way.
        """
        own = _without_preparation(run.record.model_dump(mode="json"))
        for folder in sorted(run.folder(self.root).parent.glob(f"{run.name.rpartition('/')[2]}-*")):
            record = read_json(folder / "run.json").get("record")
            if folder.name.endswith(run.id) or not isinstance(record, dict) or not (folder / DONE).exists():
                continue
            if _without_preparation(record) == own:
                return folder
        return None

    def speeds(self) -> list[TrainingSpeed]:
        """The speed of every run with a finished epoch, by folder."""
        found = (_speed(self._known[name]) for name in sorted(self._known))
        return [speed for speed in found if speed is not None]


def _without_preparation(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "preparation": None, "init": {**record.get("init", {}), "run": None}}


def _speed(folder: Path) -> TrainingSpeed | None:
    facts = read_json(folder / PROGRESS) | read_json(folder / "config.json")
    if not {"architecture", "image_size", "images_per_second"} <= facts.keys():
        return None
    finished = (folder / DONE).exists()
    epochs = _history(folder) if finished else []
    rate = median(entry["images_per_second"] for entry in epochs) if epochs else facts["images_per_second"]
    if rate <= 0:  # rounded away
        return None
    ran = read_json(folder / ENVIRONMENT)
    return TrainingSpeed(
        facts["architecture"],
        facts["image_size"],
        rate,
        finished,
        _overhead(folder, sum(entry["seconds"] for entry in epochs)) if epochs else None,
        ran.get("device", ""),
        ran.get("precision", ""),
        ran.get("threads"),
    )


def _overhead(folder: Path, trained: float) -> float | None:
    """Return the seconds between the first and the last file of a run, beside the ``trained`` ones of its epochs."""
    try:
        passed = (folder / DONE).stat().st_mtime - (folder / "run.json").stat().st_mtime
    except OSError:  # a folder copied in part
        return None
    # The first file is written anew when a run goes on, or a folder is copied: the time is then too short.
    return passed - trained if passed >= trained else None


def _history(folder: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not for an estimate to complain of
        return []
    timed = ("images_per_second", "seconds")
    return [entry for entry in found if all(name in entry for name in timed)] if isinstance(found, list) else []
