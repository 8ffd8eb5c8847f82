"""A study file's YAML, read with bounds: what unfolds, nests or goes on without end is refused and not followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

#: Hundreds of times the longest study file that anybody wrote.
MAX_BYTES = 2**18
_MOST_NODES, _DEEPEST = 20_000, 40
_SHORTER = "A study file holds some dozens of settings: "


class _Loader(yaml.SafeLoader):
    """SafeLoader without the numbers of base 60 of YAML 1.1: 12:30:45 is no number of epochs."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[0-1_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?$|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def read_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the nodes of the YAML ``text`` and its value.

    Raises yaml.YAMLError for what is none and for what is too long, too deep, or unfolds through aliases to more than
    anybody would write; ValueError for what looks like a date or a number and is none.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f"{_SHORTER}this has {len(text)} letters")
    _check_brackets(text)
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"more than {_DEEPEST} levels within one another")
        if nodes > _MOST_NODES:
            raise yaml.YAMLError(f"{_SHORTER}this has more than {_MOST_NODES}")
    root = yaml.compose(text, Loader=_Loader)
    if root is not None and _unfolded(root, {}) > _MOST_NODES:
        raise yaml.YAMLError(f"{_SHORTER}its aliases unfold to more than {_MOST_NODES}")
    return root, yaml.load(text, Loader=_Loader)  # of SafeLoader's kind


def _check_brackets(text: str) -> None:
    """Each open bracket makes every later word dearer: none is read before it is known how many there are."""
    depth = 0
    for sign in re.findall(r"[\[\]{}]", text):
        depth += 1 if sign in "[{" else -1
        if depth > 10 * _DEEPEST:
            raise yaml.YAMLError(f"more than {_DEEPEST} levels within one another")


def _unfolded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there are where each alias stands for what it means; one that lies in itself counts once."""
    if id(node) not in known:
        known[id(node)] = 1
        known[id(node)] = 1 + sum(_unfolded(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
