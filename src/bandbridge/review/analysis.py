"""What a review asks of a classifier: the sheet of a cell, and what in an image speaks for a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from bandbridge.dataset.prepare import prepare_image
from bandbridge.explain.classifier import Classifier, open_classifier
from bandbridge.explain.overlay import display_factor, overlay, place
from bandbridge.predict.sheet import CellSheet, Chromosome

#: A chromosome whose class is less probable than this is for a person to look at.
_SURE = 0.8


class Analyst(Protocol):
    """A classifier as a reviewer sees it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in karyotype order."""

    def sheet(self, name: str, images: list[tuple[str, np.ndarray]]) -> CellSheet:
        """Return the sheet of cell ``name`` from its (file, uint8 [H, W]) images."""

    def cam(self, image: np.ndarray, label: str) -> np.ndarray:
        """Return what in uint8 ``image`` [H, W] speaks for class ``label``, laid over it: uint8 RGB, a whole factor
        larger."""


@dataclass(frozen=True, eq=False)
class SingleImageAnalyst:
    """One trained run that looks at each chromosome by itself, its probabilities as they come, not calibrated."""

    classifier: Classifier

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes the run was trained for."""
        return self.classifier.classes

    def sheet(self, name: str, images: list[tuple[str, np.ndarray]]) -> CellSheet:
        """Return the sheet with each chromosome in its likeliest class, flagged where that has less than 0.8."""
        prepared = np.stack([prepare_image(image, self.classifier.preparation) for _, image in images])
        rows = self.classifier.probabilities(prepared)
        return CellSheet(
            name,
            self.classes,
            tuple(self._judged(file, image, row) for (file, image), row in zip(images, rows, strict=True)),
        )

    def _judged(self, file: str, image: np.ndarray, row: np.ndarray) -> Chromosome:
        first, second = np.argsort(-row)[:2].tolist()
        label, other = self.classes[first], self.classes[second]
        unsure = f"unsure: {label} {row[first]:.0%}, {other} {row[second]:.0%}"
        return Chromosome(file, image, label, label, row, reasons=(unsure,) if row[first] < _SURE else ())

    def cam(self, image: np.ndarray, label: str) -> np.ndarray:
        """Return the Grad-CAM of class ``label`` in colour over ``image``."""
        prepared = prepare_image(image, self.classifier.preparation)[None]
        maps, _ = self.classifier.shown_maps(prepared, np.array([self.classes.index(label)]), centred=True)
        return overlay(image, maps[0], place(image, self.classifier.preparation), display_factor(image))


def open_analyst(model: Path, device: str) -> tuple[Analyst, str]:
    """Return the analyst of a run's folder and what to call it; raises as ``open_classifier`` does."""
    classifier = open_classifier(model, device=device)
    facts = classifier.facts
    known = [str(facts[key]) for key in ("task", "architecture", "approach") if key in facts]
    return SingleImageAnalyst(classifier), f"{' · '.join(known)} ({model.name})"
