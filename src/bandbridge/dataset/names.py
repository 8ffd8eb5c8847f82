"""Names of cells and patients as people write them: what stands for "unknown", and one name in several spellings."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

import pandas as pd

#: Columns whose values decide what is never divided between folds.
GROUPS = ("cell", "patient")
#: What stands for a name that is not known, in small letters and without signs: "N/A", "n.a." and "#N/A" are na.
_UNKNOWN = frozenset(
    [
        *("na", "nan", "none", "null", "nil", "nk", "unk", "unknown", "unnamed", "unspecified", "undefined", "missing"),
        *("notknown", "notavailable", "notapplicable", "noname"),
    ]
)
_SIGNS = re.compile(r"[\W_]+")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[\W_]+(?=\d)")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_APART = "\0"
#: Where :func:`with_unknown` leaves what it took for unknown, in ``attrs`` of the table.
ATTRIBUTE = "written as unknown"


def is_unknown(name: str) -> bool:
    """Return whether ``name`` says that there is none: "", a sign alone ("?", "-"), or a word for it in any case.

    >>> [is_unknown(name) for name in ("N/A", "nan", "?", "Unknown", "P1", "Nana")]
    [True, True, True, True, False, False]
    """
    plain = _SIGNS.sub("", name.casefold())
    return not plain or plain in _UNKNOWN


def with_unknown(samples: pd.DataFrame) -> pd.DataFrame:
    """Return ``samples`` with "" for every cell and patient that is written as unknown.

    ``attrs[ATTRIBUTE]`` of the result then has (column, spelling, images) of each. A table without any comes back as
    it is.
    """
    found: list[tuple[str, str, int]] = []
    columns = {}
    for column in GROUPS:
        unknown = {name for name in set(samples[column]) if name and is_unknown(name)}
        if unknown:
            counts = Counter(samples[column])
            found += [(column, name, counts[name]) for name in sorted(unknown)]
            columns[column] = samples[column].where(~samples[column].isin(unknown), "")
    if not found:
        return samples
    told = samples.assign(**columns)
    told.attrs[ATTRIBUTE] = found
    return told


def near_spellings(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of ``names`` that differ in case, spaces, signs or leading zeros alone, each in text order.

    A sign between two digits is no such difference against none: 1.12 and 11.2 are not 112.

    >>> near_spellings(["P1", "p1", "P 1", "P-01", "P11", "1.12", "112"])
    [['P 1', 'P-01', 'P1', 'p1']]
    """
    alike: dict[str, set[str]] = defaultdict(set)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        parts = _BETWEEN_DIGITS.sub(_APART, plain).split(_APART)
        alike[_APART.join(_LEADING_ZEROS.sub("", _SIGNS.sub("", part)) for part in parts)].add(name)
    return [sorted(spellings) for key, spellings in alike.items() if key and len(spellings) > 1]
