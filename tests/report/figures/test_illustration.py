"""Figures are written whole, or the disk is named."""

import pytest
from matplotlib.figure import Figure

from bandbridge.errors import EnvironmentFault
from bandbridge.report.figures.illustration import Illustration, save_illustration


def test_a_full_disk_is_named_at_each_kind(tmp_path, file_size_limit):
    figure = Figure(figsize=(2, 2))
    figure.text(0.1, 0.5, "abc")
    illustration = Illustration("figure", "A figure", "It shows letters.", figure)
    sizes = {path.suffix: path.stat().st_size for path in save_illustration(illustration, tmp_path / "whole")}
    assert sizes[".pdf"] > sizes[".svg"]  # which comes before it
    for kind, limit in ((".svg", 0), (".pdf", sizes[".svg"])):
        with file_size_limit(limit), pytest.raises(EnvironmentFault, match=rf"figure\{kind}: File too large"):
            save_illustration(illustration, tmp_path / kind)
