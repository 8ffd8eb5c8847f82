"""The 24 classes of a human karyotype, in order, and how a label is read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bandbridge.errors import UserError

AUTOSOMES: tuple[str, ...] = tuple(str(number) for number in range(1, 23))
SEX_CHROMOSOMES: tuple[str, ...] = ("X", "Y")
CLASSES: tuple[str, ...] = AUTOSOMES + SEX_CHROMOSOMES
#: Python refuses to turn more into a number.
_MOST_DIGITS = 4000
CLASS_INDEX: dict[str, int] = {label: index for index, label in enumerate(CLASSES)}

#: A spreadsheet, and a table with a gap, make 1.0 (or 1,0) of 1, and '1 of what was to stay text.
_LABEL = re.compile(
    r"'?(?:(?:chr(?:omosome)?|class|clase)\.?)?[\s_\-]*0*(\d{1,2}|x|y)(?:(?<=\d)[.,]0*)?", re.IGNORECASE
)


def parse_label(text: str) -> str:
    """Return the canonical label ("1".."22", "X", "Y") written in ``text``.

    Accepts the spellings in circulation: ``"chr7"``, ``"07"``, ``"7.0"``, ``"x"``, ``"clase21"``, and the numbers 23
    (X) and 24 (Y). Raises :class:`UserError` for anything else.
    """
    match = _LABEL.fullmatch(text.strip())
    if match:
        label = {"23": "X", "24": "Y"}.get(match[1], match[1].upper())
        if label in CLASS_INDEX:
            return label
    raise UserError(f"{text!r} is not a human chromosome label", 'Labels are "1" to "22", "X" and "Y".')


def each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``names`` of classes. Raises ValueError unless there is one, and each is there once and not empty."""
    if not names or "" in names or len(set(names)) < len(names):
        raise ValueError("each class has a name of its own")
    return names


def expected_copies(label: str, x_count: int = 2) -> int:
    """Copies of ``label`` in a normal cell with ``x_count`` X chromosomes (2: XX, 1: XY)."""
    if label == "X":
        return x_count
    if label == "Y":
        return 2 - x_count
    return 2


def order_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the class names of a dataset in a fixed order.

    Human chromosome labels always give all 24 classes in karyotype order, present or not, so that models of
    different sets agree; any other label set gives its own names, numbers before text, by value.
    """
    present = set(labels)
    if present <= set(CLASSES):
        return CLASSES
    # A superscript two is a digit and no number.
    return tuple(sorted(present, key=lambda name: (not is_number(name), int(name) if is_number(name) else 0, name)))


def is_number(text: str) -> bool:
    """Whether ``text`` is digits alone, no more than Python turns into a number.

    >>> [is_number(text) for text in ("12", "\u00b2", "-1", "")]
    [True, False, False, False]
    """
    return text.isdecimal() and len(text) <= _MOST_DIGITS
