"""How much faster an exported classifier answers than PyTorch, and how near ``predict`` comes to its model's forward.

    python benchmarks/inference.py [--architecture NAME ...] [--image-size 128] [--threads 2] [--seconds 2] [--cells 10]

First, ``bandbridge predict`` on a folder of drawn cells, without its start: images a second from files to tables, over
those of the model's forward passes alone, on batches that are ready. What each stage takes by itself, one after
another, is printed in CPU time an image; in ``predict`` reading and decoding go on in threads beside the model.

Then prints, for one image and for the 46 of a cell, what PyTorch, ONNX Runtime and OpenVINO (where it is installed) get
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
from PIL import Image

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.export.graph import Exportable, ImageGraph, export
from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.classifier import Classifier
from bandbridge.predict.classify import Classified, assign_sheet, cell_table, classify, prediction_table
from bandbridge.predict.ensemble import BATCH, Ensemble
from bandbridge.predict.intake import Handed, hand_over
from bandbridge.predict.runtime import open_runtime
from bandbridge.synthetic.cells import draw_cell

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
        print('OpenVINO is not installed: pip install "bandbridge[openvino]"')
        return ways
    export(source, folder / "openvino", "openvino", images)
    ways["OpenVINO"] = open_runtime(folder / "openvino" / "model.xml", threads)
    return ways


def drawn_cells(folder: Path, cells: int) -> list[Handed]:
    """Draw ``cells`` cells into ``folder``, a folder for each, and hand them over as ``predict`` does."""
    for cell in range(cells):
        (folder / f"cell{cell}").mkdir(parents=True)
        for one in draw_cell("G", 0, cell):
            Image.fromarray(one.image).save(folder / f"cell{cell}" / f"{one.label}{one.copy}.png")
    return hand_over(folder)


def as_ensemble(source: Exportable) -> Ensemble:
    """Return ``source`` as ``predict`` opens a run."""
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (source.mean, source.std))
    member = Classifier(Path(), "last", {}, source.model, "", CLASSES, source.preparation, mean, std)
    return Ensemble((member,), (None,))


def write_tables(result: Classified, folder: Path) -> None:
    """Write what ``predict`` writes."""
    table = prediction_table(result)
    table.to_csv(folder / "predictions.csv", index=False)
    cell_table(result).to_csv(folder / "cells.csv", index=False)
    table.to_json(folder / "predictions.json", orient="records", indent=2)


def stage_times(ensemble: Ensemble, handed: list[Handed], folder: Path) -> dict[str, float]:
    """Return CPU milliseconds an image of each stage by itself: least of ``ROUNDS`` rounds."""
    (member,) = ensemble.members
    files = [one.read() for one in handed]
    images = [decode_gray(data, one.name) for data, one in zip(files, handed, strict=True)]
    prepared = np.stack([prepare_image(image, member.preparation) for image in images])
    result = classify(ensemble, handed, keep_images=False)
    stages: dict[str, Callable[[], object]] = {
        "read": lambda: [one.read() for one in handed],
        "decode": lambda: [decode_gray(data, one.name) for data, one in zip(files, handed, strict=True)],
        "prepare": lambda: np.stack([prepare_image(image, member.preparation) for image in images]),
        "model": lambda: member.logits(prepared),
        "cells": lambda: [assign_sheet(sheet, ensemble) for sheet in result.sheets],
        "write": lambda: write_tables(result, folder),
    }
    return {name: min(cpu_time(stage) for _ in range(ROUNDS)) * 1000 / len(handed) for name, stage in stages.items()}


def cpu_time(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this process that ``work`` takes, all threads together."""
    started = time.process_time()
    work()
    return time.process_time() - started


def report_predict(source: Exportable, name: str, cells: int) -> None:
    """Print predict's speed over its model's forward, by turns, and the stages."""
    with tempfile.TemporaryDirectory() as place:
        folder, ensemble = Path(place), as_ensemble(source)
        handed = drawn_cells(folder / "images", cells)
        ready = np.zeros((BATCH, source.preparation.size, source.preparation.size), dtype=np.uint8)
        batches = -(-len(handed) // BATCH)
        ways: dict[str, Callable[[], object]] = {
            "predict": lambda: write_tables(classify(ensemble, handed, keep_images=False), folder),
            "forward": lambda: [ensemble.members[0].logits(ready) for _ in range(batches)],
        }
        done = {"predict": len(handed), "forward": batches * BATCH}
        rounds = [{way: done[way] / wall_and_cpu(work) for way, work in ways.items()} for _ in range(ROUNDS + 1)][1:]
        wall, cpu = ({way: max(one[way][part] for one in rounds) for way in ways} for part in (0, 1))
        print(
            f"{name}, {source.preparation.size} px, {len(handed)} files: predict {wall['predict']:.0f}/s, forward "
            f"{wall['forward']:.0f}/s: {wall['predict'] / wall['forward']:.2f}; by CPU time "
            f"{cpu['predict'] / cpu['forward']:.2f}"
        )
        times = stage_times(ensemble, handed, folder)
        total = sum(times.values())
        print(
            "  CPU an image: "
            + ", ".join(f"{way} {value:.2f} ms ({value / total:.0%})" for way, value in times.items())
        )


def wall_and_cpu(work: Callable[[], object]) -> np.ndarray:
    """Return the wall and the CPU seconds of ``work``, float64 [2]."""
    started, spent = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - started, time.process_time() - spent])


def rate(answer: Classify, images: np.ndarray, seconds: float) -> float:
    """Return images per second over at least ``seconds`` and at least one batch."""
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not done:
        answer(images)
        done += len(images)
    return done / elapsed


def best_rates(ways: dict[str, Classify], images: np.ndarray, seconds: float) -> dict[str, float]:
    """Return the best of ``ROUNDS`` rounds of each way, ``seconds`` in all, the ways by turns."""
    for answer in ways.values():
        answer(images)
    rounds = [{name: rate(answer, images, seconds / ROUNDS) for name, answer in ways.items()} for _ in range(ROUNDS)]
    return {name: max(one[name] for one in rounds) for name in ways}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", help="default: MobileNetV3-L and ResNet-50")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way and batch")
    parser.add_argument("--cells", type=int, default=10, help="of the 46 images each that predict is given")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *[asked.image_size] * 2), dtype=np.uint8)
    for name in asked.architecture or ("MobileNetV3-L", "ResNet-50"):
        source = exportable(name, asked.image_size)
        report_predict(source, name, asked.cells)
        with tempfile.TemporaryDirectory() as folder:
            ways = open_all(source, images, Path(folder), asked.threads)
            for batch in BATCHES:
                rates = best_rates(ways, images[:batch], asked.seconds)
                text = ", ".join(
                    f"{way} {value:.0f}/s ({value / rates['PyTorch']:.2f}x)" for way, value in rates.items()
                )
                print(f"{name}, {asked.image_size} px, batch {batch}, {asked.threads} threads: {text}", flush=True)


if __name__ == "__main__":
    main()
