"""The tables of domain similarity hold the numbers they were given; the figures draw every pair and domain."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.domains.coral import CoralResult
from bandbridge.domains.distance import Bandwidth, DomainDistance, Resampling
from bandbridge.domains.embeddings import Embeddings
from bandbridge.domains.mmd import MmdResult
from bandbridge.domains.resampling import Measured
from bandbridge.report.figures.domains import distance_heatmap, embedding_map
from bandbridge.report.rendering import to_latex, to_markdown
from bandbridge.report.tables.domains import ablation_table, bandwidth_table, p_text, similarity_table

BANDWIDTHS = tuple(
    Bandwidth(pool, convention, 2.0, gamma, 0.1 + gamma)
    for pool, convention, gamma in (
        ("pair", "sigma-median", 0.125),
        ("pair", "gamma-median", 0.25),
        ("all", "sigma-median", 0.02),
        ("all", "gamma-median", 0.04),
    )
)


def distance(first: str, second: str, value: float) -> DomainDistance:
    mmd = MmdResult(0.125, Measured(value, value - 0.01, value + 0.02, 0.001), Measured(value / 2, 0.01, 0.5, 0.25))
    coral = CoralResult(Measured(0.0012, 0.001, 0.002, 0.001), Measured(0.0011, 0.0009, 0.0019, float("nan")))
    return DomainDistance(first, second, (5474, 2806), (119, 65), mmd, coral, BANDWIDTHS)


DISTANCES = [distance("Q", "G", 0.2), distance("Q", "natural", 0.4), distance("G", "natural", 0.3)]


DOMAINS = [
    Embeddings(name, np.zeros((len(units), 2), "f4"), np.array(units), np.array(units), {})
    for name, units in (("Q", ["a"] * 3 + ["b"] * 3), ("natural", ["1", "2", "3", "4"]))
]


def test_table_1_shows_both_kinds_of_both_measures():
    table = similarity_table(DISTANCES, DOMAINS, Resampling(), "ConvNeXt-Tiny at 224 px")
    texts = [cell.text for cell in table.rows[0].cells]
    assert texts == [
        *("Q – G", "0.2000 [0.1900, 0.2200]", "0.001", "0.1000 [0.0100, 0.5000]", "0.25"),
        *("1.200 [1.000, 2.000]", "0.001", "1.100 [0.900, 1.900]", "n/a"),
    ]
    assert len(table.data) == 3 * 2 * 2
    chosen = table.data.query("first == 'Q' and second == 'natural' and measure == 'mmd2' and kind == 'published'")
    assert chosen["value"].item() == 0.4
    assert table.notes[0] == "Q: 6 images, 2 cells; natural: 4 images, cells unknown."
    for text in (to_markdown(table), to_latex(table)):
        assert "0.2000" in text


def test_bandwidths_are_columns_in_one_order():
    table = bandwidth_table(DISTANCES)
    assert [column.title for column in table.columns[1:]] == [
        "1 / median², the two domains",
        "1 / (2 median²), the two domains",
        "1 / median², all domains",
        "1 / (2 median²), all domains",
    ]
    assert table.rows[0].cells[2].text == "0.2250 (gamma 0.125)"


def test_ablation_states_the_change():
    table = ablation_table([("As published", DISTANCES[0]), ("Inverted", distance("Q", "G", 0.1))])
    assert [cell.text for cell in table.rows[1].cells[1:3]] == ["0.0500 [0.0100, 0.5000]", "-50 %"]
    assert table.rows[0].cells[2].text == ""


@pytest.mark.parametrize(
    ("p", "text"), [(0.000999, "0.001"), (0.0494, "0.049"), (0.234, "0.23"), (float("nan"), "n/a")]
)
def test_p_values_are_short(p, text):
    assert p_text(p) == text


def test_heat_map_writes_each_value_twice():
    axes = distance_heatmap(DISTANCES).figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == sorted(["0.100", "0.200", "0.150"] * 2)


def test_map_draws_every_domain_and_class():
    generator = np.random.default_rng(0)
    domains = [
        Embeddings(name, generator.normal(size=(30, 5)).astype("f4"), np.array(labels, object), np.arange(30), {})
        for name, labels in (("Q", ["1", "X", "22"] * 10), ("natural", ["n01440764"] * 30))
    ]
    left, right, scale = embedding_map(domains).figure.axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["Q", "natural"]
    assert sum(len(points.get_offsets()) for points in left.collections) == 60
    assert sum(len(points.get_offsets()) for points in right.collections) == 60
    assert [tick.get_text() for tick in scale.get_yticklabels()][-2:] == ["X", "Y"]
