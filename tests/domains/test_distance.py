"""Distances of pairs: each number from the function that is tested by itself, and the ablation's preparations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import kstest

from bandbridge.domains.coral import coral_distance
from bandbridge.domains.distance import Resampling, alike_units, compare, compare_all, variants
from bandbridge.domains.embeddings import Embeddings
from bandbridge.domains.mmd import mmd2, pool, two_sample_mmd
from bandbridge.errors import UserError

QUICK = Resampling(bootstraps=50, permutations=99)


def domain(name: str, shift: float, seed: int) -> Embeddings:
    values = (np.random.default_rng(seed).normal(size=(40, 6)) + shift).astype(np.float32)
    units = np.array([f"cell {i // 4}" for i in range(40)], dtype=object)
    return Embeddings(name, values, np.array(["1", "2"] * 20, dtype=object), units, {})


@pytest.fixture(scope="module")
def domains() -> list[Embeddings]:
    return [domain("A", 0.0, 0), domain("B", 0.5, 1), domain("C", 3.0, 2)]


def test_every_pair_once_in_order(domains):
    found = compare_all(domains, QUICK, "cpu")
    assert [(d.first, d.second) for d in found] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert found[0].images == (40, 40)
    assert found[0].units == (10, 10)
    assert found[0].mmd.corrected.value < found[1].mmd.corrected.value


def alone(name: str, seed: int) -> Embeddings:
    values = np.random.default_rng(seed).normal(size=(1, 6)).astype(np.float32)
    return Embeddings(name, values, np.array(["1"], dtype=object), np.array(["a"], dtype=object), {})


def test_domains_of_one_image_are_named_together(domains):
    with pytest.raises(UserError) as caught:
        compare_all([alone("lonely", 3), alone("single", 4)], QUICK, "cpu")
    assert "lonely: 1 image" in caught.value.message and "single: 1 image" in caught.value.message
    with pytest.raises(UserError, match="lonely: 1 image") as caught:
        compare_all([domains[0], alone("lonely", 3)], QUICK, "cpu")
    assert "\n  A:" not in caught.value.message


def test_images_that_look_all_alike_are_a_mistake(domains):
    blank = [replace(domain, values=np.zeros_like(domain.values)) for domain in domains[:2]]
    with pytest.raises(UserError, match="pairs of images of A and B look alike"):
        compare_all(blank, QUICK, "cpu")


def test_bandwidths_are_the_four_usual_ones(domains):
    first, second = domains[:2]
    found = compare_all(domains, QUICK, "cpu")[0]
    pair = np.median(pdist(np.concatenate([first.values, second.values]).astype(float)))
    everything = np.median(pdist(np.concatenate([d.values for d in domains]).astype(float)))
    expected = {
        ("pair", "sigma-median"): 0.5 / pair**2,
        ("pair", "gamma-median"): 1 / pair**2,
        ("all", "sigma-median"): 0.5 / everything**2,
        ("all", "gamma-median"): 1 / everything**2,
    }
    assert {(b.pool, b.convention): b.gamma for b in found.bandwidths} == pytest.approx(expected, rel=1e-6)
    for choice in found.bandwidths:
        assert choice.mmd2 == pytest.approx(mmd2(first.values, second.values, choice.gamma), abs=1e-12)
    assert found.mmd.gamma == found.bandwidths[0].gamma == pytest.approx(expected["pair", "sigma-median"], rel=1e-6)


@pytest.mark.parametrize("pool", ["pair", "all"])
def test_the_chosen_bandwidth_is_the_one_that_is_tested(domains, pool):
    found = compare(*domains[:2], Resampling(20, 20, pool=pool, convention="gamma-median"), 7.0, "cpu")
    assert (found.bandwidths[0].pool, found.bandwidths[0].convention) == (pool, "gamma-median")
    assert found.mmd.gamma == found.bandwidths[0].gamma
    assert found.mmd.published.value == found.bandwidths[0].mmd2


def test_coral_is_that_of_the_embeddings(domains):
    found = compare(*domains[:2], QUICK, device="cpu")
    assert found.coral.published.value == pytest.approx(coral_distance(domains[0].values, domains[1].values), rel=1e-10)


def test_the_same_seed_gives_the_same_numbers(domains):
    assert compare(*domains[:2], QUICK, device="cpu") == compare(*domains[:2], QUICK, device="cpu")


@pytest.mark.parametrize(("bright", "inverted"), [((False, True), 1), ((True, False), 0), ((True, True), 1)])
def test_the_ablation_inverts_one_domain(bright, inverted):
    found = variants(64, bright)
    assert found[0].first == found[0].second
    assert found[0].first.model_dump(exclude_defaults=True) == {"size": 64}
    polarities = [(v.first.polarity, v.second.polarity) for v in found if "inverted" in v.title]
    assert all(pair[inverted] == "inverted" and pair[1 - inverted] == "as-is" for pair in polarities)
    assert len({(v.first, v.second) for v in found}) == len(found)


def test_images_without_cells_form_blocks_of_the_others_size():
    cells, single = np.repeat(np.arange(10), 7), np.arange(100)
    for units in (alike_units(cells, single), alike_units(single, cells)[::-1]):
        np.testing.assert_array_equal(units[0], cells)
        assert set(np.unique(units[1], return_counts=True)[1]) == {7, 8}
    for unchanged in ((cells, np.repeat(np.arange(5), 2)), (single, np.arange(30))):
        assert all(a is b for a, b in zip(alike_units(*unchanged), unchanged, strict=True))


def test_p_of_a_domain_without_cells_is_uniform_under_the_null():
    """Cells of six images against single images of the same distribution, both independent."""
    p = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        first, second = generator.normal(size=(120, 3)), generator.normal(size=(90, 3))
        units = alike_units(np.arange(120) // 6, np.arange(90), seed)
        p.append(two_sample_mmd(pool(first, second, *units), 0.2, 0, 99, seed).corrected.p)
    spread = np.array(p) - np.random.default_rng(0).uniform(0, 1 / 100, size=200)
    assert kstest(spread, "uniform").pvalue > 0.05


def test_one_domain_has_no_distance(domains):
    with pytest.raises(ValueError, match="two domains"):
        compare_all(domains[:1], QUICK)
