"""What ``import bandbridge`` offers: light to import, all of it documented, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import bandbridge as bb

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def test_public_is_what_is_documented_and_what_can_be_imported() -> None:
    rows = re.findall(r"^\| `(\w+)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(bb.__all__), "docs/api.md has a row for each public name"
    assert sorted(dir(bb)) == sorted([*bb.__all__, "__version__"])
    for name in bb.__all__:
        found = getattr(bb, name)
        assert found.__name__ == name and found.__doc__, name


def test_every_public_method_says_what_it_does() -> None:
    silent = [
        f"{name}.{member}"
        for name in bb.__all__
        if isinstance(getattr(bb, name), type)
        for member, value in vars(getattr(bb, name)).items()
        if not member.startswith("_") and (callable(value) or isinstance(value, property)) and not value.__doc__
    ]
    assert not silent


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'load'; it has .*load_model"):
        bb.load  # noqa: B018
    assert re.match(r"\d+\.\d+", bb.__version__)


def test_importing_it_brings_nothing_heavy_and_a_mistake_none_of_torch() -> None:
    heavy = "{'torch', 'timm', 'pandas', 'numpy', 'scipy', 'matplotlib', 'rich', 'typer'}"
    program = f"""
import sys
import bandbridge
print(sorted({heavy} & set(sys.modules)))
dir(bandbridge), bandbridge.UserError
print(sorted({heavy} & set(sys.modules)))
bandbridge.open_dataset, bandbridge.draw_cells, bandbridge.load_model, bandbridge.Predictions, bandbridge.Evaluation
print(sorted({{'torch', 'timm', 'matplotlib'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["[]", "[]", "[]"]
