"""Peak memory of a training on half a million images, and its speed as a ratio to a small set's.

    python benchmarks/memory.py [--images 500000] [--architecture NAME] [--steps 100] [--held-out 20000] [--folder DIR]

Draws about a thousand chromosomes and writes them again and again, mirrored, shifted and with noise, as the store that
a study would have made of so many images (500,000 at 128 px take 8.2 GB of disk, and are deleted in the end). In a
process of its own, :func:`bandbridge.training.loop.train` then trains for ``--steps`` steps on random rows of all the
store, scores a held-out part and writes its predictions; after that every image is read once, in random order, as
an epoch does. An epoch's training is not: it would take hours, and would hold no more. The peak is the largest
resident size of that process (VmHWM), libraries included; ``--mapped`` takes images from a memory map instead, for
comparison. Speed is measured in further processes, small and large store by turns, the best of each; CPU time an image
is printed beside it, since other load on the machine does not touch that. Where the store is larger than the memory
left for the page cache, the speed is the disk's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from bandbridge.dataset.imagefolder import COLUMNS
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.dataset.store import Store, open_store
from bandbridge.evaluation.predictions import write_predictions
from bandbridge.files import write_json
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.study.execute import predictions_frame
from bandbridge.synthetic.cells import draw_cell
from bandbridge.training.bank import ImageBank
from bandbridge.training.checkpoint import Snapshot, TrainingState
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import TrainingJob, train
from bandbridge.training.recipe import RecipeSpec, recipe_for

CELLS = 22
BLOCK = 1000
#: Gray values that noise changes at most: the lowest three bits.
NOISE = 7
T = TypeVar("T")
PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Plan:
    """What a measuring process does with the store in ``folder``."""

    folder: Path
    architecture: str
    steps: int
    batch: int
    held_out: int
    threads: int
    mapped: bool


def write_store(folder: Path, count: int, size: int) -> None:
    """Write a store of ``count`` images of ``size`` pixels, block by block, with its table of samples."""
    preparation, rng = Preparation(size=size), np.random.default_rng(count)
    drawn = [one for cell in range(CELLS) for one in draw_cell("G", 0, cell)]
    images = np.stack([prepare_image(one.image, preparation) for one in drawn])
    noise = rng.integers(0, NOISE + 1, 2 * images.size, dtype=np.uint8)
    folder.mkdir(parents=True)
    labels: list[str] = []
    with (folder / "images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, BLOCK):
            chosen = rng.integers(len(drawn), size=min(BLOCK, count - start))
            labels += [drawn[row].label for row in chosen]
            shift = tuple(rng.integers(-size // 16, size // 16 + 1, 2).tolist())
            turned = images[:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])][chosen]
            varied, where = np.roll(turned, shift, (1, 2)), rng.integers(images.size)
            varied ^= noise[where : where + varied.size].reshape(varied.shape)
            file.write(varied.data)
    samples_of(labels).to_parquet(folder / "samples.parquet", index=False)
    write_json(folder / "store.json", {"fingerprint": f"{count}", "preparation": preparation.model_dump()})


def samples_of(labels: list[str]) -> pd.DataFrame:
    """Return a table of samples as long as those of real sets: 46 images a cell, three cells a patient."""
    cells = [f"synthetic-g{row // 46:06d}" for row in range(len(labels))]
    columns = {
        "file_name": [f"images/{cell}/{row:07d}.png" for row, cell in enumerate(cells)],
        "label": labels,
        "cell": cells,
        "patient": [f"synthetic-g-p{row // 138:06d}" for row in range(len(labels))],
    }
    rest = {"copy": "a", "stain": "G", "source": "Bandbridge synthetic G-band"}
    return pd.DataFrame({**columns, **rest})[list(COLUMNS)]


def measure_memory(plan: Plan) -> dict[str, float]:
    """Train, score, keep the predictions, read everything; return the peak in GB after each, and images a second."""
    peaks = {"libraries": peak_memory()}
    store, job = prepare(plan)
    peaks["store opened"] = peak_memory()
    state, last = train_in(plan, job)
    peaks["trained and scored"] = peak_memory()
    if last is not None and plan.held_out:
        kept = {"best": state.best or last, "last": last}
        write_predictions(plan.folder / "predictions.parquet", predictions_frame(store, job.held_out_rows, kept))
        peaks["predictions kept"] = peak_memory()
    bank, started = ImageBank(job.images, torch.device("cpu")), time.perf_counter()
    rows = torch.randperm(len(job.images), generator=torch.Generator().manual_seed(0))
    read = sum(len(batch) for batch in bank.batches(rows, plan.batch))
    speed = read / (time.perf_counter() - started)
    return {**peaks, "every image read": peak_memory(), "reading alone, images/s": speed}


def measure_speed(plan: Plan) -> tuple[float, float]:
    """Train without scoring; return images a second and CPU milliseconds an image."""
    _, job = prepare(replace(plan, held_out=0))
    started = time.process_time()
    state, _ = train_in(plan, job)
    spent = time.process_time() - started
    return state.history[-1]["images_per_second"], 1000 * spent / (job.steps_per_epoch * job.batch_size)


def prepare(plan: Plan) -> tuple[Store, TrainingJob]:
    """Return the opened store and a job of one epoch on random rows of all of it."""
    torch.set_num_threads(plan.threads)
    store = open_store(plan.folder)
    order = np.random.default_rng(0).permutation(len(store.images))
    held_out, rest = np.sort(order[: plan.held_out]), order[plan.held_out :]
    recipe = recipe_for(RecipeSpec(epochs=1, batch_size=plan.batch), plan.architecture, pretrained=True)
    recipe = recipe.model_copy(update={"growth": None})
    images = store.images.view(np.ndarray) if plan.mapped else store.images
    half, rows = (0.5, 0.5, 0.5), np.resize(rest, plan.steps * plan.batch)
    return store, TrainingJob("benchmark", recipe, images, store.targets, rows, held_out, half, half)


def train_in(plan: Plan, job: TrainingJob) -> tuple[TrainingState, Snapshot | None]:
    """Train a new model as a study does, on the CPU."""
    generator, size = torch.Generator().manual_seed(0), job.images.shape[-1]
    model = create_model(find_architecture(plan.architecture), int(job.targets.max()) + 1, size, generator)
    return train(model, job, open_fabric("cpu", "fp32", model), plan.folder / "checkpoint.pt")


def peak_memory() -> float:
    """Return the largest resident size of this process so far, GB (10^9 bytes)."""
    if sys.platform == "linux":  # getrusage would count what the parent held before the new program began
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def alone(measure: Callable[[Plan], T], plan: Plan) -> T:
    """Return ``measure(plan)``, taken in a new process."""
    with ProcessPoolExecutor(1, PROCESSES) as process:
        return process.submit(measure, plan).result()


def main() -> None:
    """Write the stores, measure, print, and delete them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--small", type=int, default=4_000, help="images of the set that the speed is compared with")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--architecture", default="tf_mobilenetv3_small_100")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--held-out", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=float, default=4.0, help="GB of memory that are allowed")
    parser.add_argument("--mapped", action="store_true", help="take the images from a memory map, for comparison")
    parser.add_argument("--folder", type=Path, help="where the stores are written for the time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        for place, count in ((large, asked.images), (small, asked.small)):
            write_store(place, count, asked.image_size)
        plan = Plan(large, asked.architecture, asked.steps, asked.batch, asked.held_out, asked.threads, asked.mapped)
        passed = report_memory(plan, asked.images, asked.image_size, asked.limit)
        report_speed([plan, replace(plan, folder=small)], asked.rounds)
    sys.exit(0 if passed else 1)


def report_memory(plan: Plan, count: int, size: int, limit: float) -> bool:
    """Print the peaks; return whether the last is within ``limit`` GB."""
    found = alone(measure_memory, plan)
    speed, peak = found.pop("reading alone, images/s"), found["every image read"]
    way = "mapped" if plan.mapped else "read"
    print(f"{count:,} images of {size} px ({count * size**2 / 1e9:.2f} GB, {way}), {plan.architecture}:")
    print(f"{plan.steps} steps of {plan.batch} on random rows of the store, no whole epoch; {plan.held_out:,} scored")
    print("peak resident memory, GB: " + ", ".join(f"{stage} {value:.2f}" for stage, value in found.items()))
    print(f"reading alone, every image once in random order: {speed:,.0f} images/s")
    print(
        f"peak {peak:.2f} GB of {limit:g} GB: {'within the limit' if peak <= limit else 'OVER THE LIMIT'}", flush=True
    )
    return peak <= limit


def report_speed(plans: list[Plan], rounds: int) -> None:
    """Print training speed on the large and on the small store, by turns, and their ratio."""
    taken = [[alone(measure_speed, plan) for plan in plans] for _ in range(rounds)]
    (large, large_cpu), (small, small_cpu) = (
        (max(speed for speed, _ in column), min(spent for _, spent in column)) for column in zip(*taken, strict=True)
    )
    print(f"training: {large:.0f} images/s, small store {small:.0f}: {large / small:.2f} times")
    print(f"CPU time: {large_cpu:.3f} ms an image, small store {small_cpu:.3f}: {large_cpu / small_cpu:.2f} times")


if __name__ == "__main__":
    main()
