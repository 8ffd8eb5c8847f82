"""Every command and every block of Python of the documentation is run, or says in a comment above it why not."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from typer.core import TyperGroup

import bandbridge as bb
from bandbridge.cli.main import app
from bandbridge.study.spec import read_study

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"(?:^ *<!-- not run: (?P<why>.+?) -->\n+)?^ *```(?P<kind>\w+)\n(?P<text>.*?)^ *```$", re.M | re.S)
#: What is added so that a command ends soon.
SHORTER = {
    "fine-tune": ("--epochs", "1", "--folds", "2"),
    "study attention": ("--limit", "2"),
    "study report": ("--no-similarity",),
}
#: What a command may end with, where that is not 0: there are findings, or sheets, that a person decides on.
CODES = {"data check": {0, 1}, "data import": {0, 1}}
#: Trained in the place of what a page names.
SMALL = {"mobilenetv3-l": "test_resnet"}
STUDY = """\
name: mine
protocol: strict
tasks:
  mine: {dataset: mine, intermediates: [Q]}
  Q: {dataset: bioimlab, target: false}
architectures: [test_resnet]
approaches: [scratch, imagenet, two-step, domain]
split: {folds: 2}
image_size: 32
recipe: {base: fast, epochs: 1}
"""


class Block(NamedTuple):
    """A block of a page: where it is, its language, what stands in it, and why it is not run ("" where it is)."""

    place: str
    kind: str
    text: str
    why: str

    @property
    def commands(self) -> list[str]:
        """The commands of a console, without their prompts and comments."""
        whole = self.text.replace("\\\n", " ")
        return [line.strip().lstrip("$>").strip() for line in whole.splitlines() if line.strip()[:1] in ("$", ">")]


def blocks(*kinds: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text[: match.start("kind")].count("\n") + 1
            place = f"{page.relative_to(ROOT).as_posix()}:{line}"
            found.append(Block(place, match["kind"], match["text"], match["why"] or ""))
    return [one for one in found if not kinds or one.kind in kinds]


def words_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def _group(words: list[str]) -> str:
    return " ".join(words[:2]) if words[0] in ("data", "models", "study") else words[0]


def test_every_block_is_of_a_kind_that_is_known() -> None:
    found = blocks()
    assert {one.kind for one in found} <= {"console", "python", "yaml", "r", "sql"} and len(found) > 25
    assert all(one.why for one in found if one.kind in ("r", "sql")), "nothing here runs these"
    fences = sum(page.read_text(encoding="utf-8").count("```") for page in PAGES)
    assert fences == 2 * len(found), "a block without a language, or one that does not end"


def test_every_command_is_one_and_has_the_options_that_it_is_given() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    seen = 0
    for block in blocks("console"):
        for command in block.commands:
            words = words_of(command)
            if words[0] == "make":
                target = rf"^{re.escape(words[1])}:"
                assert re.search(target, (ROOT / "Makefile").read_text(), re.M), (block.place, command)
            if words[0] != "bandbridge" or words[1:] == ["--help"]:
                assert words[0] in ("bandbridge", "make", "pip", "python", "python3.11", "jupyter", "py") or block.why
                continue
            found: Any = root
            rest = words[1:]
            while isinstance(found, TyperGroup):
                assert rest[0] in found.commands, (block.place, command)
                found, rest = found.commands[rest[0]], rest[1:]
            options = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
            assert {word for word in rest if word.startswith("--")} <= options, (block.place, command)
            seen += 1
    assert seen > 40


def test_every_whole_study_file_is_read(tmp_path: Path) -> None:
    found = [one for one in blocks("yaml") if "architectures:" in one.text]
    assert found
    for block in found:
        (tmp_path / "study.yaml").write_text(block.text, encoding="utf-8")
        assert read_study(tmp_path / "study.yaml").name
    for block in blocks("yaml"):
        assert isinstance(yaml.safe_load(block.text), dict), block.place


@pytest.fixture(scope="module")
def home(example_home: Path, drawn_set: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages assume it: sets, cells in folders, a study, a model, weights (random)."""
    home = shutil.copytree(example_home, tmp_path_factory.mktemp("docs") / "home")
    for name, drawing in (("sets/mine", ("Q", 4, 1)), ("sets/bioimlab", ("G", 4, 2)), ("sets/other", ("Q", 2, 9))):
        shutil.copytree(drawn_set(*drawing), home / name, dirs_exist_ok=True)
    shutil.copytree(drawn_set("G", 2, 5), home / "sets" / "cir")
    for name in ("corrections", "exports/2026-03-01"):
        shutil.copytree(drawn_set("Q", 2, 5), home / name)
    drawn = sorted((drawn_set("Q", 2, 9) / "images").iterdir())
    shutil.rmtree(home / "new-cells")
    for place in ("new-cells", "metaphases"):
        for cell, source in zip(("cell 1", "cell 3"), drawn, strict=True):
            shutil.copytree(source, home / place / cell)
    shutil.make_archive(str(home / "metaphases"), "zip", home / "metaphases")
    shutil.copytree(home / "metaphases" / "cell 1", home / "my-cell")
    bb.cut(home / "fields", home / "cut-cells")
    for label in ("1", "2", "X"):
        (home / "my-images" / label).mkdir(parents=True)
        for number, picture in enumerate(sorted((home / "my-cell").glob(f"{label}?.png"))):
            shutil.copy(picture, home / "my-images" / label / f"{number}.png")
    (home / "mine.yaml").write_text(STUDY)
    study = bb.Study.read(home / "mine.yaml", data_dir=home / "sets", runs=home / "runs", weights_dir=home / "weights")
    study.run(device="cpu", jobs=1)
    return home


@pytest.fixture
def there(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bandbridge: Callable[..., Any]) -> Path:
    """A copy of that folder, in which this test is; the fixture ``bandbridge`` takes variables away, so it is first."""
    copied = shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(copied)
    monkeypatch.setenv("BANDBRIDGE_WEIGHTS", str(copied / "weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return copied


def expanded(words: list[str], command: str) -> Iterator[str]:
    """As a shell does with what is not in quotes."""
    for word in words:
        pattern = "*" in word and f"'{word}'" not in command
        yield from (sorted(path.as_posix() for path in Path().glob(word)) if pattern else ()) or [word]


@pytest.mark.slow
@pytest.mark.parametrize("block", [one for one in blocks("console") if not one.why], ids=lambda one: one.place)
def test_every_command_runs(block: Block, there: Path, bandbridge: Callable[..., Any]) -> None:
    for command in block.commands:
        for named, small in SMALL.items():
            command = command.replace(named, small)
        words = list(expanded(words_of(command), command))
        assert words[0] == "bandbridge", (block.place, command)
        group = _group(words[1:])
        if group == "review":
            _serve(words[1:])
            continue
        done = bandbridge(*words[1:], *SHORTER.get(group, ()))
        assert done.code in CODES.get(group, {0}), (block.place, command, done.err)


def _serve(words: list[str]) -> None:
    """A page is served until somebody ends it: when it has said where, that is done here."""
    line = [sys.executable, "-m", "bandbridge", *words, "--no-browser", "--port", "0"]
    served = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert served.stdout is not None and served.stderr is not None
    said = served.stdout.readline()
    served.terminate()
    _, complaint = served.communicate(timeout=60)
    assert "http://127.0.0.1:" in said, complaint


@pytest.mark.slow
@pytest.mark.parametrize("block", [one for one in blocks("python") if not one.why], ids=lambda one: one.place)
def test_every_block_of_python_runs(block: Block, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"architecture": "test_resnet", "image_size": 64, "weights_dir": "weights"}
    quick = {"bootstraps": 0, "permutations": 0}
    monkeypatch.setattr(bb, "similarity", partial(bb.similarity, **small, **quick))
    monkeypatch.setattr(bb, "advise", partial(bb.advise, **small))
    monkeypatch.setattr(bb, "fine_tune", partial(bb.fine_tune, epochs=1, folds=2))
    report = bb.Study.report
    monkeypatch.setattr(bb.Study, "report", lambda study: report(study, similarity=False))
    monkeypatch.setattr("PIL.Image.Image.show", lambda picture: picture.save(io.BytesIO(), "png"))
    exec(compile(block.text, block.place, "exec"), {})
