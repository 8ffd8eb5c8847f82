"""Names of files that every system can write, made of what people call cells, patients, tasks and images.

Windows keeps some names and signs for itself, drops dots and spaces at the end of a name, and does not tell case apart;
macOS does not tell case, or composed letters, apart either.
https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import groupby

from bandbridge.errors import first_few

#: Devices of Windows, in every folder and with any ending: "nul.png" is none that keeps anything.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE)
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
#: Signs of a name: what is longer leaves too little of a path of Windows, and of the 255 bytes of most systems.
LONGEST = 120
#: Bytes of a name: a letter takes up to four of the 255, and what is written beside a file has some signs more.
MOST_BYTES = 180


def fault_of_file_name(name: str) -> str:
    """Say why some system cannot have a file or folder called ``name``; "" where every one can.

    >>> fault_of_file_name("Con.png")
    "'Con.png' is a device of Windows"
    >>> fault_of_file_name("cell 1.png")
    ''
    """
    if not name:
        return "it is empty"
    if found := _REFUSED.search(name):
        return f"{name!r} holds {found[0]!r}, which Windows allows in no name"
    if name != name.rstrip(". "):
        return f"{name!r} ends in a dot or space, which Windows drops"
    return f"{name!r} is a device of Windows" if _DEVICE.match(name) else ""


def safe_name(name: str) -> str:
    """Return ``name`` as every system can have it: one that all can stays as it is.

    >>> [safe_name(name) for name in ("12:30.png", "aux.png", "cell 1. ", "3q")]
    ['12_30.png', '_aux.png', 'cell 1', '3q']
    """
    plain = _REFUSED.sub("_", name).rstrip(". ") or "_"
    return f"_{plain}" if _DEVICE.match(plain) else plain


def short_name(name: str, longest: int = LONGEST) -> str:
    """Return ``name``, or the beginning of a longer one and eight digits that tell it from others that begin alike.

    It is longer from ``longest`` signs on, or from :data:`MOST_BYTES` bytes of UTF-8.
    """
    data = name.encode("utf-8", "surrogatepass")
    if len(name) <= longest and len(data) <= MOST_BYTES:
        return name
    start = name[: longest - 9].encode("utf-8", "surrogatepass")[: MOST_BYTES - 9].decode("utf-8", "ignore")
    return f"{start.rstrip('. ')}-{hashlib.sha256(data).hexdigest()[:8]}"


def composed(name: str) -> str:
    """Return ``name`` with composed letters (Unicode's NFC), as we write it: some disks give it back decomposed."""
    return unicodedata.normalize("NFC", name)


def in_letters(text: str, others: str, instead: str) -> str:
    """Return ``text`` of letters and digits of any script, composed, and of the signs ``others``.

    What is neither, however many in a row, becomes ``instead``. Marks that belong to letters stay with them.

    >>> in_letters("Mu\u0308ller, 03 (G)", "-_", "_")
    'M\u00fcller_03_G_'
    """

    def stays(sign: str) -> bool:
        return sign in others or unicodedata.category(sign)[0] in "LMN"

    parts = groupby(composed(text), stays)
    return "".join("".join(signs) if kept else instead for kept, signs in parts)


def file_stem(name: str, default: str) -> str:
    """Return ``name`` as the name of a file without its ending, or of a cell; ``default`` where nothing is left of it.

    Letters and digits of any script stay. Blanks and all other signs but ``._-`` do not: blanks divide the cells of a
    field in our tables, others are refused by some system, or mean something in the address of a page. A name that is
    too long keeps its beginning.

    >>> [file_stem(name, "field") for name in ("M\u00fcller 03", "P1/a,b", "?", "nul")]
    ['M\u00fcller_03', 'P1_a_b', 'field', '_nul']
    """
    return safe_name(short_name(in_letters(name, "._-", "_").strip("._-")) or default)


def said_of_numbers(names: Sequence[str], stems: Sequence[str], plain: Sequence[str]) -> str:
    """Say which of ``names`` have a number in ``stems`` that is not in what they come out as alone, ``plain``; or "".

    >>> said_of_numbers(["a b.png", "a_b.png"], ["a_b", "a_b-2"], ["a_b", "a_b"])
    'names that come out alike are numbered: a_b.png is a_b-2'
    """
    numbered = [f"{name} is {stem}" for name, stem, own in zip(names, stems, plain, strict=True) if stem != own]
    return f"names that come out alike are numbered: {first_few(numbered)}" if numbered else ""


def slug(text: str) -> str:
    """Return ``text`` as part of a path in small letters.

    >>> slug("ViT-S/16")
    'vit-s-16'
    """
    return in_letters(text.lower(), "._+=-", "-")


def free_name(name: str, taken: Callable[[str], bool]) -> str:
    """Return ``name``, or the first of ``name``-2, ``name``-3 ... that is not ``taken``."""
    free, number = name, 1
    while taken(free):
        number += 1
        free = f"{name}-{number}"
    return free


def safe_paths(names: Sequence[str]) -> list[str]:
    """Return relative paths, with "/", as every system can write them, no two of which are one file on any.

    What all can write stays as it is, whatever else there is; of others that come out alike, the later are numbered.

    >>> safe_paths(["c1/a?.png", "c1/a_.png", "C1/A*.png"])
    ['c1/a_-2.png', 'c1/a_.png', 'C1/A_-3.png']
    """
    made = ["/".join(safe_name(part) for part in name.split("/")) for name in names]
    taken: set[str] = set()
    found = {}
    for place in sorted(range(len(names)), key=lambda place: made[place] != names[place]):
        home, slash, file = made[place].rpartition("/")
        stem, dot, ending = file.rpartition(".") if "." in file[1:] else (file, "", "")
        end = f"{dot}{ending}"

        def is_taken(name: str, end: str = end) -> bool:
            return folded(f"{name}{end}") in taken

        free = free_name(f"{home}{slash}{stem}", is_taken) + end
        taken.add(folded(free))
        found[place] = free
    return [found[place] for place in range(len(names))]


def folded(name: str) -> str:
    """Return ``name`` without the differences that some file systems do not keep: case, and composed letters.

    >>> folded("Images/Ä.PNG") == folded("images/a\\u0308.png")
    True
    """
    return composed(composed(name).casefold())
