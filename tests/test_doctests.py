"""The examples in docstrings, run as they stand in a folder with two drawn sets, a finished study and a model."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import bandbridge

SOURCE = Path(bandbridge.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _modules_with_examples() -> list[str]:
    """Found by reading: importing every module would need every extra."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
        if any(text and ">>> " in text for text in texts):
            found.append(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"))
    return found


MODULES = _modules_with_examples()


def _examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_say(module: str, example_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example_home)
    for variable in ("BANDBRIDGE_DATA", "BANDBRIDGE_WEIGHTS", "BANDBRIDGE_RUNS"):
        monkeypatch.delenv(variable, raising=False)
    public = {name: getattr(bandbridge, name) for name in bandbridge.__all__}
    printed: list[str] = []
    for test in _examples(module):
        test.globs = {**public, **test.globs}
        doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=printed.append)
    assert not printed, "".join(printed)


def test_every_public_name_has_an_example() -> None:
    tests = [test for module in MODULES for test in _examples(module)]
    with_examples = {test.name.rsplit(".", 1)[-1] for test in tests}
    # An example of a class may be that of the function that returns it.
    missing = [name for name in bandbridge.__all__ if name not in with_examples]
    assert not missing
