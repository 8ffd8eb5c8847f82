"""Every change of a product on the disk, for every command that reads it."""

from __future__ import annotations

from pathlib import Path

from tests.faults.home import Home, Part


def alterations(home: Home, place: Path, scale: float, seed: int) -> Part:
    """Alter each product in each way, and have each command read it."""
    return Part("alterations")
