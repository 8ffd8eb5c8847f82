"""Studies whose runs are made up: everything that is read of a finished run is there, and nothing was trained.

Rooms whose tests want the fixture take it over in their ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.finished import seal

from bandbridge.evaluation.predictions import write_predictions
from bandbridge.files import write_json
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study

SPEC = {
    "name": "made-up",
    "protocol": "strict",
    "tasks": {"Q": {"dataset": "q", "intermediates": ["G"]}, "G": {"dataset": "g", "target": False}},
    "architectures": ["test_resnet"],
    "approaches": ["scratch", "domain"],
    "split": {"folds": 4},
    "image_size": 32,
}
MACHINE = {"device": "cpu", "precision": "fp32", "bandbridge": "1", "packages": {"torch": "2", "timm": "1"}}


class Image(NamedTuple):
    """A row of a set's table and the bytes of its file, which nobody decodes; None: bytes like no other's."""

    label: str
    cell: str
    patient: str
    content: bytes | None = None


class MadeUp(NamedTuple):
    """A study with its runs, each of them finished."""

    study: Study
    runs: Path


def images(patients: int, cells_each: int = 1, labels: Sequence[str] = ("long", "short")) -> list[Image]:
    """Two images of each class in every cell; the classes are not the 24, all of which a fold would have to hold."""
    return [
        Image(label, f"p{patient}c{cell}", f"p{patient}")
        for patient in range(patients)
        for cell in range(cells_each)
        for label in (*labels, *labels)
    ]


@pytest.fixture
def made_up(tmp_path: Path) -> Callable[..., MadeUp]:
    """Return a function that writes a study of made-up runs, as changed, and opens it.

    ``sets``: the images of each dataset; ``spec``: changes of the study file; ``unfinished``: names of runs to leave
    out; ``machines``: what the runs recorded, by turns.
    """

    def make(
        sets: dict[str, list[Image]] | None = None,
        unfinished: Sequence[str] = (),
        machines: Sequence[dict] = (MACHINE,),
        **spec: object,
    ) -> MadeUp:
        for name, members in {"q": images(32), "g": images(4), **(sets or {})}.items():
            if members:
                _write_set(tmp_path / name, members)
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**SPEC, **spec}))
        study = open_study(path, need_data=False)
        for number, run in enumerate(run for run in study.runs if run.name not in unfinished):
            _finish(study, run, Ledger(tmp_path / "runs").folder(run), machines[number % len(machines)])
        return MadeUp(study, tmp_path / "runs")

    return make


def _write_set(folder: Path, members: Sequence[Image]) -> None:
    folder.mkdir(parents=True)
    rows = []
    for number, image in enumerate(members):
        (folder / f"{number}.png").write_bytes(image.content or f"{folder.name} {number}".encode())
        rows.append({"file_name": f"{number}.png", **dict(zip(("label", "cell", "patient"), image, strict=False))})
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)


def _finish(study: Study, run, folder: Path, machine: dict) -> None:
    """Write what a finished run leaves; the last epoch of "domain" is right a little more often."""
    write_json(folder / "run.json", run.describe())
    write_json(folder / "environment.json", machine)
    epochs = [
        {"epoch": epoch, "training_loss": 1 / epoch, "training_accuracy": 0.5, "images_per_second": 10, "seconds": 1.5}
        for epoch in (1, 2)
    ]
    write_json(folder / "history.json", epochs)
    task = study.tasks[run.task]
    if task.dataset is not None and task.split is not None and run.predicts:
        _, held_out = task.split.rows(run.fold)
        samples = task.dataset.samples.iloc[held_out]
        # "two-step" and "imagenet" are words of one length.
        told_apart = sum(map(ord, run.intermediate)) if run.several else 0
        rng = np.random.default_rng(
            [run.fold, len(run.approach), *[1] * (run.approach == "two-step"), *[told_apart] * bool(told_apart)]
        )
        parts = []
        for checkpoint, skill in (("best", 1.5), ("last", 1.0)):
            logits = rng.normal(size=(len(samples), len(task.classes))).astype(np.float32)
            logits += skill * (samples["label"].to_numpy()[:, None] == np.array(task.classes))
            frame = samples[["file_name", "cell", "patient", "label"]].rename(columns={"file_name": "image"})
            columns = {f"logit_{name}": logits[:, index] for index, name in enumerate(task.classes)}
            parts.append(frame.assign(checkpoint=checkpoint, **columns))
        write_predictions(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))
    seal(folder, run.id)
