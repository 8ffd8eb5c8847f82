"""A classifier's graph at work without PyTorch: that of a model folder, or one that was exported by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.karyotype import each_once
from bandbridge.predict.evidence import FILE as EVIDENCE
from bandbridge.predict.evidence import Evidence, open_evidence
from bandbridge.predict.runtime import MODEL_FILES, Runtime, open_runtime
from bandbridge.seal import RunFacts, name_once, parsed, read_product, require_unaltered, seal_of

#: Beside a graph that was exported by itself, what it does not hold: how images are prepared, and the classes.
FACTS = "preparation.json"
#: Beside that of a model folder, the same.
CONFIG = "config.json"
#: Pixels that go through a graph at a time: 4 images of 256 px, 16 of 128, and no more than 64. Measured from 64 to 256
#: px, more cost memory and were no faster, fewer were slower (docs/results/speed.md).
_PIXELS, _MOST = 4 * 256 * 256, 64

_T = TypeVar("_T")


class _Facts(BaseModel):
    """What is known of a graph. temperature: that of its probabilities."""

    model_config = ConfigDict(frozen=True)

    classes: Annotated[tuple[str, ...], AfterValidator(each_once)]
    preparation: Preparation
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    run: RunFacts = RunFacts()


@dataclass(frozen=True, eq=False)
class GraphClassifier:
    """An exported graph with what it needs to see an image as in training.

    facts: what the export says of the run. temperature: of the probabilities. runtime: maps uint8 [N, S, S] to logits
    and probabilities. evidence: where it sees a class; None where the graph cannot tell.
    """

    folder: Path
    facts: dict[str, Any]
    classes: tuple[str, ...]
    preparation: Preparation
    temperature: float
    runtime: Runtime
    evidence: Evidence | None = None

    def held_out(self) -> frozenset[str]:
        """Return the names of the images that it was not trained on: a graph knows none."""
        return frozenset()

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """Return float32 [B, K] of uint8 ``prepared`` [B, S, S], a few images at a time."""
        batch = batch_for(self.preparation.size)
        parts = [
            self.runtime(np.ascontiguousarray(prepared[start : start + batch]))[0]
            for start in range(0, len(prepared), batch)
        ]
        return np.concatenate(parts)


def batch_for(size: int) -> int:
    """Return how many images of ``size`` px a side go through a graph at a time.

    >>> batch_for(64), batch_for(128), batch_for(256), batch_for(1024)
    (64, 16, 4, 1)
    """
    return max(1, min(_MOST, _PIXELS // size**2))


def graph_file(place: Path) -> Path | None:
    """Return the graph that ``place`` is, or that its folder holds; None where there is none."""
    if place.suffix in (".onnx", ".xml"):
        return place
    return next((place / name for name in MODEL_FILES.values() if (place / name).is_file()), None)


def open_graph(file: Path, device: str = "cpu") -> GraphClassifier:
    """Open the exported graph ``file``, .onnx or OpenVINO's .xml; ``device``: "cpu" or "cuda".

    Raises :class:`UserError` where it is absent or damaged, where what lies beside it is, and where the runtime is not
    installed.
    """
    if not file.is_file():
        raise UserError(f"{file} does not exist", "Name the model.onnx, or its folder, that bandbridge export wrote.")
    folder = file.parent
    remedy = "Keep the folder that bandbridge wrote together, or export the model again."
    facts = _read_facts(folder, remedy)
    for part in (file, file.with_suffix(".bin"), file.with_name(f"{file.name}.data")):  # weights may lie beside it
        require_unaltered(part)
    if seal_of(folder) is None:
        name_once(folder, "graph")
    runtime = _opened(partial(open_runtime, file, device=device), file)
    _require_same(runtime.stated, facts, file, remedy)
    evidence = _opened(partial(open_evidence, folder, runtime), folder / EVIDENCE)
    return GraphClassifier(
        folder, facts.run.model_dump(), facts.classes, facts.preparation, facts.temperature, runtime, evidence
    )


def _require_same(stated: Mapping[str, str], facts: _Facts, file: Path, remedy: str) -> None:
    """Raise :class:`UserError` where the graph in ``file`` says of itself another model than the files beside it."""
    beside = {"run": facts.run.id, "classes": list(facts.classes), "preparation": facts.preparation}
    try:
        own = {
            "run": stated.get("run", ""),
            "classes": json.loads(stated.get("classes", "null")),
            "preparation": Preparation.model_validate_json(stated["preparation"]) if "preparation" in stated else None,
        }
    except ValueError as fault:
        raise UserError(f"{file} says of itself what cannot be read: {fault}", remedy) from fault
    for what, value in own.items():
        if value and beside[what] and value != beside[what]:
            raise UserError(f"{file} is another model's: its {what} is not that of the files beside it", remedy)


def _read_facts(folder: Path, remedy: str) -> _Facts:
    """What a model folder's config.json, or the preparation.json of an exported graph, says."""
    own = read_product(folder / CONFIG).get("bandbridge")
    if isinstance(own, dict):
        return parsed(_Facts, own, folder / CONFIG, remedy)
    if not (folder / FACTS).is_file():
        raise UserError(f"{folder / FACTS} is missing", remedy)
    return parsed(_Facts, read_product(folder / FACTS), folder / FACTS, remedy)


def _opened(opener: Callable[[], _T], file: Path) -> _T:
    try:
        return opener()
    except UserError:
        raise
    except Exception as fault:  # each runtime has an exception of its own for a file that it cannot read
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise UserError(f"{file} cannot be opened: {reason}", "Export the model again.") from fault
