"""``bandbridge data look`` and what ``data synth --look`` makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.synthetic import fitting
from bandbridge.synthetic.fitting import Fitted
from bandbridge.synthetic.look import Look, usual_look


@pytest.fixture
def found(monkeypatch) -> list:
    """What the search was given; it finds chromosomes half as long."""
    given: list = []

    def fit(cells, stain, name, start=None):
        given.append((cells, stain, name))
        length, spread = usual_look(stain).knobs["length"]
        knobs = {**usual_look(stain).knobs, "length": (length / 2, spread)}
        return Fitted(Look(fitted_to=f"{len(cells)} cells of {name}", knobs=knobs), 9.0, 1.0)

    monkeypatch.setattr(fitting, "fit_look", fit)
    return given


def test_a_look_is_measured_by_cells_and_drawn_from(bandbridge, drawn_set, tmp_path, found):
    sets = drawn_set("Q", 2, 3)
    look = tmp_path / "look.json"
    done = bandbridge("data", "look", sets, look, "--stain", "Q")
    assert (done.code, done.out.strip()) == (0, str(look))
    assert "misfit 9.0 of the usual look, 1.0 of this one" in done.err and f"--look {look}" in done.err
    ((cells, stain, name),) = found
    assert [len(cell) for cell in cells] == [46, 46] and (stain, name) == ("Q", sets.name)
    for drawn, more in ((tmp_path / "usual", ()), (tmp_path / "theirs", ("--look", look))):
        assert bandbridge("data", "synth", drawn, "--stain", "Q", "--cells", 1, *more).code == 0
    heights = [
        np.mean([np.asarray(Image.open(file)).shape[0] for file in (tmp_path / place).rglob("*.png")])
        for place in ("usual", "theirs")
    ]
    assert heights[1] < 0.85 * heights[0]
    parameters = json.loads((tmp_path / "theirs" / "synthetic.json").read_text())
    assert parameters["look"]["fitted_to"] == f"2 cells of {sets.name}"
    assert len(open_dataset(tmp_path / "theirs").samples) == 46
    again = bandbridge("data", "synth", tmp_path / "theirs", "--stain", "Q", "--cells", 1)
    assert again.code == 2 and "look is" in again.err, "another look is another set"


def test_what_is_in_the_way_of_the_file_is_found_before_the_work(bandbridge, drawn_set, tmp_path, found):
    sets = drawn_set("Q", 2, 3)
    (tmp_path / "a-file").write_text("kept")
    below = bandbridge("data", "look", sets, tmp_path / "a-file" / "look.json")
    assert below.code == 2 and "is in the place of a folder" in below.err
    folder = bandbridge("data", "look", sets, tmp_path)
    assert folder.code == 2 and "a folder is in the place of the file" in folder.err
    assert not found and (tmp_path / "a-file").read_text() == "kept"


def test_what_is_no_look_is_refused(bandbridge, tmp_path):
    (tmp_path / "look.json").write_text("{}")
    done = bandbridge("data", "synth", tmp_path / "set", "--look", tmp_path / "look.json")
    assert done.code == 2 and "is no look of drawn cells" in done.err and "bandbridge data look" in done.err
    assert not (tmp_path / "set").exists()
    gone = bandbridge("data", "synth", tmp_path / "set", "--look", tmp_path / "none.json")
    assert gone.code == 2 and "none.json" in gone.err
