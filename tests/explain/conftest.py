"""A small study, run once: synthetic chromosomes, timm's tiny ResNet, three approaches, one of two folds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from bandbridge.dataset.synthetic import write_synthetic_set
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import save_model
from bandbridge.study.execute import Executor
from bandbridge.study.plan import open_study

STUDY = {
    "name": "small",
    "protocol": "strict",
    "tasks": {
        "Q": {"dataset": "q", "intermediates": ["G"]},
        "G": {"dataset": "g", "target": False},
    },
    "architectures": ["test_resnet"],
    "approaches": ["scratch", "imagenet", "two-step"],
    "split": {"folds": 2, "scheme": "cell"},
    "run_folds": [0],
    "image_size": 64,
    "recipe": {"base": "fast", "epochs": 3, "batch_size": 16, "learning_rate": 0.003},
}


class SmallStudy(NamedTuple):
    """Its file and the folder of its runs."""

    path: Path
    runs: Path


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """The study, every run done."""
    home = tmp_path_factory.mktemp("small")
    write_synthetic_set(home / "q", "Q", 4, 0)
    write_synthetic_set(home / "g", "G", 2, 0)
    model = create_model(find_architecture("test_resnet"), 1000, 160, torch.Generator().manual_seed(7))
    save_model(model.state_dict(), home / "weights" / "test_resnet.safetensors", {})
    (home / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    study = open_study(home / "study.yaml")
    executor = Executor(study, home / "runs", "cpu", home / "weights", say=lambda _: None, show=lambda _: None)
    assert len(executor.run(study.runs).done) == 4
    return SmallStudy(home / "study.yaml", home / "runs")
