"""What reaches the terminal: no sign that it would obey, by whichever way, and no markup of a name."""

from __future__ import annotations

import ast
import io
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table

import bandbridge
from bandbridge import progress
from bandbridge.errors import ManyErrors, in_plain_signs, refuse_odd_names, visible
from bandbridge.terminal import Console, say

ODD = "1a\x1b[2J\r\x07\x9b31m\u202egnp[red]x[/red][link=http://a.b]c"
SHOWN = "1a\\u001b[2J\\u000d\\u0007\\u009b31m\\u202egnp[red]x[/red][link=http://a.b]c"


def test_signs_are_written_out_and_letters_stay() -> None:
    assert visible(ODD) == SHOWN
    assert visible("\udce9") == "\\udce9"
    plain = "Zelle 7, é, 染色体, ±\n\tx"
    assert visible(plain) == plain and in_plain_signs("Zelle 7, é") and not in_plain_signs("a\nb")
    with pytest.raises(ManyErrors, match=r"(?s)files with control signs.*a\\nb.*x\\u001b"):
        refuse_odd_names(["a\nb", "x\x1b", "good"], "files")


def test_a_result_and_a_table_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    say(ODD)
    assert capsys.readouterr().out == SHOWN + "\n"
    stream = io.StringIO()
    table = Table("name", title=ODD)
    table.add_row(ODD)
    console = Console(file=stream, force_terminal=True, width=200)
    console.print(table)
    console.print(ODD)
    assert stream.getvalue().count(SHOWN) == 3
    assert "\x1b[2J" not in stream.getvalue() and not {"\r", "\x07", "\x9b", "\u202e"} & set(stream.getvalue())


def test_errors_and_progress_show_them(bandbridge, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for line in (progress.note, lambda text: list(progress.track([1], 1, text))):
        line(ODD)
    said = bandbridge("data", "check", tmp_path / ODD.replace("/", "")).err
    assert visible(ODD).replace("/", "") in said and "error:" in said
    # A backslash before a bracket is no way out of it either.
    assert "\\[red]z" in bandbridge("data", "check", tmp_path / "\\[red]z").err


#: A bar and a spinner, and what somebody else writes meanwhile.
WATCHED = """
import sys
from bandbridge.progress import listening, status, track
with listening(True):
    for _ in track(range(3), 3, "counting"):
        print("beside it", file=sys.stderr)
    with status("thinking"):
        sys.stderr.write("and below\\n")
"""


@pytest.mark.skipif(os.name == "nt", reason="terminals as on Unix")
def test_on_a_terminal_progress_is_shown_and_ends() -> None:
    """Rich puts itself in the place of standard error meanwhile, and what writes to that must not come round again."""
    theirs, ours = os.openpty()
    program = subprocess.Popen([sys.executable, "-c", WATCHED], stdin=ours, stdout=ours, stderr=ours)
    os.close(ours)
    shown, end = b"", time.monotonic() + 30
    try:
        while time.monotonic() < end:
            if select.select([theirs], [], [], 0.2)[0]:
                try:
                    block = os.read(theirs, 4096)
                except OSError:  # Linux: the other end is closed
                    break
                if not block:
                    break
                shown += block
        assert program.wait(1) == 0
    finally:
        program.kill()
        program.wait()
        os.close(theirs)
    text = shown.decode()
    assert text.count("beside it") == 3 and text.count("and below") == 1 and "counting" in text


def test_nothing_else_writes_to_the_terminal() -> None:
    for path in Path(bandbridge.__file__).parent.rglob("*.py"):
        if path.name in ("terminal.py", "example.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                assert "Console" not in [one.name for one in node.names], path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "typer.secho", "click.echo", "sys.stdout.write", "sys.stderr.write"), (
                    path
                )
                assert called != "typer.echo" or "__version__" in ast.unparse(node), path
