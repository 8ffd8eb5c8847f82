"""A finished model that trainings start from, read from its folder: without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bandbridge.boxes import at_home
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.model.config import exported_facts, read_config, require_labels
from bandbridge.seal import EXPORTED_WEIGHTS, file_hash, read_run
from bandbridge.study.run import GivenModel
from bandbridge.training.recipe import Augmentation

#: Of a run, the weights that are gone on with: those that a study's strict protocol reports.
CHECKPOINT: Literal["last"] = "last"


@dataclass(frozen=True)
class BaseModel:
    """A model to start from, read from its folder.

    architecture: as a run's record has it. augmentation: that it was trained with, None where it does not say. facts:
    what its ``run.json`` holds.
    """

    given: GivenModel
    architecture: str
    classes: tuple[str, ...]
    preparation: Preparation
    augmentation: Augmentation | None
    facts: dict[str, Any]


def open_base(folder: Path) -> BaseModel:
    """Read what a training that starts from it needs to know of the run, or the exported model, in ``folder``.

    Raises :class:`UserError` for a folder that is neither, or holds no weights, for a run that was trained without
    labels, and for damaged files.
    """
    folder = at_home(folder)
    architecture, classes, preparation, _, _ = read_config(folder)
    exported = exported_facts(folder)
    said = exported.get("run") if exported else read_run(folder)
    facts = said if isinstance(said, dict) else {}
    require_labels(facts, folder)
    weights = folder / (EXPORTED_WEIGHTS if exported else f"{CHECKPOINT}.safetensors")
    if not weights.is_file():
        remedy = "Export the model again." if exported else "Run its study again; it goes on."
        raise UserError(f"{folder} holds no {weights.name}: it is no finished model", remedy)
    identity = f"sha256:{file_hash(weights)[:16]}" if exported else str(facts.get("id", ""))
    if not exported and not identity.isalnum():
        raise UserError(f"{folder / 'run.json'} does not say which run it is", f"Delete {folder} and train it again.")
    given = GivenModel(folder, weights, identity)
    return BaseModel(given, architecture, classes, preparation, _augmentation(facts, folder), facts)


def _augmentation(facts: dict[str, Any], folder: Path) -> Augmentation | None:
    try:
        said = facts["record"]["recipe"]["augmentation"]
    except (KeyError, TypeError):
        return None
    try:
        return Augmentation.model_validate(said)
    except ValidationError as fault:
        reason = fault.errors()[0]["msg"]
        raise UserError(
            f"the record of the model in {folder} is damaged: {reason}", "Export the model again."
        ) from fault
