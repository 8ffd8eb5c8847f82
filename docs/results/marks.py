"""What a program writes stands between two marks of a page; the rest of it is written by hand."""

from __future__ import annotations

from pathlib import Path

from bandbridge.files import write_text


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Write ``text`` between the lines ``begin`` and ``end`` of ``page``; ends the program where it has none."""
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no marks {begin} and {end}")
    write_text(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
