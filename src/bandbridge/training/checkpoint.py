"""What a training needs to go on after it was stopped: written whole by rename, read without unpickling."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bandbridge.errors import UserError
from bandbridge.files import replacing

State = dict[str, Tensor]
_AGAIN = "Delete it: the run then starts again from its first epoch."


@dataclass
class Snapshot:
    """A model at the end of an epoch: 1-based ``epoch``, held-out ``accuracy`` in 0..1, weights and logits [V, C]."""

    epoch: int
    accuracy: float
    weights: State
    logits: Tensor


@dataclass
class TrainingState:
    """Everything that changes during training, at the end of ``epoch`` finished epochs.

    average: the averaged weights, where the recipe averages. optimiser: the state dict of the current phase's
    optimiser. history: one dict for each epoch. run: the id of the run that it is of, "" where an earlier build did not
    write it.
    Random generators need no place here: each epoch seeds its own from the run's id.
    """

    epoch: int = 0
    model: State = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    best: Snapshot | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    micro_batch: int | None = None
    average: State = field(default_factory=dict)
    run: str = ""


def save_state(state: TrainingState, path: Path) -> None:
    """Write ``state`` to ``path``, whole or not at all. Raises :class:`EnvironmentFault` when the disk is full."""
    value = {
        name: getattr(state, name)
        for name in ("epoch", "model", "average", "optimiser", "history", "micro_batch", "run")
    }
    value["best"] = asdict(state.best) if state.best else None
    with replacing(path) as temporary:
        try:
            with temporary.open("wb") as stream:
                torch.save(value, stream)
        except RuntimeError as fault:
            # torch answers a failed write with an error of its own, in the course of the disk's.
            if isinstance(fault.__context__, OSError):
                raise fault.__context__ from None
            raise


def load_state(path: Path, run: str = "") -> TrainingState | None:
    """Return the state in ``path``, or None when there is none.

    Raises :class:`UserError` when it is damaged, and when it is of another run than ``run``, where that is given.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
            if archive.testzip() is not None:
                raise ValueError("wrong checksum")
        value = torch.load(path, map_location="cpu", weights_only=True)
        best = Snapshot(**value.pop("best")) if value["best"] else value.pop("best")
        state = TrainingState(best=best, **value)
    except MemoryError:
        raise
    # torch's reader lets many kinds of exception through on damaged input.
    except Exception as fault:
        raise UserError(
            f"the checkpoint {path} is damaged ({str(fault).partition(chr(10))[0][:120] or type(fault).__name__})",
            _AGAIN,
        ) from fault
    if run and state.run and state.run != run:
        raise UserError(f"the checkpoint {path} is that of another run, {state.run}", f"Put it back there. {_AGAIN}")
    return state


def copy_weights(model: torch.nn.Module) -> State:
    """Return a copy of the model's state dict on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
