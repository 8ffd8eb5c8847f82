"""The study file: what to train and compare, read from YAML and checked with the line of every mistake."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from bandbridge.dataset.claims import MAX_SIDE
from bandbridge.errors import ManyErrors, UserError
from bandbridge.evaluation.predictions import DETOURS
from bandbridge.filenames import fault_of_file_name, folded
from bandbridge.files import read_regular
from bandbridge.study.written import MAX_BYTES, read_yaml
from bandbridge.training.recipe import NO_YES, RecipeSpec

#: How long to train without labels, unless stated: 12 x 51 steps on two views of 128 images are 156,672 image passes;
#: the models in the box had 157,056.
UNLABELLED_RECIPE = {"base": "laboratory", "epochs": 12, "steps": 51, "batch_size": 128}
Scheme = Literal["auto", "image", "cell", "patient", "source"]
Approach = Literal["scratch", "imagenet", "two-step", "domain", "boxed", "boxed-two-step", "self-supervised"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PreparationSpec(_Frozen):
    """What a study says of preparation: a named base, and what to change in it.

    base: ``published`` or ``by-cell``; by default published under the protocol paper and by-cell under strict. Alone it
    may stand for the whole: ``preparation: by-cell``. The other settings are those of
    :class:`bandbridge.dataset.prepare.Preparation`.
    """

    base: Literal["published", "by-cell"] | None = None
    padding: Literal["black", "background"] | None = None
    crop: Literal["none", "foreground"] | None = None
    scale: Literal["each", "common", "cell"] | None = None
    extent: Annotated[int, NO_YES] | None = Field(default=None, ge=1, le=MAX_SIDE)
    polarity: Literal["as-is", "inverted"] | None = None
    views: Literal["close-up", "to-scale", "both"] | None = None
    contrast: Literal["as-is", "cell"] | None = None
    upright: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _alone_it_is_the_base(cls, value: object) -> object:
        return {"base": value} if isinstance(value, str) else value

    def settings(self) -> dict[str, Any]:
        """Return only what is stated, without the base."""
        return self.model_dump(exclude_none=True, exclude={"base"})


class TaskSpec(_Frozen):
    """One classification task, or a domain that only serves as an intermediate (``target: false``).

    dataset: folder or zip, looked for in the data folder, then beside the study file, then in the current folder; or
    several, which are joined. scheme: how this task is divided into folds, where not as the study says.
    band: what tables call the task ("Q-band"); its name by default.
    intermediates: names of the tasks whose models the ``two-step``, ``domain`` and ``boxed-two-step`` approaches start
    from. box: stain of the model in the box that ``boxed`` ones start from; that of the images by default.
    split_file: a split written by ``bandbridge study split``, beside the study file, instead of a new division.
    cells: train on so many cells of each fold's training part, as if no more were labelled; those of a smaller number
    are among those of a larger one. What is held out stays the same. labels: ``shuffled`` deals the labels of the
    images that are trained on out among them at random, a control: what an intermediate domain still gains then, it
    gains by its pictures alone. recipe: of this task's own trainings, where it is not that of the study; seed likewise:
    tasks that differ in nothing else are the members of an ensemble.
    """

    dataset: str | Annotated[tuple[str, ...], Field(min_length=1)]
    band: str = ""
    scheme: Scheme | None = None
    split_file: str | None = None
    intermediates: tuple[str, ...] = ()
    target: bool = True
    box: Literal["G", "Q"] | None = None
    cells: Annotated[int, NO_YES] | None = Field(default=None, ge=1)
    labels: Literal["as-is", "shuffled"] = "as-is"
    recipe: RecipeSpec | None = None
    seed: Annotated[int, NO_YES] | None = None
    preparation: PreparationSpec = PreparationSpec()

    @field_validator("dataset", mode="before")
    @classmethod
    def _is_one_or_several(cls, value: object) -> object:
        several = isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value)
        if not several and not isinstance(value, str):
            raise ValueError("should be a path, or a list of paths to join, such as [mine.zip, theirs.zip]")
        return value

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that are joined; mostly one."""
        return (self.dataset,) if isinstance(self.dataset, str) else self.dataset

    @property
    def named(self) -> str:
        """The datasets as one text."""
        return " + ".join(self.datasets)


class SplitSpec(_Frozen):
    """How images are divided into folds. ``scheme: auto`` is image (paper), patient or cell (strict).

    ``source`` leaves one source out at a time, as a laboratory whose images the model has never seen; ``folds`` is then
    their number.
    """

    scheme: Scheme = "auto"
    folds: Annotated[int, NO_YES] = Field(default=5, ge=2, le=100)
    seed: Annotated[int, NO_YES] = Field(default=0, ge=0, lt=2**32)


class _Disagreement(ValueError):
    """Parts of a study that do not fit together: where in the file, and what is wrong there."""

    def __init__(self, problems: Sequence[tuple[tuple[str, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


class StudySpec(_Frozen):
    """A whole study.

    run_folds: the folds to train, all by default. intermediate_rows: ``fold`` trains the intermediate model on the
    training rows of the same fold (it is then the other task's own run); ``all`` trains one more on every image.
    parent_checkpoint: which weights of the intermediate model go on; by default the protocol's (paper: best, strict:
    last). head: ``keep`` hands on the classification layer too where the classes agree. unlabelled: the recipe of the
    trainings without labels that ``self-supervised`` ones start from, as :data:`UNLABELLED_RECIPE` where it does not
    say otherwise.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    protocol: Literal["paper", "strict"] = "paper"
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    architectures: tuple[str, ...] = Field(min_length=1)
    approaches: tuple[Approach, ...] = Field(default=("scratch", "imagenet", "two-step"), min_length=1)
    split: SplitSpec = SplitSpec()
    run_folds: tuple[Annotated[int, NO_YES], ...] | None = Field(default=None, min_length=1)
    image_size: Annotated[int, NO_YES] = Field(default=256, ge=16, le=2048)
    preparation: PreparationSpec = PreparationSpec()
    recipe: RecipeSpec = RecipeSpec()
    recipes: dict[str, RecipeSpec] = {}
    unlabelled: RecipeSpec = RecipeSpec.model_validate(UNLABELLED_RECIPE)
    intermediate_rows: Literal["fold", "all"] = "fold"
    parent_checkpoint: Literal["auto", "best", "last"] = "auto"
    head: Literal["keep", "new"] = "keep"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Annotated[int, NO_YES] = 0

    @field_validator("unlabelled", mode="before")
    @classmethod
    def _the_rest_is_as_usual(cls, value: object) -> object:
        return {**UNLABELLED_RECIPE, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _parts_agree(self) -> StudySpec:
        problems = [*self._task_problems(), *self._list_problems(), *self._unlabelled_problems()]
        if fault := fault_of_file_name(self.name):
            problems.append((("name",), f"{fault}, and it names a folder"))
        if problems:
            raise _Disagreement(problems)
        return self

    def _task_problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if not any(task.target for task in self.tasks.values()):
            yield ("tasks",), "none of them is a target; take away target: false where models are wanted"
        needs = sorted(set(DETOURS) & set(self.approaches))
        for name, task in self.tasks.items():
            if not name.replace("-", "").replace("_", "").isalnum():
                yield ("tasks", name), f"{name!r} must be letters, digits, '-' and '_': it names a folder"
            elif fault := fault_of_file_name(name):
                yield ("tasks", name), f"{fault}, and it names a folder"
            alike = next(other for other in self.tasks if folded(other) == folded(name))
            if alike != name:
                yield ("tasks", name), f"{name!r} and {alike!r} name one folder where case is not told apart"
            for other in task.intermediates:
                if other not in self.tasks or other == name:
                    choices = ", ".join(key for key in self.tasks if key != name) or "none"
                    yield ("tasks", name, "intermediates"), f"{other!r} is not another task (there are: {choices})"
            if task.target and needs and not task.intermediates:
                verb = "need" if len(needs) > 1 else "needs"
                yield ("tasks", name), f"{' and '.join(needs)} {verb} an intermediate; add intermediates: [...]"

    def _unlabelled_problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if "unlabelled" in self.model_fields_set and "self-supervised" not in self.approaches:
            yield ("unlabelled",), "no approach trains without labels; add self-supervised to the approaches"
        if self.unlabelled.label_smoothing is not None:
            yield ("unlabelled", "label_smoothing"), "there are no labels to smooth; take it away"

    def _list_problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        lists: dict[tuple[str, ...], Sequence[object]] = {
            (key,): getattr(self, key) or () for key in ("architectures", "approaches", "run_folds")
        }
        lists |= {("tasks", name, "intermediates"): task.intermediates for name, task in self.tasks.items()}
        lists |= {("tasks", name, "dataset"): task.datasets for name, task in self.tasks.items()}
        for place, items in lists.items():
            for item in (item for item, times in Counter(items).items() if times > 1):
                yield place, f"{item!r} stands there twice"
        for fold in self.run_folds or ():
            if not 0 <= fold < self.split.folds:
                yield ("run_folds",), f"{fold} is not one of the folds 0 to {self.split.folds - 1}"
        for name in self.recipes:
            if name not in self.architectures:
                yield ("recipes", name), f"{name!r} is not among the architectures"

    def preparation_settings(self, task: str) -> tuple[str, dict[str, Any]]:
        """Return the base of the preparation of ``task`` and what is stated beside it.

        A base that the task names stands by itself: what the study states belongs to the study's own.
        """
        own = self.tasks[task].preparation
        if own.base is not None:
            return own.base, own.settings()
        base = self.preparation.base or ("by-cell" if self.protocol == "strict" else "published")
        return base, {**self.preparation.settings(), **own.settings()}

    @property
    def kept_checkpoint(self) -> Literal["best", "last"]:
        """The checkpoint that the protocol reports."""
        return "best" if self.protocol == "paper" else "last"

    @property
    def handed_on(self) -> Literal["best", "last"]:
        """The checkpoint of an intermediate model that its children start from."""
        return self.kept_checkpoint if self.parent_checkpoint == "auto" else self.parent_checkpoint

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that are trained."""
        return self.run_folds if self.run_folds is not None else tuple(range(self.split.folds))

    def recipe_spec(self, architecture: str, task: str | None = None) -> RecipeSpec:
        """The recipe settings of one architecture; on ``task``, where it has none of its own."""
        own = self.tasks[task].recipe if task is not None else None
        if own is not None:
            return own
        return self.recipes.get(architecture, self.recipe)


def read_study(path: Path) -> StudySpec:
    """Read and check the study file ``path``.

    Raises :class:`ManyErrors` with every mistake, each with its line, its key and the nearest right key.
    """
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8")
    except FileNotFoundError as fault:
        raise UserError(f"there is no study file {path}", "Start from one in the studies/ folder.") from fault
    except (OSError, UnicodeDecodeError) as fault:
        remedy = "A study file is a YAML text in UTF-8; start from one in the studies/ folder."
        raise UserError(f"cannot read the study file {path}: {fault}", remedy) from fault
    try:
        root, value = read_yaml(text)
    except (yaml.YAMLError, ValueError) as fault:  # ValueError: what looks like a date or a number and is none
        reason = str(fault).replace('in "<unicode string>", ', "")
        remedy = "Check the indentation and the colons, and put text that looks like a date or a number in quotes."
        raise UserError(f"{path} is not valid YAML: {reason}", remedy) from fault
    if not isinstance(value, dict) or root is None:
        raise UserError(
            f"{path} is not a study: it should be a mapping with name, tasks, architectures, ...",
            "Start from one in the studies/ folder.",
        )
    problems = list(_repeated_keys(root, path))
    try:
        spec = StudySpec.model_validate(value)
    except ValidationError as fault:
        # Of a list whose items are all wrong pydantic says besides that it is empty.
        at = [error["loc"] for error in fault.errors()]
        errors = [
            error
            for error in fault.errors()
            if error["type"] != "too_short" or sum(loc[: len(error["loc"])] == error["loc"] for loc in at) == 1
        ]
        problems += [problem for error in errors[:_EXPLAINED] for problem in _explain(error, path, root)]
        problems += [".".join(map(str, error["loc"])) for error in errors[_EXPLAINED:]]
    if problems:
        raise ManyErrors(f"{path} has {len(problems)} mistake{'s' * (len(problems) > 1)}:", problems)
    return spec


def _repeated_keys(node: yaml.Node, path: Path, seen: frozenset[int] = frozenset()) -> Iterator[str]:
    """Name each key that stands twice in one mapping: YAML would take the last and say nothing."""
    if id(node) in seen:  # an alias to what it lies in
        return
    seen |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in lines:
                yield f"{path.name}:{line}: {key.value!r} stands already in line {lines[key.value]}"
            lines[key.value] = line
            yield from _repeated_keys(value, path, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value, path, seen)


#: How many mistakes are explained, each against every key that there is.
_EXPLAINED = 50
#: What is said in place of pydantic's words, which are those of a programmer.
_EXPECTED = {
    "tuple_type": "should be a list, such as [a, b]",
    "model_type": "should hold keys and values, such as {key: value}",
    "dict_type": "should hold keys and values, such as {key: value}",
    "string_type": "should be text; put it in quotes",
    "missing": "is missing",
    "too_short": "should not be empty",
}


def _explain(error: ErrorDetails, path: Path, root: yaml.Node) -> Iterator[str]:
    location = tuple(part for part in error["loc"] if part != "[key]")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, _Disagreement):
        for part, message in cause.problems:
            yield f"{path.name}:{_line_of(root, part)}: {'.'.join(part)}: {message}"
        return
    place, key = f"{path.name}:{_line_of(root, location)}", ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        yield f"{place}: unknown key {key!r}; {_nearest_key(location)}"
        return
    message = _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    yield f"{place}: {key + ': ' if key else ''}{message[:1].lower() + message[1:] if key else message}"


def _nearest_key(location: tuple[int | str, ...]) -> str:
    """Say which key is meant: the most alike of the same section, or one of another that is more alike still."""
    written, here = str(location[-1]), _known_keys(location[:-1])

    def likeness(key: str) -> float:
        return difflib.SequenceMatcher(None, written, key.rpartition(".")[2]).ratio()

    elsewhere = [
        ".".join((*section, key)) for section in _SECTIONS if section != location[:-1] for key in _known_keys(section)
    ]
    nearest = max([*here, *elsewhere], key=likeness)
    if likeness(nearest) < 0.6:
        return f"the keys here are: {', '.join(here)}"
    return f"did you mean {nearest!r}?"


_SECTIONS: tuple[tuple[str, ...], ...] = ((), ("recipe",), ("recipe", "augmentation"), ("split",), ("preparation",))


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at ``location`` of a study file."""
    if not location:
        return list(StudySpec.model_fields)
    sections: dict[str, type[BaseModel]] = {"tasks": TaskSpec, "split": SplitSpec, "recipe": RecipeSpec}
    sections |= {"preparation": PreparationSpec, "recipes": RecipeSpec, "unlabelled": RecipeSpec}
    model = sections.get(str(location[0]))
    if location[0] == "tasks" and len(location) > 2 and location[2] == "preparation":
        model = PreparationSpec
    if location[-1] == "augmentation":
        model = RecipeSpec.model_fields["augmentation"].annotation.__args__[0]  # type: ignore[union-attr]
    return list(model.model_fields) if model else []


def _line_of(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """Return the 1-based line of the deepest part of ``location`` that is in the file."""
    line = node.start_mark.line + 1
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
