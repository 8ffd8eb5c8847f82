"""Errors that a person can act on.

Everything a user can cause is raised as :class:`UserError` (or a subclass): one sentence saying what is wrong
and where, and a remedy. The command line prints both and exits with :attr:`UserError.exit_code`; no traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: Signs that a terminal obeys instead of showing them, or that turn the order of what follows; half a sign, of a name
#: that is not UTF-8. A line break and a tab are none.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(Exception):
    """A mistake in what was asked or given. Exit code 2.

    ``message`` names the file, row or key and what was expected; ``remedy`` says what to do next.

    >>> try:
    ...     draw_cells("R", 1)
    ... except UserError as error:
    ...     print(error.remedy)
    The stains are "Q" and "G".
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


def visible(text: str) -> str:
    """Return ``text`` with the signs that a terminal would obey written out; line breaks and tabs stay.

    >>> visible("1a\\x1b[2J\\u202egnp.exe")
    '1a\\\\u001b[2J\\\\u202egnp.exe'
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def in_plain_signs(text: str) -> bool:
    """Whether ``text`` can be the name of something: no control signs, no line break, UTF-8."""
    return not _HIDDEN.search(text) and not {"\n", "\t"} & set(text)


def refuse_odd_names(names: Iterable[str], what: str) -> None:
    """Raise :class:`ManyErrors` naming, made visible, all of ``names`` that cannot be the name of something."""
    odd = sorted(
        {visible(name).replace("\n", "\\n").replace("\t", "\\t") for name in names if not in_plain_signs(name)}
    )
    if odd:
        raise ManyErrors(f"{what} with control signs, or that are not UTF-8 text:", odd, "Rename them.")


def in_one_line(message: str, remedy: str) -> str:
    """Return an error's message and remedy for a list in which each has one line."""
    sentences = [" ".join(text.split()).rstrip(".") for text in (message, remedy) if text]
    return ". ".join(sentences) + "."


def first_few(names: Sequence[str], most: int = 8) -> str:
    """Return ``names`` in one line, and how many more there are than ``most``.

    >>> first_few(["23", "M", "Z"], most=2)
    '23, M and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


class ManyErrors(UserError):
    """Several bad inputs reported together: a headline, then one line for each (the first ``shown`` of them)."""

    def __init__(self, headline: str, problems: Sequence[str], remedy: str = "", shown: int = 20) -> None:
        lines = [f"  {problem}" for problem in problems[:shown]]
        if len(problems) > shown:
            lines.append(f"  ... and {len(problems) - shown} more")
        super().__init__("\n".join([headline, *lines]), remedy)
        self.problems = list(problems)


class EnvironmentFault(UserError):
    """The machine failed, not the request: disk full, permission denied, no network. Exit code 1."""

    exit_code = 1
