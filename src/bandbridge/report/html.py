"""The report as one HTML file that needs nothing else: no network, no script to be read, light and dark, paper too."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path

from markupsafe import Markup, escape

from bandbridge.explain.gradcam import NO_EVIDENCE
from bandbridge.explain.panels import ApproachView
from bandbridge.files import write_text
from bandbridge.report.caution import Caution
from bandbridge.report.content import Content
from bandbridge.report.context import APPROACH_TITLES
from bandbridge.report.figures.illustration import Illustration, save_illustration
from bandbridge.report.inline import inline_image, inline_svg
from bandbridge.report.rendering import DAGGER, Row, Table, column_groups, write_table
from bandbridge.report.sections.blocks import CaseGroup, Listing, Missing
from bandbridge.report.tables.cautions import write_cautions
from bandbridge.templates import page_templates


def render(content: Content) -> str:
    """Return the whole page. The same content gives the same text."""
    environment = page_templates("bandbridge.report")
    environment.filters |= {
        "kind": _kind,
        "svg": lambda figure: Markup(inline_svg(figure)),
        "picture": inline_image,
        "heads": column_groups,
        "bodies": _bodies,
        "approach": _approach_title,
        "seen": _seen,
        "minus": _minus,
        "longest_word": _longest_word,
        "anchored": _anchored,
        "linked": partial(_linked, codes={caution.code for caution in content.cautions}),
    }
    template = environment.get_template("report.html.j2")
    assets = {name: Markup(_asset(name)) for name in ("report.css", "report.js")}
    return template.render(content=content, css=assets["report.css"], js=assets["report.js"], dagger=DAGGER)


def write_report(content: Content, folder: Path) -> Path:
    """Write ``report.html`` into ``folder``, beside every table (.md, .csv, .tex) and figure (.svg, .pdf, .png), and
    the cautions (.md, .csv, .json).

    Returns the path of the page.
    """
    write_cautions(folder, content.cautions)
    for table in content.tables:
        write_table(folder, table)
    for figure in content.figures:
        save_illustration(figure, folder)
    path = folder / "report.html"
    write_text(path, render(content))
    return path


def _asset(name: str) -> str:
    return Path(__file__).with_name("templates").joinpath(name).read_text(encoding="utf-8")


def _kind(block: object) -> str:
    kinds = {Table: "table", Illustration: "figure", CaseGroup: "cases", Missing: "missing", Listing: "listing"}
    return kinds[type(block)]


def _minus(text: str) -> str:
    """The sign of a negative number as the sign it is; the files keep the hyphen that programs read."""
    return re.sub(r"(?<![\w)-])-(?=\d)", "−", text)


def _longest_word(text: str) -> int:
    """The characters of the longest part of ``text`` that a browser would keep on one line."""
    return max(map(len, re.split(r"[\s-]", text)))


def _anchored(cautions: Sequence[Caution]) -> list[tuple[Caution, bool]]:
    """Each caution, and whether it is the first of its code: the place that the code links to."""
    codes = [caution.code for caution in cautions]
    return [(caution, caution.code not in codes[:index]) for index, caution in enumerate(cautions)]


def _linked(text: str, codes: Set[str]) -> Markup:
    """``text``, escaped, in which each of ``codes`` is a link to its caution."""
    return Markup(
        re.sub(
            r"\bBB\d{3}\b",
            lambda found: f'<a href="#{found[0]}">{found[0]}</a>' if found[0] in codes else found[0],
            str(escape(text)),
        )
    )


def _bodies(table: Table) -> list[tuple[str, list[tuple[str, bool, Row]]]]:
    """The rows by section: (heading, [(first cell's text, whether it repeats the one above, row)]).

    The first cell, left empty under the same name, is filled in: rows can then be sorted, and a screen reader names
    each.
    """
    bodies: list[tuple[str, list[tuple[str, bool, Row]]]] = []
    above = ""
    for row in table.rows:
        if row.section or not bodies:
            bodies.append((row.section, []))
            above = ""
        name = row.cells[0].text or above
        bodies[-1][1].append((name, name == above, row))
        above = name
    return bodies


def _approach_title(name: str) -> str:
    approach, _, via = name.partition(" ")
    return f"{APPROACH_TITLES.get(approach, approach)} {via}".strip()


def _seen(view: ApproachView, truth: str) -> list[tuple[str, object, str]]:
    """The overlays of a view to show: (class, picture, how strong); the true class too where another was predicted."""
    shown: list[tuple[str, object, str]] = [(view.predicted, view.predicted_overlay, _strength(view.predicted_maximum))]
    if not view.correct:
        shown.append((truth, view.truth_overlay, _strength(view.truth_maximum)))
    return shown


def _strength(maximum: float) -> str:
    return f"max {maximum:.2g}" if maximum > 0 else NO_EVIDENCE
