"""The device that a training runs on, and its precision."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bandbridge.errors import UserError
from bandbridge.machine import usable_cores
from bandbridge.model.device import find_device

Precision = Literal["auto", "fp32", "bf16"]


def open_fabric(
    device: str = "auto", precision: Precision = "auto", model: nn.Module | None = None, devices: int = 1
) -> Fabric:
    """Return a Fabric for one ``device`` ("auto", "cpu", "cuda", "mps"), or for so many ``devices`` of that kind.

    ``auto`` precision is bf16 on a GPU that has it, and for a ``model`` that gains by it on a CPU that has it
    (:func:`gains_by_bf16`); fp32 elsewhere. That of several devices has yet to be launched, which starts a process
    for each; the device of a process on the CPU is a core. Raises :class:`UserError` for devices that are not there.
    """
    device = find_device(device).type
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device == "cuda" else device == "cpu" and gains_by_bf16(model)
        precision = "bf16" if fast else "fp32"
    if devices > 1:
        _require_devices(device, devices)
    # It would announce mixed precision at every run.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    plugin: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if precision == "bf16" else "32-true"
    if devices == 1:
        return Fabric(accelerator=device, devices=1, precision=plugin)
    # Batch statistics are shared by the training itself; a job of SLURM is no reason to wait for processes of its own.
    name = "forward_sync_buffers"
    if name not in inspect.signature(DistributedDataParallel).parameters:  # torch before 2.15
        name = "broadcast_buffers"
    unsynced: dict[str, Any] = {name: False}
    # A process forked from one that has imported everything is there at once; a new one takes ten seconds of a core.
    forks = device == "cpu" and "forkserver" in multiprocessing.get_all_start_methods()
    strategy = DDPStrategy(start_method="forkserver" if forks else "spawn", **unsynced)
    return Fabric(
        accelerator=device, strategy=strategy, devices=devices, precision=plugin, plugins=[LightningEnvironment()]
    )


def _require_devices(device: str, devices: int) -> None:
    """Raise :class:`UserError` when this machine has fewer ``devices`` of that kind."""
    visible = {"cuda": torch.cuda.device_count(), "cpu": usable_cores()}.get(device, 1)
    if devices > visible:
        names = {"cuda": "CUDA GPU", "cpu": "core", "mps": "Apple GPU"}
        raise UserError(
            f"a run on {devices} devices was asked for; of the kind {names[device]} this program sees {visible}",
            f"Use --devices-per-run {visible} or fewer"
            + ("; CUDA_VISIBLE_DEVICES says which GPUs a program sees." if device == "cuda" else "."),
        )


def gains_by_bf16(model: nn.Module | None) -> bool:
    """Whether ``model`` trains faster in bf16 on this CPU, by what was measured (docs/results/speed.md).

    It needs AVX-512 BF16 or AMX; emulated, bf16 was ten times slower. Networks of large matrix products gain half to
    twice. MobileNets, which spend their time in depthwise convolutions and batch norm, lose as much.
    """
    if model is None or not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    modules = list(model.modules())
    depthwise = any(isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels for part in modules)
    return not (depthwise and any(isinstance(part, nn.BatchNorm2d) for part in modules))
