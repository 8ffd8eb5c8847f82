"""Run the real command in this process: what it prints and how it exits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from bandbridge.cli.main import run


class Result(NamedTuple):
    """Exit code, standard output, standard error with line breaks folded into spaces."""

    code: int
    out: str
    err: str


@pytest.fixture
def bandbridge(capsys, monkeypatch) -> Callable[..., Result]:
    """Return a function that runs ``bandbridge`` with its arguments."""
    for variable in ("BANDBRIDGE_DATA", "BANDBRIDGE_WEIGHTS", "BANDBRIDGE_RUNS", "BANDBRIDGE_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["bandbridge", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run()
        printed = capsys.readouterr()
        code = stopped.value.code
        return Result(code if isinstance(code, int) else 1 if code else 0, printed.out, " ".join(printed.err.split()))

    return call
