"""The own laboratory beside another: one dataset divided both ways in one study."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bandbridge.report.context import TableContext
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent, signed
from bandbridge.report.scores import KEY
from bandbridge.report.tables.published import reported


def laboratories_table(scores: pd.DataFrame, context: TableContext) -> Table | None:
    """Return Macro-F1 on held-out images of the laboratories trained on, and of one left out, for each approach.

    None unless the study has tasks of one dataset that are divided in both ways and both have finished folds.
    """
    by_arm = {key: rows["macro_f1"] for key, rows in reported(scores, context.checkpoint).groupby(KEY, sort=False)}
    data, rows = [], []
    for own, another in context.laboratories:
        section = f"{context.task(own).shown} and {context.task(another).shown}"
        for architecture in context.architecture_names():
            for arm in context.arms_of(own):
                keys = [(task, architecture, arm.approach, arm.intermediate) for task in (own, another)]
                if not all(key in by_arm for key in keys):
                    continue
                here, there = (by_arm[key] for key in keys)
                record: dict[str, Any] = {"task": own, "task_another": another, "architecture": architecture}
                record |= {"approach": arm.approach, "intermediate": arm.intermediate}
                record |= {"own": here.mean(), "own_folds": len(here), "another": there.mean()}
                record |= {"another_folds": len(there), "lost_pp": 100 * (there.mean() - here.mean())}
                data.append(record)
                texts = (architecture, context.arm_title(arm), *(_score(values, context) for values in (here, there)))
                lost = signed(record["lost_pp"], context.decimals)
                rows.append(Row(tuple(Cell(text) for text in (*texts, lost)), section))
                section = ""
    if not rows:
        return None
    return Table(
        name="laboratories",
        title="Own laboratory and another (Macro-F1)",
        sentence=(
            "The same images divided twice: so that every laboratory is trained on, and so that one is left out at a "
            "time. Macro-F1 of the held-out images in percent, mean over folds (in brackets the worst and the best), "
            f"{context.checkpoint} checkpoint, protocol {context.protocol}. The second is what a laboratory may expect "
            "that did not train the model."
        ),
        columns=(
            Column("Architecture", align="left"),
            Column("Approach", align="left"),
            Column("Own laboratory"),
            Column("Another laboratory"),
            Column("Difference, points"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(data),
    )


def _score(values: pd.Series, context: TableContext) -> str:
    """The mean, with its range where there are several folds: laboratories differ, and a SD would hide the worst."""
    if values.empty:
        return MISSING
    mean = percent(float(values.mean()), context.decimals)
    if len(values) == 1:
        return mean
    return f"{mean} ({' to '.join(percent(float(bound), context.decimals) for bound in (values.min(), values.max()))})"
