"""An exported classifier at work without PyTorch: ONNX Runtime or OpenVINO, opened by the kind of file."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from bandbridge.errors import UserError

Format = Literal["onnx", "openvino"]
#: The model's file in an exported folder; OpenVINO keeps the weights in a .bin beside it.
MODEL_FILES: Mapping[Format, str] = {"onnx": "model.onnx", "openvino": "model.xml"}
#: Maps prepared images, uint8 [N, S, S], to logits and probabilities, float32 [N, K].
Runtime = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def need(module: str) -> ModuleType:
    """Import one of the optional packages of the extra ``export``; :class:`UserError` with the remedy if absent."""
    try:
        return importlib.import_module(module)
    except ImportError as fault:
        package = module.partition(".")[0]
        raise UserError(
            f"this needs the package {package}, which cannot be imported: {fault}",
            "Install it with: pip install 'bandbridge[export]'",
        ) from fault


def open_runtime(path: Path, threads: int = 0) -> Runtime:
    """Open ``path``, a ``.onnx`` file for ONNX Runtime or a ``.xml`` file for OpenVINO, on the CPU.

    ``threads``: how many a batch may use; 0 leaves it to the runtime. Raises :class:`UserError` when the package is not
    installed.
    """
    return _onnx_runtime(path, threads) if path.suffix == ".onnx" else _openvino_runtime(path, threads)


def _onnx_runtime(path: Path, threads: int) -> Runtime:
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
        return logits, probabilities

    return run


def _openvino_runtime(path: Path, threads: int) -> Runtime:
    core = need("openvino").Core()
    # Left to itself OpenVINO computes in bfloat16 where the processor can, and the verified logits would not hold.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = compiled({"images": images})
        # The arrays belong to the compiled model, which overwrites them with the next batch.
        return np.array(found["logits"]), np.array(found["probabilities"])

    return run
