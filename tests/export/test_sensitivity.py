"""Which layers stay float32, on made-up models whose damage is known by layer."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.export.sensitivity import LIMIT, Expected, Kept, expected_loss, rank, search

IMAGES = np.arange(1000, dtype=np.uint16).reshape(-1, 1, 1)
#: Of a thousand images, how many 8 bits in that layer alone give another class: none twice.
DAMAGE = {
    "a": 0,
    "b": 40,
    "c": 3,
    "d": 0,
    "e": 200,
    "f": 1,
    "g": 20,
    "h": 0,
    "i": 2,
    "j": 0,
    **dict.fromkeys("klmnop", 0),
}
LAYERS = tuple(DAMAGE)


def open_with(floats):
    """The model that says class 0 with probability 0.8, but for the first of the images, as many as are damaged."""
    damaged = sum(DAMAGE[layer] for layer in LAYERS if layer not in floats)

    def run(images):
        wrong = images[:, 0, 0] % 1000 < damaged
        likely = np.where(wrong[:, None], [[0.2, 0.8]], [[0.8, 0.2]])
        return np.log(likely), likely

    return run


def test_the_worst_layers_are_ranked_first():
    # Every eighth image is looked at, of which the first is damaged by c, f and i alike: these keep their order.
    assert rank(LAYERS, open_with, IMAGES) == [*"ebgcfi", *"adhjklmnop"]


def test_the_fewest_layers_stay_float32_that_bring_the_loss_below_the_limit():
    def lost(number):
        left = sum(sorted(DAMAGE.values())[: len(DAMAGE) - number]) / 1000
        return 0.6 * left + 0.6 * np.sqrt(left * (1 - left) / 1000)  # 0.8 - 0.2 a changed image, and its standard error

    fewest = next(number for number in range(17) if lost(number) <= LIMIT)
    kept = search(LAYERS, open_with, IMAGES[::2], IMAGES)
    assert fewest == 4 and kept.floats == ("e", "b", "g", "c") and kept.expected.within
    assert kept.layers == LAYERS and kept.images == 1000 and kept.expected.lost == pytest.approx(0.6 * 3 / 1000)
    assert "4 of 16 layers stay float32: e, b, g, c; on the 1000 images to choose on 0.18 points" in kept.sentence()


def test_where_nothing_is_lost_every_layer_has_8_bits_and_none_is_ranked():
    asked = []

    def harmless(floats):
        asked.append(floats)
        return open_with(frozenset(LAYERS))

    kept = search(LAYERS, harmless, IMAGES, IMAGES)
    assert kept.floats == () and kept.expected == Expected(0, 0) and asked == [frozenset(LAYERS), frozenset()]


def test_a_limit_that_cannot_be_reached_is_said_and_at_most_a_quarter_of_the_layers_stays():
    def everywhere(floats):
        return open_with({"e"} if len(floats) < len(LAYERS) else set(LAYERS))  # 66 images are lost whatever stays

    kept = search(LAYERS, everywhere, IMAGES, IMAGES)
    # Nothing helps, so nothing is spent on it.
    assert kept.floats == () and not kept.expected.within
    assert "more than the limit of 0.5" in kept.sentence()
    tried = []

    def hopeless(floats):
        tried.append(len(floats))
        return open_with(floats if len(floats) > 4 else floats - {"e"})

    kept = search(LAYERS, hopeless, IMAGES, IMAGES)
    assert not kept.expected.within and max(number for number in tried if number < 15) == 4


def test_the_expected_loss_is_what_calibrated_probabilities_lose_on_average():
    """Against drawn truths: of a hundred thousand images, float32 and changed classes are counted as right."""
    generator = np.random.default_rng(0)
    likely = generator.dirichlet([0.5] * 4, 100_000)
    truth = (generator.random((100_000, 1)) > likely.cumsum(axis=1)).sum(axis=1)
    before = likely.argmax(axis=1)
    after = np.where(generator.random(100_000) < 0.1, np.argsort(likely)[:, -2], before)
    found = expected_loss(likely, after)
    counted = np.mean(before == truth) - np.mean(after == truth)
    assert 0.02 < found.lost == pytest.approx(counted, abs=0.003)
    assert found.error == pytest.approx(np.std(likely.max(axis=1) - likely[np.arange(100_000), after]) / 100_000**0.5)


def test_the_standard_error_counts_towards_the_limit():
    assert Expected(0.004, 0.001).within and not Expected(0.004, 0.002).within
    assert "0.10 more than the limit" in Kept((), ("a",), Expected(0.004, 0.002), 50).sentence()
