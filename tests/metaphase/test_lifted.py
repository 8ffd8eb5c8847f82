"""What the separator says of a field and of its mirror images."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.metaphase.field import look
from bandbridge.metaphase.ground import level
from bandbridge.metaphase.lifted import BINS, separate, separate_mirrored


@pytest.fixture(scope="module")
def contrast(clean_g) -> np.ndarray:
    """A corner of a drawn field with its chromosomes, its sides as the network takes them."""
    found = level(clean_g.gray).contrast
    return found[-160:, -208:] if found[-160:, -208:].max() > 0.5 else found[:160, :208]


@pytest.mark.parametrize("flip", [np.s_[:, ::-1], np.s_[::-1, :], np.s_[::-1, ::-1]])
def test_a_mirrored_field_is_told_mirrored(contrast, flip) -> None:
    """The oracle is the symmetry itself; one look alone has not got it."""
    straight, turned = separate_mirrored(contrast), separate_mirrored(np.ascontiguousarray(contrast[flip]))
    assert np.allclose(straight.there, turned.there[flip], atol=1e-4)
    assert np.allclose(straight.two, turned.two[flip], atol=1e-4)
    for k in range(BINS):
        # Half way round and back: a mirror in one axis turns an angle about, in both it leaves it.
        angle = k if flip[0].step == flip[1].step else -k % BINS
        assert np.allclose(straight.core[k], turned.core[angle][flip], atol=1e-4)
    once = separate(contrast)
    assert not np.allclose(once.there, separate(np.ascontiguousarray(contrast[flip])).there[flip], atol=1e-4)


def test_the_mean_is_near_to_one_look(contrast) -> None:
    once, mean = separate(contrast), separate_mirrored(contrast)
    assert np.abs(once.core.max(axis=0) - mean.core.max(axis=0)).mean() < 0.05
    assert (once.core.argmax(axis=0) == mean.core.argmax(axis=0))[mean.core.max(axis=0) > 0.7].mean() > 0.7


def test_a_field_is_looked_at_by_all_four(clean_g, monkeypatch) -> None:
    called = []
    monkeypatch.setattr(
        "bandbridge.metaphase.field.separate_mirrored",
        lambda *given: called.append(given) or separate_mirrored(*given),
    )
    look(clean_g.gray)
    assert len(called) == 1
