"""What a section of a report is made of: tables, figures, cases, listings, and what is not there and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bandbridge.errors import UserError
from bandbridge.explain.panels import CasePanel
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.rendering import Table


@dataclass(frozen=True)
class Missing:
    """A part that cannot be shown, with the reason and what to do."""

    title: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """Commands or a file, as they are."""

    title: str
    text: str


@dataclass(frozen=True, eq=False)
class CaseGroup:
    """The cases of one task and architecture by kind: (heading, rule, panels)."""

    title: str
    kinds: tuple[tuple[str, str, tuple[CasePanel, ...]], ...]


Block = Table | Illustration | CaseGroup | Missing | Listing


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report; ``name`` is its place in the page, ``sentence`` what it is about."""

    name: str
    title: str
    sentence: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Wishes:
    """What to put into a report besides the numbers.

    cases, attention: whether to look through the classifiers' eyes (loads models). limit: cases of each kind.
    domains: makes the section on similarity; None leaves it out. commands: how the study was run, to be printed.
    """

    cases: bool = True
    attention: bool = True
    limit: int = 3
    seed: int = 0
    colour_map: str = "inferno"
    device: str = "auto"
    domains: Callable[[], list[Block]] | None = None
    commands: tuple[str, ...] = ()


def kept(blocks: Sequence[Block | None]) -> tuple[Block, ...]:
    """The blocks that have something to show."""
    return tuple(block for block in blocks if block is not None and not (isinstance(block, Table) and not block.rows))


def reason_of(error: UserError) -> str:
    return f"{error.message} {error.remedy}".strip()
