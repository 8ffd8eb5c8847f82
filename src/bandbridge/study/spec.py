"""The study file: what to train and compare, read from YAML and checked with the line of every mistake."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from bandbridge.errors import ManyErrors, UserError
from bandbridge.training.recipe import RecipeSpec

Approach = Literal["scratch", "imagenet", "two-step", "domain"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PreparationSpec(_Frozen):
    """What a study says of preparation; see :class:`bandbridge.dataset.prepare.Preparation` for the meanings."""

    padding: Literal["black", "background"] | None = None
    crop: Literal["none", "foreground"] | None = None
    scale: Literal["each", "common"] | None = None
    extent: int | None = Field(default=None, ge=1)
    polarity: Literal["as-is", "inverted"] | None = None

    def settings(self) -> dict[str, Any]:
        """Return only what is stated."""
        return self.model_dump(exclude_none=True)


class TaskSpec(_Frozen):
    """One classification task, or a domain that only serves as an intermediate (``target: false``).

    dataset: folder or zip, looked for beside the study file, then in the data folder, then in the current folder.
    band: what tables call the task ("Q-band"); its name by default.
    intermediates: names of the tasks whose models the ``two-step`` and ``domain`` approaches start from.
    split_file: a split written by ``bandbridge study split``, beside the study file, instead of a new division.
    """

    dataset: str
    band: str = ""
    split_file: str | None = None
    intermediates: tuple[str, ...] = ()
    target: bool = True
    preparation: PreparationSpec = PreparationSpec()


class SplitSpec(_Frozen):
    """How images are divided into folds. ``scheme: auto`` is image (paper), patient or cell (strict)."""

    scheme: Literal["auto", "image", "cell", "patient"] = "auto"
    folds: int = Field(default=5, ge=2, le=100)
    seed: int = 0


class StudySpec(_Frozen):
    """A whole study.

    run_folds: the folds to train, all by default. intermediate_rows: ``fold`` trains the intermediate model on the
    training rows of the same fold (it is then the other task's own run); ``all`` trains one more on every image.
    parent_checkpoint: which weights of the intermediate model go on; by default the protocol's (paper: best, strict:
    last). head: ``keep`` hands on the classification layer too where the classes agree.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    protocol: Literal["paper", "strict"] = "paper"
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    architectures: tuple[str, ...] = Field(min_length=1)
    approaches: tuple[Approach, ...] = ("scratch", "imagenet", "two-step")
    split: SplitSpec = SplitSpec()
    run_folds: tuple[int, ...] | None = None
    image_size: int = Field(default=256, ge=16, le=2048)
    preparation: PreparationSpec = PreparationSpec()
    recipe: RecipeSpec = RecipeSpec()
    recipes: dict[str, RecipeSpec] = {}
    intermediate_rows: Literal["fold", "all"] = "fold"
    parent_checkpoint: Literal["auto", "best", "last"] = "auto"
    head: Literal["keep", "new"] = "keep"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0

    @model_validator(mode="after")
    def _names_agree(self) -> StudySpec:
        for name, task in self.tasks.items():
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"tasks: {name!r} must be letters, digits, '-' and '_': it names a folder")
            for other in task.intermediates:
                if other not in self.tasks or other == name:
                    choices = ", ".join(key for key in self.tasks if key != name) or "none"
                    raise ValueError(
                        f"tasks.{name}.intermediates: {other!r} is not another task (there are: {choices})"
                    )
            needs = sorted({"two-step", "domain"} & set(self.approaches))
            if task.target and needs and not task.intermediates:
                raise ValueError(f"tasks.{name}: {' and '.join(needs)} need an intermediate; add intermediates: [...]")
        for fold in self.run_folds or ():
            if not 0 <= fold < self.split.folds:
                raise ValueError(f"run_folds: {fold} is not one of the folds 0 to {self.split.folds - 1}")
        for name in self.recipes:
            if name not in self.architectures:
                raise ValueError(f"recipes: {name!r} is not among the architectures")
        return self

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

    def recipe_spec(self, architecture: str) -> RecipeSpec:
        """The recipe settings of one architecture."""
        return self.recipes.get(architecture, self.recipe)


def read_study(path: Path) -> StudySpec:
    """Read and check the study file ``path``.

    Raises :class:`ManyErrors` with every mistake, each with its line, its key and the nearest right key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise UserError(f"there is no study file {path}", "Start from one in the studies/ folder.") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"cannot read the study file {path}: {fault}") from fault
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise UserError(f"{path} is not valid YAML: {fault}", "Check the indentation and the colons.") from fault
    if not isinstance(value, dict) or root is None:
        raise UserError(f"{path} is not a study: it should be a mapping with name, tasks, architectures, ...")
    try:
        return StudySpec.model_validate(value)
    except ValidationError as fault:
        problems = [_explain(error, path, root) for error in fault.errors()]
        raise ManyErrors(f"{path} has {len(problems)} mistake{'s' * (len(problems) > 1)}:", problems) from fault


def _explain(error: ErrorDetails, path: Path, root: yaml.Node) -> str:
    location = tuple(part for part in error["loc"] if part != "[key]")
    line = _line_of(root, location)
    key = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys here are: {', '.join(known)}"
        return f"{path.name}:{line}: unknown key {key!r}; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path.name}:{line}: {key + ': ' if key else ''}{message[:1].lower() + message[1:] if key else message}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at ``location`` of a study file."""
    if not location:
        return list(StudySpec.model_fields)
    sections: dict[str, type[BaseModel]] = {"tasks": TaskSpec, "split": SplitSpec, "recipe": RecipeSpec}
    sections |= {"preparation": PreparationSpec, "recipes": RecipeSpec}
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
