"""A classifier as a person at the review page meets it: a cell's sheet, and what speaks for a class in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandbridge.dataset.by_cell import prepare_beside
from bandbridge.errors import UserError
from bandbridge.explain.overlay import display_factor, overlay, place
from bandbridge.karyogram.orientation import upright
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.karyotype import CLASSES
from bandbridge.predict.classify import assign_sheet, judge_images
from bandbridge.predict.ensemble import Ensemble, open_models


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
        from bandbridge.explain.seen import seeing  # torch; the sheet itself does without
        from bandbridge.model.classifier import Classifier

        first = self.ensemble.members[0]
        if not isinstance(first, Classifier):
            raise UserError(
                f"{first.folder} is an exported graph, which does not tell where it looks",
                "Name the run or the model folder that it was exported from.",
            )
        member = seeing(first)
        prepared = prepare_beside(image, mates, member.preparation)[None]
        maps, _ = member.shown_maps(prepared, np.array([self.classes.index(label)]), centred=True)
        return overlay(image, maps[0], place(image, member.preparation), display_factor(image))


def open_analyst(models: Sequence[Path], device: str, checkpoint: str = "last") -> tuple[EnsembleAnalyst, str]:
    """Return the analyst of runs or exported models, and what to call it; raises as :func:`open_models` does."""
    ensemble = open_models(models, checkpoint, device)
    facts = ensemble.members[0].facts
    known = [str(facts[key]) for key in ("task", "architecture", "approach") if key in facts]
    more = f", mean of {len(models)} models" if len(models) > 1 else ""
    return EnsembleAnalyst(ensemble), f"{' · '.join(known)} ({models[0].name}{more})"
