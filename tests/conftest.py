"""Where the real image sets and weights are, for the tests that want them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side on few cores: more threads each would only wait for one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def chromosome_set(tmp_path: Path):
    """Return a function that draws a small synthetic set and returns its folder."""
    from bandbridge.dataset.synthetic import write_synthetic_set

    def draw(stain: str = "G", cells: int = 4, seed: int = 0) -> Path:
        return write_synthetic_set(tmp_path / f"{stain.lower()}{cells}-{seed}", stain, cells, seed)

    return draw


@pytest.fixture
def file_size_limit():
    """Return a context that fails writes beyond ``limit`` bytes, as a full disk would."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(limit: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
