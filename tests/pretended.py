"""Windows, or macOS, as far as Linux can pretend to be it: a program of its own, which works as a laboratory does.

    python tests/pretended.py windows FOLDER MODEL
    python tests/pretended.py macos FOLDER MODEL

Windows: what only POSIX has is gone, from ``os``, ``signal`` and the modules to import, once the libraries are loaded.
A file that is open, or mapped, can be neither renamed nor removed, and a folder with one neither; a file that is open
for reading alone cannot be flushed; a folder cannot be opened; names that Windows refuses, and paths that it finds too
long, cannot be opened or made. A text that is written without a word on its line ends gets those of Windows, and its
encoding is not UTF-8. What it cannot pretend: paths with backslashes (``tests/test_filenames.py`` and
``tests/test_disk.py`` have those), names without case, the libraries' own code for Windows, other processes.

macOS: nothing of Linux alone is there, neither ``/proc`` nor its calls.
"""

from __future__ import annotations

import asyncio  # noqa: F401
import builtins
import concurrent.futures.process  # noqa: F401
import errno
import fcntl
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile  # noqa: F401
import types
import webbrowser  # noqa: F401
from pathlib import Path

#: Libraries are loaded before the system changes: they ask for it while they are imported.
LIBRARIES = (
    *("numpy", "scipy.optimize", "scipy.special", "scipy.stats", "scipy.ndimage", "scipy.signal", "pandas", "joblib"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "PIL.Image"),
    *("matplotlib.backends.backend_svg", "PIL.ImageDraw", "PIL.PngImagePlugin", "PIL.TiffImagePlugin", "tifffile"),
    *("pydantic", "yaml", "typer", "rich.progress", "jinja2", "starlette.applications", "starlette.testclient"),
    *("uvicorn", "python_multipart", "onnxruntime"),
)
#: Of no laboratory's installation: see pyproject.toml.
TRAINING = ("torch", "torchvision", "timm", "lightning_fabric", "safetensors", "pyarrow", "sklearn", "onnx")
POSIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
POSIX_SIGNALS = (
    *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2"),
    *("SIG_BLOCK", "SIG_SETMASK", "SIG_UNBLOCK", "pthread_sigmask", "alarm", "setitimer", "sigwait", "pause"),
)
POSIX_CALLS = (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "chown", "confstr", "ctermid", "fchdir"),
    *("fchmod", "fchown", "fdatasync", "fork", "forkpty", "fpathconf", "fstatvfs", "getegid", "geteuid", "getgid"),
    *("getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getresuid", "getsid", "getuid", "killpg"),
    *("lchown", "lockf", "mkfifo", "mknod", "nice", "openpty", "pathconf", "pipe2", "posix_fadvise", "posix_fallocate"),
    *("posix_spawn", "pread", "preadv", "pwrite", "pwritev", "readv", "sched_getaffinity", "sched_setaffinity"),
    *("sched_yield", "sendfile", "setgid", "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync", "sysconf"),
    *("tcgetpgrp", "ttyname", "uname", "wait", "wait3", "wait4", "writev", "copy_file_range", "memfd_create"),
)
LINUX_CALLS = (
    *("copy_file_range", "eventfd", "fdatasync", "getrandom", "memfd_create", "posix_fadvise", "posix_fallocate"),
    *("sched_getaffinity", "sched_setaffinity", "getxattr", "setxattr", "listxattr", "splice", "preadv", "pidfd_open"),
)
REFUSED = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]$')
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
LONGEST = 259


def load_libraries() -> None:
    for name in LIBRARIES:
        __import__(name)
    # Of no laboratory's installation either: joblib has loaded it where there is one, made for this system alone.
    sys.modules["psutil"] = None  # type: ignore[assignment]
    # Asked for when they are first used, which is after the change.
    sys.meta_path.insert(0, _Refusing(TRAINING))
    sysconfig.get_config_vars()
    subprocess._USE_POSIX_SPAWN = shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]


class _Refusing:
    """Modules that are not there."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def without(module: types.ModuleType, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def become_macos() -> None:
    without(os, LINUX_CALLS)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", arguments[0])

    sys.addaudithook(watch)
    pretend_platform("darwin")


def become_windows(root: Path) -> None:
    flags, fsync, opened = fcntl.F_GETFL, os.fsync, io.open
    getfl = fcntl.fcntl

    def flush(descriptor: int) -> None:
        if getfl(descriptor, flags) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(descriptor)

    def text(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **others):  # type: ignore[no-untyped-def]
        if "b" not in mode:
            encoding = "cp1252" if encoding in (None, "locale") else encoding
            newline = "\r\n" if newline is None and set(mode) & set("wax+") else newline
        return opened(file, mode, buffering, encoding, errors, newline, *rest, **others)

    _pretend_locks()
    os.fsync, io.open, builtins.open = flush, text, text  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    sys.addaudithook(_Disk(root.resolve()).watch)
    without(os, tuple(name for name in POSIX_CALLS if name != "O_ACCMODE"))
    without(signal, POSIX_SIGNALS)
    for name in POSIX_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    pretend_platform("win32")


def _pretend_locks() -> None:
    """``msvcrt`` by the locks of Linux, which belong to an open file, too; ``winreg`` without anything set in it."""
    lock, exclusive, let_go, at_once = fcntl.flock, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB
    fake = types.ModuleType("msvcrt")
    fake.LK_NBLCK, fake.LK_UNLCK = 2, 0  # type: ignore[attr-defined]

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 2**30 and count == 1
        try:
            lock(descriptor, exclusive | at_once if mode == 2 else let_go)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    fake.locking = locking  # type: ignore[attr-defined]
    registry = types.ModuleType("winreg")

    def missing(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "The system cannot find the file specified")

    registry.OpenKey, registry.HKEY_LOCAL_MACHINE = missing, 0  # type: ignore[attr-defined]
    sys.modules |= {"msvcrt": fake, "winreg": registry}


def pretend_platform(name: str) -> None:
    """For this package alone, whose one place that asks is ``bandbridge.disk``: the libraries have asked already."""
    import bandbridge.disk

    bandbridge.disk.sys = types.SimpleNamespace(platform=name)  # type: ignore[assignment]


class _Disk:
    """What a disk of Windows refuses, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            self._name(arguments[0])
            if self._is_ours(arguments[0]) and os.path.isdir(arguments[0]):  # noqa: PTH112
                raise PermissionError(errno.EACCES, "Permission denied", str(arguments[0]))
        elif event == "os.mkdir":
            self._name(arguments[0])
        elif event == "os.rename":
            self._name(arguments[1])
            self._free(arguments[0])
            self._free(arguments[1])
        elif event in ("os.remove", "os.rmdir"):
            self._free(arguments[0])

    def _is_ours(self, path: object) -> bool:
        return os.path.abspath(str(path)).startswith(str(self.root))  # noqa: PTH100

    def _name(self, path: object) -> None:
        if not self._is_ours(path):
            return
        absolute = os.path.abspath(str(path))  # noqa: PTH100
        if len(absolute) > LONGEST:
            raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", str(path))
        for part in absolute[len(str(self.root)) :].split("/"):
            if REFUSED.search(part) or DEVICES.match(part):
                raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", part)

    def _free(self, path: object) -> None:
        if not self._is_ours(path):
            return
        absolute = os.path.realpath(str(path))
        for held in _held():
            if held == absolute or held.startswith(f"{absolute}/"):
                raise PermissionError(errno.EACCES, "Access is denied", str(path))


def _held() -> set[str]:
    """The files that this process has open or mapped."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
        except OSError:
            continue
    descriptor = os.open("/proc/self/maps", os.O_RDONLY)
    try:
        maps = b"".join(iter(lambda: os.read(descriptor, 2**16), b""))
    finally:
        os.close(descriptor)
    return found | {line.split(None, 5)[5] for line in maps.decode().splitlines() if line.count("/")}


# What a laboratory does


def work(home: Path, model: Path) -> None:
    """Import every module that a laboratory uses; import a set, check, classify, draw, review, export, restore."""
    import_all()
    data = import_odd_names(home)
    classify(home, data, model)
    review(home)
    files(home)


def import_all() -> None:
    import importlib.util

    place = Path(__file__).parents[1] / "docs" / "architecture.py"
    spec = importlib.util.spec_from_file_location("architecture", place)
    assert spec is not None and spec.loader is not None
    architecture = importlib.util.module_from_spec(spec)
    sys.modules["architecture"] = architecture
    spec.loader.exec_module(architecture)
    modules = architecture.read_modules()
    needing = architecture.needing_torch(modules)
    names = [name for name, module in modules.items() if name not in needing and not module.on_training_side]
    for name in names:
        __import__(name)
    assert "bandbridge.cli.main" in names and "bandbridge.review.server" in names and len(names) > 90, names


def import_odd_names(home: Path) -> Path:
    """A zip made on Linux whose names Windows refuses becomes a set there."""
    import zipfile

    from bandbridge.dataset.audit import audit_dataset
    from bandbridge.dataset.formats import import_distribution
    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.karyogram.drawing import Image
    from bandbridge.synthetic.cells import draw_cell

    archive = home / "published.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for place, drawn in enumerate(draw_cell("Q", 1, 0)[:8]):
            stream = io.BytesIO()
            Image.fromarray(drawn.image).save(stream, format="PNG")
            for cell in ("12:30", "aux"):
                packed.writestr(f"set/{drawn.label}/{cell}/a?{place}.png", stream.getvalue())
    done = import_distribution("folder", archive, home / "set")
    assert done.images == 16 and done.cells == 2, done
    data = open_dataset(home / "set")
    assert all(data.gray(name).size for name in data.samples["file_name"])
    assert b"\r" not in (home / "set" / "metadata.csv").read_bytes()
    audit_dataset(data)
    return home / "set"


def classify(home: Path, data: Path, model: Path) -> None:
    import bandbridge as bb

    result = bb.load_model(model).predict(data)
    place = result.save(home / "results", karyograms=True)
    result.save(home / "results", karyograms=True)
    drawn = sorted(file.name for file in (place / "karyograms").iterdir())
    assert [name for name in drawn if name.endswith(".html")] == ["12_30.html", "_aux.html"], drawn
    assert len(result) == 16 and b"\r" not in (place / "predictions.csv").read_bytes()


def review(home: Path) -> None:
    import numpy as np

    from bandbridge.karyogram.sheet import CellSheet, Chromosome
    from bandbridge.review.accepted import export_accepted
    from bandbridge.review.database import Store
    from bandbridge.review.keeping import DATABASE, restore
    from bandbridge.review.schema import Incoming

    store = Store(home / "review")
    pictures = {f"{label}.png": np.full((20, 10), place, np.uint8) for place, label in enumerate("mM")}
    kept = tuple((file, store.put_image(image)) for file, image in pictures.items())
    cell, _ = store.add_cell(Incoming("aux", kept, "p", "G"))
    sheet = tuple(
        Chromosome(file, image, file[0], file[0], np.array([0.5, 0.5]), (file[0],)) for file, image in pictures.items()
    )
    store.save_sheet(cell, CellSheet("aux", ("m", "M"), sheet), "model")
    store.change(cell, "accept", (1,))
    made = export_accepted(store)
    assert made.images == 2 and len({file.name.lower() for file in made.folder.rglob("*.png")}) == 2
    store.close()
    (home / "review" / DATABASE).write_bytes(b"not a database" * 100)
    restore(home / "review")
    store = Store(home / "review")
    assert len(store.cells()) == 1
    store.close()


def files(home: Path) -> None:
    """Replace what is there, hold a folder against oneself, take away what a killed process left."""
    from bandbridge.files import replacing_folder, write_json, write_text
    from bandbridge.holding import CLAIM, claimed
    from bandbridge.leftovers import beside, clear_leftovers

    for text in ("old", "new"):
        with replacing_folder(home / "folder") as place:
            write_text(place / "a.txt", f"{text}\n")
        write_json(home / "b.json", {"a": text})
    assert (home / "folder" / "a.txt").read_bytes() == b"new\n"
    for _ in range(2):
        with claimed(home / "folder") as claim, claimed(home / "folder") as second:
            assert claim is not None and claim.stands() and second is None
            assert not (home / "folder" / CLAIM).exists(), "held by an exclusive file, and not by a lock"
    left = beside(home / "folder" / "c.txt")
    left.write_bytes(b"half")
    clear_leftovers(home / "folder")
    assert left.exists(), "of a living process"


def main(system: str, home: str, model: str) -> None:
    load_libraries()
    if system == "windows":
        become_windows(Path(home))
    else:
        become_macos()
    work(Path(home), Path(model))
    print(f"worked as on {system}")


if __name__ == "__main__":
    main(*sys.argv[1:])
