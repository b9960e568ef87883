"""The tree of a document: frozen nodes that know where they were written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TypeVar

from carboy.compose.errors import Issue

# Compose's own tags (specification, "Merge and override").
RESET = "!reset"
OVERRIDE = "!override"

ScalarValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A file as it was named, and a line from 1."""

    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A single value; ``text`` is how it was written (equal to ``value`` for strings that nothing was replaced in)."""

    value: ScalarValue
    at: Position
    text: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class List:
    """A sequence."""

    items: tuple[Node, ...]
    at: Position
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A mapping, in the order of the file; nobody changes ``entries`` after the node was made."""

    entries: dict[str, Node] = field(default_factory=dict)
    at: Position
    tag: str = ""


Node = Scalar | List | Map
AnyNode = TypeVar("AnyNode", Scalar, List, Map)


def without_tag(node: AnyNode) -> AnyNode:
    """Return ``node`` without a tag of its own."""
    return replace(node, tag="") if node.tag else node


def strip_tags(node: Node) -> Node | None:
    """Return the tree without what ``!reset`` took away and without tags; None when nothing is left."""
    if node.tag == RESET:
        return None
    if isinstance(node, Map):
        kept = {key: child for key, value in node.entries.items() if (child := strip_tags(value)) is not None}
        return Map(entries=kept, at=node.at)
    if isinstance(node, List):
        return List(items=tuple(child for item in node.items if (child := strip_tags(item)) is not None), at=node.at)
    return without_tag(node)


def scalar_text(node: Scalar) -> str:
    """Return the value as Compose writes it into an environment: as Go prints booleans and numbers; null is empty."""
    value = node.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        if math.isnan(value):
            return "NaN"
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    return str(value)


def describe_kind(node: Node) -> str:
    """Return what a node is, for messages."""
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, List):
        return "a list"
    return "empty" if node.value is None else f"{scalar_text(node)!r}"


def issue_at(node: Node, path: str, text: str) -> Issue:
    """Return an issue at the place of ``node``."""
    return Issue(text=text, path=path, file=node.at.file, line=node.at.line)


def plain(node: Node) -> object:
    """Return the tree as dicts, lists and values, for tests and for people."""
    if isinstance(node, Map):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, List):
        return [plain(item) for item in node.items]
    return node.value
