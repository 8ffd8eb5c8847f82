"""Labels that a person set on a sheet, laid over what was read on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bandbridge.sheets.judging import Found, Reading
from bandbridge.sheets.pieces import Piece, cut_in_two, join
from bandbridge.sheets.tables import AS_READ, ASIDE, LEAVE_OUT

BY_HAND = "by hand"


def corrected(reading: Reading, labels: Mapping[str, str]) -> tuple[Reading, list[str]]:
    """Return ``reading`` with ``labels`` set, of pieces by number ("12", joined "12+13"), and what cannot be done.

    The numbers of pieces that are not touched stay; parts of one that is cut are numbered on from the last. A person
    who labels a sheet has seen it: it has no more doubts.
    """
    found = {one.number: one for one in reading.found}
    problems: list[str] = []
    for text, label in labels.items():
        if label == AS_READ and not text:
            continue
        numbers = [int(part) for part in text.split("+")]
        absent = [str(number) for number in numbers if number not in found]
        if absent:
            problems.append(f"there is no piece {', '.join(absent)}")
            continue
        parts = [found.pop(number) for number in numbers]
        whole = Piece(parts[0].box, parts[0].mask)
        for other in parts[1:]:
            whole = join(whole, Piece(other.box, other.mask))
        pieces, wanted = [whole], label.split("/")
        if len(wanted) == 2:
            halves = cut_in_two(whole, reading.ink)
            if halves is None:
                problems.append(f"piece {text} cannot be cut in two")
                continue
            pieces = sorted(halves[0], key=lambda piece: piece.x)
        last = max([one.number for one in reading.found] + list(found))
        for place, (piece, each) in enumerate(zip(pieces, wanted, strict=True)):
            number = numbers[0] if place == 0 else last + place
            if each != LEAVE_OUT:
                text_ = "" if each == ASIDE else each
                found[number] = Found(number, text_, piece.box, piece.mask, BY_HAND, "set by hand")
    ordered = tuple(found[number] for number in sorted(found))
    return replace(reading, found=ordered, doubts=()), problems
