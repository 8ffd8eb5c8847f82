"""How often the counts of the models in the box are right on photographs, which they have not been trained on.

Their own confidence was learned from the few held-out cells of their training. What they find and invent on another
laboratory's cells is measured on public sets and kept in ``count_rates.json`` beside this file; ``docs/results/
patient.py`` writes it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from bandbridge.boxes import BOX
from bandbridge.evaluation.count_rates import CountRates
from bandbridge.predict.confidence import MeasuredCounts

FILE = "count_rates.json"


@cache
def measured_boxes() -> dict[str, CountRates]:
    """Return the rates of each model in the box, by its name ("box:G")."""
    text = files("bandbridge.predict").joinpath(FILE).read_text(encoding="utf-8")
    return {name: MeasuredCounts(**record).rates() for name, record in json.loads(text).items()}


def rates_of_box(folder: Path) -> CountRates | None:
    """Return the rates of the model in ``folder`` where it is one of the box, else None."""
    home = Path(str(files("bandbridge.boxes")))
    return next((rates for name, rates in measured_boxes().items() if home / name.removeprefix(BOX) == folder), None)
