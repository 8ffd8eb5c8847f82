"""Ends of cores that meet: what is seen there, counted by hand, and how it is weighed, against scikit-learn."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files

import numpy as np
import pytest

from bandbridge.metaphase.joins import Judge, chosen, likelihoods, strung
from bandbridge.metaphase.lifted import BINS, Said
from bandbridge.metaphase.meetings import FACTS, TURN, Core, meetings


def bar(row: int, first: int, last: int) -> Core:
    """A core along a row, three pixels wide, from left to right."""
    columns = np.arange(first, last)
    rows = np.repeat([row - 1, row, row + 1], len(columns))
    return Core(rows, np.tile(columns, 3), 0.9, np.stack([np.full(len(columns), row), columns], axis=1))


def said_all_there(size: int = 80) -> Said:
    there = np.ones((size, size), np.float32)
    return Said(there, 0 * there, np.zeros((BINS, size, size), np.float32))


def test_what_is_seen_between_two_that_lie_on_one_line() -> None:
    stain = np.full((80, 80), 0.5, np.float32)
    stain[:, 40:] = 1.0
    found = meetings([bar(20, 10, 35), bar(20, 45, 60)], said_all_there(), stain)
    assert [(one.a, one.end_a, one.b, one.end_b) for one in found] == [(0, -1, 1, 0)]
    seen = found[0].seen
    assert seen.shape == (FACTS,) and seen[0] == pytest.approx(1.1)
    assert seen[1:4] == pytest.approx([0, 0, 0], abs=1e-6)
    assert seen[11:14] == pytest.approx([1.5, 2.5, 0])
    usual = 2.0  # the median of 2.5 and 1.5 widths
    assert seen[14:17] == pytest.approx([1.5 / usual, 2.5 / usual, (4 + 1.1) / usual])
    assert seen[17] == 0 and seen[19] == pytest.approx(np.log(2))
    assert seen[20:22] == pytest.approx([0.5 / np.sqrt(0.5), 1 / np.sqrt(0.5)])


def test_others_that_meet_there_are_counted() -> None:
    found = meetings([bar(20, 10, 35), bar(20, 45, 60), bar(30, 44, 60)], said_all_there())
    straight = next(one for one in found if (one.a, one.b) == (0, 1))
    assert straight.seen[17] >= 1 and straight.seen[18] > 0, "the other is odder"


def test_two_side_by_side_are_never_one() -> None:
    side = [bar(20, 10, 50), bar(31, 10, 50)]
    found = meetings(side, said_all_there())
    assert found and all(one.seen[TURN] > 3 for one in found)
    chances = likelihoods(found)
    assert not chances.any() and len(strung(side, found, chosen(found, chances, 0.01))) == 2


def test_the_mean_of_networks_is_that_of_scikit_learn() -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    from bandbridge.export.joins import NETWORKS, fit

    rng = np.random.default_rng(3)
    seen = rng.normal(2, 3, (200, FACTS))
    same = seen[:, 0] - seen[:, 3] + rng.normal(0, 1, 200) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = fit(seen, same)
        scaled = np.clip((seen - seen.mean(axis=0)) / seen.std(axis=0), -5, 5)
        expected = []
        for number in range(NETWORKS):
            one = neural_network.MLPClassifier(
                (8,), activation="tanh", alpha=10.0, solver="lbfgs", max_iter=1000, random_state=number
            )
            expected.append(one.fit(scaled, same).predict_proba(scaled)[:, 1])
    assert judge.likelihoods(seen) == pytest.approx(np.mean(expected, axis=0), abs=1e-9)
    assert ((judge.likelihoods(seen) > 0.5) == same).mean() > 0.8


def test_what_the_package_holds_has_the_form_that_its_program_writes(tmp_path) -> None:
    pytest.importorskip("sklearn")
    from bandbridge.export.joins import NETWORKS, UNITS, write_judge

    stored = json.loads(files("bandbridge.metaphase").joinpath("joins.json").read_text(encoding="utf-8"))
    shapes = {"middle": (FACTS,), "spread": (FACTS,)}
    shapes |= {"inner": (NETWORKS, FACTS + 1, UNITS), "outer": (NETWORKS, UNITS + 1)}
    assert {name: np.array(values).shape for name, values in stored.items()} == shapes
    assert min(stored["spread"]) > 0
    write_judge(Judge(*(np.array(stored[name]) for name in shapes)), tmp_path / "joins.json")
    assert json.loads((tmp_path / "joins.json").read_text()) == stored
