"""From a study file to what it names: its datasets, opened and divided into folds, and its architectures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bandbridge.dataset.contents import Contents, contents_of
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.joined import join
from bandbridge.dataset.prepare import BASES, Preparation
from bandbridge.dataset.splits import Split, among_first_cells, in_order_of, make_split, read_split, strictest_scheme
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import is_present
from bandbridge.karyotype import order_classes
from bandbridge.model.architectures import Architecture, find_architecture
from bandbridge.study.spec import StudySpec, TaskSpec
from bandbridge.synthetic.sets import DRAWN, EndlessCells, open_named
from bandbridge.training.recipe import Objective

#: Environment variable that names the folder of the datasets when no ``--data-dir`` is given.
DATA_VARIABLE = "BANDBRIDGE_DATA"
#: Stands for the fingerprint and the split of a dataset that is not here: its runs can be counted, not run.
ABSENT = "absent"


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task with its dataset and split; both, and ``contents``, are None where the dataset is not at hand.

    split: None also where a dataset is trained on as a whole. given_classes: those of the model that a training starts
    from, where it keeps them whatever the labels are.
    """

    name: str
    spec: TaskSpec
    preparation: Preparation
    dataset: ImageFolder | None
    fingerprint: str
    split: Split | None
    contents: Contents | None = None
    given_classes: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names in order; empty where the dataset is absent and no classes are given."""
        return self.given_classes or (order_classes(self.dataset.samples["label"]) if self.dataset else ())

    @property
    def hashes(self) -> tuple[str, ...]:
        """A digest of each image file, in the order of the dataset's samples; empty where the dataset is absent."""
        if self.dataset is None or self.contents is None:
            return ()
        return tuple(self.contents.files[name] for name in self.dataset.samples["file_name"])

    def rows(
        self, fold: int | None, samples: pd.DataFrame, objective: Objective = "classes"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 positions in ``samples`` of the images that ``fold`` trains on and holds out; None: all, none.

        A training for another ``objective`` than the classes takes the images of all cells, however few are labelled,
        and is shown none of those held out: it has nothing to say of them.

        ``samples`` are the rows of the dataset, in whatever order a store of it was made. Raises ValueError where there
        is no such division.
        """
        if self.split is not None:
            training, held_out = in_order_of(self.split, samples).rows(fold)
            if objective != "classes":
                return training, np.empty(0, dtype=np.int64)
            if self.spec.cells is not None:
                training = training[among_first_cells(samples["cell"].iloc[training], self.spec.cells, self.split.seed)]
            return training, held_out
        if fold is not None:
            raise ValueError(f"task {self.name} is not divided into folds")
        return np.arange(len(samples)), np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Resolved:
    """A study file with everything that it names at hand."""

    spec: StudySpec
    tasks: dict[str, TaskData]
    architectures: dict[str, Architecture]


def resolve(spec: StudySpec, path: Path, data_dir: Path | None = None, *, need_data: bool = True) -> Resolved:
    """Find the architectures and the datasets of ``spec``, read from ``path``, and divide the datasets into folds.

    With ``need_data`` False, absent datasets are tolerated. Raises :class:`UserError` for architectures that do not
    exist and for absent or broken datasets, all at once.
    """
    if need_data and data_dir is not None and not data_dir.is_dir():
        raise UserError(f"the data folder {data_dir} does not exist", "Correct --data-dir.")
    architectures = _find_architectures(spec.architectures)
    return Resolved(spec, _open_tasks(spec, path, data_dir, need_data), architectures)


def _find_architectures(names: Sequence[str]) -> dict[str, Architecture]:
    found: dict[str, Architecture] = {}
    errors: list[UserError] = []
    for name in names:
        try:
            found[name] = find_architecture(name)
        except UserError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ManyErrors("architectures that do not exist:", [f"{each.message} {each.remedy}" for each in errors])
    named: dict[tuple[str, object], str] = {}
    for name, architecture in found.items():
        first = named.setdefault((architecture.pinned_name, architecture.options), name)
        if first != name:
            raise UserError(f"architectures: {first!r} and {name!r} are the same model", "Leave one of them out.")
    return found


def _open_tasks(spec: StudySpec, path: Path, data_dir: Path | None, need_data: bool) -> dict[str, TaskData]:
    tasks: dict[str, TaskData] = {}
    opened: dict[tuple[Path, ...], tuple[ImageFolder, Contents]] = {}
    problems: list[str] = []
    for name, task in spec.tasks.items():
        preparation = _preparation_of(name, spec, path)
        found: list[Path] = []
        for given in task.datasets:
            if given.startswith(DRAWN):
                found.append(Path(given))
                continue
            places = dataset_places(given, path, data_dir)
            here = next((place for place in places if is_present(place)), None)
            if here is None:
                problems.append(f"{given} (task {name}); looked for {', '.join(map(str, places))}")
            else:
                found.append(here)
        if len(found) < len(task.datasets):
            tasks[name] = TaskData(name, task, preparation, None, f"{ABSENT}:{task.named}", None)
            continue
        key = tuple(found)
        if key not in opened:  # reading every file takes longest: a set of several tasks is read once
            sets = [_open(place, f"{path}: task {name}") for place in found]
            dataset = sets[0] if len(sets) == 1 else join(dict(zip(_short_names(task.datasets), sets, strict=True)))
            opened[key] = dataset, contents_of(dataset)
        dataset, contents = opened[key]
        split = _require_two_to_train_on(_split_of(name, task, dataset, spec, path), name)
        _require_cells(task, split, dataset, f"{path}: task {name}")
        tasks[name] = TaskData(name, task, preparation, dataset, contents.fingerprint, split, contents)
    if problems and need_data:
        remedy = f"Name their folder with --data-dir or {DATA_VARIABLE}, or correct the dataset paths in {path}."
        raise ManyErrors("datasets not found:", problems, remedy)
    return tasks


def _open(place: Path, where: str) -> ImageFolder:
    """The dataset at ``place``; a name that is of no drawn set is a mistake of the study, and said to be ``where``."""
    try:
        return open_named(place)
    except UserError as error:
        if not place.as_posix().startswith(DRAWN):
            raise
        raise UserError(f"{where}: {error.message}", error.remedy) from error


def _short_names(datasets: Sequence[str]) -> list[str]:
    """Names of joined datasets, by which their files are told apart: the last part of each path, without .zip."""
    names = [Path(name).name.removesuffix(".zip").replace("/", "-") or "set" for name in datasets]
    return names if len(set(names)) == len(names) else [f"{number}-{name}" for number, name in enumerate(names, 1)]


def _preparation_of(name: str, spec: StudySpec, path: Path) -> Preparation:
    base, stated = spec.preparation_settings(name)
    settings = {**BASES[base], **stated}
    if settings.get("contrast") != "cell" and "upright" not in stated:
        settings["upright"] = False  # of the base: with its ground left, a chromosome is not stood up
    if settings.get("extent") is not None and settings.get("scale") != "common":
        raise UserError(
            f"{path}: the preparation of task {name} has an extent and no common scale, which alone has one",
            "Add scale: common, or take the extent away.",
        )
    try:
        return Preparation(size=spec.image_size, **settings)
    except ValidationError as fault:
        reason = "; ".join(error["msg"].removeprefix("Value error, ") for error in fault.errors())
        remedy = "Add what it needs, or begin with preparation: {base: by-cell, ...}."
        if base == "by-cell":
            default = ", the default of protocol: strict" if spec.protocol == "strict" else ""
            remedy = (
                f"It stands on the base by-cell{default}; take the setting away, or begin with preparation: "
                "{base: published, ...}."
            )
        raise UserError(f"{path}: the preparation of task {name} does not fit together: {reason}", remedy) from fault


def _split_of(name: str, task: TaskSpec, dataset: ImageFolder, spec: StudySpec, path: Path) -> Split:
    if task.split_file is not None:
        split = read_split(path.parent / task.split_file, dataset.samples)
        if split.folds != spec.split.folds:
            raise UserError(
                f"{task.split_file} has {split.folds} folds, {path} asks for {spec.split.folds}",
                "Make them agree.",
            )
        return split
    scheme = task.scheme or spec.split.scheme
    if scheme == "source" and not task.target and task.scheme is None:
        scheme = "auto"  # a domain that is not scored is trained on by folds, and has mostly one source
    if scheme == "auto":
        # A domain that is no target is not scored, so its folds cannot leak: without cells it is divided by image.
        grouped = (dataset.samples[["cell", "patient"]] != "").all().any()
        loose = spec.protocol == "paper" or not (task.target or grouped)
        scheme = "image" if loose else strictest_scheme(dataset.samples)
    try:
        return make_split(dataset.samples, scheme, spec.split.folds, spec.split.seed)
    except UserError as error:
        raise UserError(f"{path}: task {name}: {error.message}", error.remedy) from error


def _require_two_to_train_on(split: Split, name: str) -> Split:
    """Return ``split``; raise :class:`UserError` where a fold leaves fewer than two images to train on."""
    left = len(split.assignment) - np.bincount(split.assignment, minlength=split.folds)
    if left.min() < 2:
        few = f"fold {int(left.argmin())} leaves {int(left.min())} image to train on, and two are the fewest"
        raise UserError(f"task {name}: {few}", "Add images to its dataset.")
    return split


def _require_cells(task: TaskSpec, split: Split, dataset: ImageFolder, where: str) -> None:
    """Raise :class:`UserError` where ``task`` asks for more cells than some fold trains on, or cells are not known.

    Also where it asks for shuffled labels of images that are drawn anew.
    """
    if task.labels == "shuffled" and isinstance(dataset, EndlessCells):
        raise UserError(
            f"{where}: the labels of cells that are drawn anew in every epoch cannot be shuffled",
            "Draw a set to keep with bandbridge data synth, and name its folder.",
        )
    if task.cells is None:
        return
    cells = dataset.samples["cell"].to_numpy()
    if (cells == "").any() or split.scheme == "image":
        raise UserError(
            f"{where}: cells: {task.cells} needs the cell of every image, and folds that divide none",
            "Fill in the cell column of metadata.csv and divide by scheme: cell, or take cells away.",
        )
    fewest = min(len(np.unique(cells[split.rows(fold)[0]])) for fold in range(split.folds))
    if fewest < task.cells:
        raise UserError(
            f"{where}: cells: {task.cells} are more than the {fewest} that a fold trains on",
            f"Write {fewest} or fewer.",
        )


def dataset_places(name: str, study_file: Path, data_dir: Path | None) -> list[Path]:
    """Return where a dataset ``name`` of ``study_file`` may lie, in the order in which they are tried."""
    given = Path(name)
    with suppress(RuntimeError):  # "~name" where there is no such user: a folder may be called so
        given = given.expanduser()
    if given.is_absolute():
        return [given]
    variable = os.environ.get(DATA_VARIABLE)
    folders = [data_dir, Path(variable) if variable else None, study_file.parent, Path()]
    return list(dict.fromkeys(folder / given for folder in folders if folder is not None))
