"""A planted band: two images that differ in one band, and a model that can tell them by nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bandbridge.explain.gradcam import grad_cam
from bandbridge.explain.maps import upsample

SIZE, BAND = 64, slice(40, 48)
CLASSES = (WITHOUT, WITH) = (0, 1)


def draw(count: int, with_band: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Upright bars with random bands anywhere but at ``BAND``, where there is one or not; float [N, 3, 64, 64]."""
    images = np.zeros((count, SIZE, SIZE), dtype=np.float32)
    for image, has_band in zip(images, with_band, strict=True):
        left = rng.integers(20, 28)
        image[4:60, left : left + 16] = 0.45
        for _ in range(3):
            top = rng.choice([*range(6, 30), *range(52, 55)])
            image[top : top + 5, left : left + 16] = rng.choice([0.1, 0.95])
        if has_band:
            image[BAND, left : left + 16] = 0.95
        image += rng.normal(0, 0.03, image.shape)
    return torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1) * 2 - 1


class Small(nn.Module):
    """Three convolutions that see 15 pixels, the mean over 8 x 8 places, two classes."""

    def __init__(self) -> None:
        super().__init__()
        sides = [3, 12, 16, 24]
        stages = [
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
            for a, b in pairwise(sides)
        ]
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(24, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = Small()
    optimiser = torch.optim.AdamW(small.parameters(), lr=4e-3)
    for step in range(250):
        if step == 150:  # batch norm's running statistics catch up, whatever the rounding of the processor
            optimiser.param_groups[0]["lr"] = 4e-4
        truth = rng.integers(0, 2, 32)
        loss = nn.functional.cross_entropy(small(draw(32, truth == WITH, rng)), torch.from_numpy(truth))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return small.eval()


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """The same twenty chromosomes without the band and with it: equal pixels everywhere else."""
    without, with_band = (draw(20, np.full(20, kind), np.random.default_rng(9)) for kind in (False, True))
    elsewhere = [row for row in range(SIZE) if row not in range(BAND.start, BAND.stop)]
    assert torch.equal(without[:, :, elsewhere], with_band[:, :, elsewhere])
    return without, with_band


@pytest.mark.slow
def test_the_class_evidence_changes_with_the_band(model: nn.Module, pair: tuple[Tensor, Tensor]) -> None:
    without, with_band = (grad_cam(model, "features", images, [WITH] * 20) for images in pair)
    assert (with_band.logits.argmax(1) == WITH).all() and (without.logits.argmax(1) == WITHOUT).all()
    assert (with_band.scores - without.scores).min() > 1
    assert (with_band.maps.max(axis=(1, 2)) > 2 * without.maps.max(axis=(1, 2))).all()


@pytest.mark.slow
def test_the_map_lies_on_the_band(model: nn.Module, pair: tuple[Tensor, Tensor]) -> None:
    """Within half the 15 pixels that a place sees; by area that is a third of the image."""
    maps = upsample(grad_cam(model, "features", pair[1], [WITH] * 20).maps, SIZE, SIZE)
    near = maps[:, BAND.start - 8 : BAND.stop + 8].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    assert near.min() > 0.6 and near.mean() > 0.75
