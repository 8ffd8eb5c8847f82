"""What is known of a model besides its weights, as it is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bandbridge.predict.confidence import Confidence
from bandbridge.predict.likeness import Likeness
from bandbridge.predict.trained_on import TrainedOn


@dataclass(frozen=True, eq=False)
class Worth:
    """What is known of a model besides its weights.

    folds: the out-of-fold predictions of each fold of its training. trained_on: it and all that it started from.
    confidence_of: the identity of the model that ``confidence`` was learned from, "" where it is this one's own.
    before: of a tuned model, the share of the images of ``folds`` that was right before.
    """

    folds: Sequence[pd.DataFrame]
    trained_on: TrainedOn
    confidence: Confidence | None = None
    likeness: Likeness | None = None
    confidence_of: str = ""
    before: float | None = None

    @property
    def tuned_on(self) -> list[dict[str, Any]]:
        """Every fine-tuning that the model has been through, the first first."""
        names = ("task", "dataset", "stain", "images", "cells", "patients", "epochs")
        tuned = (source for source in self.trained_on.sources if source.tuned_from)
        return [{"base": one.tuned_from, **{name: getattr(one, name) for name in names}} for one in tuned]
