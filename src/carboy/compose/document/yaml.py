"""YAML to nodes, as Compose's parser (Go's yaml.v3) understands it, with caps: pure.

Only events are taken from PyYAML; types, anchors, merge keys and duplicate keys are decided here:

- ``true`` and ``false`` are booleans; ``yes no on off`` are text (YAML 1.2), and so are times and dates: ``22:22`` is a port.
- ``0o17``, ``017``, ``0x1f``, ``0b11``, ``1_000`` are integers.
- a key written twice is an error; ``<<`` merges, and what stands in the mapping itself wins, then what was named first.
- no tags but ``!reset``, ``!override`` and the plain types; nothing is ever constructed.

Aliases share nodes, and a document's size is counted as if they were copies, so that no later pass can be made to walk more
than ``MAX_NODES``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from carboy.compose.document.nodes import OVERRIDE, RESET, List, Map, Node, Position, Scalar, ScalarValue
from carboy.compose.errors import ComposeError, Issue

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 2 << 20
MAX_NODES = 100_000
MAX_DEPTH = 64

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_NULLS = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_INTEGER = re.compile(r"([-+]?)(?:0b([01]+)|0x([0-9a-fA-F]+)|0o?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
# Python refuses to parse longer ones (CVE-2020-10735), and 64 bits are what Go has.
_MAX_DIGITS = 64
_BITS = 64


def parse_yaml(data: bytes, *, file: str) -> list[Node]:
    """Return the documents in ``data``; ``file`` names it in errors.

    Raises ``ComposeError`` with the line of what is wrong: encoding, syntax, a duplicate key, an unknown anchor or tag, or a
    document that is too large, too deep, or made large by aliases.
    """
    if len(data) > MAX_BYTES:
        raise _error(f"it is larger than {MAX_BYTES >> 20} MiB", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error("it is not UTF-8 text", file=file, line=line) from error
    try:
        return _Composer(text, file=file).compose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise _error(problem or "it is not YAML", file=file, line=mark.line + 1 if mark else 0) from error
    except yaml.YAMLError as error:
        raise _error(str(error).partition("\n")[0] or "it is not YAML", file=file) from error


def resolve_scalar(text: str) -> ScalarValue:
    """Return the value of an unquoted scalar."""
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in "0123456789+-." or len(text) > _MAX_DIGITS:
        return text
    if (lowered := text.lower()) in _FLOATS:
        return float(_FLOATS[lowered])
    number = text.replace("_", "")
    if match := _INTEGER.fullmatch(number):
        sign, *digits = match.groups()
        base, found = next((base, item) for base, item in zip((2, 16, 8, 10), digits, strict=True) if item is not None)
        value = int(sign + found, base)
        return value if value.bit_length() <= _BITS else float(value)
    return float(number) if _FLOAT.fullmatch(number) else text


def _error(text: str, *, file: str, line: int = 0) -> ComposeError:
    issue = Issue(text=text, file=file, line=line)
    return ComposeError("a compose file cannot be read", issues=(issue,), hint="correct the line that is named")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


class _Composer:
    """Events to nodes, with the anchors of the document at hand."""

    def __init__(self, text: str, *, file: str) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._file = file
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open: set[str] = set()
        self._nodes = 0

    def compose(self) -> list[Node]:
        """Return the documents; an empty file has none."""
        documents = []
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                documents.append(self._node(next(self._events), 0))
        return documents

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", line)
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):
            raise _error("it is not YAML", file=self._file, line=line)
        self._count(1, line)
        if depth > MAX_DEPTH:
            raise _error(f"it is nested deeper than {MAX_DEPTH} levels", file=self._file, line=line)
        before, anchor = self._nodes, event.anchor
        if anchor is not None:
            self._open.add(anchor)
        at = Position(file=self._file, line=line)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, at)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, at, depth)
        else:
            node = self._map(event, at, depth)
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = (node, 1 + self._nodes - before)
        return node

    def _alias(self, name: str, line: int) -> Node:
        if name in self._open:
            raise _error(f"the anchor &{name} contains itself", file=self._file, line=line)
        if name not in self._anchors:
            raise _error(f"there is no anchor &{name} before this line", file=self._file, line=line)
        node, weight = self._anchors[name]
        self._count(weight, line)
        return node

    def _count(self, weight: int, line: int) -> None:
        self._nodes += weight
        if self._nodes > MAX_NODES:
            raise _error(f"it has more than {MAX_NODES} values, aliases counted", file=self._file, line=line)

    def _tag(self, tag: str | None, at: Position, *, own: str) -> str:
        if tag is None or tag in {"!", _CORE + own}:
            return ""
        if tag in {RESET, OVERRIDE}:
            return tag
        raise _error(f"the tag {tag.replace(_CORE, '!!')} has no meaning here", file=self._file, line=at.line)

    def _scalar(self, event: yaml.ScalarEvent, at: Position) -> Scalar:
        text: str = event.value
        if event.implicit[0]:
            return Scalar(value=resolve_scalar(text), text=text, at=at)
        kind = (event.tag or "").removeprefix(_CORE)
        if kind in {"int", "float", "bool", "null"} and event.tag != kind:
            return Scalar(value=self._typed(text, kind, at), text=text, at=at)
        tag = self._tag(event.tag, at, own="str")
        unquoted = bool(tag) and not event.style
        return Scalar(value=resolve_scalar(text) if unquoted else text, text=text, at=at, tag=tag)

    def _typed(self, text: str, kind: str, at: Position) -> ScalarValue:
        value = resolve_scalar(text)
        wanted = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}[kind]
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "bool"):  # type: ignore[arg-type]
            raise _error(f"{text!r} is not of the type !!{kind}", file=self._file, line=at.line)
        return float(value) if kind == "float" and value is not None else value

    def _list(self, event: yaml.SequenceStartEvent, at: Position, depth: int) -> List:
        tag = self._tag(event.tag, at, own="seq")
        items = []
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        return List(items=tuple(items), at=at, tag=tag)

    def _map(self, event: yaml.MappingStartEvent, at: Position, depth: int) -> Map:
        tag = self._tag(event.tag, at, own="map")
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: Node | None = None
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            line = _line(inner)
            is_merge = isinstance(inner, yaml.ScalarEvent) and inner.implicit[0] and inner.value == "<<"
            key = self._key(inner, depth)
            if key in lines:
                text = f"the key {key!r} stands here a second time (first on line {lines[key]})"
                raise _error(text, file=self._file, line=line)
            lines[key] = line
            value = self._node(next(self._events), depth + 1)
            if is_merge:
                merged = value
            else:
                entries[key] = value
        if merged is not None:
            entries = self._merge(entries, merged)
        return Map(entries=entries, at=at, tag=tag)

    def _key(self, event: yaml.Event, depth: int) -> str:
        node = self._node(event, depth + 1)
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        text = "a key must be text" + (f": put {node.text} in quotes" if isinstance(node, Scalar) and node.text else "")
        raise _error(text, file=self._file, line=node.at.line)

    def _merge(self, entries: dict[str, Node], merged: Node) -> dict[str, Node]:
        sources = merged.items if isinstance(merged, List) else (merged,)
        result: dict[str, Node] = dict(entries)
        for source in sources:
            if not isinstance(source, Map):
                raise _error("<< takes a mapping or a list of mappings", file=self._file, line=merged.at.line)
            for key, value in source.entries.items():
                result.setdefault(key, value)
        return result
