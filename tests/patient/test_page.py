"""The page: every cell in it, links to what was drawn, nothing of what names hold taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.patient.made import cell, cells, rates

from bandbridge.patient.page import render
from bandbridge.patient.verdict import judge


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.hrefs += [found["href"]] if "href" in found else []


ROW = {"offered": "count", "bands": 9.5, "banding": 0.61, "level": 550, "touching": None, "sharpness": float("nan")}


def page(verdicts, links=None) -> str:
    rows = {one.name: ROW for verdict in verdicts for one in verdict.cells}
    return render(verdicts, rows, links or {}, "measured on a test")


def test_every_cell_is_there_and_every_link_leads_somewhere() -> None:
    out = cell("burst", excluded="12 chromosomes: too few")
    verdicts = [judge("P1", [*cells((6, "XX", {"8": 1}), (14, "XX", {})), out], rates()), judge("P2", [out], rates())]
    text = page(verdicts, {"c1": "karyograms/c1.html"})
    seen = Links()
    seen.feed(text)
    assert {href[1:] for href in seen.hrefs if href.startswith("#")} <= set(seen.ids)
    assert "karyograms/c1.html" in seen.hrefs and len(seen.ids) == len(set(seen.ids))
    assert len(re.findall(r'<tr id="cell-', text)) == 22 and "12 chromosomes: too few" in text
    assert "mos 47,XX,+8[6]/46,XX[14]" in text and "not signed" in text and "No draft:" in text
    assert "no diagnosis" in text and "<script" not in text


def test_names_are_shown_and_not_obeyed() -> None:
    odd = '<img src=x onerror="alert(1)">'
    verdict = judge(odd, [cell(odd + "1"), cell(odd + "2", "XX", {"8": 1})], rates())
    text = page([verdict])
    assert "<img" not in text and "&lt;img" in text
