"""Where a command writes, looked at before its work: hours of it must not end at a file that is in the way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bandbridge.disk import LONG_PATHS_REMEDY, is_too_long, on_windows, too_long
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import require_folder, write_text

#: In a folder of results with codes in the place of names.
CODED = "codes-for-names.txt"
#: Characters of a path below the folder of runs: task, architecture, approach, fold, file, and who is writing it.
_ROOM_OF_RUNS = 120


def output_folder(path: Path) -> Path:
    """Return ``path``, a folder that can be written or made; raises as :func:`bandbridge.files.require_folder` does.

    Where Windows is not to write over a file in it that another program has open, such as a spreadsheet,
    :class:`~bandbridge.errors.ManyErrors` is raised, too.
    """
    require_folder(path)
    if on_windows() and path.is_dir():
        _require_closed(path)
    return path


def _require_closed(folder: Path) -> None:
    held = []
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            try:
                file.open("r+b").close()
            except PermissionError:
                held.append(file.name)
            except OSError:  # whoever writes it says what is wrong with it
                continue
    if held:
        raise ManyErrors(
            f"files in {folder} are open in another program, or closed to you:",
            held,
            "Close them there, a spreadsheet perhaps, or name another folder: they could not be written over.",
        )


def require_apart(out: Path, read: Iterable[Path]) -> None:
    """Raise :class:`~bandbridge.errors.UserError` where ``out`` is one of the places that are read, or lies in one.

    What is written there would be read as cells, or stand among the files of a model, the next time.
    """
    for place in read:
        if place.is_dir() and out.resolve().is_relative_to(place.resolve()):
            where = "is read by this command" if out.resolve() == place.resolve() else f"lies in {place}, which is read"
            raise UserError(f"{out} {where}: its results do not belong there", "Name another folder.")


def given_folder(path: Path | None) -> Path | None:
    """Return what an option says, looked at like :func:`output_folder`; None where it is not given."""
    return None if path is None else output_folder(path)


def given_file(path: Path) -> Path:
    """Return ``path``, a file that can be written or made; raises as :func:`bandbridge.files.require_folder` does.

    :class:`~bandbridge.errors.UserError` where a folder is in its place.
    """
    require_folder(path.parent)
    if path.is_dir():
        raise UserError(f"cannot write {path}: a folder is in the place of the file", "Name a file.")
    return path


def study_folder(out: Path | None, name: str) -> Path:
    """Return ``out``, or the default place of the results of the study ``name``, looked at in the same way."""
    return output_folder(out or Path("results") / name)


def runs_folder(path: Path) -> Path:
    """Return ``path``; raises :class:`~bandbridge.errors.UserError` where a file is in its place.

    It may be one that can be read only, as where a colleague's runs are reported.
    """
    require_folder(path, writable=False)
    if is_too_long(deepest := path.absolute() / ("x" * _ROOM_OF_RUNS)):
        raise UserError(
            f"{path} is too long a path for runs, whose own have up to {_ROOM_OF_RUNS}: {too_long([deepest])}",
            LONG_PATHS_REMEDY,
        )
    return path


def codes_apart(out: Path, de_identify: bool, codes: Path | None) -> Path | None:
    """Return the folder that keeps what the results at ``out`` must not tell, None where names stay as they are.

    Raises :class:`UserError` for a folder within ``out``, and for one that is named and not used.
    """
    if not de_identify:
        if codes is not None:
            raise UserError("--codes is the folder of a key, and no codes are asked for", "Give --de-identify, too.")
        return None
    kept = codes or out.absolute().with_name(out.absolute().name + "-codes")
    if kept.absolute().is_relative_to(out.absolute()):
        raise UserError(f"{kept} would be passed on with {out}", "Name a folder apart from it for --codes.")
    return kept


def mark_codes(out: Path, coded: bool) -> None:
    """Say in the folder ``out`` that codes stand for names there; take that back where they are not to be ``coded``.

    Raises :class:`UserError` where codes are to be written beside what an earlier command wrote with names.
    """
    mark = out / CODED
    if not coded:
        mark.unlink(missing_ok=True)
    elif out.is_dir() and any(out.iterdir()) and not mark.is_file():
        raise UserError(f"{out} holds results with names, which would be passed on", "Name a new folder with --out.")
    else:
        write_text(mark, "Codes stand in these files for the names of patients, cells and files.\n")
