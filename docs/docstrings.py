"""Docstrings as the Markdown that they nearly are; mkdocstrings reads them through this, ``mkdocs.yml`` names it."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|mod|meth|data|attr):`~?([^`]+)`")


class Docstrings(griffe.Extension):
    """Docstrings as Markdown: examples become blocks of code, names in roles become names."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of ``obj`` (griffe's hook)."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    r"""Return a docstring as Markdown.

    >>> print(as_markdown("One of :func:`a.b`.\n\n>>> 1 + 1\n2\n\nAnd more."))
    One of `a.b`.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    And more.
    """
    blocks = []
    for block in re.split(r"\n{2,}", _ROLE.sub(r"`\1`", docstring.strip())):
        head, mark, example = block.partition(">>> ")
        if mark and (not head or head.endswith("\n")):
            blocks += [head.rstrip()] if head else []
            blocks.append(f"```pycon\n{mark}{example}\n```")
        else:
            # What a value or argument is, line after line: each of its own.
            blocks.append(re.sub(r"\n(?=[a-z_]+: )", "\n\n", block))
    return "\n\n".join(blocks)
