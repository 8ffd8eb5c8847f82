"""What systems do differently with files: flushing, renaming over a file in use, locks, and how long a path may be.

The one place that asks which system this is, for files. Windows renames over no file that a program has open, flushes
none that is open for reading alone, and knows no path of more than :data:`LONGEST_PATH` characters unless its machine
was told to.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from bandbridge.errors import EnvironmentFault

#: Of Windows, with the drive and without the sign that ends it there (Microsoft, "Maximum Path Length Limitation").
LONGEST_PATH = 259
LONG_PATHS_REMEDY = (
    "Choose a folder with a shorter path, nearer to the drive, or have Windows take long ones; as administrator: "
    r"reg add HKLM\SYSTEM\CurrentControlSet\Control\FileSystem /v LongPathsEnabled /t REG_DWORD /d 1 /f"
)
#: Before this sign of its own, Windows takes a path as it stands, of any length.
_AS_IT_STANDS = "\\\\?\\"
#: Seconds between tries to rename over a file: those who look at one for a moment (a search index, a scanner for
#: viruses, another process of ours) are through by then.
_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
#: Which byte of a file is locked on Windows, where nobody else can read what is locked: one that no file of ours has.
_LOCKED_BYTE = 2**30
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How a system says that it does not flush folders, or opens none.
_NO_SUCH_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR, errno.ENOSYS}


def on_windows() -> bool:
    """Whether this is Windows."""
    return sys.platform == "win32"


def flush(path: Path) -> None:
    """Have the content of ``path`` on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR if on_windows() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Have what was made and renamed in ``folder`` on the disk, where the system can be asked for that."""
    try:
        flush(folder)
    except OSError as fault:
        if fault.errno not in _NO_SUCH_FLUSH:
            raise


def rename(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, over a file that is there. Raises OSError.

    Where Windows refuses since a program has one of them open, it is asked again for three seconds.
    """
    for pause in _PAUSES_S if on_windows() else ():
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(pause)
    source.replace(target)


def is_in_use(fault: OSError) -> bool:
    """Whether Windows says by ``fault`` that another program has the file open, or may: it has one word for both."""
    return on_windows() and isinstance(fault, PermissionError)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` over the file ``path``. Raises OSError.

    Where Windows does not let go of ``path``, what was to take its place stays beside it under a name of its own, and
    :class:`EnvironmentFault` tells that.
    """
    try:
        rename(temporary, path)
    except OSError as fault:
        if not (is_in_use(fault) and path.is_file()):
            raise
        kept = path.with_name(f"{path.stem}-new{path.suffix}")
        temporary.replace(kept)
        raise EnvironmentFault(
            f"cannot write {path}: another program has it open, or it is closed to you",
            f"What belongs there is in {kept}. Close {path.name} wherever it is open, a spreadsheet perhaps, then put "
            "that file in its place or run the same command again.",
        ) from fault


def cannot_write(path: Path, fault: OSError) -> EnvironmentFault:
    """Return what to say of a file or folder that ``fault`` kept from being written."""
    named = [Path(os.fsdecode(name)) for name in (fault.filename, fault.filename2) if isinstance(name, str | bytes)]
    if long := [each for each in (path, *named) if is_too_long(each)]:
        return EnvironmentFault(f"cannot write {path}: {too_long(long)}", LONG_PATHS_REMEDY)
    return EnvironmentFault(f"cannot write {path}: {fault.strerror or fault}", _remedy(fault))


def _remedy(fault: OSError) -> str:
    if fault.errno in _OUT_OF_SPACE:
        return (
            "The disk is full, or a limit on the size of files is reached. Make room and run the same command again: "
            "finished work is kept."
        )
    if isinstance(fault, FileExistsError | NotADirectoryError):
        return "A file is in the place of a folder: choose another folder, or move that file away."
    if is_in_use(fault):
        return "Close the programs that have a file of it open, a spreadsheet perhaps, then run the same command again."
    return "Check the folder and its permissions, then run the same command again."


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process; False when another one has, None where the disk or system has no locks.

    The lock ends with the descriptor.
    """
    try:
        if sys.platform == "win32":
            _lock_a_byte(descriptor)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (ImportError, OSError):  # some network disks
        return None
    return True


def _lock_a_byte(descriptor: int) -> None:
    """Lock as Windows can: some bytes, which nobody else can read then."""
    if sys.platform == "win32":
        import msvcrt

        with _at_locked_byte(descriptor):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def unlock(descriptor: int) -> None:
    """Let go what :func:`try_lock` locked, where the system takes its time with that when a file is closed."""
    if sys.platform == "win32":
        import msvcrt

        with suppress(OSError), _at_locked_byte(descriptor):
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


@contextmanager
def _at_locked_byte(descriptor: int) -> Iterator[None]:
    here = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        yield
    finally:
        os.lseek(descriptor, here, os.SEEK_SET)


# How long a path may be


def is_too_long(path: PurePath) -> bool:
    """Whether ``path``, made absolute, is longer than this system can open: on Windows without its long paths alone."""
    return on_windows() and len(_absolute(path)) > LONGEST_PATH and not _long_paths_enabled()


def reachable(path: Path) -> Path:
    """Return ``path`` as it can be opened even where it is too long for Windows, and as it is anywhere else."""
    return Path(as_it_stands(_absolute(path))) if is_too_long(path) else path


def without_limit(folder: Path) -> Path:
    """Return ``folder`` so that all below it can be reached, however long their paths, where Windows would limit it."""
    limited = on_windows() and not _long_paths_enabled()
    return Path(as_it_stands(_absolute(folder))) if limited else folder


def as_it_stands(absolute: str) -> str:
    """Return an ``absolute`` path of Windows in the form whose length it does not limit.

    >>> print(as_it_stands("C:/a/b"), as_it_stands("//server/share/c"))
    \\\\?\\C:\\a\\b \\\\?\\UNC\\server\\share\\c
    """
    plain = absolute.replace("/", "\\")
    if plain.startswith(_AS_IT_STANDS):
        return plain
    return f"{_AS_IT_STANDS}UNC\\{plain[2:]}" if plain.startswith("\\\\") else _AS_IT_STANDS + plain


def too_long(paths: Sequence[PurePath]) -> str:
    """Say that ``paths`` are longer than Windows takes them."""
    longest = max(paths, key=lambda path: len(_absolute(path)))
    return f"{len(_absolute(longest))} characters are more than the {LONGEST_PATH} that Windows allows for a path"


def _absolute(path: PurePath) -> str:
    return str(path.absolute() if isinstance(path, Path) else path)


def _long_paths_enabled() -> bool:
    """Whether this Windows was told to take paths of any length."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
                return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
        except OSError:
            return False
    return False
