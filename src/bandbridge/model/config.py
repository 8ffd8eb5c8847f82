"""What a run's folder and a model folder say of their model: read without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.karyotype import each_once
from bandbridge.seal import parsed, read_product

Triple = tuple[float, float, float]
#: What helps where a folder is not whole.
RECOPY = "Copy the whole folder again, or train the run or export the model again."
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModelConfig(BaseModel):
    """What a run's ``config.json`` and that of an exported model, under "bandbridge", say of the model.

    classes: in the order of the logits, each once. mean, std: of the three input channels, in 0..1.
    """

    model_config = ConfigDict(frozen=True)

    architecture: str
    classes: Annotated[tuple[str, ...], AfterValidator(each_once)]
    preparation: Preparation
    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Positive, _Positive, _Positive]


def exported_facts(folder: Path) -> dict[str, Any]:
    """Return what an exported model says of itself in ``folder``; {} where it is none."""
    found = read_product(folder / "config.json").get("bandbridge")
    return found if isinstance(found, dict) else {}


def read_config(folder: Path) -> tuple[str, tuple[str, ...], Preparation, Triple, Triple]:
    """Return architecture, classes, preparation, mean and std of the run, or the exported model, in ``folder``.

    Raises :class:`UserError` for a folder that is no run and for a damaged file.
    """
    if not folder.exists():
        raise UserError(
            f"{folder} does not exist",
            "Name a run such as runs/<task>/<architecture>/<approach>/fold0-<id>, an exported model, or a model.onnx.",
        )
    graphs = [path for path in (folder, *folder.glob("*")) if path.suffix in (".onnx", ".xml")]
    if graphs and not (folder / "config.json").exists():
        raise UserError(
            f"{graphs[0]} is an exported graph: it classifies (predict, evaluate, review), and nothing else",
            "Name the run, or the model folder, that it was exported from.",
        )
    config = exported_facts(folder) or read_product(folder / "config.json")
    if not config:
        raise UserError(
            f"{folder} is not the folder of a run: it holds no config.json.",
            "Name one such as runs/<task>/<architecture>/<approach>/fold0-<id>.",
        )
    if "classes" not in config and "num_classes" in config:
        raise UserError(
            f"{folder} is a model folder as timm writes it: it does not say how images are prepared, nor which classes "
            "there are.",
            "Name the folder of the run that it was made from, runs/<task>/<architecture>/<approach>/fold0-<id>.",
        )
    found = parsed(ModelConfig, config, folder / "config.json", RECOPY)
    return found.architecture, found.classes, found.preparation, found.mean, found.std


def require_labels(facts: dict[str, Any], folder: Path) -> None:
    """Raise :class:`UserError` where ``facts``, of the run in ``folder``, say that it was trained without labels."""
    record = facts.get("record")
    recipe = record.get("recipe") if isinstance(record, dict) else None
    if isinstance(recipe, dict) and recipe.get("objective", "classes") != "classes":
        raise UserError(
            f"the run {folder} was trained without labels: it knows no class", "Name a run that started from it."
        )
