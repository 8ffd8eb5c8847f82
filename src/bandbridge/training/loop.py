"""The training loop: epochs of shuffled, augmented batches, evaluation on the held-out fold, exact resume.

Every random draw comes from a generator seeded by the run's id, a purpose and the epoch, so an epoch that is run again
after an interruption makes the same draws. On the CPU, with the same number of threads, a resumed training is
bit-identical to one that was never stopped.

On several devices (a launched Fabric, one process each) every device takes its share of each batch. Order and
augmentation are drawn for the whole batch by all, so they do not depend on the number of devices; the result does by
floating-point order, by dropout and stochastic depth, which each device draws for itself, on CPUs by batch norm,
whose batch is a device's share, and everywhere by VICReg, which compares the images of a share.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional

from bandbridge.errors import UserError
from bandbridge.model.channels import as_channels
from bandbridge.training.augment import augment, shrink
from bandbridge.training.bank import ImageBank, to_float
from bandbridge.training.checkpoint import Snapshot, State, TrainingState, copy_weights, load_state, save_state
from bandbridge.training.depthwise import speed_up_small_maps
from bandbridge.training.recipe import Phase, Recipe, image_side, learning_rate_factor
from bandbridge.training.vicreg import TwoViews, vicreg_loss

#: Least time between two checkpoints, seconds; an interrupted training repeats at most this much and one epoch.
CHECKPOINT_INTERVAL_S = 60.0
_EVALUATION_BATCH = 256
_SMALLEST_MICRO_BATCH = 2


class TrainingDiverged(UserError):
    """The loss became infinite or not a number."""

    exit_code = 1


class OutOfMemory(UserError):
    """The device cannot hold a training step of two images."""

    exit_code = 1


class Renewal(Protocol):
    """New training images for every epoch, as many as there are training rows."""

    def epoch(self, number: int, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of epoch ``number`` (from 0), uint8 as a job's, and their targets, int64 [N].

        The same number gives the same images. last: no further one will be asked for.
        """
        ...

    def close(self) -> None:
        """Leave off whatever is being made for epochs to come."""
        ...


@dataclass(frozen=True)
class TrainingJob:
    """What one training works on.

    images: uint8 [N, S, S], or [N, 2, S, S] of two views. targets: int64 [N], class indices; of no account where the
    recipe's objective needs no labels, and nothing is held out then. training_rows, held_out_rows: int64 positions; no
    held-out rows means that the last epoch is also the best. mean, std: of the three input channels, in 0..1. renewal:
    where other images take the place of the training rows in every epoch.
    """

    run_id: str
    recipe: Recipe
    images: np.ndarray
    targets: np.ndarray
    training_rows: np.ndarray
    held_out_rows: np.ndarray
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    renewal: Renewal | None = None

    @property
    def batch_size(self) -> int:
        """Images in a step: the recipe's, or all training images where there are fewer."""
        return self.recipe.batch_of(len(self.training_rows))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch: the recipe's, or the full ones; the images left over differ from epoch to epoch."""
        return self.recipe.steps_of(len(self.training_rows))

    def order(self, epoch: int) -> Tensor:
        """Return which training images make up the batches of ``epoch``, int64 [steps x batch size], below N.

        Every image is there once before any is there twice.
        """
        draws, wanted = run_generator(self.run_id, "order", epoch), self.steps_per_epoch * self.batch_size
        passes = -(-wanted // len(self.training_rows))
        return torch.cat([torch.randperm(len(self.training_rows), generator=draws) for _ in range(passes)])[:wanted]


def run_generator(run_id: str, purpose: str, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator seeded from the run's id, a ``purpose`` ("initialisation", "order", ...) and the epoch."""
    return torch.Generator(device).manual_seed(run_seed(run_id, purpose, epoch))


def run_seed(run_id: str, purpose: str, epoch: int = 0) -> int:
    """Return the 63-bit seed of :func:`run_generator`."""
    digest = hashlib.sha256(f"{run_id}:{purpose}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def share(count: int, rank: int, world: int) -> slice:
    """Return which of ``count`` things in a row fall to device ``rank`` of ``world``; shares differ by one at most."""
    return slice(count * rank // world, count * (rank + 1) // world)


def train(
    model: nn.Module,
    job: TrainingJob,
    fabric: Fabric,
    checkpoint: Path,
    *,
    deadline: float | None = None,
    report: Callable[[dict[str, float]], None] = lambda _: None,
    checkpoint_interval: float = CHECKPOINT_INTERVAL_S,
) -> tuple[TrainingState, Snapshot | None]:
    """Train ``model`` in place, going on from ``checkpoint`` where there is one.

    Returns the state and the snapshot of the last epoch; the snapshot is None when ``deadline`` (time.monotonic
    seconds) left no room for another epoch: the state is then saved and the same call goes on later. ``report`` is
    called with each epoch's history entry. On several devices all processes call this alike; the first writes the
    checkpoint. Raises :class:`TrainingDiverged`, and :class:`UserError` for a checkpoint that is damaged or another
    run's, or a batch with fewer than two images for each device.
    """
    # Left open, at Ctrl-C all that was asked of it would be waited for.
    with nullcontext() if job.renewal is None else closing(job.renewal):
        require_shares(job, fabric.world_size)
        state = load_state(checkpoint, job.run_id) or TrainingState()
        state.run = job.run_id
        with _naming_lack_of_memory(
            f"the model does not fit into the memory of {fabric.device}", "Use a smaller model."
        ):
            session = _Session(model, job, fabric, state)
        saved_at = time.monotonic()
        last: Snapshot | None = None
        while state.epoch < job.recipe.epochs:
            longest = max((entry["seconds"] for entry in state.history), default=0.0)
            # The clocks of several processes differ by a little: the first decides for all.
            if deadline is not None and fabric.broadcast(time.monotonic() + longest > deadline):
                session.save(checkpoint)
                return state, None
            with _naming_lack_of_memory(
                f"the memory of {fabric.device} does not hold a batch of {job.batch_size} images",
                "Use smaller images or a smaller batch.",
            ):
                last = session.run_epoch()
            report(state.history[-1])
            finished = state.epoch == job.recipe.epochs
            if not finished and time.monotonic() - saved_at >= checkpoint_interval:
                session.save(checkpoint)
                saved_at = time.monotonic()
        return state, last


def require_shares(job: TrainingJob, world: int) -> None:
    """Raise :class:`UserError` where a batch has fewer than two images for each of ``world`` devices."""
    if world > 1 and job.batch_size < _SMALLEST_MICRO_BATCH * world:
        raise UserError(
            f"a batch of {job.batch_size} images is too small for {world} devices: each needs two",
            f"Use --devices-per-run {max(1, job.batch_size // _SMALLEST_MICRO_BATCH)} or fewer, or larger batches.",
        )


class _Session:
    """One process's part of a training: the model on its device, the phase's optimiser and the running state."""

    def __init__(self, model: nn.Module, job: TrainingJob, fabric: Fabric, state: TrainingState) -> None:
        self.job, self.fabric, self.state = job, fabric, state
        self.world, self.rank = fabric.world_size, fabric.global_rank
        if job.recipe.objective == "vicreg":
            model = TwoViews(model, run_generator(job.run_id, "projector"))
        if self.world > 1 and fabric.device.type == "cuda":  # torch has it for GPUs only
            model = convert_sync_batchnorm(model)
        if state.epoch:
            model.load_state_dict(state.model)
        self.channels_last = lay_out(model, fabric.device) == torch.channels_last
        self.model = model
        self.forward = fabric.setup_module(model)
        self.bank = ImageBank(job.images, fabric.device)
        self.targets = torch.tensor(job.targets, device=fabric.device)
        # The average starts as the model does; with warm-up its early, bad weights are soon forgotten.
        self.average = ModelEmaV3(model, decay=job.recipe.averaging, use_warmup=True) if job.recipe.averaging else None
        if self.average is not None and state.epoch:
            self.average.module.load_state_dict(state.average)
        shape = (1, 3, 1, 1)
        self.mean = torch.tensor(job.mean, device=fabric.device).view(shape)
        self.std = torch.tensor(job.std, device=fabric.device).view(shape)
        self.evaluation_batch = _EVALUATION_BATCH
        self.phase_index = -1
        # Fabric's wrapper delegates to the optimiser it holds but is no Optimizer to a type checker.
        self.optimiser: Any
        self.peak_rates: list[float] = []
        if state.epoch and state.epoch < job.recipe.epochs:
            self._enter_phase(job.recipe.phase_of(state.epoch - 1)[0])
            self.optimiser.load_state_dict(state.optimiser)

    def save(self, path: Path) -> None:
        """Write the checkpoint, in the first process; all wait for it."""
        if self.fabric.is_global_zero:
            self._write(path)
        self.fabric.barrier()

    def _write(self, path: Path) -> None:
        self.state.model = copy_weights(self.model)
        self.state.average = copy_weights(self.average.module) if self.average is not None else {}
        self.state.optimiser = self.optimiser.state_dict() if self.phase_index >= 0 else {}
        save_state(self.state, path)

    def run_epoch(self) -> Snapshot:
        """Train one epoch, evaluate, and update the history and the best snapshot."""
        epoch = self.state.epoch
        started = time.monotonic()
        phase_index, first_epoch = self.job.recipe.phase_of(epoch)
        if phase_index != self.phase_index:
            self._enter_phase(phase_index)
        phase = self.job.recipe.phases[phase_index]
        loss, accuracy = self._train_epoch(epoch, phase, (epoch - first_epoch) * self.job.steps_per_epoch)
        trained = time.monotonic() - started
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"training diverged in epoch {epoch + 1}: the loss is {loss}",
                "Lower the learning rate of the recipe.",
            )
        logits = self._held_out_logits()
        entry: dict[str, float] = {"epoch": epoch + 1, "training_loss": loss}
        if self.job.recipe.objective == "classes":
            entry["training_accuracy"] = accuracy
        held_out_accuracy = 0.0
        if len(self.job.held_out_rows):
            truth = torch.tensor(self.job.targets[self.job.held_out_rows])
            held_out_accuracy = (logits.argmax(1) == truth).double().mean().item()
            entry["held_out_loss"] = functional.cross_entropy(logits, truth).item()
            entry["held_out_accuracy"] = held_out_accuracy
        entry["learning_rate"] = self.optimiser.param_groups[0]["lr"]
        passed = self.job.steps_per_epoch * self.job.batch_size * self.job.recipe.views
        entry["images_per_second"] = round(passed / trained, 1)
        entry["seconds"] = round(time.monotonic() - started, 3)
        self.state.history.append(entry)
        self.state.epoch = epoch + 1
        best = self.state.best
        snapshot = Snapshot(epoch + 1, held_out_accuracy, {}, logits)
        if best is None or held_out_accuracy > best.accuracy or not len(self.job.held_out_rows):
            snapshot.weights = self._kept_weights()
            self.state.best = snapshot
        if self.state.epoch == self.job.recipe.epochs and not snapshot.weights:
            snapshot.weights = self._kept_weights()
        return snapshot

    def _kept_weights(self) -> State:
        """Copy what is handed on: the network without what it was trained through."""
        kept = self.evaluated
        return copy_weights(kept.network if isinstance(kept, TwoViews) else kept)

    def _held_out_logits(self) -> Tensor:
        """Return float32 [V, C] on the CPU for the held-out rows, which the devices divide among them."""
        rows = self.job.held_out_rows
        if self.world == 1 or not len(rows):
            return self.logits(rows)
        # Shares of one size, and none without an image: the last image fills up the last ones.
        size = math.ceil(len(rows) / self.world)
        filled = np.pad(rows, (0, size * self.world - len(rows)), mode="edge")
        mine = self.logits(filled[self.rank * size : (self.rank + 1) * size])
        gathered = torch.zeros((self.world, *mine.shape), device=self.fabric.device)
        gathered[self.rank] = mine.to(self.fabric.device)
        return self._over_devices(gathered, "sum").flatten(0, 1)[: len(rows)].cpu()

    @property
    def evaluated(self) -> nn.Module:
        """What is scored and kept: the averaged weights where the recipe averages."""
        return self.model if self.average is None else self.average.module

    def logits(self, rows: np.ndarray) -> Tensor:
        """Return float32 [len(rows), C] on the CPU, without augmentation; halves the batch where memory is short.

        On a CPU in full precision, whatever the training's: what is scored is then what the kept weights give anywhere.
        """
        forward = self.evaluated.eval()
        precision = nullcontext if self.fabric.device.type == "cpu" else self.fabric.autocast
        parts: list[Tensor] = []
        start = 0
        while start < len(rows):
            chosen = torch.from_numpy(rows[start : start + self.evaluation_batch])
            try:
                with torch.inference_mode(), precision():
                    parts.append(forward(self._normalised(to_float(self.bank.batch(chosen)))).float())
                start += len(chosen)
            except RuntimeError as fault:
                if not _is_out_of_memory(fault):
                    raise
                if self.evaluation_batch == 1:
                    raise OutOfMemory(
                        "out of memory with a single image", "Use a smaller image size or model."
                    ) from fault
                self.evaluation_batch = max(1, self.evaluation_batch // 2)
        return torch.cat(parts).cpu() if parts else torch.empty(0)

    def _train_epoch(self, epoch: int, phase: Phase, first_step: int) -> tuple[float, float]:
        self.forward.train()
        if self.job.recipe.keep_statistics:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        job, device = self.job, self.fabric.device
        order = job.order(epoch)
        draws = run_generator(job.run_id, "augmentation", epoch, device)
        bank, known, training_rows = self.bank, self.targets, job.training_rows
        if job.renewal is not None:
            renewed, found = job.renewal.epoch(epoch, last=epoch + 1 == job.recipe.epochs)
            bank, known = ImageBank(renewed, device), torch.tensor(found, device=device)
            training_rows = np.arange(len(renewed))
        # All rows of the epoch at once: one copy to the device in place of one a step, which would wait for the last.
        rows = torch.from_numpy(training_rows)[order].to(bank.rows_device)
        targets = known[rows.to(device)]
        mine = share(job.batch_size, self.rank, self.world)
        own = rows.view(-1, job.batch_size)[:, mine].reshape(-1)
        # Each device its own noise, for other images; the first, or only, as ever.
        noise = f"layers of device {self.rank}" if self.rank else "layers"
        side = image_side(job.recipe, epoch, bank.size)
        total_steps = phase.epochs * job.steps_per_epoch
        loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        with _layer_noise(run_seed(job.run_id, noise, epoch), device):
            for step, stored in enumerate(bank.batches(own, mine.stop - mine.start)):
                batch = slice(step * job.batch_size + mine.start, step * job.batch_size + mine.stop)
                factor = learning_rate_factor(phase.schedule, first_step + step, total_steps)
                for group, peak in zip(self.optimiser.param_groups, self.peak_rates, strict=True):
                    group["lr"] = peak * factor
                views = [
                    self._normalised(
                        shrink(augment(stored, job.recipe.augmentation, draws, mine.start, job.batch_size), side)
                    )
                    for _ in range(job.recipe.views)
                ]
                images = views[0] if len(views) == 1 else torch.stack(views, dim=1)
                loss, hits = self._step(images, targets[batch])
                if self.average is not None:
                    self.average.update(self.model, epoch * job.steps_per_epoch + step)
                loss_sum += loss
                correct += hits
        if self.world > 1:
            loss_sum = self._over_devices(loss_sum, "mean")
            correct = self._over_devices(correct, "sum")
            self._average_statistics()
        seen = job.steps_per_epoch * job.batch_size
        return loss_sum.item() / job.steps_per_epoch, correct.item() / seen

    def _over_devices(self, value: Tensor, operation: str) -> Tensor:
        reduced: Any = self.fabric.all_reduce(value, reduce_op=operation)
        return reduced

    def _average_statistics(self) -> None:
        """Give all devices the mean of their running statistics: batch norm saw other images on each."""
        models = [self.model] if self.average is None else [self.model, self.average.module]
        for module in (module for model in models for module in model.modules()):
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for statistics in (module.running_mean, module.running_var):
                    if statistics is not None:
                        statistics.copy_(self._over_devices(statistics, "mean"))

    def _step(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """One update; halves the micro-batch, for good, for as long as memory does not suffice."""
        while True:
            try:
                return self._update(images, targets)
            except RuntimeError as fault:
                if not _is_out_of_memory(fault):
                    raise
                if self.world > 1:  # the others are already waiting for this one's gradients
                    raise OutOfMemory(
                        f"the memory of {images.device} does not hold its {len(images)} images of a batch",
                        "Use more devices, smaller images or a smaller batch; one device alone goes on with parts of "
                        "the batch.",
                    ) from fault
            # Here, and not above: the error holds on to what the failed step had allocated.
            self._halve_micro_batch(len(images))

    def _update(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        recipe, size = self.job.recipe, self.state.micro_batch or len(images)
        self.optimiser.zero_grad(set_to_none=True)
        loss_sum = torch.zeros((), device=images.device, dtype=torch.float64)
        hits = torch.zeros((), device=images.device, dtype=torch.int64)
        # Never fewer than ``size`` images in a part: batch normalisation cannot train on a single one.
        # On several devices as many parts on each, also where the shares differ by one.
        batch = self.job.batch_size
        parts = max(1, batch // self.world // size)
        for number, (part, truth) in enumerate(
            zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True), start=1
        ):
            with self.fabric.no_backward_sync(self.forward, enabled=number < parts):
                output = self.forward(part)
                if recipe.objective == "vicreg":
                    loss = vicreg_loss(output.float())
                else:
                    loss = functional.cross_entropy(output.float(), truth, label_smoothing=recipe.label_smoothing)
                    hits += (output.detach().argmax(1) == truth).sum()
                # Gradients are averaged over the devices: the mean over them is then that over the whole batch.
                loss = loss * (len(part) * self.world / batch)
                self.fabric.backward(loss)
            loss_sum += loss.detach()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimiser.step()
        return loss_sum, hits

    def _halve_micro_batch(self, batch: int) -> None:
        size = self.state.micro_batch or batch
        if size <= _SMALLEST_MICRO_BATCH:
            raise OutOfMemory("out of memory even with two images at a time", "Use a smaller image size or model.")
        self.state.micro_batch = max(_SMALLEST_MICRO_BATCH, size // 2)
        self.optimiser.zero_grad(set_to_none=True)
        if self.fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        self.fabric.print(
            f"out of memory: going on with micro-batches of {self.state.micro_batch}, accumulated to {batch} "
            "(batch normalisation, and training without labels, then see the smaller batches)"
        )

    def _normalised(self, images: Tensor) -> Tensor:
        """Views [B, V, S, S] in 0..1 to [B, 3, S, S] by the weights' own mean and SD; ``images`` are spent."""
        if images.shape[1] == 1 and len(set(self.job.mean)) == len(set(self.job.std)) == 1:
            # Equal channels: normalise one and show it three times without a copy.
            images = images.sub_(self.mean[:, :1]).div_(self.std[:, :1]).expand(-1, 3, -1, -1)
        else:
            images = (as_channels(images) - self.mean) / self.std
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def _enter_phase(self, index: int) -> None:
        phase = self.job.recipe.phases[index]
        wrapped = self.fabric.setup_optimizers(make_optimiser(self.model, phase))
        self.optimiser = wrapped[0] if isinstance(wrapped, tuple) else wrapped
        self.peak_rates = [phase.learning_rate for _ in self.optimiser.param_groups]
        self.phase_index = index


def lay_out(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Give ``model`` the memory layout and the convolutions that train fastest on ``device``; return the layout.

    Convolutional networks run faster channels-last; a transformer's one patch layer gains nothing.
    """
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    layout = torch.channels_last if convolutions > 1 else torch.contiguous_format
    model.to(memory_format=layout)
    if device.type == "cpu":
        speed_up_small_maps(model)
    return layout


def make_optimiser(model: nn.Module, phase: Phase) -> torch.optim.Optimizer:
    """Return the optimiser of ``phase``; biases, norms and position embeddings are not decayed."""
    stated: Any = getattr(model, "no_weight_decay", None)
    no_decay = stated() if callable(stated) else ()
    groups = param_groups_weight_decay(model, phase.weight_decay, no_weight_decay_list=tuple(no_decay))
    if phase.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=phase.learning_rate, momentum=phase.momentum, fused=True)
    kind = torch.optim.Adam if phase.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, lr=phase.learning_rate, fused=True)


@contextmanager
def _layer_noise(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout and stochastic depth draw from the global generator; seed it here and give it back as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        yield


@contextmanager
def _naming_lack_of_memory(message: str, remedy: str) -> Iterator[None]:
    """Turn whatever lack of memory raises, where there is no smaller step to take, into :class:`OutOfMemory`."""
    try:
        yield
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
        raise OutOfMemory(message, remedy) from fault


def _is_out_of_memory(fault: BaseException) -> bool:
    # The last is all that oneDNN, which computes convolutions on CPUs, says when its buffers do not fit.
    signs = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED", "could not create a primitive")
    return isinstance(fault, torch.OutOfMemoryError) or any(sign in str(fault) for sign in signs)
