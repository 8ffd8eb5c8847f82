"""What a model was trained on, so that nobody praises it for images it has seen.

A run tells by its own files and those of the runs that it starts from; an exported model carries ``training.json``.
Both name the datasets and hold a digest of every image, which is known again in another set and under another name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bandbridge.dataset.contents import Digest, read_contents, short_digest
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.splits import Split, among_first_cells, read_split
from bandbridge.dataset.store import stored_samples
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import FINE_TUNED, read_predictions
from bandbridge.predict.graph import FACTS as GRAPH_FACTS
from bandbridge.seal import parsed, read_product, read_run, read_sealed, remake, require_unaltered, write_sealed
from bandbridge.synthetic.sets import DRAWN_SOURCE, ENDLESS

FILE = "training.json"
#: Where a folder of runs keeps what models from elsewhere were trained on that its runs start from.
GIVEN = ".models"
_GIVEN_REMEDY = "Delete it; the fine-tune command that wrote it writes it again."


class Source(BaseModel):
    """One dataset that a model was trained on.

    dataset: its fingerprint. images, cells, patients: how many it was trained on, None where that is not known.
    held_out: the files that it was not trained on, None where that is not known. tuned_from: the model that this was a
    fine-tuning of, "" where it was a training of its own. epochs: of that training. drawn: whether its images are drawn
    (:mod:`bandbridge.synthetic`), and none of them real. unlabelled: whether it was trained without their labels.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    task: str = ""
    stain: str = ""
    images: int | None = None
    cells: int | None = None
    patients: int | None = None
    held_out: tuple[str, ...] | None = None
    tuned_from: str = ""
    epochs: int | None = None
    drawn: bool = False
    unlabelled: bool = False


class _File(BaseModel):
    """``training.json``."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    sources: tuple[Source, ...]
    files: tuple[Digest, ...]
    files_known: bool


@dataclass(frozen=True)
class TrainedOn:
    """Everything that a model, and those that it started from, were trained on.

    sources: the datasets, the first first. digests: of every image, the first 16 hexadecimal digits of the SHA-256 of
    its bytes. files_known: whether they are all; builds of Bandbridge before fine-tuning kept none.
    """

    sources: tuple[Source, ...]
    digests: frozenset[str]
    files_known: bool

    @property
    def drawn_alone(self) -> bool:
        """Whether all of it was drawn: the model has seen no real chromosome."""
        return bool(self.sources) and all(source.drawn for source in self.sources)

    def seen(self, dataset: str, names: Sequence[str], digests: Sequence[str]) -> np.ndarray:
        """Return which images it was trained on, bool [N].

        dataset: the fingerprint of the set that they are in. names, digests: of each image, its file in that set and
        the SHA-256 of its bytes (16 digits or all; "" unknown). An image is known by its bytes; only where those of the
        training, or its own, are not known, by its name in the same set, and wholly where it is not known what of that
        set was held out. Raises ValueError unless there are as many digests as names.
        """
        by_content = np.array([short_digest(one) in self.digests for one in digests], dtype=bool)
        unclear = np.array([not one or not self.files_known for one in digests], dtype=bool)
        by_name = np.zeros(len(names), dtype=bool)
        if len(by_name) != len(by_content):
            raise ValueError(f"{len(names)} names and {len(digests)} digests")
        for source in self.sources:
            if source.dataset == dataset:
                spared = set(source.held_out or ())
                by_name |= np.array([name not in spared for name in names], dtype=bool)
        return by_content | (unclear & by_name)


def read_trained_on(folder: Path) -> TrainedOn:
    """Return what the model in ``folder``, a run or an exported model, was trained on.

    Raises :class:`UserError` for a folder that is neither, and naming each damaged file.
    """
    if (folder / "run.json").exists():
        return _of_run(folder, frozenset())
    require_unaltered(folder / FILE)
    if (folder / FILE).exists():
        return _read(folder / FILE, "Export the model again.")
    exported = read_product(folder / "config.json").get("bandbridge")
    if (folder / GRAPH_FACTS).exists():  # a graph that an earlier build exported
        exported = read_product(folder / GRAPH_FACTS)
    if not isinstance(exported, dict) or not exported:
        raise UserError(
            f"{folder} is neither a run nor an exported model, so it does not say what it was trained on",
            "Name a folder of runs/, or one that bandbridge models export wrote.",
        )
    facts = exported.get("run")
    facts = facts if isinstance(facts, dict) else {}
    dataset = _record(facts).get("dataset")
    # An earlier build wrote it: which images were held out, and what came before, it does not say.
    sources = (Source(dataset=str(dataset), task=str(facts.get("task", ""))),) if dataset else ()
    return TrainedOn(sources, frozenset(), files_known=False)


def trained_of(folders: Iterable[Path]) -> tuple[TrainedOn, ...]:
    """Return what those of the models in ``folders`` were trained on that have a record of it beside them."""
    return tuple(read_trained_on(folder) for folder in folders if (folder / FILE).is_file())


def notes_on_training(trained: Sequence[TrainedOn]) -> Iterator[str]:
    """Say what whoever believes these models' answers should know of their training.

    That they, or some of them, have seen drawn chromosomes alone; that they were trained on different stains.
    """
    drawn = [one.drawn_alone for one in trained]
    if any(drawn):
        who = "trained" if all(drawn) else f"{sum(drawn)} of the models were trained"
        known = "what its probabilities and flags promise holds for drawn ones"
        yield f"{who} on drawn chromosomes alone, no real one was seen: {known} (bandbridge fine-tune knows yours)"
    stains = sorted(set(_last_stains(trained)) - {""})
    if len(stains) > 1:
        yield f"the models were trained on different stains, {' and '.join(stains)}: their average is of use on neither"


def remark_on_training(trained: Sequence[TrainedOn]) -> str:
    """Return what stands on everything that these models sorted: that they have seen no real chromosome, else ""."""
    return (
        "Sorted by a model that has seen drawn chromosomes alone."
        if trained and all(one.drawn_alone for one in trained)
        else ""
    )


def notes_on_stain(trained: Sequence[TrainedOn], stains: Collection[str]) -> Iterator[str]:
    """Say that images are of other ``stains`` than the models were trained on, where both are known."""
    known = _last_stains(trained)
    strange = sorted(set(stains) - {"", *known})
    if strange and known and all(known):
        told = (" and ".join(sorted(set(each))) for each in (strange, known))
        yield "warning: these images are said to be of stain {}, and the model was trained on {}".format(*told)


def _last_stains(trained: Sequence[TrainedOn]) -> list[str]:
    """The stain of each model's last training, "" where it is not known; what came before is left behind."""
    return [one.sources[-1].stain if one.sources else "" for one in trained]


def write_trained_on(trained: TrainedOn, path: Path) -> None:
    """Write ``trained`` as JSON, whole or not at all; equal values give equal bytes."""
    value = _File(sources=trained.sources, files=tuple(sorted(trained.digests)), files_known=trained.files_known)
    write_sealed(path, value.model_dump(mode="json"))


def keep_trained_on(trained: TrainedOn, runs: Path, identity: str) -> None:
    """Keep in the folder ``runs`` what a model from elsewhere was trained on, for the runs there that start from it.

    ``identity``: what those runs call it. A record that knows all files is not replaced by one that does not.
    """
    path = _given_path(runs, identity)
    kept = _read(path, _GIVEN_REMEDY) if path.exists() else None
    if kept is None or (kept != trained and (trained.files_known or not kept.files_known)):
        write_trained_on(trained, path)


def _given_path(runs: Path, identity: str) -> Path:
    return runs / GIVEN / f"{identity.replace(':', '-')}.json"


def _read(path: Path, remedy: str) -> TrainedOn:
    require_unaltered(path)
    found = parsed(_File, read_sealed(path, remedy), path, remedy)
    return TrainedOn(found.sources, frozenset(found.files), found.files_known)


def _record(facts: dict[str, Any]) -> dict[str, Any]:
    record = facts.get("record")
    return record if isinstance(record, dict) else {}


def _of_run(folder: Path, children: frozenset[Path]) -> TrainedOn:
    """Follow the run in ``folder`` back to its beginning; ``children`` have led here."""
    folder, facts = folder.resolve(), read_run(folder)
    record, remedy = _record(facts), remake(folder)
    if folder in children:
        raise UserError(f"{folder / 'run.json'} is damaged: it starts from itself", remedy)
    try:
        dataset, preparation = str(record["dataset"]), Preparation.model_validate(record["preparation"])
        epochs = sum(int(phase["epochs"]) for phase in record["recipe"]["phases"])
        fold, parent, cells = record["fold"], record["init"].get("run"), record.get("cells")
        unlabelled = record["recipe"].get("objective", "classes") != "classes"
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise UserError(f"{folder / 'run.json'} is damaged: it holds no whole record ({fault})", remedy) from fault
    runs = _folder_of_runs(folder)
    before = TrainedOn((), frozenset(), True) if parent is None else _of_parent(str(parent), runs, children | {folder})
    samples = stored_samples(runs / ".stores", dataset, preparation) if runs is not None else None
    split = _split(str(record.get("split")), runs, samples)
    held_out = _held_out(folder, fold, split)
    if cells is not None:
        held_out = _left_out(fold, int(cells), split, samples)
    contents = read_contents(runs, dataset) if runs is not None else None
    files = {} if contents is None or held_out is None else dict(contents.files)
    for name in held_out or ():
        files.pop(name, None)
    counts: dict[str, Any] = {"images": len(files) or None}
    if samples is not None and held_out is not None:
        counts = _counts(samples, held_out)
    endless = samples is not None and bool(samples["cell"].str.startswith(ENDLESS).all())
    if endless:
        files = {}  # every epoch had others
    tuned_from = str(parent) if facts.get("approach") == FINE_TUNED else ""
    task = str(facts.get("task", ""))
    counts |= {"tuned_from": tuned_from, "epochs": epochs, "unlabelled": unlabelled}
    source = Source(dataset=dataset, task=task, held_out=held_out, **counts)
    return TrainedOn(
        (*before.sources, source),
        before.digests | set(files.values()),
        before.files_known and (bool(files) or endless),
    )


def _folder_of_runs(folder: Path) -> Path | None:
    """``runs`` of ``runs/<task>/<architecture>/<approach>/<fold>-<id>``; None where a run lies less deep."""
    return folder.parents[3] if len(folder.parents) > 3 else None


def _split(split: str, runs: Path | None, samples: pd.DataFrame | None) -> Split | None:
    """Return the division of ``samples`` whose hash is ``split``; None where it is not kept."""
    if runs is None or samples is None or not split.isalnum():
        return None
    found = (read_split(kept, samples) for kept in sorted(runs.glob(f".splits/*-{split[:12]}.json")))
    return next((one for one in found if one.hash == split), None)


def _held_out(folder: Path, fold: int | None, split: Split | None) -> tuple[str, ...] | None:
    """Return what the run in ``folder`` predicts; of one that predicts nothing, what its ``split`` holds out of it."""
    if fold is None:
        return ()
    path = folder / "predictions.parquet"
    if path.is_file():
        return tuple(sorted(set(read_predictions(path)["image"])))
    return None if split is None else tuple(sorted(split.file_names[row] for row in split.rows(fold)[1]))


def _left_out(
    fold: int | None, cells: int, split: Split | None, samples: pd.DataFrame | None
) -> tuple[str, ...] | None:
    """Return what a run that was shown ``cells`` cells of its fold's training part was not trained on."""
    if split is None or samples is None:
        return None
    training = split.rows(fold)[0]
    training = training[among_first_cells(samples["cell"].iloc[training], cells, split.seed)]
    return tuple(sorted(set(split.file_names) - {split.file_names[row] for row in training}))


def _of_parent(identity: str, runs: Path | None, children: frozenset[Path]) -> TrainedOn:
    unknown = TrainedOn((), frozenset(), files_known=False)
    if runs is None or not identity.replace(":", "").isalnum():
        return unknown
    folder = next((one for one in runs.glob(f"*/*/*/*-{identity}") if (one / "run.json").exists()), None)
    if folder is not None:
        return _of_run(folder, children)
    path = _given_path(runs, identity)
    return _read(path, _GIVEN_REMEDY) if path.exists() else unknown


def _counts(samples: pd.DataFrame, held_out: Sequence[str]) -> dict[str, Any]:
    """Count what of ``samples`` was trained on."""
    kept = samples.loc[~samples["file_name"].isin(held_out)]

    def named(column: str) -> Iterator[str]:
        return (name for name in dict.fromkeys(kept[column]) if name)

    return {
        "images": len(kept),
        "cells": sum(1 for _ in named("cell")),
        "patients": sum(1 for _ in named("patient")),
        "stain": ", ".join(sorted(named("stain"))),
        "drawn": bool(len(kept)) and all(name.startswith(DRAWN_SOURCE) for name in kept["source"]),
    }
