"""The command itself: help, version, and errors without a traceback."""

import errno
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

import bandbridge.__main__
from bandbridge.cli.main import _memory_remedy, app, run
from bandbridge.terminal import say

COMMAND = (sys.executable, "-c", "from bandbridge.cli.main import run; run()")


def test_help_names_every_verb(bandbridge):
    result = bandbridge("--help")
    assert result.code == 0
    assert all(verb in result.out for verb in ("data", "models", "study"))


def test_version(bandbridge):
    from bandbridge import __version__

    assert bandbridge("--version").out.strip() == f"bandbridge {__version__}"


def test_a_users_mistake_is_a_message_and_exit_code_two(bandbridge, tmp_path):
    result = bandbridge("data", "check", tmp_path / "absent")
    assert result.code == 2
    assert "absent" in result.err and "Traceback" not in result.err


def commands(command, name="bandbridge"):
    yield name, command
    for verb, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {verb}")


@pytest.mark.parametrize(("name", "command"), list(commands(typer.main.get_command(app))))
def test_no_help_text_breaks_within_a_sentence(name, command):
    # Typer keeps the line breaks of a docstring, so a sentence in two lines is torn on a wide screen.
    assert command.help and not re.search(r"[^.:?!\n]\n(?!\n)", command.help)


def test_help_does_not_load_torch():
    code = (
        "import sys; sys.argv = ['bandbridge', '--help']\n"
        "from bandbridge.cli.main import run\n"
        "try: run()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'pandas', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "out/table.csv"),
            "error: out/table.csv: Permission denied",
        ),
        (OSError(errno.EXDEV, "Invalid link", "a.tmp", None, "b.csv"), "error: a.tmp and b.csv: Invalid link"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: the system refused: No space left on device"),
        (TimeoutError("timed out\nafter 5 s"), "error: the system refused: timed out after 5 s"),
        (ConnectionResetError(), "error: the system refused: ConnectionResetError"),
    ],
)
def test_a_fault_of_the_system_is_one_line_with_a_remedy(bandbridge, monkeypatch, tmp_path, fault, words):
    monkeypatch.setattr("bandbridge.dataset.imagefolder.open_dataset", raising(fault))
    result = bandbridge("data", "check", tmp_path)
    assert result.code == 1 and result.err.startswith(f"{words} Check that file")


def test_debugging_shows_where_the_system_failed(monkeypatch, tmp_path):
    monkeypatch.setenv("BANDBRIDGE_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["bandbridge", "data", "check", str(tmp_path)])
    monkeypatch.setattr("bandbridge.dataset.imagefolder.open_dataset", raising(PermissionError(errno.EACCES, "no")))
    with pytest.raises(PermissionError):
        run()


def test_an_interrupted_command_says_how_to_go_on(bandbridge, monkeypatch, tmp_path):
    monkeypatch.setattr("bandbridge.dataset.imagefolder.open_dataset", raising(KeyboardInterrupt()))
    result = bandbridge("data", "check", tmp_path)
    assert result.code == 130 and result.err == "stopped; run the same command again to go on"


def test_a_command_is_stopped_quietly_from_its_first_moment_on(monkeypatch, capfd):
    class Stopping:
        def find_spec(self, name, *_):
            if name == "bandbridge.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "bandbridge.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Stopping(), *sys.meta_path])
    with pytest.raises(SystemExit) as stop:
        bandbridge.__main__.main()
    assert stop.value.code == 130 and capfd.readouterr().err == "stopped\n"


def test_the_script_begins_where_a_stop_is_caught():
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"bandbridge": "bandbridge.__main__:main"}


def raising(fault):
    def fail(*_, **__):
        raise fault

    return fail


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_signs_that_cannot_be_encoded_are_replaced(encoding, chromosome_set, tmp_path):
    chromosome_set("G", 2)
    study = tmp_path / "small.yaml"
    study.write_text(
        "name: small\nprotocol: strict\ntasks: {G: {dataset: g2-0}}\narchitectures: [test_resnet]\n"
        "approaches: [scratch]\nsplit: {folds: 2, scheme: cell}\nimage_size: 32\n"
    )
    arguments = ("study", "status", str(study), "--runs", str(tmp_path / "runs"))
    result = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert result.returncode == 0, result.stderr
    assert b"scratch" in result.stdout and b"?" in result.stdout  # "–", for no run of a kind


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("study", "plan", "--help")])
def test_a_closed_pipe_ends_quietly(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert result.returncode == 1 and result.stderr == b""


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (("study", "run", "s.yaml"), "--jobs"),
        (("data", "import", "folder", "a", "b"), "in parts"),
        (("study", "tables", "s.yaml"), "Close other programs"),
        (("predict", "m", "i"), "fewer cells"),
        (("explain", "r", "i"), "--limit"),
        (("similarity", "a", "b"), "--image-size"),
    ],
)
def test_what_helps_where_memory_is_out_is_what_the_command_has(command, remedy):
    said = _memory_remedy(list(command))
    assert remedy in said
    if command[:2] not in (("study", "run"),):
        assert "batch" not in said


@pytest.mark.parametrize(("system", "shown"), [("win32", "\u0141ódź \u2013".encode()), ("linux", b"?\xf3d? \x96")])
def test_what_windows_writes_to_a_file_or_pipe_keeps_the_names_of_other_alphabets(monkeypatch, system, shown):
    written = io.BytesIO()
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    monkeypatch.setattr("bandbridge.disk.sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    monkeypatch.setattr("bandbridge.cli.main.app", lambda: say("\u0141ódź \u2013", end=""))
    run()
    assert written.getvalue() == shown
