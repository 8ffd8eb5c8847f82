"""Markdown, CSV and LaTeX of one small table, character by character, and everything that must be escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from bandbridge.report.rendering import (
    Cell,
    Column,
    Row,
    Table,
    latex_text,
    percent,
    signed,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)

TABLE = Table(
    name="small",
    title="Table 2. Small & plain",
    sentence="Shows 100% of it.",
    columns=(Column("Name", align="left"), Column("F1", "Q_band"), Column("AUC", "Q_band")),
    rows=(
        Row((Cell("vgg16_bn"), Cell("97.10 ± 0.20", bold=True, dagger=True), Cell("–")), "Old"),
        Row((Cell("a|b"), Cell("-0.50", bold=True), Cell("+1.00 (3/5)"))),
    ),
    data=pd.DataFrame({"name": ["vgg16_bn", "a,b"], "f1": [0.1 + 0.2, np.nan]}),
    notes=("Only <two> rows.",),
)


def test_markdown() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "## Table 2. Small & plain",
        "",
        "Shows 100% of it.",
        "",
        "| Name     |         Q_band F1 |  Q_band AUC |",
        "| -------- | ----------------: | ----------: |",
        "| *Old*    |                   |             |",
        "| vgg16_bn | **97.10 ± 0.20**† |           – |",
        "| a\\|b     |         **-0.50** | +1.00 (3/5) |",
        "",
        "- Only \\<two> rows.",
    ]


def test_latex() -> None:
    assert to_latex(TABLE) == (
        "\\begin{table}\n"
        "  \\centering\\footnotesize\n"
        "  \\caption{Small \\& plain. Shows 100\\% of it.}\n"
        "  \\label{tab:small}\n"
        "  \\begin{tabular}{lrr}\n"
        "    \\toprule\n"
        "     & \\multicolumn{2}{c}{Q\\_band} \\\\\n"
        "    \\cmidrule(lr){2-3}\n"
        "    Name & F1 & AUC \\\\\n"
        "    \\midrule\n"
        "    \\multicolumn{3}{l}{\\textit{Old}} \\\\\n"
        "    vgg16\\_bn & \\textbf{97.10 $\\pm$ 0.20}$^\\dagger$ & -- \\\\\n"
        "    a\\textbar{}b & \\textbf{$-$0.50} & $+$1.00 (3/5) \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "  \\par\\smallskip Only \\textless{}two\\textgreater{} rows.\n"
        "\\end{table}\n"
    )


def wide_table(columns: int, group: str = "") -> Table:
    headings = tuple(Column(f"Fold {number}", group) for number in range(columns))
    row = Row(tuple(Cell("97.10 ± 0.20") for _ in headings))
    return Table("wide", "Wide", "Shows much.", headings, (row, row), pd.DataFrame(), notes=("A note.",))


@pytest.mark.parametrize("group", ["", "Q-band"])
def test_a_wide_table_is_scaled_to_the_line_and_says_what_it_needs(group: str) -> None:
    lines = to_latex(wide_table(10, group)).splitlines()
    assert lines[0].startswith("%") and "booktabs" in lines[0] and "graphicx" in lines[0]
    start, end = (next(i for i, line in enumerate(lines) if sign in line) for sign in ("resizebox", r"\end{tabular}"))
    assert lines[start + 1].strip().startswith(r"\begin{tabular}") and lines[start].endswith("{%")
    # Caption and note stay outside, in the size of the text.
    assert r"\caption" in lines[start - 2] and "A note." in lines[end + 1]
    opened = re.sub(r"\\[{}]", "", "\n".join(lines[start : end + 1]))
    assert opened.count("{") == opened.count("}")


def test_a_table_that_fits_is_not_scaled() -> None:
    # A cell of 12 characters and a gap of 3: five of them are 75 of the 80 characters of a line, six are 90.
    assert "resizebox" not in to_latex(wide_table(5)) and "graphicx" not in to_latex(wide_table(5))
    assert "resizebox" in to_latex(wide_table(6))


def test_csv_keeps_every_digit() -> None:
    text = to_csv(TABLE)
    assert text == 'name,f1\nvgg16_bn,0.30000000000000004\n"a,b",\n'
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(text)), TABLE.data, check_exact=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% & $5 #1", r"50\% \& \$5 \#1"),
        ("a_b {c}", r"a\_b \{c\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("ViT-S/16, ResNet-34, 5-fold", "ViT-S/16, ResNet-34, 5-fold"),
        ("-1.20 to +3.40", "$-$1.20 to $+$3.40"),
        ("224 × 224, cm², †", r"224 $\times$ 224, cm$^2$, $^\dagger$"),
    ],
)
def test_latex_special_characters(text: str, expected: str) -> None:
    assert latex_text(text) == expected


def test_any_name_leaves_latex_balanced() -> None:
    characters = "&%$#_{}~^\\<>|ab"
    rng = np.random.default_rng(0)
    for _ in range(200):
        written = latex_text("".join(rng.choice(list(characters), size=12)))
        bare = re.sub(r"\\[&%$#_{}]", "", written)
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"[&%$#_~^<>|]", bare)


def test_markdown_names_cannot_break_the_table() -> None:
    row = Row(tuple(Cell(name) for name in ("a|b\nc", "*x*", "_y_ z_1")))
    table = Table("t", "T", "S", tuple(Column("c", align="left") for _ in range(3)), (row,), pd.DataFrame())
    line = to_markdown(table).strip().splitlines()[-1]
    assert [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] == [
        r"a\|b c",
        r"\*x\*",
        r"\_y\_ z_1",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.4, "+0.40"), (-1.234, "-1.23"), (-0.001, "0.00"), (0.0, "0.00"), (float("nan"), "n/a")]
)
def test_signed_numbers(value: float, text: str) -> None:
    assert signed(value, 2) == text


def test_percent() -> None:
    assert (percent(0.97416, 2), percent(1.0, 1), percent(float("nan"), 2)) == ("97.42", "100.0", "n/a")


def test_html_for_a_notebook() -> None:
    left, right = '<th style="text-align: left">', '<th style="text-align: right">'
    assert to_html(TABLE).splitlines() == [
        '<div class="bandbridge-table">',
        "<p><strong>Table 2. Small &amp; plain</strong><br>Shows 100% of it.</p>",
        '<table><thead><tr><th style="text-align: center"></th>'
        '<th colspan="2" style="text-align: center">Q_band</th></tr>'
        f"<tr>{left}Name</th>{right}F1</th>{right}AUC</th></tr></thead>",
        '<tbody><tr><th colspan="3" style="text-align: left">Old</th></tr>'
        '<tr><td style="text-align: left">vgg16_bn</td>'
        '<td style="text-align: right"><strong>97.10 ± 0.20</strong>†</td><td style="text-align: right">–</td></tr>'
        '<tr><td style="text-align: left">a|b</td><td style="text-align: right"><strong>-0.50</strong></td>'
        '<td style="text-align: right">+1.00 (3/5)</td></tr></tbody></table>',
        "<ul><li>Only &lt;two&gt; rows.</li></ul>",
        "</div>",
    ]


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "\"' onmouseover='x", "</table>&lt;"])
def test_no_name_becomes_markup_in_html(evil: str) -> None:
    table = Table(
        "t", evil, evil, (Column(evil, evil),), (Row((Cell(evil, True, True),), evil),), pd.DataFrame(), (evil,)
    )
    text = to_html(table)
    page = _Texts()
    page.feed(text)
    assert page.tags == _Texts.of(to_html(_plain(table)))
    assert page.texts.count(evil) == 7


def _plain(table: Table) -> Table:
    word = "word"
    row = Row((Cell(word, True, True),), word)
    return replace(table, title=word, sentence=word, columns=(Column(word, word),), rows=(row,), notes=(word,))


class _Texts(HTMLParser):
    """Tags with their attributes, and the texts between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[object] = []
        self.texts: list[str] = []

    @classmethod
    def of(cls, text: str) -> list[object]:
        page = cls()
        page.feed(text)
        return page.tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
