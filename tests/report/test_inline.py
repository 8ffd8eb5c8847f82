"""Figures in a page: nothing is lost of the drawing, ids do not collide, colours follow the page."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.inline import inline_image, inline_svg


def drawing(name: str) -> Illustration:
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    axes.plot([0, 1, 2], [3, 1, 2], color="#0072B2", marker="o", markeredgecolor="white")
    axes.set_title("Accuracy <of> folds & more")
    return Illustration(name, f'The "{name}" figure', "It shows <this>.", figure)


def references(svg: str) -> set[str]:
    return set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))


def test_it_is_well_formed_and_named_for_a_screen_reader():
    root = ElementTree.fromstring(
        inline_svg(drawing("a")).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'The "a" figure. It shows <this>.'


def test_text_stays_text():
    assert "Accuracy &lt;of&gt; folds &amp; more</text>" in inline_svg(drawing("a"))


def test_every_reference_has_its_target_and_two_figures_share_no_id():
    first, second = inline_svg(drawing("f1-müller")), inline_svg(drawing("f1-möller"))
    for svg in (first, second):
        ids = re.findall(r' id="([^"]*)"', svg)
        assert references(svg) == set(ids)
        assert len(ids) == len(set(ids)) > 0
    assert not references(first) & references(second)


def test_black_and_white_follow_the_page_and_other_colours_stay():
    svg = inline_svg(drawing("a"))
    assert "#000000" not in svg and "#ffffff" not in svg
    assert "currentColor" in svg and "var(--paper)" in svg and "#0072b2" in svg.lower()


def test_nothing_in_it_rules_the_page_or_names_a_date():
    svg = inline_svg(drawing("a"))
    assert "<style" not in svg and "<metadata" not in svg and "dc:date" not in svg
    assert svg == inline_svg(drawing("a"))


@pytest.mark.parametrize("shape", [(20, 31), (20, 31, 3)])
def test_a_picture_comes_back_nearly_as_it_was(shape):
    values = np.linspace(0, 255, int(np.prod(shape))).reshape(shape).astype(np.uint8)
    head, _, data = inline_image(values, quality=95).partition(",")
    assert head == "data:image/webp;base64"
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    wanted = values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)
    assert found.shape == wanted.shape
    assert np.abs(found.mean(axis=2) - wanted.mean(axis=2)).mean() < 3  # lossy: a few gray levels
