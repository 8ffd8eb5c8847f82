"""What Windows does differently with files, as far as it can be pretended: its words, its refusals, its lengths."""

import ast
import errno
import fcntl
import os
import subprocess
import sys
import types
from pathlib import Path, PureWindowsPath

import pytest

import bandbridge
from bandbridge import disk
from bandbridge.dataset.archive import image_files
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.disk import as_it_stands, is_too_long, reachable, rename, try_lock, unlock
from bandbridge.errors import EnvironmentFault
from bandbridge.files import replacing, replacing_folder, write_text
from bandbridge.leftovers import beside


def denied(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Access is denied")


def test_a_file_is_flushed_where_that_takes_the_right_to_write(windows, monkeypatch, tmp_path):
    """FlushFileBuffers wants a file that is open for writing; os.fsync then says EBADF."""
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_text(tmp_path / "a.txt", "x")
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "b.txt").write_text("y")
    assert (tmp_path / "a.txt").read_text() == "x" and (tmp_path / "folder" / "b.txt").read_text() == "y"


def test_a_file_that_is_looked_at_for_a_moment_is_waited_for_on_windows_alone(windows, monkeypatch, tmp_path):
    tries, replace = [], Path.replace

    def busy(source: Path, target: Path) -> Path:
        tries.append(target)
        return replace(source, target) if len(tries) > 3 else denied()  # type: ignore[func-returns-value]

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(disk, "_PAUSES_S", (0.0,) * 5)
    (tmp_path / "a").write_text("new")
    rename(tmp_path / "a", tmp_path / "b")
    assert len(tries) == 4 and (tmp_path / "b").read_text() == "new"
    monkeypatch.undo()
    tries.clear()
    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(PermissionError):
        rename(tmp_path / "b", tmp_path / "c")
    assert len(tries) == 1


def test_what_cannot_take_the_place_of_a_table_that_a_spreadsheet_has_open_is_kept_beside_it(
    windows, monkeypatch, tmp_path
):
    path, replace = tmp_path / "predictions.csv", Path.replace
    path.write_text("old")

    def held(source: Path, target: Path) -> Path:
        return denied() if target == path else replace(source, target)  # type: ignore[return-value,func-returns-value]

    monkeypatch.setattr(disk, "_PAUSES_S", ())
    monkeypatch.setattr(Path, "replace", held)
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match="another program has it open") as caught:
            write_text(path, "new")
    kept = tmp_path / "predictions-new.csv"
    assert str(kept) in caught.value.remedy and kept.read_text() == "new" and path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["predictions-new.csv", "predictions.csv"]


def test_lines_end_alike_on_every_system():
    """Every text that is written says how its lines end, and every one that is opened in which alphabet: the hash of a
    file would differ, a carriage return in a name be lost, a name of another alphabet be unreadable."""
    root = Path(bandbridge.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            given = {keyword.arg for keyword in node.keywords}
            words = [each.value for each in node.args if isinstance(each, ast.Constant)]
            place = f"{path.relative_to(root)}:{node.lineno}"
            if node.func.attr == "write_text":
                assert {"encoding", "newline"} <= given, place
            if node.func.attr == "read_text":
                assert "encoding" in given, place
            if node.func.attr in ("open", "fdopen") and words and set(str(words[0])) <= set("rwxa+t"):
                assert "encoding" in given, place


@pytest.fixture
def msvcrt(monkeypatch):
    """The locks of Windows: of bytes, not of files, and no one else reads those."""
    calls: list[tuple[int, int, int]] = []
    fake = types.ModuleType("msvcrt")
    fake.LK_NBLCK, fake.LK_UNLCK, fake.fault = 2, 0, None  # type: ignore[attr-defined]

    def locking(descriptor: int, mode: int, count: int) -> None:
        calls.append((mode, os.lseek(descriptor, 0, os.SEEK_CUR), count))
        if fake.fault:  # type: ignore[attr-defined]
            raise OSError(fake.fault, "no")  # type: ignore[attr-defined]

    fake.locking = locking  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    fake.calls = calls  # type: ignore[attr-defined]
    return fake


def test_windows_locks_a_byte_that_no_file_has_and_leaves_the_place_in_the_file(windows, msvcrt, tmp_path):
    with (tmp_path / ".lock").open("w+b") as file:
        file.write(b"name")
        file.flush()
        descriptor = file.fileno()
        assert try_lock(descriptor) is True and os.lseek(descriptor, 0, os.SEEK_CUR) == 4
        unlock(descriptor)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 4
        for number, found in ((errno.EACCES, False), (errno.EINVAL, None)):
            msvcrt.fault = number
            assert try_lock(descriptor) is found
    mode_place_count = (msvcrt.LK_NBLCK, 2**30, 1)
    assert msvcrt.calls == [mode_place_count, (msvcrt.LK_UNLCK, 2**30, 1), mode_place_count, mode_place_count]
    assert (tmp_path / ".lock").stat().st_size == 4


# Long paths

DEEP = "C:\\" + "x" * 300


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("C:\\a\\b", "\\\\?\\C:\\a\\b"),
        ("C:/a/b", "\\\\?\\C:\\a\\b"),
        ("\\\\server\\share\\a", "\\\\?\\UNC\\server\\share\\a"),
        ("\\\\?\\C:\\a", "\\\\?\\C:\\a"),
        ("\\\\?\\UNC\\server\\share\\a", "\\\\?\\UNC\\server\\share\\a"),
    ],
)
def test_a_path_as_windows_takes_it_whatever_its_length(path, found):
    assert as_it_stands(path) == found
    made = PureWindowsPath(found)
    assert made.is_absolute() and made.name == path.replace("/", "\\").rpartition("\\")[2]


def test_a_path_is_too_long_on_windows_alone_and_not_where_it_was_told_to_take_it(windows, monkeypatch):
    monkeypatch.setattr(disk, "_long_paths_enabled", lambda: False)
    assert is_too_long(PureWindowsPath(DEEP)) and not is_too_long(PureWindowsPath("C:\\" + "x" * 256))
    monkeypatch.setattr(disk, "_long_paths_enabled", lambda: True)
    assert not is_too_long(PureWindowsPath(DEEP))
    monkeypatch.undo()
    assert not is_too_long(PureWindowsPath(DEEP)) and reachable(Path("/a")) == Path("/a")


def test_whether_windows_takes_long_paths_stands_in_its_registry(windows, monkeypatch):
    registry = types.ModuleType("winreg")
    values = {"LongPathsEnabled": 1}

    class Key:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    registry.HKEY_LOCAL_MACHINE, registry.OpenKey = 0, lambda *_: Key()  # type: ignore[attr-defined]
    registry.QueryValueEx = lambda _, name: (values[name], 4)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "winreg", registry)
    assert disk._long_paths_enabled()
    values["LongPathsEnabled"] = 0
    assert not disk._long_paths_enabled()
    registry.OpenKey = denied  # type: ignore[attr-defined]
    assert not disk._long_paths_enabled()


def test_a_path_that_is_too_long_to_be_written_is_named_with_the_limit_and_the_remedy(windows, monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "_long_paths_enabled", lambda: False)
    folder = tmp_path / "/".join(["x" * 60] * 4)
    said = r"\d+ characters are more than the 259 that Windows allows"
    with pytest.raises(EnvironmentFault, match=said) as caught, replacing(folder / "table.csv"):
        raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", str(folder))
    assert "LongPathsEnabled" in caught.value.remedy and "shorter path" in caught.value.remedy


def test_the_name_of_a_file_that_is_being_written_is_cut_before_it_makes_a_path_too_long(
    windows, monkeypatch, tmp_path
):
    monkeypatch.setattr(disk, "_long_paths_enabled", lambda: False)
    home = tmp_path / ("d" * (disk.LONGEST_PATH - len(str(tmp_path)) - 80))
    path = home / ("x" * 70)  # short enough by itself
    assert not is_too_long(path) and len(str(beside(path))) <= disk.LONGEST_PATH
    assert beside(tmp_path / "short.csv").name.startswith(".short.csv.")


def test_images_with_paths_that_are_too_long_are_found_and_read_and_none_is_left_out(windows, monkeypatch, tmp_path):
    """Here a long path leads nowhere, as on Windows, and only as it stands to the file."""
    monkeypatch.setattr(disk, "_long_paths_enabled", lambda: False)
    monkeypatch.setattr(disk, "LONGEST_PATH", len(str(tmp_path)) + 30)
    home, real = tmp_path / "set", tmp_path / "real"
    monkeypatch.setattr(disk, "as_it_stands", lambda absolute: absolute.replace(str(home), str(real)))
    name = f"images/{'cell' * 10}/1a.png"
    (real / name).parent.mkdir(parents=True)
    (real / name).write_bytes(b"an image")
    home.mkdir()
    (home / "metadata.csv").write_text(f"file_name,label\n{name},1\n")
    (real / "metadata.csv").write_text("")
    assert image_files(home) == [name]
    assert open_dataset(home).read_bytes(name) == b"an image"


# A whole installation


@pytest.mark.slow
@pytest.mark.parametrize("system", ["windows", "macos"])
def test_a_laboratory_works_as_far_as_the_system_can_be_pretended(system, tmp_path):
    root = Path(__file__).parent
    command = [sys.executable, root / "pretended.py", system, tmp_path, root / "made_by_afe3cdb" / "onnx"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.endswith(f"worked as on {system}\n"), found.stderr
