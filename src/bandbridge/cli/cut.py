"""``bandbridge cut``: metaphases into single chromosomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.cli.outputs import output_folder, require_apart
from bandbridge.errors import ManyErrors
from bandbridge.progress import note
from bandbridge.terminal import say

if TYPE_CHECKING:
    from bandbridge.api.cut import CutCells

#: Cells and alternatives that are said at most.
_SHOWN = 20


def cut(
    metaphases: Annotated[
        Path, typer.Argument(metavar="METAPHASES", help="A field of view, or a folder or zip of them.")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the cells.", callback=output_folder)],
    show_steps: Annotated[bool, typer.Option("--show-steps", help="Write a picture of each step.")] = False,
) -> None:
    """Cut metaphases into single chromosomes: crops by the cell, masks, and which cuts a person should check.

    Any ground, gray or colour, 8 or 16 bits. DEST is then what bandbridge predict and review read.

    The same command goes on after any interruption. Research use only: look at every cut.
    """
    import bandbridge as bb
    from bandbridge.dataset.findings import counted

    require_apart(destination, [metaphases])
    result = bb.cut(metaphases, destination, show_steps=show_steps)
    table = result.table()
    check = int((table["check"] == "yes").sum()) if len(table) else 0
    others = result.alternatives()
    say(f"{counted(len(result.cells), 'cell')}, {counted(len(table), 'chromosome')}, {check:,} cuts to check")
    for name, count in list(result.cells.items())[:_SHOWN]:
        say(f"  {name}: {count}")
    if len(result.cells) > _SHOWN:
        say(f"  ... and {len(result.cells) - _SHOWN} more in fields.csv")
    if len(others):
        even = others[others["even"] == "yes"]
        say(f"{counted(len(others), 'cut')} may be otherwise, {len(even):,} of them nearly even: alternatives.csv")
        for row in even.head(_SHOWN).itertuples():
            say(f"  {row.cell}: {row.says}")
        if len(even) > _SHOWN:
            say(f"  ... and {len(even) - _SHOWN:,} more")
    say(f"written to {destination}")
    refuse_without_cell(result)


def refuse_without_cell(result: CutCells) -> None:
    """Raise :class:`~bandbridge.errors.ManyErrors` for the fields that gave no cell, if there are any."""
    bad = [f"{name}: {reason}" for name, reason in [*result.refused, *result.without_cell]]
    if bad:
        others = "The others are cut; mend these or leave them out." if result.cells else "Mend these."
        raise ManyErrors("fields that gave no cell:", bad, others)


def cut_first(images: Path, place: Path, wanted: bool | None, show_steps: bool) -> CutCells | None:
    """Cut ``images`` into ``place`` where they are fields of view; None where they are single chromosomes.

    wanted: whether they are fields; None: found from them. Raises as :func:`refuse_without_cell` where none has a cell.
    """
    from bandbridge.metaphase.intake import are_fields

    if wanted is False or (wanted is None and not are_fields(images)):
        return None
    import bandbridge as bb

    if wanted is None:
        note(f"{images} holds fields of view: they are cut first; if they are single chromosomes, --no-metaphases")
    result = bb.cut(images, place, show_steps=show_steps)
    check = int((result.table()["check"] == "yes").sum()) if result.cells else 0
    note(f"cut into {place}: {len(result.cells):,} cells, {check:,} cuts to check")
    if not result.cells:
        refuse_without_cell(result)
    return result
