"""A tiny ImageNet model and two tiny chromosome sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.networks import write_moved

from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.domains.embeddings import Extractor, open_extractor
from bandbridge.model.architectures import find_architecture

SIZE = 32


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory) -> Path:
    """Random weights under the name of ImageNet weights: the code cannot tell."""
    folder = tmp_path_factory.mktemp("weights")
    write_moved(folder / "test_resnet.safetensors", classes=1000, size=SIZE)
    return folder


@pytest.fixture(scope="session")
def extractor(weights_dir) -> Extractor:
    return open_extractor(find_architecture("test_resnet"), SIZE, weights_dir, "cpu")


@pytest.fixture(scope="session")
def sets(drawn_set) -> dict[str, ImageFolder]:
    return {stain: open_dataset(drawn_set(stain, 3, seed)) for seed, stain in enumerate("GQ")}
