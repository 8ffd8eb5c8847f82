"""Layers of an 8-bit graph that are float32 in the file are float32 when it runs, too.

Where a convolution or Gemm stands between 8-bit ones, ONNX Runtime gives its float32 weights 8 bits by itself while it
opens the file, with one scale for the whole tensor (its ``WeightBiasQuantization``, shown for 1.31.1 by
``findings/onnxruntime-quantises-excluded-layers.sh``): a layer left out because 8 bits ruin it is ruined all the same.
It does so only where the input comes from a ``DequantizeLinear`` of one scale, and the output goes to a
``QuantizeLinear``. So these layers get one of their own, with the same scale written down once a channel: the same
numbers, in float32, in any runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bandbridge.extras import need

_DEQUANTISE = "DequantizeLinear"


def keep_floats(path: Path, names: Collection[str]) -> None:
    """Rewrite the ONNX file ``path`` of 8 bits so that the nodes ``names``, which it has in float32, stay float32."""
    onnx = need("onnx")
    model = onnx.load(str(path))
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {one.name: one for one in graph.initializer}
    wanted = set(names)
    for place, node in reversed(list(enumerate(graph.node))):
        maker = makers.get(node.input[0]) if node.name in wanted and node.op_type in ("Conv", "Gemm") else None
        if maker is None or maker.op_type != _DEQUANTISE or node.input[1] not in constants:
            continue
        if not _quantised_at_once(node.output[0], readers):
            continue
        channels = _channels(node, constants[node.input[1]].dims)
        told = [maker.input[0]]
        for constant in maker.input[1:]:
            value = onnx.numpy_helper.to_array(constants[constant]).reshape(-1)
            name = f"{node.name}/{constant}_by_channel"
            graph.initializer.append(onnx.numpy_helper.from_array(np.repeat(value, channels), name))
            told.append(name)
        name = f"{node.name}/input"
        own = onnx.helper.make_node(_DEQUANTISE, told, [name], f"{name}_{_DEQUANTISE}", axis=1)
        graph.node.insert(place, own)
        node.input[0] = name
    _drop_unread(graph)
    onnx.save(model, str(path))


def _quantised_at_once(name: str, readers: Mapping[str, list[Any]]) -> bool:
    """Whether the tensor ``name`` is read by a ``QuantizeLinear`` alone, or by what only cuts it off before one.

    Elsewhere ONNX Runtime leaves the weights alone, and dequantising by channel, which is slower, is not needed.
    """
    found = readers.get(name, [])
    if len(found) != 1:
        return False
    reader = found[0]
    return reader.op_type == "QuantizeLinear" or (
        reader.op_type in ("Relu", "Clip") and _quantised_at_once(reader.output[0], readers)
    )


def _channels(node: Any, shape: Any) -> int:
    """Return the channels of the input of ``node``, whose weights have ``shape``."""
    stated = {one.name: one.i for one in node.attribute}
    if node.op_type == "Gemm":
        return int(shape[1] if stated.get("transB") else shape[0])
    return int(shape[1] * stated.get("group", 1))


def _drop_unread(graph: Any) -> None:
    """Remove what dequantised for nobody but the nodes that now do so by themselves."""
    read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    for node in [node for node in graph.node if node.op_type == _DEQUANTISE and node.output[0] not in read]:
        graph.node.remove(node)
