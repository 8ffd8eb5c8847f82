"""The site: its pages are there, its links stay inside, and nothing that it shows is fetched from elsewhere."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scripts import load_script

import bandbridge as bb
from bandbridge.study.spec import read_study

PAGES = load_script("docs/pages.py")
ROOT = Path(PAGES.ROOT)
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def _leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [leaf for part in parts for leaf in _leaves(part)]


def _nav() -> list[str]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return _leaves(yaml.safe_load(text)["nav"])


def test_every_page_is_in_the_navigation_or_one_of_the_cautions() -> None:
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    made = set(PAGES.made_pages())
    assert not written & made
    hidden = {page for page in written if re.fullmatch(r"cautions/BB\d+\.md", page)}
    assert sorted(_nav()) == sorted((written | made) - hidden)


def test_links_lead_to_pages_or_become_words() -> None:
    assert doctest.testmod(PAGES).failed == 0
    inside = PAGES.inside
    assert inside("[a](gone.md)", "how-to/study.md") == "[a](gone.md)", "for the strict build to name"
    assert inside("[a](../../README.md) [b](images.md#x)", "how-to/study.md") == "[a](../index.md) [b](images.md#x)"
    assert inside("[`a`](../src/x.py), ![p](images/p.png)", "api.md") == "`a`, ![p](images/p.png)"
    assert inside("```\n[a](../src/x)\n```", "api.md") == "```\n[a](../src/x)\n```"
    assert inside("[d](docs/api.md)", "changelog.md", "../CHANGELOG.md") == "[d](api.md)"


def test_the_reference_names_everything_public_and_every_command() -> None:
    names = re.findall(r"^::: bandbridge\.[\w.]*?(\w+)$", PAGES.python_page(), re.M)
    assert sorted(names) == sorted(bb.__all__)
    text = PAGES.command_page()
    for command in ("predict", "data synth", "study report", "models complete", "review"):
        assert f"## bandbridge {command}\n" in text
    assert "| `--karyograms` |  |" in text and "[bold]" not in text


def test_every_test_that_a_page_names_is_there() -> None:
    named = 0
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"]:
        for file, function in NAMED_TEST.findall(page.read_text(encoding="utf-8")):
            path = ROOT / file
            assert path.is_file(), (page.name, file)
            assert not function or f"def {function}(" in path.read_text(encoding="utf-8"), (page.name, function)
            named += 1
    assert named > 40


def test_the_version_is_one_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    newest = re.search(r"^## (\S+) \((.*)\)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None and newest[1] == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["date-released"] == newest[2]


def test_pictures_are_few_and_small() -> None:
    pictures = (ROOT / "docs" / "images").glob("*.png")
    assert sum(path.stat().st_size for path in pictures) < 1_000_000


@pytest.mark.slow
def test_it_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs bandbridge[docs]")
    for package in ("material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason="needs bandbridge[docs]")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    source = os.pathsep.join([str(Path(bb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": source}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    fetched = re.compile(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not fetched.search(text), page
        assert "&gt;&gt;&gt; " not in re.sub(r"<pre.*?</pre>", "", text, flags=re.S), f"{page}: an example as text"
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(?:@import|url\()[\"' ]*(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_study_of_the_first_notebook_is_a_study(tmp_path: Path) -> None:
    page = PAGES.of_notebook(PAGES.EXAMPLES / "1-from-images-to-an-answer.ipynb")
    text = re.search(r'write_text\("""\\\n(.*?)"""\)', page, re.S)
    assert text is not None
    (tmp_path / "study.yaml").write_text(text[1], encoding="utf-8")
    assert read_study(tmp_path / "study.yaml").name == "first"
