"""Where the real image sets and weights are, for the tests that want them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable) or default)
    if not folder.is_dir():
        pytest.skip(f"needs real files: set {variable} to their folder")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real image sets (bioimlab.zip, gband65.zip, ...)."""
    return _folder("BANDBRIDGE_DATA", _SHARED / "data")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of genuine ImageNet weights."""
    return _folder("BANDBRIDGE_WEIGHTS", _SHARED / "weights")
