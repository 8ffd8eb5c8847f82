"""How long the pending runs will take: image passes over a measured speed, laid out over the devices."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning_fabric import Fabric

from bandbridge.errors import UserError
from bandbridge.model.architectures import build_shapes, create_model, find_architecture
from bandbridge.study.execute import environment
from bandbridge.study.ledger import Ledger, TrainingSpeed
from bandbridge.study.plan import Study
from bandbridge.study.run import PlannedRun, distinct
from bandbridge.study.schedule import Schedule, critical_path, enough_devices, schedule
from bandbridge.study.side_by_side import Sharing
from bandbridge.training.device import Precision, open_fabric
from bandbridge.training.loop import TrainingJob, train
from bandbridge.training.recipe import Recipe

#: A forward pass without gradients costs about a third of a training step.
_EVALUATION_SHARE = 1 / 3
_LEAST_S, _MOST_STEPS = 1.0, 1_000_000
#: Images of a study none of whose datasets is here.
_USUAL_IMAGES = 5000


@dataclass(frozen=True)
class Rate:
    """The speed assumed for an architecture, and the seconds that a run of it takes beside its epochs.

    source: where they come from, in words.
    """

    images_per_second: float
    overhead: float
    source: str


@dataclass(frozen=True)
class Estimate:
    """How long the pending runs take.

    runs: each training once, in the order of the plan. seconds: what each takes, in that order, beside the others
    on its device. work: device-seconds of all of them. chain: seconds of the longest chain of runs, each of which
    starts from the one before. enough: the fewest devices that come within 5% of ``chain``. rates: by architecture.
    sharing: how the runs share this machine; None where they are trained elsewhere.
    """

    runs: tuple[PlannedRun, ...]
    seconds: tuple[float, ...]
    schedule: Schedule
    work: float
    chain: float
    enough: int
    rates: Mapping[str, Rate]
    sharing: Sharing | None = None

    @property
    def makespan(self) -> float:
        """The wall time, seconds."""
        return self.schedule.makespan


def estimate(
    study: Study,
    runs: Sequence[PlannedRun],
    ledger: Ledger,
    device: str = "auto",
    devices: int = 1,
    runs_per_device: int = 1,
    ranks: Sequence[int] | None = None,
) -> Estimate:
    """Return the time that the pending ``runs`` will take on ``devices`` devices like this machine's ``device``.

    On a CPU a device is as many cores as torch has threads. ranks: of the distinct ``runs``, as of
    :func:`bandbridge.study.schedule.schedule`.

    Speeds come from runs already made at this size in this setting (device, precision and, on CPUs, torch threads of
    this process), else from training for a second on noise. Runs that share a device are assumed to gain nothing by
    it: with ``runs_per_device`` k, each takes k times as long as alone. Runs whose dataset is absent count as if they
    had as many images as the largest present one; parents that are not among ``runs`` count as done. Preparing the
    images and starting worker processes is not counted. Raises :class:`UserError` for a device that is not there
    and for an architecture that cannot take the image size.
    """
    pending = distinct(runs)
    speeds = ledger.speeds()
    rates: dict[str, Rate] = {}
    for run in pending:
        if run.architecture not in rates:
            name, size = run.record.architecture, study.spec.image_size
            fabric = _fabric(name, size, device, study.spec.precision)
            rates[run.architecture] = _rate(name, size, speeds, fabric, run.record.recipe)
    alone = [_seconds_left(study, run, ledger, rates[run.architecture]) for run in pending]
    position = {run.id: index for index, run in enumerate(pending)}
    parents = [position.get(run.parent.id) if run.parent else None for run in pending]
    seconds = [runs_per_device * each for each in alone]
    return Estimate(
        runs=tuple(pending),
        seconds=tuple(seconds),
        schedule=schedule(seconds, parents, devices * runs_per_device, ranks),
        work=sum(alone),
        chain=critical_path(seconds, parents),
        enough=enough_devices(seconds, parents, runs_per_device),
        rates=rates,
    )


def _fabric(architecture: str, size: int, device: str, precision: Precision) -> Fabric:
    """The device at the precision that a training of ``architecture`` has on it."""
    try:
        model = build_shapes(find_architecture(architecture), 24, size)
    except UserError as error:
        raise UserError(f"{architecture} at {size} px: {error.message}", error.remedy) from error
    return open_fabric(device, precision, model)


def _in_setting(speeds: Sequence[TrainingSpeed], fabric: Fabric) -> list[TrainingSpeed]:
    """Those measured on this kind of device, at its precision; threads matter where they do the computing."""
    here = environment(fabric)
    return [
        speed
        for speed in speeds
        if (speed.device, speed.precision) == (here["device"], here["precision"])
        and (speed.threads == here["threads"] or fabric.device.type != "cpu")
    ]


def _rate(architecture: str, size: int, speeds: Sequence[TrainingSpeed], fabric: Fabric, recipe: Recipe) -> Rate:
    measured = _in_setting(speeds, fabric)
    alike = [speed for speed in measured if (speed.architecture, speed.image_size) == (architecture, size)]
    known = [speed.overhead for speed in alike or measured if speed.overhead is not None]
    overhead = median(known) if known else 0.0
    for finished, kind in ((True, "finished"), (False, "unfinished")):
        found = [speed.images_per_second for speed in alike if speed.finished == finished]
        if found:
            return Rate(median(found), overhead, f"from {len(found)} {kind} run{'s' * (len(found) > 1)}")
    return Rate(measure_speed(architecture, size, fabric, recipe), overhead, "measured now")


def _seconds_left(study: Study, run: PlannedRun, ledger: Ledger, rate: Rate) -> float:
    epochs = run.record.recipe.epochs - ledger.state(run).epochs
    training, held_out = _images(study, run)
    training -= training % min(run.record.recipe.batch_size, training)  # an epoch is of whole batches
    return epochs * (training + _EVALUATION_SHARE * held_out) / rate.images_per_second + rate.overhead


def _images(study: Study, run: PlannedRun) -> tuple[int, int]:
    """How many images ``run`` trains on, and how many it holds out."""
    split = study.tasks[run.task].split
    if split is not None:
        training, rest = split.rows(run.fold)
        return len(training), len(rest)
    counts = [len(task.dataset.samples) for task in study.tasks.values() if task.dataset is not None]
    images = max(counts, default=_USUAL_IMAGES)
    held_out = 0 if run.fold is None else images // study.spec.split.folds
    return images - held_out, held_out


def measure_speed(architecture: str, size: int, fabric: Fabric, recipe: Recipe) -> float:
    """Return images a second of the training loop itself on one batch of noise, the median of about a second.

    The first step, which sets everything up, counts only where it takes longer than that. Raises :class:`UserError`
    where the architecture cannot take ``size``, :class:`OutOfMemory` where the device does not hold the training.
    """
    try:
        model = create_model(find_architecture(architecture), 24, size, torch.Generator().manual_seed(0))
    except UserError as error:
        raise UserError(f"{architecture} at {size} px: {error.message}", error.remedy) from error
    batch = recipe.batch_size
    phase = recipe.phases[0].model_copy(update={"epochs": _MOST_STEPS})
    job = TrainingJob(
        run_id="speed",
        recipe=recipe.model_copy(update={"phases": (phase,), "growth": None}),
        images=np.random.default_rng(0).integers(0, 256, (batch, size, size), dtype=np.uint8),
        targets=np.zeros(batch, dtype=np.int64),
        training_rows=np.arange(batch),
        held_out_rows=np.empty(0, dtype=np.int64),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    speeds: list[float] = []
    started = time.monotonic()

    def note(epoch: dict[str, float]) -> None:  # an epoch is one step
        speeds.append(epoch["images_per_second"])
        if time.monotonic() - started >= _LEAST_S:
            raise _Enough

    with TemporaryDirectory() as place, suppress(_Enough):  # nothing is written: the interval is not reached
        train(model, job, fabric, Path(place) / "checkpoint.pt", report=note, checkpoint_interval=math.inf)
    return max(median(speeds[1:] or speeds), 0.05)  # the history's speeds are rounded to tenths, and this is divided by


class _Enough(Exception):
    """The speed is known."""
