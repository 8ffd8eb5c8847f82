"""A classifier as a person at the review page meets it: a cell's sheet, and what speaks for a class in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bandbridge.dataset.by_cell import prepare_beside
from bandbridge.errors import UserError
from bandbridge.explain.overlay import display_factor, overlay, place
from bandbridge.extras import is_installed
from bandbridge.karyogram.orientation import upright
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.karyotype import CLASSES
from bandbridge.predict.classify import assign_sheet, judge_images
from bandbridge.predict.ensemble import Ensemble, Member, open_models
from bandbridge.predict.graph import GraphClassifier
from bandbridge.seal import EXPORTED_WEIGHTS

if TYPE_CHECKING:
    from bandbridge.explain.seen import SeeingClassifier


@dataclass(frozen=True, eq=False)
class EnsembleAnalyst:
    """Calibrated models that place the chromosomes of a cell together, turn them upright and flag what to check."""

    ensemble: Ensemble

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the models, in karyotype order."""
        return self.ensemble.classes

    def sheet(self, name: str, images: list[tuple[str, np.ndarray]]) -> CellSheet:
        """Return the sheet of cell ``name`` from its (file, uint8 [H, W]) images."""
        chromosomes = judge_images(self.ensemble, images, cells=[name or "cell"] * len(images))
        sheet = CellSheet(name, self.classes, tuple(upright(chromosomes, self.classes)))
        return assign_sheet(sheet, self.ensemble) if self.classes == CLASSES else sheet

    def cam(self, image: np.ndarray, label: str, mates: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Return the Grad-CAM of class ``label`` by the first model, in colour over uint8 ``image`` [H, W].

        mates: the other images of its cell, uint8 [H, W] each.
        """
        first = self.ensemble.members[0]
        placement = place(image, first.preparation)
        prepared = prepare_beside(image, mates, first.preparation)[None]
        shown = _shown_map(first, prepared, np.array([self.classes.index(label)]))
        return overlay(image, shown, placement, display_factor(image))


def _shown_map(member: Member, prepared: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The Grad-CAM of one uint8 ``prepared`` image [1, ...] for a class [1], float32 [S, S] in 0..1.

    A graph tells it itself where its head has a formula for it; else the weights beside it do, where PyTorch is.
    """
    if isinstance(member, GraphClassifier):
        if member.evidence is not None:
            return member.evidence.shown_maps(prepared, target)[0]
        if not (is_installed("torch") and (member.folder / EXPORTED_WEIGHTS).is_file()):
            raise UserError(
                "the graph of this model does not tell where it looks",
                'That takes a model folder, with its weights, and pip install "bandbridge[train]".',
            )
    asked: Any = member  # by its identity: no two are equal
    maps, _ = _seeing(asked).shown_maps(prepared, target, centred=True)
    return np.asarray(maps[0])


@lru_cache(maxsize=1)
def _seeing(member: Any) -> SeeingClassifier:
    from bandbridge.explain.seen import open_seeing, seeing  # torch; the sheet itself does without
    from bandbridge.model.classifier import Classifier

    return seeing(member) if isinstance(member, Classifier) else open_seeing(member.folder, device="cpu")


def open_analyst(models: Sequence[Path], device: str, checkpoint: str = "last") -> tuple[EnsembleAnalyst, str]:
    """Return the analyst of runs or exported models, and what to call it; raises as :func:`open_models` does."""
    ensemble = open_models(models, checkpoint, device)
    facts = ensemble.members[0].facts
    known = [str(facts[key]) for key in ("task", "architecture", "approach") if key in facts]
    more = f", mean of {len(models)} models" if len(models) > 1 else ""
    return EnsembleAnalyst(ensemble), f"{' · '.join(known)} ({models[0].name}{more})"
