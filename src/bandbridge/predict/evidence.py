"""Where in an image a graph sees a class, without PyTorch: Grad-CAM from the network's last features.

``evidence.onnx`` lies beside the graph of a network whose head says, in closed form, how much each channel of the last
features speaks for a class (:mod:`bandbridge.export.evidence`); of others, and of graphs of earlier builds, there is
none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandbridge.explain.maps import centred_maps, normalise
from bandbridge.predict.runtime import Runtime, open_session
from bandbridge.seal import require_unaltered

FILE = "evidence.onnx"
#: Images at a time: a person asks about one.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Evidence:
    """A graph's class evidence. head: maps features [N, C, h, w] and classes, one-hot [N, K], to maps [N, h, w]."""

    runtime: Runtime
    head: Callable[[np.ndarray, np.ndarray], np.ndarray]
    classes: int

    def maps(self, prepared: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the raw Grad-CAM of uint8 ``prepared`` [B, ..., S, S] for classes ``targets`` [B], float32 [B, h, w].

        In the unit of the logit, 0 or more (Selvaraju et al. 2017, ICCV, Eqs. 1 and 2).
        """
        chosen = np.eye(self.classes, dtype=np.float32)[targets]
        parts = []
        for start in range(0, len(prepared), _BATCH):
            features = self.runtime.features(np.ascontiguousarray(prepared[start : start + _BATCH]))
            parts.append(self.head(features, chosen[start : start + _BATCH]))
        return np.concatenate(parts)

    def shown_maps(self, prepared: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return centred maps for the eye, float32 [B, S, S] in 0..1, each stretched by itself."""
        return normalise(centred_maps(lambda images: self.maps(images, targets), prepared))


def open_evidence(folder: Path, runtime: Runtime) -> Evidence | None:
    """Return the class evidence of the graph in ``folder`` that ``runtime`` computes; None where it has none.

    Raises :class:`bandbridge.errors.UserError` where its file was altered.
    """
    path = folder / FILE
    require_unaltered(path)
    if not (path.is_file() and runtime.gives_features):
        return None
    session = open_session(path, threads=1)
    classes = next(one.shape[1] for one in session.get_inputs() if one.name == "chosen")

    def head(features: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(["map"], {"features": features, "chosen": chosen})[0]
        return found

    return Evidence(runtime, head, int(classes))
