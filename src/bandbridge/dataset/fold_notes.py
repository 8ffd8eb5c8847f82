"""What a division into folds cannot give: equal folds, and training images of a class that one fold holds out whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.dataset.splits import Split
from bandbridge.karyotype import order_classes

#: Folds are called uneven where the largest holds out this many times the images of the smallest.
UNEVEN = 2.0
#: Classes that are named in a sentence.
_NAMED = 6


def untrained_classes(split: Split, samples: pd.DataFrame) -> dict[str, int]:
    """Return the classes all of whose images one fold holds out, in class order, and that fold.

    ``samples`` has the columns file_name and label. The fold that holds such a class out never trains it, and can only
    get it wrong; all other folds train it and are never asked.
    """
    labels = samples.set_index("file_name")["label"].loc[list(split.file_names)].to_numpy()
    folds = pd.Series(split.assignment).groupby(labels)
    only = folds.min()[folds.min() == folds.max()]
    return {name: int(only[name]) for name in order_classes(labels) if name in only.index}


def fold_sentences(split: Split, samples: pd.DataFrame) -> Iterator[str]:
    """Yield what to know of ``split`` before training: uneven folds, and classes that a fold never trains."""
    sizes = np.bincount(split.assignment, minlength=split.folds)
    if sizes.max() >= UNEVEN * sizes.min():
        by = "" if split.scheme == "image" else f": whole {split.scheme}s cannot be divided more evenly"
        yield f"the {split.folds} folds hold out {sizes.min():,} to {counted(int(sizes.max()), 'image')}{by}"
    lost = untrained_classes(split, samples)
    if lost:
        yield f"{named(list(lost))}: {why_untrained(len(lost))}"


def named(classes: list[str]) -> str:
    """Return ``"class Y"`` or ``"classes 21, X, Y"``, at most six by name."""
    rest = len(classes) - _NAMED
    shown = ", ".join(classes[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"class{'es' * (len(classes) > 1)} {shown}"


def why_untrained(number: int) -> str:
    """Return what becomes of so many classes that one fold holds out whole."""
    it = "it" if number == 1 else "each"
    return f"all images of {it} fall into one fold, and the model of that fold is tested on what it was never taught"
