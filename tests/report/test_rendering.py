"""Markdown, CSV and LaTeX of one small table, character by character, and everything that must be escaped."""

from __future__ import annotations

import re
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
