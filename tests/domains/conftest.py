"""A tiny ImageNet model and two tiny chromosome sets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.domains.embeddings import Extractor, open_extractor
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import save_model

SIZE = 32


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory) -> Path:
    """Random weights under the name of ImageNet weights: the code cannot tell."""
    folder = tmp_path_factory.mktemp("weights")
    model = create_model(find_architecture("test_resnet"), 1000, SIZE, torch.Generator().manual_seed(1))
    save_model(model.state_dict(), folder / "test_resnet.safetensors", {})
    return folder


@pytest.fixture(scope="session")
def extractor(weights_dir) -> Extractor:
    return open_extractor(find_architecture("test_resnet"), SIZE, weights_dir, "cpu")


@pytest.fixture(scope="session")
def sets(drawn_set) -> dict[str, ImageFolder]:
    return {stain: open_dataset(drawn_set(stain, 3, seed)) for seed, stain in enumerate("GQ")}
