"""Small studies on synthetic chromosomes and timm's tiny test models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.made_up import made_up as made_up

SMALL = {
    "name": "small",
    "protocol": "strict",
    "tasks": {
        "Q": {"dataset": "q4-0", "intermediates": ["G"]},
        "G": {"dataset": "g4-0", "intermediates": ["Q"]},
    },
    "architectures": ["test_resnet"],
    "approaches": ["scratch", "domain"],
    "split": {"folds": 2, "scheme": "cell"},
    "image_size": 32,
    "recipe": {"base": "fast", "epochs": 3, "batch_size": 16},
}


@pytest.fixture
def study_file(tmp_path: Path, chromosome_set) -> Callable[..., Path]:
    """Return a function that writes a study file, ``SMALL`` with changes, beside its two synthetic sets."""
    chromosome_set("Q"), chromosome_set("G")

    def write(**changes) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
        return path

    return write
