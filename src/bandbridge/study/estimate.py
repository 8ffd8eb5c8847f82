"""How long the pending runs will take: image passes over a measured speed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from torch.nn import functional

from bandbridge.errors import UserError
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study
from bandbridge.study.run import PlannedRun, distinct

#: A forward pass without gradients costs about a third of a training step.
_EVALUATION_SHARE = 1 / 3
_BATCH, _LEAST_S = 8, 1.0


@dataclass(frozen=True)
class Estimate:
    """Seconds of training left, and the speed assumed for each architecture, images a second."""

    seconds: float
    speed: Mapping[str, float]


def estimate(study: Study, runs: Sequence[PlannedRun], ledger: Ledger, fabric: Fabric) -> Estimate:
    """Return the time that the pending ``runs`` will take on ``fabric``'s device.

    The speed comes from runs already made at this size, else from a few steps on one random batch. Runs whose dataset
    is absent count as if they had as many images as the largest present one.
    """
    size = study.spec.image_size
    known, speed = ledger.rates(), {}
    for run in runs:
        if run.architecture not in speed:
            measured = known.get((run.architecture, size))
            speed[run.architecture] = measured or measure_speed(run.record.architecture, size, fabric)
    seconds = sum(_passes_left(study, run, ledger) / speed[run.architecture] for run in distinct(runs))
    return Estimate(seconds, speed)


def _passes_left(study: Study, run: PlannedRun, ledger: Ledger) -> float:
    counts = {name: len(task.dataset.samples) if task.dataset else 0 for name, task in study.tasks.items()}
    images = counts[run.task] or max(counts.values()) or 5000
    held_out = 0 if run.fold is None else images / study.spec.split.folds
    epochs = run.record.recipe.epochs - ledger.state(run).epochs
    return epochs * (images - held_out + _EVALUATION_SHARE * held_out)


def measure_speed(architecture: str, size: int, fabric: Fabric) -> float:
    """Return training steps on one random batch of 8, as images a second (a little low for large batches)."""
    try:
        model = create_model(find_architecture(architecture), 24, size, torch.Generator().manual_seed(0))
    except UserError as error:
        raise UserError(f"{architecture} at {size} px: {error.message}", error.remedy) from error
    forward = fabric.setup_module(model)
    generator = torch.Generator(fabric.device).manual_seed(0)
    images = torch.rand((_BATCH, 3, size, size), generator=generator, device=fabric.device)
    targets = torch.zeros(_BATCH, dtype=torch.int64, device=fabric.device)

    def step() -> None:
        fabric.backward(functional.cross_entropy(forward(images), targets))
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    step()
    steps, started = 0, time.monotonic()
    while time.monotonic() - started < _LEAST_S or steps < 1:
        step()
        steps += 1
    return steps * _BATCH / (time.monotonic() - started)
