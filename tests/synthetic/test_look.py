"""The look of drawn cells: knobs in, values out, files that are read and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bandbridge.errors import UserError
from bandbridge.synthetic.look import KNOBS, NEUTRAL, Drawing, read_look, style_at, usual_look

MIDDLE = np.zeros(len(KNOBS))


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_the_middle_of_every_knob_is_what_the_look_says(stain):
    look = usual_look(stain)
    style = style_at(look, MIDDLE, Drawing())
    value = {name: middle for name, (middle, _) in look.knobs.items()}
    assert style.length == value["length"]
    assert style.width == pytest.approx(value["length"] / value["slimness"])
    assert style.blur == pytest.approx(value["blur"] * style.width / 100)
    assert style.floor == pytest.approx(value["floor"] / 100)
    assert (style.contrast, style.sway) == (value["contrast"], value["sway"])


def test_a_knob_one_spread_up_is_a_factor_and_stops_at_two_and_a_half():
    look = usual_look("G")
    middle, spread = look.knobs["noise"]
    up = MIDDLE.copy()
    for given, counted in ((1.0, 1.0), (9.0, 2.5)):
        up[KNOBS.index("noise")] = given
        assert style_at(look, up, Drawing()).noise == pytest.approx(middle * np.exp(counted * spread))
        assert style_at(look, up, NEUTRAL).noise == 0


def test_the_users_knobs_multiply():
    plain, turned = (style_at(usual_look("G"), MIDDLE, d) for d in (Drawing(), Drawing(length=2, bend=3, blur=0.5)))
    assert turned.length == 2 * plain.length and turned.width == pytest.approx(plain.width), "longer, not wider"
    assert turned.sway == 3 * plain.sway and turned.blur == pytest.approx(plain.blur / 2)
    assert style_at(usual_look("G"), MIDDLE, Drawing(width=2)).width == pytest.approx(2 * plain.width)


def test_a_look_is_read_back_and_anything_else_refused(tmp_path):
    path = tmp_path / "look.json"
    path.write_text(usual_look("Q").model_dump_json())
    assert read_look(path) == usual_look("Q")
    whole = json.loads(path.read_text())
    for change in (
        {},
        {"knobs": {}},
        {"knobs": {**whole["knobs"], "colour": [1, 0]}},
        {"knobs": {**whole["knobs"], "blur": [0, 0]}},
        {"knobs": {**whole["knobs"], "blur": [1, 9]}},
        {"knobs": {**whole["knobs"], "blur": "wide"}},
    ):
        path.write_text(json.dumps({**whole, **change} if change else {}))
        with pytest.raises(UserError, match=r"look\.json is no look") as caught:
            read_look(path)
        assert "bandbridge data look" in caught.value.remedy
    path.write_text("{")
    with pytest.raises(UserError, match=r"look\.json"):
        read_look(path)
