"""Folders that one process works in at a time: by a lock of the system, or by an exclusive file where it has none.

A lock ends with its process. An exclusive file, ``.claim``, names host, process and start: that of a process that has
ended is taken over at once on its machine; that of another machine when its sign of life, the file's time, has not
changed for ``SILENT_S``. Times are compared as the folder's disk tells them, so the clocks may differ.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from bandbridge.disk import rename, try_lock, unlock
from bandbridge.errors import EnvironmentFault
from bandbridge.leftovers import beside
from bandbridge.processes import Owner, has_ended, this_process
from bandbridge.progress import note

LOCK, CLAIM = ".lock", ".claim"
#: Seconds after which a holder shows again in its exclusive file that it lives, and a silent one counts as dead.
SIGN_OF_LIFE_S, SILENT_S = 20.0, 120.0
_POLL_S = 0.5
#: How often a claim that is given up, or passed on, at this very moment is asked for again.
_TRIES = 3

_said_without_locks = False


@dataclass(frozen=True)
class Claim:
    """A folder that this process holds. content: of its exclusive file; "" where a lock of the system holds it."""

    folder: Path
    content: str = ""

    def stands(self) -> bool:
        """Whether the folder is still this process's: one that was silent for too long may have lost it."""
        if not self.content:
            return True
        try:
            return (self.folder / CLAIM).read_text(encoding="utf-8", errors="replace") == self.content
        except FileNotFoundError:
            return False
        except OSError:  # a disk that is away for a moment
            return True


@contextmanager
def claimed(folder: Path) -> Iterator[Claim | None]:
    """Hold ``folder`` for this process, making it first; yields None when another process holds it.

    A killed process holds nothing. Raises :class:`EnvironmentFault` where the folder cannot be written in.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not emptied: it names the process that holds it.
        lock = os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")
    except OSError as fault:
        raise EnvironmentFault(
            f"cannot write in {folder}: {fault.strerror}", "Check the disk and permissions."
        ) from fault
    with lock:
        locked = _try_to_lock(lock)
        if locked is False:
            yield None
        elif locked is None:
            _say_without_locks(folder)
            with _claimed_by_file(folder) as claim:
                yield claim
        elif _exclusive_file(folder).lives:  # of a machine that sees no locks on this disk
            yield None
        else:
            with suppress(OSError):  # a full disk: only the name for others is missing
                lock.truncate(0)
                lock.write(_introduction())
                lock.flush()
            try:
                yield Claim(folder)
            finally:
                unlock(lock.fileno())


@contextmanager
def held(folder: Path, waiting: Callable[[str], None]) -> Iterator[Claim]:
    """Hold ``folder`` for this process, waiting while another holds it; ``waiting`` is told once which."""
    told = False
    while True:
        with claimed(folder) as claim:
            if claim is not None:
                yield claim
                return
            if not told:
                waiting(holder(folder))
                told = True
        time.sleep(_POLL_S)


def holder(folder: Path) -> str:
    """Say which process holds ``folder``, as far as it says so itself."""
    for name in (CLAIM, LOCK):
        facts = _facts(_read(folder / name) or "")
        if facts:
            host = facts.get("host")
            where = "" if host == socket.gethostname() else f" on {host}"
            return f"process {facts.get('pid')}{where}"
    return "another process"


def say_if_without_locks(folder: Path) -> None:
    """Tell whoever listens, once, when the disk of ``folder`` has no locks and exclusive files take their place."""
    with claimed(folder):
        pass


def _say_without_locks(folder: Path) -> None:
    global _said_without_locks
    if not _said_without_locks:
        _said_without_locks = True
        note(
            f"the disk of {folder} has no file locks: what a process works on is marked by a file named {CLAIM} "
            f"instead; that of a process that died on another machine is taken over after {SILENT_S:.0f} s"
        )


def _try_to_lock(file: IO[str]) -> bool | None:
    """Lock ``file`` for this process; False when another holds the lock, None where the disk or system has no locks."""
    return try_lock(file.fileno())


@contextmanager
def _claimed_by_file(folder: Path) -> Iterator[Claim | None]:
    claim = None
    for _ in range(_TRIES):
        claim = _create(folder)
        found = _exclusive_file(folder) if claim is None else None
        if found is not None and found.content is not None and not found.lives:
            claim = _take_over(folder, found.content)
        if claim is not None or (found is not None and found.lives):
            break
    if claim is None:
        yield None
        return
    over = threading.Event()
    threading.Thread(target=_show_life, args=(claim, over), name="claim", daemon=True).start()
    try:
        yield claim
    finally:
        over.set()
        if claim.stands():
            with suppress(OSError):
                (folder / CLAIM).unlink()


def _introduction() -> str:
    mine = {"host": socket.gethostname(), **asdict(this_process()), "since": time.time_ns()}
    return json.dumps(mine) + "\n"


def _create(folder: Path) -> Claim | None:
    """Make the exclusive file of ``folder``, as only one can; None where there is one."""
    path, content = folder / CLAIM, _introduction()
    try:
        file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "w", encoding="utf-8")
    except FileExistsError:
        return None
    except OSError as fault:
        raise _cannot_write(path, fault) from fault
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise _cannot_write(path, fault) from fault
    return Claim(folder, content)


def _cannot_write(path: Path, fault: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"cannot write {path}: {fault.strerror or fault}", "Check the disk and permissions.")


@dataclass(frozen=True)
class _Found:
    """An exclusive file. content: None where there is none. lives: whether its process does, as far as can be told."""

    content: str | None
    lives: bool


def _exclusive_file(folder: Path) -> _Found:
    path = folder / CLAIM
    content = _read(path)
    if content is None:
        return _Found(None, False)
    facts = _facts(content)
    try:
        owner = Owner(str(facts["machine"]), int(facts["pid"]), str(facts["life"]))
    except (KeyError, TypeError, ValueError, OverflowError):  # being written at this moment, or damaged
        ended = None
    else:
        ended = has_ended(owner)
    return _Found(content, not (_is_silent(path) if ended is None else ended))


def _take_over(folder: Path, dead: str) -> Claim | None:
    """Put this process's exclusive file in the place of the ``dead`` one; None where another was faster.

    One process at a time does so, by an exclusive file of its own: else the second would throw out the first.
    """
    guard, path, content = folder / f"{CLAIM}-passes", folder / CLAIM, _introduction()
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        if _is_silent(guard):  # killed in this very moment; the next try finds the way free
            guard.unlink(missing_ok=True)
        return None
    except OSError as fault:
        raise _cannot_write(guard, fault) from fault
    temporary = beside(path)
    try:
        if _read(path) != dead:
            return None
        temporary.write_text(content, encoding="utf-8", newline="\n")
        rename(temporary, path)
        return Claim(folder, content)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, fault) from fault
    finally:
        guard.unlink(missing_ok=True)


def _is_silent(path: Path) -> bool:
    """Whether ``path`` has not changed for ``SILENT_S``, by the clock of its disk."""
    now = beside(path)
    try:
        now.write_bytes(b"")
        return now.stat().st_mtime - path.stat().st_mtime > SILENT_S
    except FileNotFoundError:  # given up at this moment
        return False
    except OSError as fault:
        raise _cannot_write(now, fault) from fault
    finally:
        now.unlink(missing_ok=True)


def _show_life(claim: Claim, over: threading.Event) -> None:
    while not over.wait(SIGN_OF_LIFE_S):
        with suppress(OSError):  # a disk that is away for a moment
            if not claim.stands():
                return
            os.utime(claim.folder / CLAIM)


def _read(path: Path) -> str | None:
    """Return what stands in ``path``; None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _facts(content: str) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
