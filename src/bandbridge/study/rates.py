"""How fast architectures train here: from finished runs, else measured for some seconds, else by their compute."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric

from bandbridge.errors import UserError
from bandbridge.model.architectures import build_shapes, create_model, find_architecture
from bandbridge.model.complexity import macs_at
from bandbridge.study.execute import environment
from bandbridge.study.ledger import TrainingSpeed
from bandbridge.training.device import Precision, open_fabric
from bandbridge.training.loop import TrainingJob, train
from bandbridge.training.recipe import Recipe

#: How long all measuring together may take before the rest is extrapolated, seconds.
BUDGET_S = 7.0
#: A whole batch is measured for at least so long, and only where two steps of it take no longer.
_LEAST_S, _MOST_STEPS = 1.0, 1_000_000
_FEW_IMAGES = 4
#: Multiply-accumulates of forward passes a second in training, of a core that has shown nothing yet.
_USUAL_PACE = 5e9


@dataclass(frozen=True)
class Rate:
    """The speed assumed for an architecture, and the seconds that a run of it takes beside its epochs.

    source: where they come from, in words.
    """

    images_per_second: float
    overhead: float
    source: str


class Trained(NamedTuple):
    """What is to be trained: timm's name and options, image edge (px), and how."""

    architecture: str
    size: int
    recipe: Recipe


class _Trial(NamedTuple):
    size: int
    batch: int


@dataclass(frozen=True)
class _Subject:
    """An architecture whose speed is asked for.

    work: multiply-accumulates of an image. images_per_second: 0 as long as it is not known.
    """

    name: str
    wanted: Trained
    work: int
    fabric: Fabric
    images_per_second: float = 0.0

    @property
    def kind(self) -> str:
        """The line of architectures, as timm names it: ``resnet`` of ``resnet50``."""
        return re.split(r"[\d_]", self.wanted.architecture, maxsplit=1)[0]

    @property
    def pace(self) -> float:
        """Multiply-accumulates of forward passes a second, in training."""
        return self.work * self.images_per_second

    def nearest(self, known: Sequence[_Subject]) -> _Subject | None:
        """Of ``known``, the one whose pace is most likely that of this: of its kind, else of its size."""

        def distance(other: _Subject) -> tuple[bool, float]:
            return other.kind != self.kind, abs(math.log(other.work / self.work))

        return min(known, key=distance, default=None)


def find_rates(
    needed: Mapping[str, Trained],
    speeds: Sequence[TrainingSpeed],
    device: str,
    precision: Precision,
    budget: float | None = None,
) -> dict[str, Rate]:
    """Return the speed of each of ``needed``, by its name there.

    It comes from runs already made at this size in this setting (device, precision and, on CPUs, torch threads of this
    process), else from training for a second on noise. Where whole batches would take too long, a few images tell, of
    half the size if need be; what is left when ``budget`` seconds (``BUDGET_S``) are over is extrapolated, by
    multiply-accumulates, from the known one nearest in these. Raises :class:`UserError` for a device that is not there
    and for an architecture that cannot take its size.
    """
    rates: dict[str, Rate] = {}
    known: list[_Subject] = []
    unknown: list[_Subject] = []
    for name, wanted in needed.items():
        fabric, found = _fabric(wanted, device, precision), find_architecture(wanted.architecture)
        rates[name] = _from_runs(wanted, _in_setting(speeds, fabric))
        speed = rates[name].images_per_second
        (known if speed else unknown).append(_Subject(name, wanted, macs_at(found, wanted.size), fabric, speed))
    deadline = time.monotonic() + (BUDGET_S if budget is None else budget)
    for subject in _in_turn(unknown):
        speed, source = _measure_or_extrapolate(subject, known, deadline)
        rates[subject.name] = replace(rates[subject.name], images_per_second=speed, source=source)
        if source.startswith("measured"):
            known.append(replace(subject, images_per_second=speed))
    return rates


def _in_turn(subjects: Sequence[_Subject]) -> list[_Subject]:
    """The lightest of each kind first, which tells most about the others."""
    light_first = sorted(subjects, key=lambda subject: subject.work)
    before: Counter[str] = Counter()
    turns = []
    for number, subject in enumerate(light_first):
        turns.append((before[subject.kind], number, subject))
        before[subject.kind] += 1
    return [subject for *_, subject in sorted(turns, key=lambda turn: turn[:2])]


def _fabric(wanted: Trained, device: str, precision: Precision) -> Fabric:
    """The device at the precision that a training of ``wanted`` has on it."""
    try:
        model = build_shapes(find_architecture(wanted.architecture), 24, wanted.size)
    except UserError as error:
        raise UserError(f"{wanted.architecture} at {wanted.size} px: {error.message}", error.remedy) from error
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


def _from_runs(wanted: Trained, measured: Sequence[TrainingSpeed]) -> Rate:
    """The rate that runs tell; its speed is 0 where none does."""
    alike = [
        speed for speed in measured if (speed.architecture, speed.image_size) == (wanted.architecture, wanted.size)
    ]
    known = [speed.overhead for speed in alike or measured if speed.overhead is not None]
    overhead = median(known) if known else 0.0
    for finished, kind in ((True, "finished"), (False, "unfinished")):
        found = [speed.images_per_second for speed in alike if speed.finished == finished]
        if found:
            return Rate(median(found), overhead, f"from {len(found)} {kind} run{'s' * (len(found) > 1)}")
    return Rate(0.0, overhead, "")


def _measure_or_extrapolate(subject: _Subject, known: Sequence[_Subject], deadline: float) -> tuple[float, str]:
    """Return images a second, and where that comes from."""
    wanted, nearest = subject.wanted, subject.nearest(known)
    # The fastest so far: too short a trial costs less than one that is not made.
    pace = max((each.pace for each in known), default=_USUAL_PACE)
    trials = _trials(wanted)
    trial = _best(trials, subject, pace, deadline - time.monotonic())
    if trial is None and nearest is not None:
        return nearest.pace / subject.work, f"extrapolated from {nearest.name} by multiply-accumulates"
    trial = trial or trials[-1]
    while True:
        speed = measure_speed(wanted.architecture, trial.size, subject.fabric, wanted.recipe, trial.batch)
        if trial == trials[0]:
            return speed, "measured now"
        speed *= (trial.size / wanted.size) ** 2
        # Faster than was thought, it may have time for more.
        better = _best(trials, subject, subject.work * speed, deadline - time.monotonic())
        if better is None or trials.index(better) >= trials.index(trial):
            return speed, f"measured now on {trial.batch} images of {trial.size} px"
        trial = better


def _trials(wanted: Trained) -> list[_Trial]:
    """What tells the speed of ``wanted``, best first."""
    few = min(_FEW_IMAGES, wanted.recipe.batch_size)
    trials = [_Trial(wanted.size, wanted.recipe.batch_size), _Trial(wanted.size, few)]
    half = wanted.size // 2
    if half >= 64 and _takes(wanted.architecture, half):
        trials.append(_Trial(half, few))
    return trials


def _takes(architecture: str, size: int) -> bool:
    try:
        build_shapes(find_architecture(architecture), 24, size)
    except UserError:
        return False
    return True


def _best(trials: Sequence[_Trial], subject: _Subject, pace: float, left: float) -> _Trial | None:
    """The first of ``trials`` that at this ``pace`` ends in the seconds ``left``; None where there is none."""
    for trial in trials:
        # The first step sets everything up.
        seconds = 2 * trial.batch * subject.work * (trial.size / subject.wanted.size) ** 2 / pace
        # A better one only where that is quick: other architectures wait for their turn.
        if seconds <= (left if trial is trials[-1] else min(left, _LEAST_S)):
            return trial
    return None


def measure_speed(architecture: str, size: int, fabric: Fabric, recipe: Recipe, batch: int | None = None) -> float:
    """Return images a second of the training loop itself on one batch of noise, the median of about a second.

    batch: images, as many as ``recipe`` has unless given; fewer are measured for two steps. The first step, which sets
    everything up, counts only where it takes longer than that. Raises :class:`UserError` where the architecture cannot
    take ``size``, :class:`OutOfMemory` where the device does not hold the training.
    """
    try:
        model = create_model(find_architecture(architecture), 24, size, torch.Generator().manual_seed(0))
    except UserError as error:
        raise UserError(f"{architecture} at {size} px: {error.message}", error.remedy) from error
    whole = batch in (None, recipe.batch_size)
    batch = batch or recipe.batch_size
    phase = recipe.phases[0].model_copy(update={"epochs": _MOST_STEPS})
    job = TrainingJob(
        run_id="speed",
        recipe=recipe.model_copy(update={"phases": (phase,), "growth": None, "batch_size": batch, "steps": None}),
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
        if time.monotonic() - started >= _LEAST_S if whole else len(speeds) >= 2:
            raise _Enough

    with TemporaryDirectory() as place, suppress(_Enough):  # nothing is written: the interval is not reached
        train(model, job, fabric, Path(place) / "checkpoint.pt", report=note, checkpoint_interval=math.inf)
    return max(median(speeds[1:] or speeds), 0.05)  # the history's speeds are rounded to tenths, and this is divided by


class _Enough(Exception):
    """The speed is known."""
