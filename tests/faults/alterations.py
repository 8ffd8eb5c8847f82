"""Every change of a product on the disk, for every command that reads it: ``benchmarks/alterations.py``, counted."""

from __future__ import annotations

from pathlib import Path

from tests.faults.home import Home, Part

from benchmarks import alterations as table


def alterations(home: Home, place: Path, scale: float, seed: int) -> Part:
    """Alter each product in each way, and have each command read it. The table makes a home of its own."""
    part = Part("alterations")
    every = table.alterations()
    wanted = every[:: max(1, round(1 / scale))]
    for what, row in table.try_all(wanted, table.COMMANDS).items():
        for command, found in row.items():
            part.count(found)
            part.check(found not in ("SILENT", "TRACEBACK", "unnamed"), f"{what}: {command}: {found}")
    return part
