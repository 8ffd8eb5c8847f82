"""The report of a small study as a browser gets it: whole, alone, in order, and honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest
import yaml

from bandbridge.report.content import gather
from bandbridge.report.context import ArchitectureLabel, TableContext
from bandbridge.report.html import render, write_report
from bandbridge.report.rendering import Cell, Column, Row, Table
from bandbridge.report.sections.blocks import Listing, Missing, Wishes
from bandbridge.report.sections.eyes import case_architectures
from bandbridge.study.plan import open_study

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes; the text of each table's rows; faults of nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.rows: list[list[str]] = []
        self.cell = False
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"{tag} closes {self.open[-1:]}")
        else:
            self.open.pop()
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def content(small_study):
    return gather(open_study(small_study.path), small_study.runs, Wishes(device="cpu", limit=1, commands=("run it",)))


@pytest.fixture(scope="module")
def text(content):
    return render(content)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture(scope="module")
def written(content, tmp_path_factory):
    """The page with its files, to be read only, and what it is rendered to right after."""
    return write_report(content, tmp_path_factory.mktemp("report")), render(content)


def test_it_is_well_formed_with_one_name_for_each_id(page):
    assert page.faults == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_it_asks_for_nothing_from_anywhere(text, page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", text)


def test_names_that_labels_refer_to_are_there(page):
    ids = {attributes.get("id") for _, attributes in page.elements}
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= ids
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_pictures_have_a_text_and_their_size(page):
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) >= 4  # the chromosome and three approaches
    assert all(attributes["alt"] and int(attributes["width"]) and int(attributes["height"]) for attributes in pictures)


def test_the_answer_stands_before_every_table(text):
    assert text.index('id="answer"') < text.index('id="cautions"') < text.index("<table")
    assert "Two-step against ImageNet" in text and "protocol strict" in text


def test_the_answer_opens_with_its_sentence_and_its_picture(content, text):
    opening = text.index(content.headline.replace("'", "&#39;"))
    assert text.index('id="answer"') < opening < text.index('id="figure-answer"') < text.index('class="answer ')
    assert content.figures[0].name == "answer" and text.count('id="figure-answer"') == 1


def test_every_number_of_table_2_is_on_the_page(content, page):
    table = next(table for table in content.tables if table.name == "table2")
    shown = [[cell.strip() for cell in row] for row in page.rows]
    for row in table.rows:
        texts = [cell.text + ("†" if cell.dagger else "") for cell in row.cells]
        assert any(line[1:] == texts[1:] for line in shown), texts


def test_all_sections_are_there_with_their_figures(content):
    assert [section.name for section in content.sections] == [
        *("performance", "training", "errors", "attention", "design", "repeat", "checklists")
    ]
    names = {figure.name for figure in content.figures}
    assert {"confusion-q-test_resnet", "reliability-q", "class-f1-q", "learning-q"} <= names


def test_rows_under_one_name_carry_it_each():
    rows = (Row((Cell("A"), Cell("1")), "First"), Row((Cell(), Cell("2"))), Row((Cell("B"), Cell("-3")), "Second"))
    table = Table("t", "T", "S", (Column("Name", align="left"), Column("Value")), rows, pd.DataFrame())
    page = Page(render(_with(table)))
    lines = [row for row in page.rows if len(row) == 2 and row[0] in ("A", "B")]
    assert lines == [["A", "1"], ["A", "2"], ["B", "−3"]]
    again = [
        attributes for tag, attributes in page.elements if tag == "th" and "again" in (attributes.get("class") or "")
    ]
    assert len(again) == 1


def test_names_from_files_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    table = Table("t", evil, evil, (Column(evil),), (Row((Cell(evil),), evil),), pd.DataFrame(), (evil,))
    text = render(_with(table, Listing(evil, evil), Missing(evil, evil), title=evil))
    assert evil not in text
    assert text.count("<script>") == 1


def _with(*blocks, title="Made up"):
    from bandbridge.report.content import Content
    from bandbridge.report.sections.blocks import Section

    section = Section("only", "Only", "One.", blocks)
    return Content(title, "strict", "Protocol strict.", 0, 1, (), (), (section,))


def test_files_for_a_manuscript_lie_beside_the_page(content, written):
    page, rendered = written
    assert page.read_text(encoding="utf-8") == rendered
    names = {path.name for path in page.parent.iterdir()}
    assert {f"{table.name}.{kind}" for table in content.tables for kind in ("md", "csv", "tex")} <= names
    assert {f"{figure.name}.{kind}" for figure in content.figures for kind in ("svg", "pdf", "png")} <= names


def test_an_unfinished_study_says_what_is_missing(small_study, tmp_path):
    value = yaml.safe_load(small_study.path.read_text()) | {"run_folds": [0, 1]}
    path = small_study.path.with_name("unfinished.yaml")
    path.write_text(yaml.safe_dump(value))
    content = gather(open_study(path), small_study.runs, Wishes(device="cpu", limit=1))
    assert (content.finished, content.planned) == (4, 8)
    assert content.answers[0].verdict == "unknown" and "1 of 2 folds" in content.answers[0].sentence
    assert content.cautions[0].title == "The study is not finished"
    assert "(1/2)" in render(content)


def test_a_study_without_a_run_is_a_page_too(small_study, tmp_path):
    content = gather(open_study(small_study.path), tmp_path / "none", Wishes(device="cpu"))
    text = render(content)
    assert "No run has been finished yet" in text and "4 of 4 runs" not in text
    assert content.opening is None and content.headline == "" and 'id="figure-answer"' not in text
    assert Page(text).faults == []


def test_a_study_whose_images_are_gone_still_reports_its_scores(small_study, tmp_path):
    study = open_study(small_study.path)
    whole = gather(study, small_study.runs, Wishes(cases=False, attention=False))
    for task in study.tasks.values():
        object.__setattr__(task, "dataset", None)
    without = gather(study, small_study.runs, Wishes(device="cpu"))
    assert without.tables[0].data.equals(whole.tables[0].data)
    assert "Datasets are missing" in [caution.title for caution in without.cautions]


def test_similarity_that_fails_leaves_its_reason(small_study):
    from bandbridge.errors import UserError

    def fail():
        raise UserError("no weights for ConvNeXt-Tiny", "Name their folder.")

    content = gather(open_study(small_study.path), small_study.runs, Wishes(cases=False, attention=False, domains=fail))
    (block,) = next(section for section in content.sections if section.name == "domains").blocks
    assert isinstance(block, Missing) and block.reason == "no weights for ConvNeXt-Tiny Name their folder."


def test_the_architectures_looked_through_are_the_best_of_their_families():
    def context(families):
        labels = tuple(ArchitectureLabel(name, family) for name, family in families.items())
        return TableContext("", "strict", "", architectures=labels)

    scores = pd.DataFrame(
        {"architecture": ["A", "B", "C", "A"], "checkpoint": "last", "macro_f1": [0.9, 0.8, 0.7, 0.8]}
    )
    assert case_architectures(scores, context({"A": "modern", "B": "modern", "C": "traditional"})) == ["A", "C"]
    assert case_architectures(scores, context({"A": "modern", "B": "modern", "C": "modern"})) == ["A", "B"]
    assert case_architectures(scores.iloc[:0], context({})) == []


def test_each_caution_has_its_code_as_a_place_that_tables_link_to(content, text, page):
    codes = [caution.code for caution in content.cautions]
    assert codes == ["BB003", "BB009", "BB011", "BB014"]
    ids = [attributes.get("id") for _, attributes in page.elements]
    assert all(ids.count(code) == 1 and f"docs/cautions/{code}.md" in text for code in codes)
    assert '<li>See cautions <a href="#BB003">BB003</a>, <a href="#BB009">BB009</a>' in text
    assert "BB008" not in text


def test_two_cautions_of_one_code_are_one_place():
    from bandbridge.report.caution import UNKNOWN_CELLS

    evil = "<script>alert(1)</script> BB005 BB001"
    found = (UNKNOWN_CELLS.caution(evil, task="Q"), UNKNOWN_CELLS.caution("g.", (evil,), task="G"))
    table = Table("t", "T", "S", (Column("C"),), (Row((Cell("1"),)),), pd.DataFrame(), (evil,))
    text = render(replace(_with(table), cautions=found))
    page = Page(text)
    assert page.faults == [] and [a["id"] for _, a in page.elements if a.get("id") == "BB005"] == ["BB005"]
    assert "<script>alert" not in text
    # A code that no caution of the page has leads nowhere, whoever wrote it.
    assert '<a href="#BB005">BB005</a> BB001</li>' in text


def test_cautions_lie_beside_the_page(content, written):
    page, _ = written
    records = json.loads(page.with_name("cautions.json").read_text(encoding="utf-8"))
    assert [record["code"] for record in records] == [caution.code for caution in content.cautions]
    assert "BB009" in page.with_name("table2.md").read_text(encoding="utf-8")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURE = """<script>addEventListener("load", () => {
  const found = [...document.querySelectorAll(".table .scroll")].map((one) => [one.clientWidth, one.scrollWidth]);
  document.body.insertAdjacentHTML("beforeend", `<pre id="measured">${JSON.stringify(found)}</pre>`);
});</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_laptops_window_shows_every_column(tmp_path):
    """Three tables as wide as a study makes them: intervals, long names, cells of many words."""
    names = ["tf_mobilenetv3_large_minimal_100.in1k", "Two-step via the hospital's own G-band minus ImageNet"]
    wide = {
        "comparison": [*names, "+16.70", *["-110.12 to +123.45"] * 4, "<0.001", "0.123", "13.96", "+15.22", "0.009"],
        "classes": ["x" * 60, names[1], *["21: +12.34 (-10.12 to +13.45)"] * 4, "10 up, 12 down"],
        "similarity": ["gband65.zip – bioimlab.zip", *["0.1740 [0.1680, 0.1810]", "<0.001"] * 4],
    }
    tables = [
        Table(
            name,
            name,
            "S",
            tuple(Column(f"Corrected t, {i}%", "Folds") for i in range(len(cells))),
            (row, row, row),
            None,
        )
        for name, cells in wide.items()
        for row in [Row(tuple(map(Cell, cells)))]
    ]
    path = tmp_path / "wide.html"
    path.write_text(render(_with(*tables)).replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--dump-dom"]
    shown = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    measured = json.loads(re.findall(r'id="measured">(.*?)</pre>', shown)[-1])  # the first is in the script itself
    assert len(measured) == 3
    assert all(inside <= room for room, inside in measured), dict(zip(wide, measured, strict=True))
