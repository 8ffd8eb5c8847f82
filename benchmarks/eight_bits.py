"""How many times the images a second of float32 an 8-bit graph makes, by the scheme of quantisation, in one run.

    python benchmarks/eight_bits.py [--architecture NAME] [--image-size 128] [--threads 1] [--seconds 0.2] [--turns 5]

Weights are random and images drawn, which changes no time. The schemes take turns in one process, and the ratio is that
of medians over the turns. With one thread time is the processor's, so that other work on the machine matters less; with
more it is the clock's. What a scheme loses is not measured here: ``bandbridge export --int8`` does that on real images.
The ratios depend on the processor's instructions (``lscpu``): without VNNI signed weights can saturate, and 7 bits
(reduce_range) are then advised.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bandbridge.dataset.prepare import Preparation
from bandbridge.export.graph import Exportable, drawn_images, write_onnx
from bandbridge.export.quantise import Quantiser, open_quantiser
from bandbridge.extras import need
from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.predict.runtime import Runtime, open_runtime

BATCHES = (1, 16, 46)


def schemes() -> dict[str, dict[str, Any]]:
    """Return the settings of ``quantize_static`` by name: the scheme that is used, {}, and what differs from it."""
    quantization = need("onnxruntime.quantization")
    signed, unsigned = quantization.QuantType.QInt8, quantization.QuantType.QUInt8
    operators = {"quant_format": quantization.QuantFormat.QOperator}
    return {
        "QDQ, U8 x S8 (used)": {},
        "QDQ, U8 x S8, one scale a tensor": {"per_channel": False},
        "QDQ, U8 x S8, 7-bit weights": {"reduce_range": True},
        "QDQ, U8 x U8": {"weight_type": unsigned},
        "QDQ, S8 x S8": {"activation_type": signed},
        "QOperator, U8 x S8": operators,
        "QOperator, U8 x S8, 7-bit weights": {**operators, "reduce_range": True},
        "QOperator, U8 x U8": {**operators, "weight_type": unsigned},
        "QOperator, S8 x S8": {**operators, "activation_type": signed},
    }


def depthwise(quantiser: Quantiser) -> frozenset[str]:
    """Return the layers with as many groups as channels."""
    graph = need("onnx").load(str(quantiser.ready)).graph
    groups = {node.name: {one.name: one.i for one in node.attribute}.get("group", 1) for node in graph.node}
    return frozenset(layer for layer, nodes in quantiser.layers.items() if groups[nodes[0]] > 1)


def write_all(name: str, size: int, folder: Path) -> dict[str, Path]:
    """Write the architecture ``name`` for images of ``size`` pixels into ``folder`` in each way; return the files."""
    model = create_model(find_architecture(name), len(CLASSES), size, torch.Generator().manual_seed(0)).eval()
    source = Exportable(model, (0.5,) * 3, (0.5,) * 3, Preparation(size=size), CLASSES, {"architecture": name})
    files = {"float32": folder / "float.onnx"}
    write_onnx(source, files["float32"])
    quantiser = open_quantiser(files["float32"], drawn_images(source.preparation), folder)
    for number, (scheme, settings) in enumerate(schemes().items()):
        files[scheme] = folder / f"{number}.onnx"
        quantiser.write(files[scheme], **settings)
    half = frozenset(quantiser.names[::2])
    for title, floats in (("depthwise", depthwise(quantiser)), ("every second layer", half)):
        if floats:
            files[f"QDQ, U8 x S8, {title} in float32"] = folder / f"{title}.onnx"
            quantiser.write(files[f"QDQ, U8 x S8, {title} in float32"], floats)
    quantization = need("onnxruntime.quantization")
    for title, kind in (("signed", quantization.QuantType.QInt8), ("unsigned", quantization.QuantType.QUInt8)):
        files[f"dynamic, {title} weights"] = folder / f"{title}.onnx"
        quantization.quantize_dynamic(
            str(quantiser.ready),
            str(folder / f"{title}.onnx"),
            weight_type=kind,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        )
    return files


def paces(
    ways: Mapping[str, Runtime], images: np.ndarray, seconds: float, turns: int, threads: int
) -> dict[str, float]:
    """Return images a second of each way: the median of ``turns`` of ``seconds`` each, by turns."""
    clock: Callable[[], float] = time.process_time if threads == 1 else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, run in ways.items():
            done, started = 0, clock()
            while not done or clock() - started < seconds:
                run(images)
                done += len(images)
            if turn:  # the first warms up
                found[name].append(done / (clock() - started))
    return {name: float(np.median(some)) for name, some in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architecture", default="tf_mobilenetv3_large_minimal_100")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        files = write_all(given.architecture, given.image_size, Path(place))
        ways = {name: open_runtime(file, given.threads) for name, file in files.items()}
    drawn = drawn_images(Preparation(size=given.image_size))
    images = np.concatenate([drawn] * 4)[: max(BATCHES)]
    tables = [
        paces(ways, np.ascontiguousarray(images[:batch]), given.seconds, given.turns, given.threads)
        for batch in BATCHES
    ]
    plain = ", ".join(f"{table['float32']:.0f} at {batch}" for table, batch in zip(tables, BATCHES, strict=True))
    print(f"{given.architecture}, {given.image_size} px, threads: {given.threads}; float32 images a second: {plain}")
    print("| scheme | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " |")
    print("|---" * (len(BATCHES) + 1) + "|")
    for name in ways:
        print(f"| {name} | " + " | ".join(f"{table[name] / table['float32']:.2f}" for table in tables) + " |")


if __name__ == "__main__":
    main()
