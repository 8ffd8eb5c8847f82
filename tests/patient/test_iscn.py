"""What is drafted, against public pages: cells, the karyotype that they make, and where its rule is shown."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from bandbridge.karyotype import AUTOSOMES
from bandbridge.patient.iscn import CellLine, NotWritten, write

HERE = Path(__file__).parent


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


CASES, SOURCES = rows("iscn_cases.csv"), rows("iscn_sources.csv")


def line_of(text: str) -> CellLine:
    """ "XX +21 -7 8" are 8 cells."""
    sexes, *changes, cells = text.split()
    steps = Counter()
    for change in changes:
        steps[change[1:]] += 1 if change[0] == "+" else -1
    return CellLine(sexes, tuple((label, steps[label]) for label in AUTOSOMES if steps[label]), int(cells))


def lines_of(text: str) -> list[CellLine]:
    return [line_of(part) for part in text.split("|")]


def test_the_table_has_sixty_cases_and_a_public_page_for_each() -> None:
    named = {row["source"] for row in SOURCES}
    assert len(CASES) >= 60 and {case["source"] for case in CASES} == named
    assert all(row["title"] and row["address"].startswith("http") for row in SOURCES)
    assert len({(case["cells"], case["acquired"]) for case in CASES}) == len(CASES)
    assert sum(case["karyotype"].startswith("refused") for case in CASES) >= 5


@pytest.mark.parametrize("case", CASES, ids=[case["cells"] for case in CASES])
def test_a_case(case: dict[str, str]) -> None:
    lines, acquired = lines_of(case["cells"]), bool(case["acquired"])
    if case["karyotype"].startswith("refused: "):
        with pytest.raises(NotWritten, match=re.escape(case["karyotype"].removeprefix("refused: "))):
            write(lines, acquired=acquired)
    else:
        assert write(lines, acquired=acquired) == case["karyotype"]
        assert write(lines[::-1], acquired=acquired) == case["karyotype"], "the order of the lines is ISCN's"


@pytest.mark.parametrize("case", [one for one in CASES if not one["karyotype"].startswith("refused")])
def test_what_is_written_adds_up(case: dict[str, str]) -> None:
    """Independent of how it is written: the number of each line is 46 plus its gains less its losses."""
    for part in case["karyotype"].removeprefix("mos ").split("/"):
        number, sexes, *changes = re.sub(r"\[\d+\]$", "", part).split(",")
        autosomes = [change for change in changes if change[1:] not in "XY"]
        acquired = [change for change in changes if change[1:] in "XY"]
        base = len(sexes) + sum(1 if change[0] == "+" else 0 for change in acquired)
        assert int(number) == 44 + base + sum(1 if change[0] == "+" else -1 for change in autosomes)
        order = [int(change[1:]) for change in autosomes]
        assert order == sorted(order)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [CellLine("XX", (), 0)],
        [CellLine("XX", (), 3), CellLine("XX", (), 4)],
        [CellLine("YX", (), 3)],
        [CellLine("XX", (("21", 1), ("7", 1)), 3)],
        [CellLine("XX", (("7", -3),), 3)],
    ],
)
def test_what_is_no_line_is_refused_as_a_mistake(lines: list[CellLine]) -> None:
    with pytest.raises(ValueError, match=r"line|changes|sex chromosomes"):
        write(lines)


def test_the_sex_that_a_person_was_born_with_can_be_given() -> None:
    assert write([CellLine("X", (), 20)], acquired=True, born="XY") == "45,X,-Y[20]"
    assert write([CellLine("X", (), 20)], acquired=True, born="XX") == "45,X,-X[20]"
