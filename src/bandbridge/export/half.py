"""A model folder in half precision: half of the bytes on disk, computed with in float32 as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import save

from bandbridge.errors import EnvironmentFault
from bandbridge.predict.runtime import MODEL_FILES, open_runtime
from bandbridge.seal import EXPORTED_WEIGHTS

#: Values that a tensor has at least to be halved: small ones, such as statistics of batch norm, weigh nothing.
_LARGE = 1024
#: Part of the range of the logits that they may move.
HALF_TOLERANCE = 0.02


def halve(folder: Path, images: np.ndarray) -> float:
    """Store the large weights of the model in ``folder``, and of its graph, as float16; return what that changes.

    That is the largest difference of a logit on ``images``, prepared, uint8 [N, *shape], in parts of the logits' range.
    Raises :class:`EnvironmentFault` where it is more than ``HALF_TOLERANCE``: then the model needs its precision.
    """
    graph = folder / MODEL_FILES["onnx"]
    before = open_runtime(graph)(images)[0]
    _halve_weights(folder / EXPORTED_WEIGHTS)
    halve_graph(graph)
    after = open_runtime(graph)(images)[0]
    moved = float(np.abs(after - before).max() / max(float(np.ptp(before)), 1e-9))
    if not moved <= HALF_TOLERANCE:
        raise EnvironmentFault(
            f"in half precision the logits move by {moved:.1%} of their range", "Export the model without --half."
        )
    return moved


def _halve_weights(path: Path) -> None:
    with safe_open(str(path), framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    # Not by save_file, whose files are for their owner alone.
    path.unlink()
    path.write_bytes(save({name: _half(value) for name, value in tensors.items()}, metadata))


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.dtype == torch.float32 and tensor.numel() >= _LARGE else tensor


def halve_graph(path: Path) -> None:
    """Widen the halved weights before they are used: a runtime does that once, when it opens the graph."""
    model = onnx.load(str(path))
    graph, widening = model.graph, []
    for place, weights in enumerate(graph.initializer):
        values = numpy_helper.to_array(weights)
        if weights.data_type == TensorProto.FLOAT and values.size >= _LARGE:
            name = weights.name
            narrow = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
            graph.initializer[place].CopyFrom(narrow)
            widening.append(helper.make_node("Cast", [narrow.name], [name], name=f"{name}.widen", to=TensorProto.FLOAT))
    nodes = [*widening, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
