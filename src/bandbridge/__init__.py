"""Chromosome image classification by two-step transfer learning.

ImageNet -> an intermediate staining domain -> the target stain: does the middle step help, by how much, and why?

All that is public is in ``__all__`` and described in docs/api.md. Each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandbridge.api.cut import CutCells, cut
    from bandbridge.api.domains import Advice, Similarity, advise, similarity
    from bandbridge.api.fine_tune import FineTuned, fine_tune
    from bandbridge.api.model import Model, load_model
    from bandbridge.api.patients import Patients
    from bandbridge.api.predictions import Predictions
    from bandbridge.api.sheets import import_sheets
    from bandbridge.api.study import Study
    from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
    from bandbridge.errors import UserError
    from bandbridge.evaluation.appraisal import Evaluation
    from bandbridge.report.caution import Caution
    from bandbridge.sheets.importing import ImportedSheets
    from bandbridge.synthetic.sets import draw_cells

#: Where each public name lives.
_HOMES = {
    "Advice": "api.domains",
    "Caution": "report.caution",
    "CutCells": "api.cut",
    "Evaluation": "evaluation.appraisal",
    "FineTuned": "api.fine_tune",
    "ImageFolder": "dataset.imagefolder",
    "ImportedSheets": "sheets.importing",
    "Model": "api.model",
    "Patients": "api.patients",
    "Predictions": "api.predictions",
    "Similarity": "api.domains",
    "Study": "api.study",
    "UserError": "errors",
    "advise": "api.domains",
    "cut": "api.cut",
    "draw_cells": "synthetic.sets",
    "fine_tune": "api.fine_tune",
    "import_sheets": "api.sheets",
    "load_model": "api.model",
    "open_dataset": "dataset.imagefolder",
    "similarity": "api.domains",
}

__all__ = [
    "Advice",
    "Caution",
    "CutCells",
    "Evaluation",
    "FineTuned",
    "ImageFolder",
    "ImportedSheets",
    "Model",
    "Patients",
    "Predictions",
    "Similarity",
    "Study",
    "UserError",
    "advise",
    "cut",
    "draw_cells",
    "fine_tune",
    "import_sheets",
    "load_model",
    "open_dataset",
    "similarity",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'bandbridge' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(importlib.import_module(f"bandbridge.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # half of the time that all of this takes

    try:
        return version("bandbridge")
    except PackageNotFoundError:  # running from a source tree that was never installed
        return "0+unknown"
