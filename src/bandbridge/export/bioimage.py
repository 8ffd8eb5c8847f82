"""An exported graph as a package of the BioImage Model Zoo: ``rdf.yaml`` beside it, with a test input and output.

The format is https://github.com/bioimage-io/spec-bioimage-io, model description 0.5. A reader of such packages gives
the graph what it takes, prepared images; the preparation is in the README.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from bandbridge import __version__
from bandbridge.export.onnx_file import OPSET
from bandbridge.predict.runtime import MODEL_FILES, open_runtime
from bandbridge.seal import file_hash

if TYPE_CHECKING:
    from bandbridge.export.graph import Exportable

RDF, TEST_INPUT, TEST_OUTPUT = "rdf.yaml", "test-input.npy", "test-output.npy"
#: What a package holds beside an exported graph.
FILES = (RDF, TEST_INPUT, TEST_OUTPUT)
_FORMAT = "0.5.4"
#: Images of the test.
_TESTED = 4
_METHOD = {"text": "Scientific Reports 16:7572, 2026", "doi": "10.1038/s41598-026-38662-w"}


def write_package(source: Exportable, folder: Path, images: np.ndarray) -> None:
    """Write :data:`FILES` into ``folder``, beside its ``model.onnx``.

    images: prepared, uint8 [N, *preparation.shape]; the first four become the test input, and what the graph itself
    says of them the expected output, the logits.
    """
    tested = np.ascontiguousarray(images[:_TESTED])
    np.save(folder / TEST_INPUT, tested)
    np.save(folder / TEST_OUTPUT, open_runtime(folder / MODEL_FILES["onnx"], 1)(tested)[0])
    rdf = yaml.safe_dump(_description(source, folder), sort_keys=False, allow_unicode=True, width=10_000)
    (folder / RDF).write_text(rdf, encoding="utf-8", newline="\n")


def _description(source: Exportable, folder: Path) -> dict[str, Any]:
    run = source.facts
    named = " ".join(str(run[key]) for key in ("task", "architecture", "approach") if run.get(key))
    size, views = source.preparation.size, source.preparation.shape[:-2]
    return {
        "type": "model",
        "format_version": _FORMAT,
        "name": _plain_name(f"Chromosome classifier {named}".strip()),
        "description": "Classes of single human chromosomes in prepared images. Research use only, no medical device.",
        "authors": [{"name": "The Bandbridge developers"}],
        "cite": [_METHOD],
        "tags": ["chromosome", "cytogenetics", "karyotyping", "classification", "2d"],
        "documentation": "README.md",
        "version": "0.1.0",
        "inputs": [
            {
                "id": "images",
                "description": "Prepared gray images; README.md says how they are prepared.",
                "axes": [{"type": "batch"}, *([_channels(["close-up", "to-scale"])] if views else []), *_sides(size)],
                "data": {"type": "uint8", "range": [0, 255]},
                "test_tensor": _file(folder, TEST_INPUT),
            }
        ],
        "outputs": [
            {
                "id": "logits",
                "description": f"Scores; softmax(logits / {source.temperature:.6g}) are the probabilities.",
                "axes": [{"type": "batch"}, _channels([f"class_{name}" for name in source.classes])],
                "data": {"type": "float32"},
                "test_tensor": _file(folder, TEST_OUTPUT),
            }
        ],
        "weights": {"onnx": {**_file(folder, MODEL_FILES["onnx"]), "opset_version": OPSET}},
        "config": {
            "bandbridge": {
                "version": __version__,
                "run": str(run.get("id", "")),
                "classes": list(source.classes),
                "preparation": source.preparation.model_dump(mode="json"),
                "licence": f"The training began with weights of licence: {source.licence}. "
                "The images bind by their own terms.",
            }
        },
    }


def _channels(names: list[str]) -> dict[str, Any]:
    return {"type": "channel", "channel_names": names}


def _sides(size: int) -> list[dict[str, Any]]:
    return [{"type": "space", "id": side, "size": size} for side in ("y", "x")]


def _file(folder: Path, name: str) -> dict[str, str]:
    return {"source": name, "sha256": file_hash(folder / name)}


def _plain_name(text: str) -> str:
    """Names are letters, digits, spaces and a few signs, and no longer than a line."""
    return " ".join("".join(sign if sign.isalnum() or sign in "_+-()" else " " for sign in text).split())[:120]
