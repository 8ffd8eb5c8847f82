"""Cross-validation splits as values with a hash: by image (the paper's), by cell or patient, one source at a time."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import content_hash, read_regular, write_json

Scheme = Literal["image", "cell", "patient", "source"]
#: No division has more; each is a training.
_FEWEST_FOLDS, _MOST_FOLDS = 2, 100_000
#: Orders of groups that are tried where scikit-learn leaves a fold empty.
_TRIALS = 20


@dataclass(frozen=True)
class Split:
    """Which fold holds out each image.

    scheme: what is never divided between folds: nothing but the ``image`` itself, a ``cell``, a ``patient``, or a
        ``source``, of which each fold holds out one whole: another laboratory than those trained on.
    folds: k. assignment: int64 [N], the fold in which each image is held out, 0 to k-1.
    file_names: N names, in the order of ``assignment``.
    """

    scheme: Scheme
    folds: int
    seed: int
    file_names: tuple[str, ...]
    assignment: np.ndarray

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits that name this division of these files, whatever their order."""
        pairs = sorted(zip(self.file_names, self.assignment.tolist(), strict=True))
        return content_hash([self.scheme, self.folds, pairs])

    def rows(self, fold: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 positions of the training and the held-out images; ``fold`` None trains on all of them."""
        if fold is None:
            return np.arange(len(self.assignment)), np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.assignment != fold), np.flatnonzero(self.assignment == fold)


def strictest_scheme(samples: pd.DataFrame) -> Scheme:
    """Return the grouping of the strict protocol: ``patient`` where every image has one, else ``cell``.

    Raises :class:`UserError` when neither is known.
    """
    if (samples["patient"] != "").all():
        return "patient"
    if (samples["cell"] != "").all():
        return "cell"
    raise UserError(
        "the strict protocol needs the cell or the patient of every image, and some rows of metadata.csv name neither",
        "Fill in the cell column, or use protocol: paper.",
    )


def make_split(samples: pd.DataFrame, scheme: Scheme, folds: int, seed: int) -> Split:
    """Divide ``samples`` (columns file_name, label, cell, patient) into ``folds`` folds, classes in equal shares.

    The folds are scikit-learn's (``StratifiedKFold``, ``StratifiedGroupKFold``) wherever it fills them all. Where
    groups share few classes, a rounding error may let it add one to a fold while another is empty, and it refuses sets
    whose every class has fewer images than folds: such sets are divided by :func:`_assigned`. By ``source`` the folds
    are the sources in the order of their names, whatever the ``seed``. The result depends on the set of rows, not on
    their order. Raises :class:`UserError` when a group is unknown, there are fewer groups, or
    images, than folds, or not as many sources as folds.
    """
    ordered = samples.sort_values("file_name", kind="stable")
    labels = ordered["label"].to_numpy()
    groups = None if scheme == "image" else ordered[scheme].to_numpy()
    if groups is not None and (groups == "").any():
        raise UserError(
            f"a split by {scheme} needs the {scheme} of every image; {(groups == '').sum()} of {len(groups)} have none",
            f"Fill in the {scheme} column of metadata.csv or choose another split scheme.",
        )
    if scheme == "source":
        return in_order_of(_by_source(ordered, folds, seed), samples)
    available = len(labels) if groups is None else len(np.unique(groups))
    if available < folds:
        there = f"there is {available}" if available == 1 else f"there are {available}"
        if available >= _FEWEST_FOLDS:
            remedy = f"Use {available} folds or fewer." if available > _FEWEST_FOLDS else "Use 2 folds, the fewest."
        elif scheme == "image":
            remedy = "Add images: 2 folds are the fewest."
        else:
            finer = "cell" if scheme == "patient" else "image"
            remedy = f"2 folds are the fewest: add {scheme}s, or divide by something finer, such as scheme: {finer}."
        raise UserError(f"{folds} folds need at least {folds} {scheme}s; {there}", remedy)
    assignment = _stratified(labels, groups, folds, seed)
    split = Split(scheme, folds, seed, tuple(ordered["file_name"]), assignment)
    check_split(split, samples)
    return in_order_of(split, samples)


def _stratified(labels: np.ndarray, groups: np.ndarray | None, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each image, int64 [N], every fold with at least one group."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # a second, which a plan does without

    divider = StratifiedKFold if groups is None else StratifiedGroupKFold
    assignment = np.full(len(labels), -1, dtype=np.int64)
    with warnings.catch_warnings():
        # A class with fewer images than folds is absent from some folds; the metrics state their policy for that.
        warnings.filterwarnings("ignore", message="The least populated class")
        with suppress(ValueError):  # every class has fewer images than there are folds
            parts = divider(folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels, groups)
            for fold, (_, held_out) in enumerate(parts):
                assignment[held_out] = fold
    if len(np.unique(assignment)) == folds and assignment.min() >= 0:
        return assignment
    return _assigned(labels, np.arange(len(labels)) if groups is None else groups, folds, seed)


def _assigned(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return a fold for each image, int64 [N], so that no group is divided and no fold is empty.

    Groups are given out one by one, the largest first, each to the fold where the counts of its classes then differ
    least from equal shares, until no more groups are left than folds without any: those get one each. Of
    :data:`_TRIALS` orders of equally large groups the one with the least difference is kept.
    """
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    classes, columns = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(sizes), len(classes)))
    np.add.at(counts, (members, columns), 1)
    totals = counts.sum(axis=0)
    generator = np.random.default_rng(seed)
    best, least = np.zeros(len(sizes), dtype=np.int64), np.inf
    for _ in range(_TRIALS):
        order = generator.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        held, taken = np.zeros((folds, len(classes))), np.full(len(sizes), -1)
        filled = np.zeros(folds, dtype=bool)
        for place, group in enumerate(order):
            allowed = np.flatnonzero(~filled) if len(order) - place <= (~filled).sum() else np.arange(folds)
            # What a fold's share of each class would be, squared: least where the fold has little of what comes.
            costs = (((held[allowed] + counts[group]) ** 2 - held[allowed] ** 2) / totals**2).sum(axis=1)
            fold = int(allowed[np.lexsort((held[allowed].sum(axis=1), costs))[0]])
            held[fold] += counts[group]
            taken[group], filled[fold] = fold, True
        difference = float(((held / totals) ** 2).sum())
        if difference < least:
            best, least = taken, difference
    return best[members].astype(np.int64)


def _by_source(ordered: pd.DataFrame, folds: int, seed: int) -> Split:
    sources = sorted(set(ordered["source"]))
    if len(sources) != folds:
        raise UserError(
            f"{folds} folds by source need {folds} sources; there {'is' if len(sources) == 1 else 'are'} "
            f"{len(sources)}: {', '.join(sources)}",
            f"Write split: {{scheme: source, folds: {len(sources)}}}."
            if len(sources) > 1
            else "Join datasets of several laboratories: dataset: [one.zip, another.zip].",
        )
    assignment = ordered["source"].map({name: fold for fold, name in enumerate(sources)}).to_numpy(dtype=np.int64)
    return Split("source", folds, seed, tuple(ordered["file_name"]), assignment)


def check_split(split: Split, samples: pd.DataFrame) -> None:
    """Raise :class:`ManyErrors` unless ``split`` covers exactly ``samples``, fills all folds and divides no group."""
    named, present = set(split.file_names), set(samples["file_name"])
    problems = [f"{name}: in the split, not in the dataset" for name in sorted(named - present)]
    problems += [f"{name}: in the dataset, not in the split" for name in sorted(present - named)]
    if len(named) != len(split.file_names):
        problems.append(f"{len(split.file_names) - len(named)} images are named twice")
    empty = sorted(set(range(split.folds)) - set(split.assignment.tolist()))
    stray = sorted(set(split.assignment.tolist()) - set(range(split.folds)))
    problems += [f"fold {fold} is empty" for fold in empty]
    problems += [f"fold {fold} is not one of 0 to {split.folds - 1}" for fold in stray]
    if split.scheme != "image" and not problems:
        groups = samples.set_index("file_name").loc[list(split.file_names), split.scheme]
        spread = pd.Series(split.assignment).groupby(groups.to_numpy()).nunique()
        problems += [f"{split.scheme} {group} is in {count} folds" for group, count in spread[spread > 1].items()]
    if problems:
        remedy = "Make the split anew from this dataset: bandbridge study split, of a study without split_file."
        raise ManyErrors("the split does not fit the dataset:", problems, remedy)


class _SplitFile(BaseModel):
    """What :func:`write_split` writes; a number is a number, and none is larger than a division of images has."""

    model_config = ConfigDict(strict=True)

    scheme: Scheme
    folds: int = Field(ge=2, le=_MOST_FOLDS)
    seed: int
    hash: str
    assignment: dict[str, Annotated[int, Field(ge=0, lt=_MOST_FOLDS)]]


def write_split(split: Split, path: Path) -> None:
    """Write ``split`` as JSON: scheme, folds, seed, hash and the fold of every file name."""
    value = {"scheme": split.scheme, "folds": split.folds, "seed": split.seed, "hash": split.hash}
    assignment = dict(zip(split.file_names, split.assignment.tolist(), strict=True))
    write_json(path, {**value, "assignment": assignment})


def read_split(path: Path, samples: pd.DataFrame) -> Split:
    """Read a split written by :func:`write_split` and check it against ``samples``.

    Raises :class:`UserError` when the file is missing, damaged, edited (its hash disagrees) or of another dataset.
    """
    remedy = "Write it again with bandbridge study split."
    try:
        value = _SplitFile.model_validate_json(read_regular(path))
    except FileNotFoundError as fault:
        raise UserError(f"there is no split file {path}", "Correct split_file in the study file.") from fault
    except ValidationError as fault:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in fault.errors()]
        raise ManyErrors(f"{path} is not a split file:", problems, remedy, shown=5) from fault
    except OSError as fault:
        raise UserError(f"{path} is not a split file ({fault.strerror or fault})", remedy) from fault
    names, numbers = tuple(value.assignment), np.array(list(value.assignment.values()), dtype=np.int64)
    split, stated = Split(value.scheme, value.folds, value.seed, names, numbers), value.hash
    if split.hash != stated:
        raise UserError(f"{path} was changed after it was written: its hash disagrees", "Write the split again.")
    check_split(split, samples)
    return in_order_of(split, samples)


def in_order_of(split: Split, samples: pd.DataFrame) -> Split:
    """Return ``split`` with its files in the order of ``samples``, which are the same files."""
    position = {name: row for row, name in enumerate(split.file_names)}
    names = tuple(samples["file_name"])
    return Split(split.scheme, split.folds, split.seed, names, split.assignment[[position[name] for name in names]])


def among_first_cells(cells: pd.Series, count: int, seed: int) -> np.ndarray:
    """Return which of the images of ``cells``, their names, are of ``count`` of them: bool [N].

    The cells are put in an order that ``seed`` draws, and the first are taken; the order of the images does not matter.
    """
    names = np.unique(cells.to_numpy())
    order = np.random.default_rng(seed).permutation(len(names))
    return np.isin(cells.to_numpy(), names[order[:count]])
