"""Carry out planned runs, one after another in this process; whatever is done is passed, whatever was begun goes on."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from bandbridge import __version__
from bandbridge.dataset.contents import write_contents
from bandbridge.dataset.splits import write_split
from bandbridge.dataset.store import Store, build_store
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError, in_one_line
from bandbridge.evaluation.predictions import write_predictions
from bandbridge.files import write_json
from bandbridge.holding import Claim, claimed
from bandbridge.leftovers import clear_leftovers
from bandbridge.machine import usable_cores
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import (
    clear_head,
    find_imagenet_weights,
    load_imagenet_weights,
    normalisation,
    save_model,
    weights_folder,
)
from bandbridge.progress import format_duration, note
from bandbridge.seal import DONE, Done, file_hash, hashes_of, write_sealed
from bandbridge.study.drawn import Drawn
from bandbridge.study.ledger import CHECKPOINT, ENVIRONMENT, FAILED, HISTORY, PREDICTIONS, PROGRESS, Ledger
from bandbridge.study.resolve import TaskData
from bandbridge.study.run import PlannedRun, distinct
from bandbridge.study.schedule import schedule
from bandbridge.study.start import start_of, take_over
from bandbridge.study.tracking import Tracker, Tracking
from bandbridge.training.checkpoint import Snapshot, TrainingState
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import CHECKPOINT_INTERVAL_S, TrainingJob, run_generator, train
from bandbridge.training.recipe import Recipe

#: What a finished run holds, and its done.json the hash of.
PRODUCTS = (
    "run.json",
    "config.json",
    ENVIRONMENT,
    HISTORY,
    "best.safetensors",
    "last.safetensors",
    PREDICTIONS,
)


@dataclass
class Outcome:
    """What became of the runs of one call: names by kind, and whether time ran out.

    failed: by name, why. epochs: how many were trained.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, UserError] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    out_of_time: bool = False
    epochs: int = 0

    def add(self, other: Outcome) -> None:
        """Add what became of other runs."""
        self.done += other.done
        self.failed |= other.failed
        self.elsewhere += other.elsewhere
        self.waiting += other.waiting
        self.out_of_time |= other.out_of_time
        self.epochs += other.epochs


class Work(Protocol):
    """What an executor needs besides the runs, of a study or of anything else that is trained: the tasks' data."""

    @property
    def tasks(self) -> Mapping[str, TaskData]:
        """The data by the name of the task."""


@dataclass(frozen=True)
class Training:
    """A run's images, classes, model and job.

    weights: facts of the ImageNet weights that the model begins with. start: the SHA-256 of another model's weights
    where it begins with those.
    """

    store: Store
    classes: tuple[str, ...]
    model: torch.nn.Module
    job: TrainingJob
    weights: dict[str, Any] | None
    start: str | None = None


class _TakenOver(Exception):
    """The run is another process's by now."""


@dataclass
class Executor:
    """The local executor: run after run in this process.

    deadline: time.monotonic seconds after which no further epoch is begun. Ctrl-C stops at once; nothing that a
    checkpoint holds is lost. say: takes lines to keep (a run is done, or failed). show: takes the state after each
    epoch, for display in place. live: takes the state of all runs in training, a line for each, where there are several
    and somebody watches. threads: torch threads of a run that is begun on a CPU; one that goes on keeps those that it
    was begun with, for other threads add up in another order. None leaves them as they are. tracking: where the epochs
    are shown besides.
    """

    study: Work
    root: Path
    device: str = "auto"
    weights_dir: Path | None = None
    deadline: float | None = None
    checkpoint_interval: float = CHECKPOINT_INTERVAL_S
    say: Callable[[str], None] = note
    show: Callable[[str], None] = note
    live: Callable[[str], None] | None = None
    threads: int | None = None
    tracking: Tracking | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.root)
        self.tracker = Tracker(self.tracking, lambda line: self.say(line))
        open_fabric(self.device)  # a device that is not there is an error now, and not after the first store is built
        self._stores: dict[str, Store] = {}

    def require_weights(self, runs: Sequence[PlannedRun]) -> None:
        """Raise :class:`ManyErrors` naming all ImageNet weights that ``runs`` need and that cannot be had."""
        absent = self._absent_weights(runs)
        if absent:
            problems = [f"{name}: {error.message}" for name, error in absent.items()]
            remedy = next(iter(absent.values())).remedy + "\nOr leave their runs out with --skip-unavailable."
            error = ManyErrors("ImageNet weights are missing:", problems, remedy)
            if all(isinstance(each, EnvironmentFault) for each in absent.values()):
                error.exit_code = EnvironmentFault.exit_code
            raise error

    def available(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return ``runs`` without those whose ImageNet weights cannot be had, saying so once per architecture."""
        absent = self._absent_weights(runs)
        for name, error in absent.items():
            self.say(f"left out: the runs of {name} that begin with ImageNet weights: {error.message}")

        def has_weights(run: PlannedRun) -> bool:
            return (run.parent or run).record.init.kind != "imagenet" or run.architecture not in absent

        return [run for run in runs if has_weights(run)]

    def _absent_weights(self, runs: Sequence[PlannedRun]) -> dict[str, UserError]:
        """Look for the weights of every pending ImageNet run: better to stop now than after hours of training."""
        pending = [run for run in runs if self.ledger.state(run).kind != "done"]
        needed = {run.architecture: run for run in pending if run.record.init.kind == "imagenet"}
        if needed:
            weights_folder(self.weights_dir)  # a wrong folder is an error of its own
        absent: dict[str, UserError] = {}
        for name, run in needed.items():
            try:
                find_imagenet_weights(find_architecture(run.record.architecture), self.weights_dir)
            except UserError as error:
                absent[name] = error
        return absent

    def run(self, runs: Sequence[PlannedRun]) -> Outcome:
        """Carry out ``runs``, given parents first. A run that fails is recorded and does not stop the others.

        What another process holds is passed, and so are its children:
        :func:`bandbridge.study.rounds.in_rounds` comes back to them.
        """
        outcome = Outcome()
        pending = [run for run in distinct(runs) if self.ledger.state(run).kind != "done"]
        clock = Clock(pending, self.ledger)
        for number, run in enumerate(pending, start=1):
            if not self.carry_out(run, f"[{number}/{len(pending)}] {run.name}", clock, outcome):
                break
        return outcome

    def carry_out(self, run: PlannedRun, label: str, clock: Clock, outcome: Outcome) -> bool:
        """Train ``run`` unless its parent or another process stands in the way; False when time ran out.

        Adds what became of it to ``outcome``. Raises :class:`EnvironmentFault` for what would stop other runs too.
        """
        if run.parent is not None and self.ledger.state(run.parent).kind != "done":
            outcome.waiting.append(run.name)
            return True
        with claimed(self.ledger.folder(run)) as claim:
            if claim is None:
                outcome.elsewhere.append(run.name)
                return True
            if self.ledger.state(run).kind == "done":  # another process finished it since the plan was read
                return True
            try:
                finished = self._train(run, label, clock, outcome, claim)
            except _TakenOver:
                self.say(f"{label}: left to another process, which took it over while this one was silent")
                outcome.elsewhere.append(run.name)
                return True
            except UserError as error:
                if not concerns_one_run(error):
                    raise
                self.record_failure(run, error)  # before another process can claim it
                self.say(f"{label}: failed: {in_one_line(error.message, error.remedy)}")
                self.tracker.show(run, status="FAILED")
                outcome.failed[run.name] = error
                return True
        if finished:
            outcome.done.append(run.name)
        else:
            outcome.out_of_time = True
        return finished

    def _train(self, run: PlannedRun, label: str, clock: Clock, outcome: Outcome, claim: Claim) -> bool:
        folder = self.ledger.folder(run)
        if self.deadline is not None and time.monotonic() > self.deadline:
            return False
        for left in (folder / FAILED, folder / DONE):  # of a failure, and of a run to be made again
            left.unlink(missing_ok=True)
        clear_leftovers(folder, claimed=True)
        write_json(folder / "run.json", run.describe())

        def report(entry: dict[str, float]) -> None:
            if not claim.stands():  # before the last epoch's results are kept, too
                raise _TakenOver
            clock.tick(run, entry)
            outcome.epochs += 1
            self.show(f"{label}: {epoch_line(entry, run.record.recipe)}; {clock.left()}")
            self.tracker.show(run, [entry])

        with _threads(self.threads_of(run)):
            result = self.train_here(run, self.prepare(run), report)
        if result is None:
            self.tracker.show(run, status="SCHEDULED")
            return False
        self.say(f"{label}: done; {result}")
        self.tracker.show_finished([run], self.ledger)
        return True

    def threads_of(self, run: PlannedRun) -> int | None:
        """Torch threads that ``run`` is trained with here; None: as many as torch has at the moment."""
        if self.threads is not None and self.ledger.state(run).epochs:
            begun = self.ledger.threads(run)
            if begun is not None and 1 <= begun <= usable_cores():
                return begun
        return self.threads

    def train_here(self, run: PlannedRun, training: Training, report: Callable[[dict[str, float]], None]) -> str | None:
        """Train ``run`` and keep its results; returns what came of it, in words, or None when time ran out."""
        return self.train_on(open_fabric(self.device, run.record.precision, training.model), run, training, report)

    def train_on(
        self, fabric: Fabric, run: PlannedRun, training: Training, report: Callable[[dict[str, float]], None]
    ) -> str | None:
        """:meth:`train_here` on the device of ``fabric``; of several processes, the first writes and reports."""
        folder, first = self.ledger.folder(run), fabric.is_global_zero
        if first:
            write_json(folder / "config.json", _config(run, training))
            # For whom, too: not in run.json, which goes with an exported model, and a path may name somebody.
            made_for = {"study": run.study, "data": run.data}
            facts = {**environment(fabric), **made_for, "imagenet_weights": training.weights}
            write_json(folder / ENVIRONMENT, facts)

        def note_epoch(entry: dict[str, float]) -> None:
            if first:
                facts = {"architecture": run.architecture, "image_size": run.record.preparation.size}
                write_json(folder / PROGRESS, {**facts, **entry})
                report(entry)

        state, last = train(
            training.model,
            training.job,
            fabric,
            folder / CHECKPOINT,
            deadline=self.deadline,
            report=note_epoch,
            checkpoint_interval=self.checkpoint_interval,
        )
        if last is None:
            return None
        if first:
            self._keep_results(run, folder, training, state, last)
        fabric.barrier()
        return _result_line(state, last, run.record.recipe)

    def store(self, task: str) -> Store:
        """The prepared images of ``task``, made first where they are not there; split and contents are kept too."""
        if task not in self._stores:
            data = self.study.tasks[task]
            if data.dataset is None or data.contents is None:
                raise UserError(f"the dataset {data.spec.named} of task {task} was not found")
            self._stores[task] = build_store(data.dataset, data.preparation, self.root / ".stores", data.fingerprint)
            write_contents(data.contents, self.root)
            if data.split is not None:
                path = self.root / ".splits" / f"{task}-{data.split.hash[:12]}.json"
                if not path.exists():
                    write_split(data.split, path)
        return self._stores[task]

    def prepare(self, run: PlannedRun) -> Training:
        """Make the model of ``run`` with its initial weights, and open its images."""
        record, store, weights, begun_with = run.record, self.store(run.task), None, None
        data = self.study.tasks[run.task]
        architecture = find_architecture(record.architecture)
        model = create_model(
            architecture, len(data.classes), record.preparation.size, run_generator(run.id, "initialisation")
        )
        mean, std = normalisation(architecture, self.weights_dir)
        if record.init.kind == "imagenet":
            found = load_imagenet_weights(model, architecture, self.weights_dir)
            mean, std, weights = found.mean, found.std, vars(found)
        elif record.init.kind == "run" and record.init.head:
            start = start_of(run, self.ledger)
            mean, std = take_over(model, start, record.init.head)
            begun_with = file_hash(start.weights)
        if record.init.head == "new":
            clear_head(model)
        training, held_out = data.rows(record.fold, store.samples, record.recipe.objective)
        targets = store.targets_among(data.classes)
        if record.recipe.objective != "classes":
            targets = np.zeros_like(targets)  # a training without labels is not even given them
        if record.labels == "shuffled":
            targets = dealt_out(targets, training, record.seed)
        renewal = Drawn.of(data.dataset, training, store, data.classes)
        job = TrainingJob(run.id, record.recipe, store.images, targets, training, held_out, mean, std, renewal)
        return Training(store, data.classes, model, job, weights, begun_with)

    def _keep_results(
        self,
        run: PlannedRun,
        folder: Path,
        training: Training,
        state: TrainingState,
        last: Snapshot,
    ) -> None:
        """Write the run's products, ``done.json`` last; the checkpoint is no longer needed then."""
        held_out = training.job.held_out_rows
        best = state.best or last
        write_json(folder / HISTORY, state.history)
        metadata = {
            "architecture": run.record.architecture,
            "run": run.id,
            "classes": json.dumps(training.classes),
        }
        for name, snapshot in (("best", best), ("last", last)):
            save_model(snapshot.weights, folder / f"{name}.safetensors", {**metadata, "epoch": str(snapshot.epoch)})
        if len(held_out):
            frame = predictions_frame(training.store, held_out, {"best": best, "last": last}, training.classes)
            write_predictions(folder / PREDICTIONS, frame)
        done = Done(
            id=run.id,
            epochs=state.epoch,
            best_epoch=best.epoch,
            micro_batch=state.micro_batch,
            files=hashes_of(folder, PRODUCTS),
            start=training.start,
        )
        write_sealed(folder / DONE, done.model_dump())
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def record_failure(self, run: PlannedRun, error: UserError) -> None:
        """Leave in the folder of ``run`` why it failed."""
        write_json(self.ledger.folder(run) / FAILED, {"message": error.message, "remedy": error.remedy})


def dealt_out(targets: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return ``targets``, int64 [N], with those of ``rows``, int64 positions, in an order that ``seed`` draws."""
    shuffled = targets.copy()
    shuffled[rows] = np.random.default_rng(seed).permutation(targets[rows])
    return shuffled


def predictions_frame(
    store: Store, rows: np.ndarray, snapshots: dict[str, Snapshot], classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the table of ``predictions.parquet``: the held-out ``rows`` once for each checkpoint of ``snapshots``.

    classes: of the model, where they are others than those of the ``store``.
    """
    samples = store.samples.iloc[rows].rename(columns={"file_name": "image"})
    columns = [f"logit_{name}" for name in (store.classes if classes is None else classes)]
    parts = []
    for checkpoint, snapshot in snapshots.items():
        facts = samples[["image", "cell", "patient", "label"]].reset_index(drop=True).assign(checkpoint=checkpoint)
        logits = pd.DataFrame(snapshot.logits.numpy().astype(np.float32), columns=columns)
        parts.append(pd.concat([facts, logits], axis=1))
    return pd.concat(parts, ignore_index=True)


def environment(fabric: Fabric) -> dict[str, Any]:
    """Return what ran: versions, devices, precision and threads of each process."""
    packages = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "scikit-learn", "pandas", "pillow")
    several = f"{fabric.world_size} x " if fabric.world_size > 1 else ""
    device = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else platform.processor()
    return {
        "bandbridge": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "system": platform.platform(),
        # Several are another device to whoever compares speeds.
        "device": f"{several}{fabric.device.type} {device}".strip(),
        "devices": fabric.world_size,
        "precision": str(fabric._precision.precision),
        "threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _config(run: PlannedRun, training: Training) -> dict[str, Any]:
    return {
        "architecture": run.record.architecture,
        "classes": list(training.classes),
        "preparation": training.store.preparation.model_dump(),
        "mean": list(training.job.mean),
        "std": list(training.job.std),
    }


def concerns_one_run(error: UserError) -> bool:
    """Whether other runs may still succeed: a full disk or an unreachable hub would stop them all."""
    return not isinstance(error, EnvironmentFault | ManyErrors)


def epoch_line(entry: dict[str, Any], recipe: Recipe) -> str:
    """Return one epoch's history ``entry`` in words; ``recipe``: of the training."""
    line = f"epoch {entry['epoch']:.0f}/{recipe.epochs}, loss {entry['training_loss']:.3f}"
    if recipe.objective != "classes":
        line += " without labels, so no accuracy"
    if "held_out_accuracy" in entry:
        line += f", held-out accuracy {entry['held_out_accuracy']:.1%}"
    return f"{line}, {entry['images_per_second']:.0f} images/s"


def _result_line(state: TrainingState, last: Snapshot, recipe: Recipe) -> str:
    if recipe.objective != "classes":
        return f"trained without labels, loss {state.history[-1]['training_loss']:.3f}; it has no accuracy"
    if state.best is None or "held_out_accuracy" not in state.history[-1]:
        return "trained on every image"
    return f"held-out accuracy {last.accuracy:.1%} (best {state.best.accuracy:.1%} in epoch {state.best.epoch})"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch have ``count`` threads, and give it back those that it had."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Clock:
    """Time left, from epochs left and how long one of each task and architecture takes, with labels or without.

    at_once: how many runs are trained side by side. ranks: of ``runs``, in what order they are begun, as of
    :func:`bandbridge.study.schedule.schedule`.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], ledger: Ledger, at_once: int = 1, ranks: Sequence[int] | None = None
    ) -> None:
        self._epochs = {run.id: run.record.recipe.epochs - ledger.state(run).epochs for run in runs}
        self._runs = {run.id: run for run in runs}
        self._ranks = dict(zip(self._runs, ranks if ranks is not None else range(len(runs)), strict=True))
        self._seconds: dict[tuple[str, str, str], float] = {}
        self._at_once = at_once

    def tick(self, run: PlannedRun, entry: dict[str, Any]) -> None:
        """Note that ``run`` has come to the epoch of this history ``entry``."""
        self._epochs[run.id] = run.record.recipe.epochs - int(entry["epoch"])
        self._seconds[_alike(run)] = entry["seconds"]
        # Whatever is in training is not begun after others.
        self._ranks[run.id] = -1

    def drop(self, run: PlannedRun) -> None:
        """Note that nothing more is to be done for ``run``."""
        self._epochs[run.id] = 0

    def left(self) -> str:
        """ "about 12 min left"; "at least" while some task and architecture has not been timed yet."""
        runs = [self._runs[name] for name, epochs in self._epochs.items() if epochs > 0]
        position = {run.id: index for index, run in enumerate(runs)}
        each = [self._seconds.get(_alike(run)) for run in runs]
        if runs and not any(each):
            return "time left not known yet"
        left = schedule(
            [self._epochs[run.id] * (seconds or 0.0) for run, seconds in zip(runs, each, strict=True)],
            [position.get(run.parent.id) if run.parent else None for run in runs],
            self._at_once,
            [self._ranks[run.id] for run in runs],
        )
        return f"{'at least' if None in each else 'about'} {format_duration(left.makespan)} left"


def _alike(run: PlannedRun) -> tuple[str, str, str]:
    """What runs have in common whose epochs take equally long."""
    return run.task, run.architecture, run.record.recipe.objective
