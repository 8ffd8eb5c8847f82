"""Which cell an image is of, where no table says so: the folder that it lies in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bandbridge.filenames import composed
from bandbridge.files import unguard_formula

#: Three times a human karyotype: more images of one folder are not one cell.
MOST_IN_CELL = 150
_PACKED = (".gz", ".tgz", ".tar", ".zip")


def cells_of_folders(names: Sequence[str], home: str) -> list[str]:
    """Return the cell of each image of ``names``, relative paths with "/" in a folder or archive called ``home``.

    A cell is a folder and has its name. Images that lie in no folder are one cell, ``home``, where there are no others:
    the place is then the folder of a cell. Beside folders of cells nobody knows which cell they are of, and neither
    where more than :data:`MOST_IN_CELL` lie together: "".

    >>> cells_of_folders(["c1/a.png", "c2/b.png", "loose.png"], "today")
    ['c1', 'c2', '']
    >>> cells_of_folders(["a.png", "b.png"], "c7")
    ['c7', 'c7']
    >>> cells_of_folders(["today/c1/a.png", "today/c2/b.png", "today/loose.png"], "today")
    ['c1', 'c2', '']
    """
    names, home = _unwrapped(names, home)
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    counts = Counter(folders)
    loose = home if len(counts) == 1 else ""
    cells = {
        folder: "" if count > MOST_IN_CELL else loose if folder == "." else folder for folder, count in counts.items()
    }
    return [cells[folder] for folder in folders]


def patient_of_folder(cell: str) -> str:
    """Return whose ``cell`` it is by the folder that the folder of the cell lies in; "" where it lies in none.

    >>> [patient_of_folder(cell) for cell in ("P7/cell 1", "ward/P7/cell 1", "cell 1", "")]
    ['P7', 'ward/P7', '', '']
    """
    return patient_name(cell.rpartition("/")[0])


def patient_name(text: str) -> str:
    """Return the name of a patient as it is known by: composed signs (Unicode's NFC), no blanks at the ends or doubled.

    >>> patient_name(" Mu\u0308ller,  Anna") == "M\u00fcller, Anna"
    True
    """
    return unguard_formula(" ".join(composed(text).split()))


def lone_folder(cells: Sequence[str]) -> str:
    """Return the one folder that all ``cells`` lie in, "" where there are several or none.

    >>> lone_folder(["P7/cell 1", "P7/cell 2"]), lone_folder(["P7/cell 1", "P8/cell 1"]), lone_folder(["cell 1"])
    ('P7', '', '')
    """
    outer = {cell.partition("/")[0] for cell in cells} if all("/" in cell for cell in cells) else set()
    return patient_name(outer.pop()) if len(outer) == 1 else ""


def patients_of_folders(cells: Sequence[str], lone: bool = False) -> list[str]:
    """Return whose each cell is by the folders around those of the cells; a folder around all of them is nobody's.

    lone: where no folder tells cells apart, the one around those of all cells is a patient's.

    >>> patients_of_folders(["ward/P1/cell 1", "ward/P2/cell 1"])
    ['P1', 'P2']
    >>> patients_of_folders(["today/cell 1", "today/cell 2"])
    ['', '']
    >>> patients_of_folders(["ward/P1/cell 1", "ward/P1/cell 2"], lone=True)
    ['P1', 'P1']
    """
    names, _ = _unwrapped([f"{cell}/x" if cell else "x" for cell in cells], "")
    found = [patient_of_folder(PurePosixPath(name).parent.as_posix()) for name in names]
    around = {PurePosixPath(cell).parent for cell in cells}
    if lone and not any(found) and len(around) == 1:
        return [patient_name(around.pop().name)] * len(cells)
    return found


def without_images(folders: Sequence[str], names: Sequence[str], between: int) -> list[str]:
    """Return those of ``folders`` that lie where folders of patients do and hold none of the images ``names``.

    between: folders between that of a patient and an image, 1 for those of cells.

    >>> without_images(["P1", "P1/c1", "P1/c2", "P2", "P2/letters"], ["P1/c1/a.png"], between=1)
    ['P2']
    """
    around = [parents for name in names if len(parents := PurePosixPath(name).parents) > between + 1]
    homes = {home for parents in around for home in list(parents)[between + 1 :]}
    full = {folder for name in names for folder in PurePosixPath(name).parents}
    return [one for one in folders if PurePosixPath(one).parent in homes and PurePosixPath(one) not in full]


def _unwrapped(names: Sequence[str], home: str) -> tuple[Sequence[str], str]:
    """``names`` and ``home`` without a folder around all others, as programs that pack a folder put there."""
    while all("/" in name for name in names) and any(name.count("/") > 1 for name in names):
        outer = {name.partition("/")[0] for name in names}
        if len(outer) > 1:
            break
        (home,) = outer
        names = [name.partition("/")[2] for name in names]
    return names, home


def name_of_home(place: Path) -> str:
    """Return what a folder or archive is called, also where it is given as ".", without the endings of archives."""
    name = place.name if place.name not in ("", "..") else place.resolve().name
    if not place.is_dir():
        for ending in _PACKED:
            name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return name
