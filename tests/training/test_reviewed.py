"""Reviewed metaphases as examples: their axes against the axes that drawn ones were drawn along."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.errors import ManyErrors, UserError
from bandbridge.export.separator import main
from bandbridge.metaphase.lifted import WIDTH, from_bytes
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import NOWHERE, draw_spread
from bandbridge.synthetic.spread_files import write_spreads
from bandbridge.training import separator
from bandbridge.training.reviewed import axis_of, example_of, keep_reviewed


def test_the_axis_of_a_bar_is_its_direction_whichever_way_it_lies() -> None:
    rows, columns = np.mgrid[:120, :120] - 60
    for angle in (0, 30, 75, 90, 140):
        turn = np.radians(angle)
        along = columns * np.cos(turn) + rows * np.sin(turn)
        across = -columns * np.sin(turn) + rows * np.cos(turn)
        for length in (12, 40):
            found = axis_of((abs(along) < length) & (abs(across) < WIDTH / 2))
            told = found[found != NOWHERE].astype(int)
            away = np.abs((told - angle + 90) % 180 - 90)
            # At the corners of its ends it bends.
            assert np.quantile(away, 0.9) <= 8 and away.max() <= 30
            # The core is the inner half of the width.
            assert np.abs(across[found != NOWHERE]).max() < 0.36 * WIDTH


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_axes_found_from_masks_are_those_that_were_drawn(stain) -> None:
    spread = draw_spread(stain, 3, 1, Crowd(width=WIDTH, splay=0, nuclei=0, debris=0))
    example = example_of(spread.gray, spread.first, spread.second)
    assert example is not None
    scale = example.layers.shape[0] / spread.gray.shape[0]
    assert 0.75 < scale < 1.25
    rows = np.minimum((np.arange(example.layers.shape[0]) / scale).astype(int), spread.gray.shape[0] - 1)
    columns = np.minimum((np.arange(example.layers.shape[1]) / scale).astype(int), spread.gray.shape[1] - 1)
    drawn = spread.axes[0][rows][:, columns]
    both = (drawn != NOWHERE) & (example.axes[0] != NOWHERE)
    assert both.sum() > 0.7 * (drawn != NOWHERE).sum()
    away = np.abs((drawn[both].astype(int) - example.axes[0][both] + 90) % 180 - 90)
    # Directions are told in bins of 15 degrees.
    assert np.median(away) <= 6 and np.mean(away < 25) > 0.85
    layers = (spread.first > 0).astype(int) + (spread.second > 0)
    assert np.mean(layers[rows][:, columns] == example.layers) > 0.98
    contrast = from_bytes(example.contrast)
    assert contrast[example.layers > 0].mean() > 5 * abs(contrast[example.layers == 0].mean())


def test_fields_are_kept_once_and_what_does_not_go_together_is_reported(tmp_path) -> None:
    drawn = write_spreads(tmp_path / "drawn", "Q", 2)
    assert keep_reviewed(tmp_path / "examples", [drawn]) == 2
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "examples").iterdir()}
    assert keep_reviewed(tmp_path / "examples", [drawn]) == 2
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "examples").iterdir()} and len(kept) == 2
    (drawn / "truth" / "spread-q1_mask.png").unlink()
    (drawn / "truth" / "spread-q2_mask.png").write_bytes((drawn / "fields" / "spread-q1.png").read_bytes())
    with pytest.raises(ManyErrors, match="cannot be learnt from") as refused:
        keep_reviewed(tmp_path / "examples", [drawn])
    assert len(refused.value.problems) == 2
    with pytest.raises(UserError, match="holds no metaphases"):
        keep_reviewed(tmp_path / "examples", [tmp_path])


@pytest.mark.slow
def test_the_separator_trains_on_what_a_review_exports(tmp_path, monkeypatch, store_with_cell) -> None:
    """A few real steps on an exported folder and drawn spreads together, and on the exported folder alone."""
    from bandbridge.review.accepted import export_accepted

    made = export_accepted(store_with_cell)
    monkeypatch.setattr(separator, "BATCH", 2)
    for spreads in (1, 0):
        folder = tmp_path / f"training-{spreads}"
        main([str(folder), "--spreads", str(spreads), "--steps", "3", "--reviewed", str(made.folder)])
        assert len(list(folder.glob("reviewed-*.npz"))) == 1 and (folder / "separator.onnx").is_file()
    with pytest.raises(UserError, match="nothing to learn from"):
        main([str(tmp_path / "none"), "--spreads", "0", "--steps", "1"])


@pytest.fixture
def store_with_cell(tmp_path):
    from tests.review.metaphases import SizeAnalyst, hand_in_cut, make_folder

    from bandbridge.review.database import Store

    store = Store(tmp_path / "work")
    cell = hand_in_cut(store, make_folder(tmp_path / "cut").folder, SizeAnalyst())
    store.change(cell, "accept", (1,))
    yield store
    store.close()
