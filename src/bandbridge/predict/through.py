"""A model whose logits come from outside: its weights as another library has opened them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.model.config import Triple, read_config
from bandbridge.predict.ensemble import Member
from bandbridge.predict.graph import batch_for

#: Maps pixels, float32 [B, 3, S, S], to logits, [B, K].
Network = Callable[[np.ndarray], Any]


@dataclass(frozen=True, eq=False)
class ThroughNetwork:
    """``member`` in all but its logits, which ``network`` gives. mean, std: of the three channels, in 0..1."""

    member: Member
    network: Network
    mean: Triple
    std: Triple

    @property
    def folder(self) -> Path:
        """Where the member was read from."""
        return self.member.folder

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        return self.member.facts

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the logits."""
        return self.member.classes

    @property
    def preparation(self) -> Preparation:
        """How images are prepared for it."""
        return self.member.preparation

    @property
    def temperature(self) -> float:
        """What its logits are divided by where nothing else is known of its confidence."""
        return self.member.temperature

    def held_out(self) -> frozenset[str]:
        """Return the names of the images that it was not trained on."""
        return self.member.held_out()

    def pixels(self, prepared: np.ndarray) -> np.ndarray:
        """Return float32 [B, 3, S, S], as the network saw images in training, of uint8 ``prepared``."""
        views = prepared[:, None] if prepared.ndim == 3 else prepared
        # Two views: the close-up in red and blue, the one to scale in green (bandbridge.model.channels).
        channels = views[:, [0, 0, 0] if views.shape[1] == 1 else [0, 1, 0]].astype(np.float32) / np.float32(255)
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        return np.ascontiguousarray((channels - mean) / std)

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """Return float32 [B, K] of uint8 ``prepared`` [B, *preparation.shape], a few images at a time.

        Raises :class:`UserError` where the network returns anything else.
        """
        batch = batch_for(self.preparation.size)
        parts = []
        for start in range(0, len(prepared), batch):
            images = prepared[start : start + batch]
            given = np.asarray(self.network(self.pixels(images)), dtype=np.float32)
            if given.shape != (len(images), len(self.classes)):
                raise UserError(
                    f"the network gave an array of {list(given.shape)} for {len(images)} images and "
                    f"{len(self.classes)} classes",
                    "Let it return its logits, an array of [images, classes].",
                )
            parts.append(given)
        return np.concatenate(parts)


def through_network(member: Member, network: Network) -> ThroughNetwork:
    """Return ``member``, a run or a model folder, with ``network`` in the place of its own.

    Raises :class:`UserError` for a graph that was exported by itself: its weights are no other library's.
    """
    *_, mean, std = read_config(member.folder)
    return ThroughNetwork(member, network, mean, std)
