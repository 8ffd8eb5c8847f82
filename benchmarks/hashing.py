"""What it costs to compare files with their hashes: a report over the runs of the paper's grid, and a large store.

    python benchmarks/hashing.py

330 run folders with predictions of a thousand held-out images are read as a report reads them, with the comparison and
without, by turns, each time as a new process would; processor seconds, the least of five. And a file as large as the
prepared images of a large set is hashed, at first and by another process, which finds the hash beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge import seal
from bandbridge.evaluation import predictions
from bandbridge.files import content_hash, write_json
from bandbridge.karyotype import CLASSES


def make_run(root: Path, number: int, images: int) -> Path:
    """Write a run folder as a finished training leaves it, small weights aside."""
    record = {"number": number, "init": {"kind": "scratch"}}
    identity = content_hash(record)[:12]
    folder = root / f"fold0-{identity}"
    folder.mkdir()
    generator = np.random.default_rng(number)
    frame = pd.DataFrame({"image": [f"images/cell-{row // 46:04}/{row}.png" for row in range(images)]})
    frame["cell"], frame["patient"] = frame["image"].str[7:16], ""
    frame["label"] = np.array(CLASSES)[generator.integers(0, len(CLASSES), images)]
    logits = {f"logit_{name}": generator.normal(size=images).astype(np.float32) for name in CLASSES}
    parts = [frame.assign(checkpoint=name, **logits) for name in ("best", "last")]
    predictions.write_predictions(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))
    write_json(folder / "run.json", {"id": identity, "record": record})
    write_json(folder / "environment.json", {"device": "cpu"})
    epochs = [{"epoch": epoch, "seconds": 1.0, "images_per_second": 100.0} for epoch in range(80)]
    write_json(folder / "history.json", {"epochs": epochs})
    names = ("predictions.parquet", "run.json", "environment.json", "history.json")
    done = seal.Done(id=identity, epochs=80, best_epoch=80, files=seal.hashes_of(folder, names))
    seal.write_sealed(folder / seal.DONE, done.model_dump())
    return folder


def read_all(folders: list[Path]) -> None:
    """Read what a report reads of each run."""
    for folder in folders:
        predictions.read_predictions(folder / "predictions.parquet")
        for name in ("environment.json", "history.json"):
            seal.read_product(folder / name)


def forget() -> None:
    """Forget every hash, as a new process has none."""
    seal._hashes.clear()
    seal._read_done.cache_clear()


def seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of ``work``."""
    forget()
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=330)
    parser.add_argument("--images", type=int, default=1100, help="held out in each run")
    parser.add_argument("--megabytes", type=int, default=1400, help="of the prepared images of a large set")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folders = [make_run(Path(place), number, arguments.images) for number in range(arguments.runs)]
        megabytes = sum(path.stat().st_size for folder in folders for path in folder.iterdir()) / 2**20
        compared, plain = [], []
        comparison = seal.require_unaltered, predictions.require_unaltered
        for _ in range(5):
            compared.append(seconds(lambda: read_all(folders)))
            seal.require_unaltered = predictions.require_unaltered = lambda _: None
            plain.append(seconds(lambda: read_all(folders)))
            seal.require_unaltered, predictions.require_unaltered = comparison
        print(
            f"{arguments.runs} runs, {megabytes:.0f} MB: read in {min(plain):.2f} s, compared {min(compared):.2f} s; "
            f"{min(compared) - min(plain):.2f} s more, {min(compared) / min(plain):.2f} times"
        )
        large = Path(place) / "images.npy"
        with large.open("wb") as file:
            for _ in range(arguments.megabytes):
                file.write(np.random.default_rng(0).bytes(2**20))
        first = seconds(lambda: seal.file_hash_remembered(large))
        again = seconds(lambda: seal.file_hash_remembered(large))
        print(f"{arguments.megabytes} MB: hashed in {first:.2f} s, in a second process {again:.3f} s")


if __name__ == "__main__":
    main()
