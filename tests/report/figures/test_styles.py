"""Names as users give them, in every figure of a report: none is mathematics, none ends the drawing or fills it."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.text import Text
from tests.made_up import images

from bandbridge.domains.embeddings import Embeddings
from bandbridge.report.content import gather
from bandbridge.report.figures.domains import embedding_map
from bandbridge.report.figures.styles import LONGEST, PlainFigure, short_name
from bandbridge.report.html import write_report
from bandbridge.report.inline import inline_svg
from bandbridge.report.sections.blocks import Wishes

#: A lone dollar sign; what is no mathematics between two; unknown commands; sub- and superscripts; several lines.
NAMES = (
    "cost $5",
    r"$\nosuch{x}$",
    "$a$ and $b_$",
    r"\frac{1}{2} ^_",
    "_hidden",
    "one\ntwo",
    "x" * 400,
    "a^b_c",
    "$$",
    "é$ß",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_drawn_as_it_stands(name: str) -> None:
    figure = PlainFigure()
    axes = figure.add_subplot()
    axes.set_title(name)
    axes.set_xticks([0, 1], [name, name])
    figure.legend([axes.plot([0, 1])[0]], [name])
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    shown = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() for text in shown)
    # Its title and its legend at least; a tick takes its text anew from what made it.
    assert sum(text.get_text() == " ".join(name.split()) for text in shown) >= 2


def test_a_long_name_keeps_both_ends() -> None:
    assert short_name("short") == "short" and short_name("a\n b") == "a b"
    first, second = (short_name(f"{'laboratory ' * 40}{end}") for end in ("north", "south"))
    assert len(first) == LONGEST and first != second and first.startswith("laboratory") and first.endswith("north")


@pytest.mark.slow
@pytest.mark.parametrize("name", [r"$\nosuch{x}$ _", "cost $5\n", "x" * 300 + "$"])
def test_every_figure_of_a_study_bears_the_names_of_its_users(made_up, tmp_path, name: str) -> None:
    labels = (f"a{name}".strip(), f"b{name}".strip())
    tasks = {
        "Q": {"dataset": "q", "intermediates": ["G"], "band": name},
        "G": {"dataset": "g", "target": False, "band": f"{name} too"},
    }
    study, root = made_up({"q": images(24, labels=labels), "g": images(4, labels=labels)}, tasks=tasks)
    content = gather(study, root, Wishes(cases=False, attention=False))
    page = write_report(content, tmp_path / "out")
    assert page.is_file() and len(content.figures) >= 5
    assert all(max(one.figure.get_size_inches()) < 20 for one in content.figures)
    bare = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
    assert "nosuch" in bare or "x" * 40 in bare or "cost $5" in bare


@pytest.mark.parametrize("names", [("_a$", "b$"), ("$", r"\alpha$^")])
def test_the_map_of_domains_names_each_of_them(names) -> None:
    rng = np.random.default_rng(0)
    domains = [
        Embeddings(name, rng.normal(size=(12, 3)).astype(np.float32), np.array(["1"] * 12), np.arange(12), {})
        for name in names
    ]
    illustration = embedding_map(domains)
    legend = illustration.figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(names)
    assert all(name in inline_svg(illustration) for name in names)
