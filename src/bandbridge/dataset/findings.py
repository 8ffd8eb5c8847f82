"""What an audit reports: a kind of finding, how many, which, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One kind of thing found. ``decision``: a person has to decide before training; ``note``: good to know.

    ``count`` is in the units that ``sentence`` begins with; ``examples`` are all of them, or what a person would look
    up in their place (none where that is the whole dataset).
    """

    kind: str
    severity: Literal["decision", "note"]
    count: int
    sentence: str
    examples: tuple[str, ...] = ()
    remedy: str = ""


def decision(
    kind: str, unit: str, cases: Sequence[str], sentence: str, remedy: str, examples: Sequence[str] | None = None
) -> list[Finding]:
    """Return one finding that needs a decision: "<number of cases> <unit>s: <sentence>"; none without cases.

    ``examples`` replaces the cases where these are not what a person would look up.
    """
    return _finding(kind, "decision", unit, cases, sentence, remedy, examples)


def note(
    kind: str, unit: str, cases: Sequence[str], sentence: str, remedy: str, examples: Sequence[str] | None = None
) -> list[Finding]:
    """Return one finding that is good to know; otherwise as :func:`decision`."""
    return _finding(kind, "note", unit, cases, sentence, remedy, examples)


def _finding(
    kind: str,
    severity: Literal["decision", "note"],
    unit: str,
    cases: Sequence[str],
    sentence: str,
    remedy: str,
    examples: Sequence[str] | None,
) -> list[Finding]:
    if not cases:
        return []
    text = f"{counted(len(cases), unit)}: {sentence}"
    return [Finding(kind, severity, len(cases), text, tuple(cases if examples is None else examples), remedy)]


def counted(number: int, unit: str) -> str:
    """Return ``"1 pair"`` or ``"1,204 pairs"``; ``unit`` may be more words: ``"late pair of cells"``."""
    what, of, rest = unit.partition(" of ")
    if number != 1:
        what += "es" if what.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number:,} {what}{of}{rest}"
