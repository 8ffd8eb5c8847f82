"""Which process this is, to tell what a killed one left from what a living one holds; and helpers that end with it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Owner:
    """A process, named so that no other one is taken for it.

    machine: eight digits of the host's name and of the space in which its process ids count (a container has its own).
    life: eight digits of the system's start and the process's, so that a later one of the same ``pid`` differs; ""
    where the system does not say.
    """

    machine: str
    pid: int
    life: str

    def __str__(self) -> str:
        return f"{self.machine}-{self.pid}-{self.life}"


def this_process() -> Owner:
    """Return the process that calls."""
    return _owner(os.getpid())


@lru_cache(maxsize=1)
def _owner(pid: int) -> Owner:
    return Owner(_machine(), pid, _life(pid) or "")


def has_ended(owner: Owner) -> bool | None:
    """Return whether ``owner`` is gone; None where that cannot be told, as of a process on another machine."""
    here = this_process()
    if owner.machine != here.machine:
        return None
    if here.life:
        return _life(owner.pid) != owner.life
    if os.name != "posix":  # where no signal asks without harm
        return None
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return None
    return None  # alive, or another one by now that has its number


def _machine() -> str:
    return _digits(socket.gethostname(), _link("/proc/self/ns/pid"))


def _life(pid: int) -> str | None:
    """Return the digits of process ``pid``; None where there is none, or it has ended and awaits its parent."""
    try:
        # The name of the program stands in brackets and may hold anything.
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        state, start = facts[0], facts[19]
    except (OSError, IndexError):
        return None
    return None if state in "ZX" else _digits(_boot(), start)


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _digits(*facts: str) -> str:
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:8]


def end_with_the_command() -> None:
    """End this process at once, and without a word, when the command dies and at Ctrl-C.

    A command that a script started in the background ignores Ctrl-C, and would miss the process: then so does this one.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    command = multiprocessing.parent_process()
    assert command is not None

    def follow() -> None:
        command.join()
        os._exit(1)

    threading.Thread(target=follow, name="command", daemon=True).start()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back from the processes that are started inside, until they see to it themselves: pressed while they
    import, it would have each of them print a traceback."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def without_main() -> Iterator[None]:
    """Start processes that do not run the user's script again, which has no need of ``if __name__ == "__main__"``.

    A new process imports the file that ``__main__`` came from, for functions that may be defined there. Ours are not.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
