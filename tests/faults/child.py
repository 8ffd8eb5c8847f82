"""A ``bandbridge`` command in a process of its own, with an accident on its way: killed, out of disk, without locks.

The accidents are made here, in the child, by Python's audit events, a limit on the size of files and names of the
package put in the place of others; the package itself knows nothing of them. Processes are forked from a server that
has imported everything, so that a start takes a fraction of a second.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PRELOAD = [
    *("bandbridge.cli.main", "bandbridge.study.side_by_side", "bandbridge.study.rounds", "bandbridge.api.model"),
    *("bandbridge.export.folder", "bandbridge.export.graph", "bandbridge.report.study", "bandbridge.report.html"),
    *("bandbridge.karyogram.page", "bandbridge.domains.advice", "pyarrow.parquet", "matplotlib.backends.backend_agg"),
]


@dataclass(frozen=True)
class Accident:
    """What befalls a command.

    kill_at: an audit event and its number, such as ("os.rename", 3): the process kills itself just before that rename,
    ("folder", 3): just before it opens that folder to flush it, which is after a rename. full_at: the disk is full for
    the file or folder that is written whole under this name, after so many bytes. no_locks: the disk has no locks.
    note_order: what is flushed and renamed is kept in the log.

    All take a checkpoint after every epoch.
    """

    kill_at: tuple[str, int] | None = None
    full_at: tuple[str, int] | None = None
    no_locks: bool = False
    note_order: bool = False


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: negative for a signal. names: what was written whole, by name. order: see Flushes."""

    code: int
    output: str
    names: tuple[str, ...] = ()


class Command:
    """A command that runs; ``log`` takes what it writes, keeps and flushes, as JSON lines."""

    def __init__(self, arguments: list[object], log: Path, accident: Accident | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)
        reading, writing = context.Pipe(duplex=False)
        self.log = log
        texts = [str(argument) for argument in arguments]
        self._process = context.Process(target=_run, args=(texts, writing, log, accident or Accident()))
        self._process.start()
        writing.close()
        self._output: list[bytes] = []
        self._reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self._reader.start()

    def _read(self, reading: Any) -> None:
        while True:
            try:
                block = os.read(reading.fileno(), 65536)
            except OSError:
                return
            if not block:
                return
            self._output.append(block)

    def kill_after(self, seconds: float) -> None:
        """Kill it after so long, unless it has ended before."""
        self._process.join(seconds)
        self._process.kill()

    def wait(self, timeout: float = 300) -> Ended:
        """Wait for its end; one that takes longer is killed and has the code -100."""
        self._process.join(timeout)
        late = self._process.is_alive()
        if late:
            self._process.kill()
            self._process.join()
        self._reader.join(5)
        code = -100 if late else self._process.exitcode
        assert code is not None
        names = tuple(dict.fromkeys(entry["name"] for entry in entries(self.log, "written")))
        return Ended(code, b"".join(self._output).decode(errors="replace"), names)


def run(arguments: list[object], log: Path, accident: Accident | None = None) -> Ended:
    """Run a command to its end."""
    return Command(arguments, log, accident).wait()


def entries(log: Path, kind: str) -> list[dict[str, Any]]:
    """Return what processes wrote into ``log`` of one kind, in order."""
    if not log.exists():
        return []
    lines = (json.loads(line) for line in log.read_text().splitlines())
    return [entry for entry in lines if entry["kind"] == kind]


def _run(arguments: list[str], writing: Any, log: Path, accident: Accident) -> None:
    os.setpgid(0, 0)
    os.dup2(writing.fileno(), 1)
    os.dup2(writing.fileno(), 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    torch.set_num_threads(1)
    _prepare(log, accident)
    from bandbridge.cli.main import run as command

    sys.argv = ["bandbridge", *arguments]
    code: Any = 70
    try:
        command()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def _prepare(log: Path, accident: Accident) -> None:
    from bandbridge import files
    from bandbridge.study import execute
    from bandbridge.training import loop

    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(kind: str, name: str) -> None:
        entry = json.dumps({"kind": kind, "name": name, "pid": os.getpid(), "at": time.monotonic()}) + "\n"
        with suppress(OSError):  # the disk is full for this process
            os.write(descriptor, entry.encode())

    defaults = execute.Executor.__init__.__defaults__ or ()
    execute.Executor.__init__.__defaults__ = tuple(  # type: ignore[misc]
        0.0 if value == loop.CHECKPOINT_INTERVAL_S else value for value in defaults
    )
    beside, keep = files.beside, execute.Executor._keep_results

    def noted(path: Path, kind: str = "") -> Path:
        note("written", path.name)
        if accident.full_at is not None and path.name == accident.full_at[0]:
            _fill_up(accident.full_at[1])
        return beside(path, kind)

    def kept(executor: Any, run: Any, *rest: Any) -> None:
        note("kept", run.id)
        keep(executor, run, *rest)

    files.beside = noted
    execute.Executor._keep_results = kept  # type: ignore[method-assign]
    if accident.no_locks:
        import fcntl

        def flock(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        fcntl.flock = flock  # type: ignore[assignment]
    if accident.note_order:
        _note_order(note)
    if accident.kill_at is not None:
        _kill_at(*accident.kill_at)


def _note_order(note: Callable[[str, str], None]) -> None:
    flush, rename = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        note("order", f"flush {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        flush(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        note("order", f"rename {path} -> {target}")
        return rename(path, target)

    os.fsync = flushed
    Path.replace = renamed  # type: ignore[method-assign]


def _fill_up(limit: int) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _kill_at(event: str, number: int) -> None:
    seen = 0

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        folder = event == "folder" and name == "open" and arguments[1] is None and Path(arguments[0]).is_dir()
        if name == event or folder:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
