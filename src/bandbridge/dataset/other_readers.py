"""What other readers of a dataset stumble over in its names: words that mean a split, and texts that are numbers.

Hugging Face ``datasets`` takes a folder or file whose name holds a word such as ``test`` for a split of that name
(https://huggingface.co/docs/datasets/repository_structure). Of a folder, the others are then left out, and so is the
table with all labels. It, pandas, R and spreadsheets take a column of digits for numbers: 97002302.20 becomes
97002302.2, and 01 becomes 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import pandas as pd

from bandbridge.dataset.findings import Finding, note

#: Where the reading of such a table is described.
TABLES_PAGE = "docs/other-tools.md"
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
_BETWEEN = r"[-._ 0-9]"
_WORDS = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
_FOLDER = re.compile(rf"(?:.*{_BETWEEN})?(?P<word>{_WORDS})(?:{_BETWEEN}.*)?", re.DOTALL)
_FILE = re.compile(rf"(?:.*{_BETWEEN})?(?P<word>{_WORDS}){_BETWEEN}.*", re.DOTALL)
#: Rows after which datasets has settled what kind a column is of.
SETTLED = 10_000
_COLUMNS = ("label", "cell", "patient", "copy")


def split_meant(file_name: str) -> str:
    """Return the split that ``datasets`` takes ``file_name`` for, "" for none; its own order is train before test.

    >>> [split_meant(name) for name in ("images/C2-test/1a.png", "images/val-2/1a.png", "images/latest/1a.png")]
    ['test', 'validation', '']
    """
    *folders, file = PurePosixPath(file_name).parts
    found = {_SPLIT_OF[match["word"]] for name in folders if (match := _FOLDER.fullmatch(name))}
    # Names of folders come first: those of files count where no folder has such a name.
    found = found or {_SPLIT_OF[match["word"]] for match in [_FILE.fullmatch(file)] if match}
    return next((split for split in _SPLITS if split in found), "")


def changed_as_numbers(values: Sequence[str]) -> list[str]:
    """Return, as "text -> what becomes of it", those of a column's texts that a reader of numbers changes.

    [] where the first 10,000 rows hold something else than numbers: then the column stays text. Texts later on that
    are no number are among them, since readers in pieces refuse the table there.

    >>> changed_as_numbers(["97002302.20", "97002302.3"]), changed_as_numbers(["9.20", "C1"])
    (['97002302.20 -> 97002302.2'], [])
    """
    if not any(values[:SETTLED]) or not all(_is_number(text) for text in values[:SETTLED] if text):
        return []
    whole = all(re.fullmatch(r"[+-]?\d+", text) for text in values if text)
    found = []
    for text in dict.fromkeys(text for text in values if text):
        if not _is_number(text):
            found.append(f"{text} -> refused, after numbers")
        elif (as_number := str(int(text)) if whole else repr(float(text))) not in (text, f"{text}.0"):
            found.append(f"{text} -> {as_number}")
    return found


def _is_number(text: str) -> bool:
    if not text.isascii() or "_" in text:
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def check_for_other_readers(samples: pd.DataFrame) -> list[Finding]:
    """Return what other readers of a dataset with the table ``samples`` stumble over; images are not read."""
    return [
        *note(
            "split-in-name",
            "name",
            _names_meant(samples["file_name"]),
            "Hugging Face datasets takes it for a split, and leaves out the other images and all labels.",
            f"Load the table, and not the folder: {TABLES_PAGE} has the line. Nothing here minds.",
        ),
        *note(
            "read-as-numbers",
            "text",
            [f"{column}: {case}" for column in _COLUMNS for case in changed_as_numbers(samples[column].tolist())],
            "other readers take the column for numbers, and change it.",
            f"Read metadata.csv as text: {TABLES_PAGE} says how. Nothing here minds.",
        ),
    ]


def _names_meant(file_names: Iterable[str]) -> list[str]:
    """The folder, or the file where its own name is meant, of each of ``file_names`` that is taken for a split."""
    found: dict[str, str] = {}
    for name in file_names:
        if split := split_meant(name):
            *folders, file = PurePosixPath(name).parts
            meant = [folder for folder in folders if _FOLDER.fullmatch(folder)]
            found.setdefault(meant[0] if meant else file, split)
    return [f"{name}: {split}" for name, split in found.items()]
