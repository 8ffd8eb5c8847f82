"""How much faster an exported classifier answers than PyTorch: images per second, as a ratio.

    python benchmarks/inference.py [--architecture NAME ...] [--image-size 128] [--threads 2] [--seconds 2]

Prints, for one image and for the 46 of a cell, what PyTorch, ONNX Runtime and OpenVINO (where it is installed) get
through on the CPU, and the ratio to PyTorch. All run the same graph: uint8 in, normalisation and softmax included.
The ways take turns in short rounds, and the best round of each counts, so that other work on the machine hits all of
them alike; weights are random, which changes no time. The ratios depend on the processor: run it on the one that will
be used.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bandbridge.dataset.prepare import Preparation
from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.predict.export import Exportable, ImageGraph, export
from bandbridge.predict.runtime import open_runtime

BATCHES = (1, 46)
ROUNDS = 4
Classify = Callable[[np.ndarray], object]


def exportable(name: str, size: int) -> Exportable:
    """Return the architecture ``name`` with random weights for images of ``size`` pixels."""
    model = create_model(find_architecture(name), len(CLASSES), size, torch.Generator().manual_seed(0)).eval()
    return Exportable(model, (0.5,) * 3, (0.5,) * 3, Preparation(size=size), CLASSES, {"architecture": name})


def pytorch(source: Exportable) -> Classify:
    """Return the classifier as PyTorch runs it."""
    graph = ImageGraph(source).eval()

    def run(images: np.ndarray) -> object:
        with torch.inference_mode():
            return graph(torch.from_numpy(images))

    return run


def open_all(source: Exportable, images: np.ndarray, folder: Path, threads: int) -> dict[str, Classify]:
    """Return each way to classify, by name; OpenVINO only where it is installed."""
    ways = {"PyTorch": pytorch(source)}
    export(source, folder / "onnx", "onnx", images)
    ways["ONNX Runtime"] = open_runtime(folder / "onnx" / "model.onnx", threads)
    try:
        import openvino  # noqa: F401
    except ImportError:
        print("OpenVINO is not installed: pip install 'bandbridge[export]'")
        return ways
    export(source, folder / "openvino", "openvino", images)
    ways["OpenVINO"] = open_runtime(folder / "openvino" / "model.xml", threads)
    return ways


def rate(classify: Classify, images: np.ndarray, seconds: float) -> float:
    """Return images per second over at least ``seconds`` and at least one batch."""
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not done:
        classify(images)
        done += len(images)
    return done / elapsed


def best_rates(ways: dict[str, Classify], images: np.ndarray, seconds: float) -> dict[str, float]:
    """Return the best of ``ROUNDS`` rounds of each way, ``seconds`` in all, the ways by turns."""
    for classify in ways.values():
        classify(images)
    rounds = [
        {name: rate(classify, images, seconds / ROUNDS) for name, classify in ways.items()} for _ in range(ROUNDS)
    ]
    return {name: max(one[name] for one in rounds) for name in ways}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", help="default: MobileNetV3-L and ResNet-50")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way and batch")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *[asked.image_size] * 2), dtype=np.uint8)
    for name in asked.architecture or ("MobileNetV3-L", "ResNet-50"):
        with tempfile.TemporaryDirectory() as folder:
            ways = open_all(exportable(name, asked.image_size), images, Path(folder), asked.threads)
            for batch in BATCHES:
                rates = best_rates(ways, images[:batch], asked.seconds)
                text = ", ".join(
                    f"{way} {value:.0f}/s ({value / rates['PyTorch']:.2f}x)" for way, value in rates.items()
                )
                print(f"{name}, {asked.image_size} px, batch {batch}, {asked.threads} threads: {text}", flush=True)


if __name__ == "__main__":
    main()
