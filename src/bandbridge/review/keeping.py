"""The file of the review's database: opened only when it is whole, copied by SQLite's own means, private.

Where the disk is full or fails in a change, nothing of the change is kept, :class:`NotKeptError` says so, and it can be
made again. Where the file is damaged, empty, gone, or another program's, it is not opened, or no longer, and the error
names the newest backup. A backup is made at the start, at the end, and at the first change after each hour, whenever
anything was changed since the one before, and is looked through before it counts: what is lost is what was done since
the last of them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePath
from urllib.parse import quote

from bandbridge.disk import rename
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import replacing
from bandbridge.progress import note
from bandbridge.review.log import begin_log, find_fault
from bandbridge.review.schema import SCHEMA, UPGRADES, VERSION, WITH_LOG, statements

DATABASE = "review.sqlite"
BACKUPS = "backups"
IMAGES = "images"
#: How many backups stay: of a thousand cells, one takes 40 MB.
KEPT = 7
BACKUP_EVERY_S = 3600.0
_BACKUP_NAME = "review-%Y-%m-%dT%H%M%SZ.sqlite"
#: What SQLite keeps beside a database in use: put beside another one, it would damage that.
_BESIDE = ("-journal", "-wal", "-shm")
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
#: By which a review's tables are known, of every version.
_TABLES = {
    "cells": {"id", "fingerprint", "name", "state", "accepted"},
    "chromosomes": {"id", "cell", "file", "image", "placed"},
    "events": {"id", "cell", "kind", "before", "after"},
}


class NotKeptError(EnvironmentFault):
    """A change that the disk did not take: nothing of it is kept, all that was told as saved is."""


class DamagedError(EnvironmentFault):
    """The database is not one that can be worked with."""


def private_folder(folder: Path) -> Path:
    """Return ``folder``, made if absent and closed to other accounts in any case."""
    folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder.chmod(_PRIVATE_FOLDER)
    return folder


def private_file(path: Path) -> Path:
    """Return ``path``, made empty if absent and closed to other accounts in any case."""
    path.touch(mode=_PRIVATE_FILE)
    path.chmod(_PRIVATE_FILE)
    return path


def open_database(folder: Path) -> sqlite3.Connection:
    """Return the database of the work folder ``folder``, looked through, brought to this version and locked.

    A folder without pictures and backups gets a new one. Raises :class:`UserError` when another program has it open or
    it is of another version, :class:`DamagedError` when it is not whole, is gone or is another program's, and
    OSError.
    """
    path = folder / DATABASE
    # Before SQLite sees it: it makes a database of an empty file by looking at it.
    if path.exists() and not path.is_file():
        raise DamagedError(f"{path} is no file", way_back(folder))
    if not path.exists() or not path.stat().st_size:
        _refuse_over_pictures(folder, "is empty" if path.exists() else "is gone")
    for kept in (path, *(path.with_name(f"{DATABASE}{ending}") for ending in _BESIDE)):
        if kept is path or kept.exists():
            private_file(kept)
    connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        for setting in ("locking_mode = EXCLUSIVE", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
        # Kept to the end, as the mode of locking says.
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        version = _look_through(connection, path)
        if version:
            back_up(connection, folder)
        else:
            _refuse_over_pictures(folder, "holds nothing")
        if version < VERSION:
            _bring_up(connection, version)
    except BaseException as fault:
        connection.close()
        if isinstance(fault, sqlite3.Error):
            raise opening_fault(fault, folder) from fault
        raise
    return connection


def _refuse_over_pictures(folder: Path, what: str) -> None:
    """Refuse to begin an empty review over the pictures, or the backups, of one whose database is lost."""
    if _holds(folder / IMAGES, "*.png") or _holds(folder / BACKUPS, "*.sqlite"):
        said = f"{folder / DATABASE} {what}, though this folder holds the pictures of a review"
        raise DamagedError(said, way_back(folder))


def _holds(folder: Path, pattern: str) -> bool:
    return any(True for _ in folder.glob(pattern))


def _look_through(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a database that is whole and a review's, 0 for one without anything in it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and not version:
        return 0
    known = {table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} for table in _TABLES}
    if any(not names <= known[table] for table, names in _TABLES.items()):
        raise DamagedError(f"{path} is no database of a review", way_back(path.parent))
    if not 1 <= version <= VERSION:
        raise UserError(
            f"{path} was written by another version of bandbridge", "Use that version, or another folder with --work."
        )
    found = [" ".join(str(row[0]).split()) for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise DamagedError(f"{path} is damaged ({'; '.join(found)})", way_back(path.parent))
    if version >= WITH_LOG and (fault := find_fault(connection)):
        raise DamagedError(f"{path}: {fault}", way_back(path.parent))
    return int(version)


def _bring_up(connection: sqlite3.Connection, version: int) -> None:
    """Make a database of ``version``, 0 for an empty one, one of this version; whole or not at all."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        upgrades = [one for old in range(version, VERSION) for one in UPGRADES.get(old, ())]
        for statement in statements(SCHEMA) if version == 0 else upgrades:
            connection.execute(statement)
        if 0 < version < WITH_LOG:
            begin_log(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


# What goes wrong


def opening_fault(fault: sqlite3.Error, folder: Path) -> UserError:
    """Return what to say of a database that SQLite cannot open."""
    path = folder / DATABASE
    if _is(fault, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError(f"another review is open on {folder}", "Close it, or name another folder with --work.")
    if _is_damage(fault):
        return DamagedError(f"{path} is damaged ({fault})", way_back(folder))
    if _is(fault, sqlite3.SQLITE_FULL):
        return EnvironmentFault(f"cannot write {path}: the disk is full", "Make room, then run the same command again.")
    return EnvironmentFault(
        f"cannot open {path}: {fault}", "Check the folder, its permissions and the disk, or name another with --work."
    )


def working_fault(fault: Exception, folder: Path, changing: bool) -> EnvironmentFault:
    """Return what to say of a database that fails in the middle of the work, in a change or in a look at it."""
    path = folder / DATABASE
    lost = "nothing was saved: " if changing else ""
    if _is_damage(fault):
        said = f"{lost}{path} is damaged ({fault})"
        remedy = f"End the program (Ctrl-C) before you correct more. {way_back(folder)}"
        return NotKeptError(said, remedy) if changing else DamagedError(said, remedy)
    if _is(fault, sqlite3.SQLITE_FULL):
        said, remedy = "the disk is full", "Make room on it, then make the change again; all that was saved stays."
    else:
        said, remedy = f"{path}: {fault}", "Check the disk, then try again; all that was saved stays."
    return (NotKeptError if changing else EnvironmentFault)(f"{lost}{said}", remedy)


def _is(fault: Exception, *codes: int) -> bool:
    return (getattr(fault, "sqlite_errorcode", None) or 0) & 0xFF in codes


def _is_damage(fault: Exception) -> bool:
    """Say whether the file is at fault: SQLite says so, or what a row holds is not what is ever written."""
    said = str(fault)
    return (
        not isinstance(fault, sqlite3.Error)
        or _is(fault, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        or "Could not decode" in said
        or "no such table" in said
    )


# Backups and the way back


def back_up(connection: sqlite3.Connection, folder: Path) -> Path | None:
    """Copy the database into ``backups`` where it was changed since the newest one there, and return the copy.

    A copy that does not look whole is thrown away; where none can be made, a line is said, and the work goes on.
    """
    home = folder / BACKUPS
    newest = max((one.stat().st_mtime_ns for one in _backups(folder)), default=None)
    if newest is not None and (folder / DATABASE).stat().st_mtime_ns < newest:
        return None
    target = home / datetime.now(UTC).strftime(_BACKUP_NAME)
    try:
        private_folder(home)
        with replacing(target) as temporary, closing(_private_database(temporary)) as copy:
            # Whole or thrown away, and flushed to the disk at the end: it needs no journal of its own.
            copy.execute("PRAGMA journal_mode = OFF")
            connection.backup(copy)
            if copy.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise DamagedError(f"{folder / DATABASE} is damaged", way_back(folder))
        for old in _backups(folder)[KEPT:]:
            old.unlink(missing_ok=True)
    except (sqlite3.Error, OSError, EnvironmentFault) as fault:
        note(f"warning: no backup of {folder / DATABASE}: {getattr(fault, 'message', fault)}")
        return None
    return target


def _private_database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(private_file(path), isolation_level=None)


def _backups(folder: Path) -> list[Path]:
    """Return the backups, the newest first."""
    return sorted((folder / BACKUPS).glob("review-*.sqlite"), reverse=True)


def way_back(folder: Path) -> str:
    """Return what to do about a database of ``folder`` that is not whole."""
    for one in _backups(folder):
        return (
            f"The newest backup is {one}, of {_when(one)}. Give the same command with --restore to go on from the "
            "newest that is whole; the file in its place is kept beside it, and the pictures stay."
        )
    return (
        f"There is no backup in {folder / BACKUPS}. Bring {DATABASE} back from a copy of your own, or name another "
        "folder with --work; the pictures stay."
    )


def _when(backup: Path) -> str:
    return datetime.fromtimestamp(backup.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M")


def restore(folder: Path) -> Path:
    """Put the newest backup that is whole in the place of the database, and return it.

    What was in its place is kept beside it, with what SQLite keeps beside that. Raises :class:`UserError` where the
    database is whole or open in another program, and where no backup is.
    """
    path = folder / DATABASE
    try:
        open_database(folder).close()
    except DamagedError:
        pass
    else:
        raise UserError(f"{path} is whole: there is nothing to restore", "Leave --restore out.")
    for backup in _backups(folder):
        if _is_whole(backup):
            break
    else:
        remedy = (
            f"Bring {DATABASE} back from a copy of your own, or name another folder with --work; the pictures stay."
        )
        raise UserError(f"{folder / BACKUPS} holds no backup that is whole", remedy)
    aside = datetime.now(UTC).strftime("damaged-%Y-%m-%dT%H%M%SZ")
    for ending in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            rename(folder / f"{DATABASE}{ending}", folder / f"{aside}-{DATABASE}{ending}")
    with replacing(path) as temporary:
        private_file(temporary).write_bytes(backup.read_bytes())
    return backup


def _uri(path: PurePath) -> str:
    """Return an absolute ``path`` as SQLite reads one, for which a Windows share is a path and no host.

    https://sqlite.org/uri.html
    """
    plain = quote(path.as_posix(), safe="/:")
    return f"file://{plain}" if plain.startswith("/") else f"file:///{plain}"


def _is_whole(backup: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{_uri(backup.absolute())}?mode=ro&immutable=1", uri=True)) as opened:
            opened.row_factory = sqlite3.Row
            _look_through(opened, backup)
    except (sqlite3.Error, UserError):
        return False
    return True
