"""The own laboratory beside another, against the scores themselves."""

from __future__ import annotations

import pandas as pd
import pytest

from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.tables.laboratories import laboratories_table


def scores(values: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    rows = [
        {
            "task": task,
            "band": "",
            "architecture": "m",
            "approach": approach,
            "intermediate": "",
            "fold": fold,
            "checkpoint": "last",
            "macro_f1": value,
            "accuracy": value,
        }
        for (task, approach, fold), value in values.items()
    ]
    return pd.DataFrame(rows)


CONTEXT = TableContext(
    title="two",
    protocol="strict",
    protocol_text="",
    folds=(0, 1),
    tasks=(TaskLabel("own", "Ours"), TaskLabel("other", "Theirs")),
    architectures=(ArchitectureLabel("m"),),
    arms=tuple(Arm(task, approach) for task in ("own", "other") for approach in ("scratch", "imagenet")),
    laboratories=(("own", "other"),),
    decimals=1,
)


def test_each_approach_has_both_numbers_and_what_is_lost() -> None:
    values = {("own", "imagenet", 0): 0.95, ("own", "imagenet", 1): 0.93, ("own", "scratch", 0): 0.5}
    values |= {("other", "imagenet", 0): 0.9, ("other", "imagenet", 1): 0.6}
    table = laboratories_table(scores(values), CONTEXT)
    assert table is not None
    (row,) = table.data.to_dict("records")
    assert (row["approach"], row["own_folds"], row["another_folds"]) == ("imagenet", 2, 2)
    assert (row["own"], row["another"]) == pytest.approx((0.94, 0.75)) and row["lost_pp"] == pytest.approx(-19)
    texts = [cell.text for cell in table.rows[0].cells]
    assert texts == ["m", "ImageNet", "94.0 (93.0 to 95.0)", "75.0 (60.0 to 90.0)", "-19.0"]
    assert table.rows[0].section == "Ours and Theirs"


def test_without_such_tasks_or_folds_there_is_no_table() -> None:
    found = scores({("own", "imagenet", 0): 0.95})
    assert laboratories_table(found, CONTEXT) is None
