"""Figures are written whole, or the disk is named."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from matplotlib.figure import Figure

from bandbridge.errors import EnvironmentFault
from bandbridge.files import replacing
from bandbridge.report.figures.illustration import Illustration, save_illustration


@pytest.mark.parametrize("kind", [".svg", ".pdf", ".png"])
def test_a_full_disk_is_named_at_each_kind(tmp_path, monkeypatch, file_size_limit, kind):
    """The writer of PDFs answers it with an error of its own."""

    @contextmanager
    def full(path):
        with file_size_limit(0) if path.suffix == kind else nullcontext(), replacing(path) as temporary:
            yield temporary

    monkeypatch.setattr("bandbridge.report.figures.illustration.replacing", full)
    figure = Figure(figsize=(2, 2))
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    axes.plot(np.random.default_rng(0).random(1200))  # a little more than a file's buffer, and less than zlib's
    with pytest.raises(EnvironmentFault, match=rf"figure\{kind}: File too large"):
        save_illustration(Illustration("figure", "A figure", "It shows letters.", figure), tmp_path)
