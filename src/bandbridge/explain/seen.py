"""A classifier that can be asked where in an image it sees a class."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from bandbridge.explain.gradcam import ClassEvidence, grad_cam
from bandbridge.explain.layers import find_cam_layer
from bandbridge.explain.maps import centred_maps, normalise, upsample
from bandbridge.model.classifier import BATCH, Classifier, open_classifier


@dataclass(frozen=True, eq=False)
class SeeingClassifier(Classifier):
    """A :class:`Classifier` with ``layer``, the module that Grad-CAM reads."""

    layer: str

    def evidence(self, prepared: np.ndarray, targets: np.ndarray) -> ClassEvidence:
        """Return the Grad-CAM of uint8 ``prepared`` [B, *preparation.shape] for classes ``targets``, integers [B]."""
        parts = [
            grad_cam(
                self.model,
                self.layer,
                self.normalised(prepared[start : start + BATCH]),
                targets[start : start + BATCH],
            )
            for start in range(0, len(prepared), BATCH)
        ]
        maps, logits, asked = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("maps", "logits", "targets")
        )
        return ClassEvidence(maps, logits, asked)

    def shown_maps(self, prepared: np.ndarray, targets: np.ndarray, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return maps for the eye, float32 [B, S, S] in 0..1, and the maximum of each raw map, float32 [B].

        As published: each map stretched to [0, 1] by itself, then enlarged. With ``centred``, :meth:`centred_maps`
        stretched.
        """
        size, raw = self.preparation.size, self.evidence(prepared, targets).maps
        shown = normalise(self.centred_maps(prepared, targets)) if centred else upsample(normalise(raw), size, size)
        return shown, raw.max(axis=(1, 2))

    def centred_maps(self, prepared: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return raw maps enlarged to the prepared image and centred, float32 [B, S, S], as :func:`centred_maps`."""
        return centred_maps(lambda images: self.evidence(images, targets).maps, prepared)


def seeing(classifier: Classifier, layer: str | None = None) -> SeeingClassifier:
    """Return ``classifier`` with the layer that Grad-CAM reads, the last before pooling unless ``layer`` is given.

    Raises :class:`UserError` for a ``layer`` that the model does not have.
    """
    if isinstance(classifier, SeeingClassifier) and layer is None:
        return classifier
    known = {field.name: getattr(classifier, field.name) for field in fields(Classifier)}
    return SeeingClassifier(**known, layer=find_cam_layer(classifier.model, classifier.architecture, layer))


def open_seeing(
    folder: Path, checkpoint: str = "best", device: str = "auto", layer: str | None = None
) -> SeeingClassifier:
    """Read a run or an exported model as :func:`open_classifier` does, ready to be asked where it looks.

    Raises as :func:`open_classifier` and :func:`seeing` do.
    """
    return seeing(open_classifier(folder, checkpoint, device), layer)
