"""A look is found again from cells that were drawn with it, without their labels."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.errors import UserError
from bandbridge.synthetic import fitting
from bandbridge.synthetic.cells import draw_cell
from bandbridge.synthetic.fitting import fit_look
from bandbridge.synthetic.look import Look, usual_look

CHANGED = {"length": 1.4, "blur": 1.7, "noise": 0.4, "margin": 2.5}


@pytest.mark.slow
def test_knobs_that_were_turned_are_turned(monkeypatch):
    monkeypatch.setattr(fitting, "_STEPS", 3)
    usual = usual_look("G")
    knobs = {name: (m * CHANGED.get(name, 1.0), s) for name, (m, s) in usual.knobs.items()}
    cells = [[one.image for one in draw_cell("G", 50, cell, look=Look(knobs=knobs))] for cell in range(24)]
    found = fit_look(cells, "G", "drawn cells")
    assert found.after < 0.35 * found.before
    assert found.look.fitted_to == "24 cells of drawn cells"
    for name, factor in CHANGED.items():
        turned = found.look.knobs[name][0] / usual.knobs[name][0]
        # Two fifths of the way at least, in logarithms, and not twice as far.
        assert 0.4 < np.log(turned) / np.log(factor) < 1.7, name


def test_too_few_whole_cells_are_refused():
    cells = [[one.image for one in draw_cell("G", 0, cell)][: 46 if cell < 4 else 9] for cell in range(8)]
    with pytest.raises(UserError, match="here are 4") as caught:
        fit_look(cells, "G", "few")
    assert "one folder for each cell" in caught.value.remedy
