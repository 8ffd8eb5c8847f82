"""What a run begins with: the weights of a finished model, a run of the same ledger or one that was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from bandbridge.errors import UserError
from bandbridge.model.config import read_config
from bandbridge.model.weights import Triple, initialise_from_run
from bandbridge.seal import remake
from bandbridge.study.ledger import Ledger
from bandbridge.study.run import PlannedRun


@dataclass(frozen=True)
class Start:
    """A finished model: its folder, the file of its weights, and what to do where they are damaged."""

    folder: Path
    weights: Path
    remedy: str


def start_of(run: PlannedRun, ledger: Ledger) -> Start:
    """Return where the model lies whose weights ``run`` begins with. Raises ValueError where it begins with none."""
    if run.given is not None:
        return Start(run.given.folder, run.given.weights, "Export that model again, or name another.")
    if run.parent is None:
        raise ValueError(f"{run.name} starts from no model")
    folder = ledger.folder(run.parent)
    weights = folder / f"{run.record.init.checkpoint}.safetensors"
    return Start(folder, weights, remake(folder))


def take_over(model: nn.Module, start: Start, head: Literal["keep", "new"]) -> tuple[Triple, Triple]:
    """Fill ``model`` with the weights of ``start``; return the mean and SD that they were trained with.

    Raises :class:`UserError` where they, or what goes with them, are damaged or of another architecture.
    """
    try:
        initialise_from_run(model, start.weights, head)
        _, _, _, mean, std = read_config(start.folder)
    except UserError as error:
        raise UserError(error.message, start.remedy) from error
    return mean, std
