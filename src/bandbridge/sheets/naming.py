"""Which class each number, or each frame, stands for: by what is printed and by the order, together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from bandbridge.dataset.ideogram import chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.groups import Group, in_rows
from bandbridge.sheets.numbers import MARKS, Number

#: Likeness from which a number says something, and how far behind the best one may be that is taken for it.
_SAYS, _BEHIND = 0.42, 0.16
#: Likeness from which a number that reads as its class is a witness for it.
_WITNESS = 0.55
#: What it is worth that the next label follows at once.
_NEXT = 0.12
#: By how much another order has to read better than the usual one to be believed.
_OTHER_ORDER = 1.2
#: What it is worth that a frame stands in the row that its class has, and what pieces cost that are e times too long.
_IN_ITS_ROW, _TOO_LONG = 0.3, 0.3


@dataclass(frozen=True)
class Named:
    """Numbers with their labels, in reading order. usual: whether the labels stand in the order of the karyotype."""

    numbers: tuple[tuple[Number, str], ...]
    usual: bool

    @property
    def witnesses(self) -> int:
        """How many of them read as their label by themselves."""
        return sum(is_witness(number, label) for number, label in self.numbers)


def is_witness(number: Number | None, label: str) -> bool:
    """Whether what is printed reads as ``label`` by itself, or nearly as well as anything else."""
    if number is None:
        return False
    score = number.scores.get(label, 0.0)
    return score >= _WITNESS and score >= number.likeness - _BEHIND


def contradicts(number: Number | None, label: str) -> bool:
    """Whether what is printed clearly reads as another class than ``label``."""
    return (
        number is not None
        and not (label.startswith(number.best) or label.endswith(number.best))  # of "12" only one digit was seen
        and number.best != "1"  # which any upright stroke looks like
        and number.likeness >= 0.75
        and number.scores.get(label, 0.0) < number.likeness - 2 * _BEHIND
        and number.best in CLASSES
    )


def name_numbers(numbers: Sequence[Number], order: Sequence[str] = CLASSES) -> Named:
    """Return those of ``numbers`` that name groups, with their labels, each label once.

    They are read in ``order``, from left to right and down, unless they clearly stand in another one.
    """
    if not numbers:
        return Named((), True)
    placed = [numbers[place] for row in in_rows([one.box for one in numbers], 0.9) for place in row]
    labels = list(order)
    gain = np.array([[one.scores.get(label, 0.0) - _SAYS for label in labels] for one in placed])
    marks = [one.best if one.best in MARKS and one.lead > 0.08 and one.likeness > 0.6 else "" for one in placed]
    chosen = align(gain)
    usual = sum(gain[place, label] for place, label in enumerate(chosen) if label is not None)
    rows, columns = linear_sum_assignment(-np.maximum(gain, 0))
    free = float(np.maximum(gain, 0)[rows, columns].sum())
    in_order = free - usual < _OTHER_ORDER
    if not in_order:
        taken = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        chosen = [taken.get(place) if gain[place, taken.get(place, 0)] > 0 else None for place in range(len(placed))]
    named = []
    for one, label, mark in zip(placed, chosen, marks, strict=True):
        text = labels[label] if label is not None else ""
        if mark and (not text or one.scores[text] < one.scores[mark] - 0.1):
            text = mark
        if text:
            named.append((one, text))
    return Named(tuple(named), in_order)


def align(gain: np.ndarray, follow: float = _NEXT) -> list[int | None]:
    """Return for each row of ``gain`` [items, labels] its label or None, labels rising, at the most gain in all.

    follow: what it is worth that a label comes right after the one before.
    """
    items, labels = gain.shape
    # best[i, k]: of the first i items, the last one named having label k - 1; k = 0: none named yet.
    best = np.full((items + 1, labels + 1), -np.inf)
    best[0, 0] = 0
    came = np.full((items + 1, labels + 1), -1)
    for item in range(items):
        best[item + 1], came[item + 1] = best[item], np.arange(labels + 1)  # left without a label
        for label in range(labels):
            before = best[item, : label + 1].copy()
            before[label] += follow
            last = int(np.argmax(before))
            total = before[last] + gain[item, label]
            if total > best[item + 1, label + 1]:
                best[item + 1, label + 1], came[item + 1, label + 1] = total, last
    chosen: list[int | None] = []
    at = int(np.argmax(best[items]))
    for item in range(items, 0, -1):
        before_ = int(came[item, at])
        chosen.append(at - 1 if before_ != at else None)
        at = before_
    return chosen[::-1]


def name_frames(groups: Sequence[Group], order: Sequence[str] = CLASSES, rows: Sequence[int] = ()) -> list[str]:
    """Return the label of each frame, "" for none: by the number in it, by their order and by what stands in it.

    rows: how many of ``order`` stand in each row, where that is known.
    """
    labels = list(order)
    gain = np.zeros((len(groups), len(labels)))
    for place, group in enumerate(groups):
        if group.number is not None and group.number.likeness > _SAYS:
            gain[place] = [0.6 * (group.number.scores.get(label, 0.0) - _SAYS) for label in labels]
        if not group.pieces and group.number is None:
            # Only a Y is often missing; what frames enclose may be none itself.
            gain[place] -= [0.0 if label == "Y" else 0.3 if label == "X" else 0.6 for label in labels]
    gain -= _misfit(groups, labels)
    if len(rows) == 1 + max((group.row for group in groups), default=0) and sum(rows) == len(labels):
        row_of = np.repeat(np.arange(len(rows)), rows)
        gain += _IN_ITS_ROW * (np.array([group.row for group in groups])[:, None] == row_of)
    chosen = align(gain, follow=0.25)
    if len(groups) == len(labels):
        # As many frames as classes: each has its own, unless the numbers clearly say otherwise.
        ways = [
            sum(gain[place, one] for place, one in enumerate(way) if one is not None)
            for way in (chosen, range(len(labels)))
        ]
        if ways[0] - ways[1] < _OTHER_ORDER:
            chosen = list(range(len(labels)))
    return [labels[label] if label is not None else "" for label in chosen]


def _misfit(groups: Sequence[Group], labels: Sequence[str]) -> np.ndarray:
    """What the lengths of the pieces say against each label, float [groups, labels]: from 0 up to ``_TOO_LONG``."""
    lengths = np.array([chromosome_length(label) if label in CLASSES else np.nan for label in labels])
    found = np.array([max((max(one.height, one.width) for one in group.pieces), default=np.nan) for group in groups])
    if np.isfinite(found).sum() < len(labels) // 2:
        return np.zeros((len(groups), len(labels)))
    scale = np.nanmedian(found) / np.nanmedian(lengths)
    away = np.abs(np.log(found[:, None] / (scale * lengths)))
    return _TOO_LONG * np.minimum(np.nan_to_num(away), 1.0)
