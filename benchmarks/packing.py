"""Several trainings at once on one device: does it pay?

    python benchmarks/packing.py --architectures tf_mobilenetv3_small_100 vit_tiny_patch16_224 --size 64 --at-once 1 2

For each architecture and each number K of processes: the images a second of all K together, each training the real
thing (:func:`bandbridge.training.loop.train` on random images), and the ratio to one process that has the device alone.
On a CPU the cores are shared out: K processes of cores / K threads each. This is what ``bandbridge study run --executor
ray --cpus-per-run`` and ``--gpus-per-run`` decide. All K start together, warm up for an epoch, and are timed over the
stretch in which all of them train.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandbridge.machine import usable_cores
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import TrainingJob, train
from bandbridge.training.recipe import RecipeSpec, recipe_for


def train_for(settings: dict[str, Any], threads: int, together: Barrier, ends: Any) -> None:
    """Train for ``seconds`` after a first epoch; put (start, end, images) into ``ends``."""
    torch.set_num_threads(threads)
    architecture = find_architecture(settings["architecture"])
    generator = np.random.default_rng(0)
    shape = (settings.get("batches", 8) * settings["batch"], settings["size"], settings["size"])
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    rows, half = np.arange(len(images)), (0.5, 0.5, 0.5)
    recipe = recipe_for(
        RecipeSpec(epochs=10_000, batch_size=settings["batch"]), architecture.timm_name, pretrained=True
    )
    model = create_model(architecture, 24, settings["size"], torch.Generator().manual_seed(0))
    job = TrainingJob("packing", recipe, images, rows % 24, rows, rows[:0], half, half)
    times: list[float] = []

    def report(entry: dict[str, float]) -> None:
        if len(times) == 0:
            together.wait()
        times.append(time.monotonic())

    with tempfile.TemporaryDirectory() as place:
        # The loop looks at the deadline between epochs.
        deadline = time.monotonic() + settings["seconds"] + settings["allowance"]
        fabric = open_fabric(settings["device"], "auto", model)
        train(model, job, fabric, Path(place) / "c.pt", deadline=deadline, report=report, checkpoint_interval=1e9)
    ends.put((times[0], times, len(images)))


def together(settings: dict[str, Any], at_once: int, cores: int) -> float:
    """Return images a second of ``at_once`` trainings side by side."""
    context = multiprocessing.get_context("spawn")
    barrier, ends = context.Barrier(at_once), context.Queue()
    arguments = (settings, max(1, cores // at_once), barrier, ends)
    processes = [context.Process(target=train_for, args=arguments) for _ in range(at_once)]
    for process in processes:
        process.start()
    found = [ends.get() for _ in processes]
    for process in processes:
        process.join()
    # Only epochs that ended while all of them were training.
    until = min(times[-1] for _, times, _ in found)
    speed = 0.0
    for first, times, images in found:
        ended = [moment for moment in times[1:] if moment <= until]
        speed += images * len(ended) / (ended[-1] - first) if ended else 0.0
    return speed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["tf_mobilenetv3_small_100", "vit_tiny_patch16_224"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--allowance", type=float, default=10, help="seconds to start and to warm up")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    cores = usable_cores()
    print(f"{arguments.size} px, batch {arguments.batch}, {cores} cores\n")
    print("| architecture | " + " | ".join(f"{count} at once" for count in arguments.at_once) + " |")
    print("|---|" + "---|" * len(arguments.at_once))
    for name in arguments.architectures:
        settings = {**vars(arguments), "architecture": name}
        speeds = [together(settings, count, cores) for count in arguments.at_once]
        cells = (f"{speed:.0f}/s ({speed / speeds[0]:.2f})" for speed in speeds)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
