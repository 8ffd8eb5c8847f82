"""What the site has beside the pages of this folder; MkDocs calls it, ``mkdocs.yml`` names it.

Pages are made of the files at the root (CHANGELOG.md, CONTRIBUTING.md, SECURITY.md), of the notebooks in ``examples/``,
of ``bandbridge.__all__`` and of the commands. A link that leaves this folder leads to the page that was made of its
target, or becomes plain text where there is none: the pages are read beside the source too, where it works.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
#: Files outside this folder, from the root, and the pages that stand for them.
STANDING_FOR = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples": "tutorials/index.md",
}
_LINK = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_MARKUP = re.compile(r"\[/?(?:bold|italic|dim)\]")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made here (MkDocs' hook)."""
    from mkdocs.structure.files import File

    for uri, text in made_pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links that leave this folder lead to pages, or nowhere (MkDocs' hook)."""
    return inside(markdown, page.file.src_uri)


def made_pages() -> dict[str, str]:
    """Return the Markdown of each page that is made, by its place in the site."""
    pages = {
        page: inside((ROOT / source).read_text(encoding="utf-8"), page, f"../{source}")
        for source, page in STANDING_FOR.items()
        if source.endswith(".md") and source != "README.md"
    }
    for notebook in sorted(EXAMPLES.glob("*.ipynb")):
        pages[f"tutorials/{notebook.stem}.md"] = of_notebook(notebook)
    pages["reference/python.md"] = python_page()
    pages["reference/command-line.md"] = command_page()
    return pages


def inside(markdown: str, page: str, source: str | None = None) -> str:
    """Return ``markdown`` with its links made for the site.

    page: its place in the site, to which links are relative when they come out.
    source: where it was written for, from ``docs``; None where that is its place in the site.

    >>> inside("[a](../SECURITY.md#licences), [b](../studies/demo.yaml), `[c](../x)`", "api.md")
    '[a](security.md#licences), b, `[c](../x)`'
    """
    base = posixpath.dirname(source or page)

    def led(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join("docs", base, path))
        there = STANDING_FOR.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        if there is None:
            return words
        way = posixpath.relpath(there, posixpath.dirname(page) or ".")
        return f"[{words}]({way}{'#' if anchor else ''}{anchor})"

    def plain(text: str) -> str:
        pieces = re.split(r"(`[^`\n]+`)(?!\])", text)  # code in a line has no links; a link's words may be code
        return "".join(piece if number % 2 else _LINK.sub(led, piece) for number, piece in enumerate(pieces))

    return "".join(piece if number % 2 else plain(piece) for number, piece in enumerate(_FENCE.split(markdown)))


def of_notebook(path: Path) -> str:
    """Return a notebook as Markdown: its texts and its code, as they stand."""
    lines = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        text = "".join(cell["source"])
        lines += [text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```", ""]
        if number == 0:
            lines += [f"*This page is the notebook `examples/{path.name}`, whose every cell the tests run.*", ""]
    return "\n".join(lines)


def python_page() -> str:
    """Return the page of everything public, from its docstrings."""
    import bandbridge

    order = [*bandbridge.__all__]
    lines = [
        "# Reference: Python",
        "",
        "Everything that `import bandbridge` offers, from its docstrings; [in short](../api.md), on one screen.",
        "",
    ]
    for name in sorted(order, key=lambda one: (one[0].isupper(), one)):
        lines += [f"::: bandbridge.{bandbridge._HOMES[name]}.{name}", ""]
    return "\n".join(lines)


def command_page() -> str:
    """Return the page of every command with its arguments and options."""
    import typer

    from bandbridge.cli.main import app

    lines = ["# Reference: command line", "", "What `--help` says of each command.", ""]
    for name, command in _commands(typer.main.get_command(app), "bandbridge"):
        lines += [f"## {name}", "", _plain(command.help or ""), ""]
        rows = [row for parameter in command.params if (row := _row(parameter))]
        if rows:
            lines += ["| argument or option | default | what it is |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _commands(group: Any, above: str) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{above} {name}", command
            yield from _commands(command, f"{above} {name}")
        else:
            yield f"{above} {name}", command


def _row(parameter: Any) -> str | None:
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return None
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        name = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    shown = "" if default is None or default in (False, True, (), "") or callable(default) else f"`{default}`"
    if parameter.required:
        shown = "needed"
    return f"| {name} | {shown} | {_plain(parameter.help or '').replace('|', chr(92) + '|')} |"


def _plain(text: str) -> str:
    """Return a help text without the marks of the terminal, and with no word that Markdown would take for a tag."""
    text = _MARKUP.sub("", text).replace("\b", "").replace("<", "&lt;")
    return "\n".join(line.strip() for line in text.splitlines()).strip()
