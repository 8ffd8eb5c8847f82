"""The cells of the attention table against a frame written by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from bandbridge.explain.survey import MEASURES
from bandbridge.report.context import TableContext, TaskLabel
from bandbridge.report.rendering import Row, to_csv, to_latex, to_markdown
from bandbridge.report.tables.attention import attention_report_table

NAN = float("nan")
CONTEXT = TableContext(
    "small", "strict", "", tasks=(TaskLabel("Q", "Q-band", "q"), TaskLabel("G", "", "g.zip")), domains=()
)


def record(approach: str, measure: str, task: str = "Q", **numbers: object) -> dict[str, object]:
    """A row whose share is 0.5 (0.4 to 0.6) at a chance of 0.25, unlike ImageNet's by 0.1 (-0.1 to 0.3)."""
    facts = {"task": task, "architecture": "resnet18", "fold": 0, "approach": approach, "measure": measure}
    facts |= {"target": "truth", "layer": "layer4", "grid": "4 x 4"}
    facts |= {"images": 10, "empty": 1, "measured": 6, "cells": 7, "unit": "cell"}
    shares = {"mean": 0.5, "low": 0.4, "high": 0.6, "chance": 0.25}
    over = {"over_chance": 0.25, "over_chance_low": 0.15, "over_chance_high": 0.35}
    apart = {"difference": 0.1, "difference_low": -0.1, "difference_high": 0.3}
    if approach == "imagenet":
        apart = dict.fromkeys(apart, NAN)
    return facts | shares | over | apart | numbers


def frame(approaches: tuple[str, ...], **changes: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(
        [record(name, measure, **changes.get(measure, {})) for name in approaches for measure in MEASURES]
    )


def cells(row: Row) -> list[str]:
    return [f"*{cell.text}*" if cell.bold else cell.text for cell in row.cells]


def test_rows_are_chance_the_approaches_and_two_step_minus_imagenet() -> None:
    table = attention_report_table(
        frame(
            ("scratch", "imagenet", "two-step"),
            border={"over_chance_low": -0.01},
            short_arm={"difference_low": 0.05},
            both_arms={"chance": 1.0, "over_chance": -0.5, "over_chance_low": -0.6, "over_chance_high": -0.4},
            deletion={"over_chance": -0.2, "over_chance_low": -0.3, "over_chance_high": -0.104},
            insertion={"over_chance": 0.02, "over_chance_low": -0.1, "over_chance_high": 0.1},
        ),
        CONTEXT,
    )
    assert table is not None and table.name == "attention"
    approach = ["1 of 10", "*50.0 (40.0 to 60.0)*", "50.0 (40.0 to 60.0)", "*50.0 (40.0 to 60.0)*"]
    approach += ["50.0 (40.0 to 60.0)", "*-20.0 (-30.0 to -10.4)*", "+2.0 (-10.0 to +10.0)"]
    apart, found = "+10.0 (-10.0 to +30.0)", "*+10.0 (+5.0 to +30.0)*"
    assert [cells(row) for row in table.rows] == [
        ["resnet18", "Chance", "", "25.0", "25.0", "25.0", "100.0", "0.0", "0.0"],
        *(["", title, *approach] for title in ("Scratch", "ImageNet", "Two-step")),
        ["", "Two-step minus ImageNet", "", apart, apart, found, apart, "–", "–"],
    ]
    assert [row.section for row in table.rows] == ["Q-band", "", "", "", ""]
    assert {len(row.cells) for row in table.rows} == {len(table.columns)}


def test_without_deletion_and_without_imagenet_there_are_no_such_columns_and_rows() -> None:
    data = frame(("scratch", "two-step"))
    table = attention_report_table(data[~data["measure"].isin(["deletion", "insertion"])], CONTEXT)
    assert [column.title for column in table.columns][-1] == "Both arms"
    assert [row.cells[1].text for row in table.rows] == ["Chance", "Scratch", "Two-step"]
    assert not any("random map" in note for note in table.notes)


def test_several_intermediates_are_named_by_their_data() -> None:
    table = attention_report_table(frame(("imagenet", "two-step via G", "two-step via Q")), CONTEXT)
    titles = [row.cells[1].text for row in table.rows]
    assert titles[2:] == [
        *("Two-step via g.zip", "Two-step via q"),
        *("Two-step via g.zip minus ImageNet", "Two-step via q minus ImageNet"),
    ]


def test_tasks_are_sections_with_their_images_and_grids_in_the_notes() -> None:
    data = pd.concat([frame(("imagenet",)), frame(("imagenet",)).assign(task="G", unit="image", grid="8 x 8")])
    table = attention_report_table(data, CONTEXT)
    assert [row.section for row in table.rows] == ["Q-band", "", "G", ""]
    assert table.notes[0].startswith("Q: 10 images of 7 cells, fold 0; 6 of them with evidence")
    assert "Grid of the maps: resnet18 4 x 4 (layer layer4)." in table.notes[0]
    assert table.notes[1].startswith("G: 10 images, fold 0; 6") and "resnet18 8 x 8" in table.notes[1]


def test_chance_is_that_of_the_approach_with_most_evidence_and_nothing_is_not_available() -> None:
    nothing = dict.fromkeys(("mean", "low", "high", "chance", "over_chance", "over_chance_low", "difference"), NAN)
    data = pd.DataFrame(
        [record("scratch", measure, empty=10, **nothing) for measure in MEASURES]
        + [record("imagenet", measure, low=NAN, high=NAN) for measure in MEASURES]
    )
    data = data[~((data["approach"] == "scratch") & data["measure"].isin(["deletion", "insertion"]))]
    chance, scratch, imagenet = attention_report_table(data, CONTEXT).rows
    assert cells(chance)[3] == "25.0"
    assert cells(scratch)[2:] == ["10 of 10", "n/a", "n/a", "n/a", "n/a", "–", "–"]
    assert cells(imagenet)[6] == "50.0"


@pytest.mark.parametrize("render", [to_markdown, to_csv, to_latex])
def test_all_three_faces_can_be_written(render) -> None:
    assert "resnet18" in render(attention_report_table(frame(("imagenet", "two-step")), CONTEXT))


def test_an_empty_frame_is_no_table() -> None:
    assert attention_report_table(pd.DataFrame(), CONTEXT) is None
