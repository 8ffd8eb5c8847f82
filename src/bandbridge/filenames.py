"""Names of files that every system can write, made of what people call cells, patients, tasks and images.

Windows keeps some names and signs for itself, drops dots and spaces at the end of a name, and does not tell case apart;
macOS does not tell case, or composed letters, apart either.
https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

#: Devices of Windows, in every folder and with any ending: "nul.png" is none that keeps anything.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE)
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
#: Signs of a name: what is longer leaves too little of a path of Windows, and of the 255 bytes of most systems.
LONGEST = 120


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
    """Return ``name``, or the beginning of a longer one and eight digits that tell it from others that begin alike."""
    if len(name) <= longest:
        return name
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: longest - 9].rstrip('. ')}-{digits}"


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
        number, free = 1, made[place]
        while folded(free) in taken:
            number += 1
            free = f"{home}{slash}{stem}-{number}{dot}{ending}"
        taken.add(folded(free))
        found[place] = free
    return [found[place] for place in range(len(names))]


def folded(name: str) -> str:
    """Return ``name`` without the differences that some file systems do not keep: case, and composed letters.

    >>> folded("Images/Ä.PNG") == folded("images/a\\u0308.png")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
