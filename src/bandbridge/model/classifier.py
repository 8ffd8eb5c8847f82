"""A trained classifier read back from its run folder, ready to be asked about images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bandbridge.boxes import at_home
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.evaluation.metrics import class_probabilities
from bandbridge.evaluation.predictions import CHECKPOINTS, read_predictions
from bandbridge.model.architectures import Architecture, create_model, find_architecture
from bandbridge.model.channels import as_channels, as_views
from bandbridge.model.config import RECOPY, exported_facts, read_config, require_labels
from bandbridge.model.device import find_device
from bandbridge.model.weights import initialise_from_run
from bandbridge.progress import note
from bandbridge.seal import (
    EXPORTED_WEIGHTS,
    SUMS,
    name_once,
    read_done,
    read_run,
    require_unaltered,
    run_facts,
    seal_of,
)

#: Images that go through a model at a time.
BATCH = 32


@dataclass(frozen=True, eq=False)
class Classifier:
    """A run's model with what it needs to see an image as in training.

    facts: what ``run.json`` holds. architecture: as the run's record has it. mean, std: float32 [1, 3, 1, 1].
    """

    folder: Path
    checkpoint: str
    facts: dict[str, Any]
    model: nn.Module
    architecture: Architecture
    classes: tuple[str, ...]
    preparation: Preparation
    mean: Tensor
    std: Tensor

    @property
    def temperature(self) -> float:
        """1: its logits are as they were learned."""
        return 1.0

    def held_out(self) -> frozenset[str]:
        """Return the names of the images that the run was not trained on; none for a run trained on all."""
        path = self.folder / "predictions.parquet"
        return frozenset(read_predictions(path)["image"]) if path.is_file() else frozenset()

    def normalised(self, prepared: np.ndarray) -> Tensor:
        """Return float32 [B, 3, S, S] on the model's device from uint8 ``prepared`` [B, *preparation.shape]."""
        views = torch.from_numpy(np.array(prepared)).to(self.mean.device).float() / 255
        return ((as_channels(as_views(views)) - self.mean) / self.std).contiguous()

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """Return float32 [B, C] of uint8 ``prepared`` [B, *preparation.shape], a few images at a time."""
        parts = []
        with evaluating(self.model), torch.inference_mode():
            for start in range(0, len(prepared), BATCH):
                parts.append(self.model(self.normalised(prepared[start : start + BATCH])).float().cpu().numpy())
        return np.concatenate(parts)

    def probabilities(self, prepared: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 [B, C], of uint8 ``prepared`` [B, *preparation.shape]."""
        return class_probabilities(self.logits(prepared))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch every module of ``model`` to evaluation mode, and back to its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def open_classifier(folder: Path, checkpoint: str = "best", device: str = "auto") -> Classifier:
    """Read the model that the run in ``folder`` kept as ``checkpoint`` ("best" or "last"), or an exported model.

    Raises :class:`UserError` for a folder that is no run or holds no such weights yet, for a run that knows no class
    because it was trained without labels, and for damaged files.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"there is no checkpoint {checkpoint!r}.", f"Choose one of {', '.join(CHECKPOINTS)}.")
    folder = at_home(folder)
    (name, classes, preparation, mean, std), weights = read_config(folder), folder / f"{checkpoint}.safetensors"
    exported = exported_facts(folder)
    if exported:
        weights, checkpoint = folder / EXPORTED_WEIGHTS, str(exported.get("checkpoint", checkpoint))
    require_unaltered(weights)
    _name_unsealed(folder, exported)
    if not weights.is_file():
        if exported:
            raise UserError(f"the model folder {folder} holds no {weights.name}", RECOPY)
        raise UserError(
            f"the run {folder} holds no {weights.name}: it is not finished.", "Run its study again; it goes on."
        )
    facts = run_facts(exported.get("run", {}), folder / "config.json", RECOPY) if exported else read_run(folder)
    require_labels(facts, folder)
    architecture = find_architecture(name)
    model = create_model(architecture, len(classes), preparation.size, torch.Generator().manual_seed(0))
    initialise_from_run(model, weights, "keep")
    found = find_device(device)
    return Classifier(
        folder,
        checkpoint,
        facts,
        model.eval().to(found),
        architecture,
        classes,
        preparation,
        *(torch.tensor(value, device=found).view(1, 3, 1, 1) for value in (mean, std)),
    )


def _name_unsealed(folder: Path, exported: dict[str, Any]) -> None:
    """Say where there is nothing to compare the model with."""
    if exported and seal_of(folder) is None:
        name_once(folder, SUMS)
    elif not exported and read_done(folder) is None:
        note(f"the run {folder} is not finished, by its own account: its files are compared with nothing")
