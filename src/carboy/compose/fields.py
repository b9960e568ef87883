"""Reads the keys of a mapping: each asked for once, with its kind; what nobody asked for is named at the end."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeVar

from carboy.compose.document.nodes import List, Map, Node, Scalar, describe_kind, issue_at, scalar_text
from carboy.compose.errors import Report
from carboy.compose.quantity import parse_cpus, parse_duration, parse_integer, parse_size, parse_switch

Value = TypeVar("Value")


class Fields:
    """The keys below ``path``. Every reader returns its default after it has reported a value of the wrong kind."""

    def __init__(self, node: Node | None, path: str, report: Report) -> None:
        self.path = path
        self.report = report
        self.node = node
        self._asked: set[str] = set()
        self._entries: dict[str, Node] = {}
        if isinstance(node, Map):
            self._entries = node.entries
        elif node is not None and not (isinstance(node, Scalar) and node.value is None):
            report.error(issue_at(node, path, f"this is {describe_kind(node)}, where a mapping belongs"))

    def __contains__(self, key: str) -> bool:
        node = self._entries.get(key)
        return node is not None and not (isinstance(node, Scalar) and node.value is None)

    def below(self, key: str) -> str:
        """Return the path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str) -> Node | None:
        """Return the node of a key, None when it is absent or empty."""
        self._asked.add(key)
        return self._entries[key] if key in self else None

    def error(self, key: str, text: str) -> None:
        """Report an error at a key, or at the mapping when it does not have it."""
        node = self._entries.get(key) or self.node
        if node is not None:
            self.report.error(issue_at(node, self.below(key) if key else self.path, text))

    def warn(self, key: str, text: str) -> None:
        """Report a remark at a key."""
        node = self._entries.get(key)
        if node is not None:
            self.report.warn(issue_at(node, self.below(key), text))

    def text(self, key: str, default: str = "") -> str:
        """Return a text; numbers and booleans as Compose writes them."""
        node = self.take(key)
        if node is None:
            return default
        return self._text(node, self.below(key)) or default

    def _text(self, node: Node, path: str) -> str:
        if not isinstance(node, Scalar):
            self.report.error(issue_at(node, path, f"this is {describe_kind(node)}, where one value belongs"))
            return ""
        return scalar_text(node)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """Return a text that is one of ``allowed``, or nothing."""
        text = self.text(key)
        if text and text not in allowed:
            self.error(key, f"{text!r} is none of {', '.join(allowed)}")
            return ""
        return text

    def _parsed(self, key: str, parse: Callable[[str], Value]) -> Value | None:
        node = self.take(key)
        if node is None:
            return None
        text = self._text(node, self.below(key))
        try:
            return parse(text) if isinstance(node, Scalar) else None
        except ValueError as error:
            self.error(key, str(error))
            return None

    def switch(self, key: str, *, default: bool = False) -> bool:
        """Return a yes or no."""
        found = self._parsed(key, parse_switch)
        return default if found is None else found

    def integer(self, key: str) -> int | None:
        """Return a whole number."""
        return self._parsed(key, parse_integer)

    def size(self, key: str) -> int | None:
        """Return bytes."""
        return self._parsed(key, parse_size)

    def duration(self, key: str) -> float | None:
        """Return seconds."""
        return self._parsed(key, parse_duration)

    def cpus(self, key: str) -> str:
        """Return a number of processors, as text."""
        return self._parsed(key, parse_cpus) or ""

    def mode(self, key: str) -> int | None:
        """Return file permissions: YAML's octal number, or octal digits as text."""
        node = self.take(key)
        if not isinstance(node, Scalar):
            return None if node is None else self._parsed(key, parse_integer)
        is_number = isinstance(node.value, int) and not isinstance(node.value, bool)
        try:
            mode = int(scalar_text(node), 10 if is_number else 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o7777:
            self.error(key, "these are no file permissions: write 0440 or '0440'")
            return None
        return mode

    def items(self, key: str) -> tuple[Node, ...]:
        """Return the items of a list."""
        node = self.take(key)
        if node is None:
            return ()
        if isinstance(node, List):
            return node.items
        self.error(key, f"this is {describe_kind(node)}, where a list belongs")
        return ()

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; one text is a list of one."""
        node = self.take(key)
        if isinstance(node, Scalar):
            return (scalar_text(node),)
        found = ((item, f"{self.below(key)}[{index}]") for index, item in enumerate(self.items(key)))
        return tuple(text for item, path in found if (text := self._text(item, path)))

    def pairs(self, key: str) -> tuple[tuple[str, str | None], ...]:
        """Return a mapping of texts; None where a name has no value."""
        node = self.take(key)
        if node is None:
            return ()
        if not isinstance(node, Map):
            self.error(key, f"this is {describe_kind(node)}, where a mapping or a list of NAME=value belongs")
            return ()
        found: list[tuple[str, str | None]] = []
        for name, value in node.entries.items():
            path = f"{self.below(key)}.{name}"
            if not name or "=" in name or "\0" in name:
                self.report.error(issue_at(value, path, f"{name!r} cannot be a name here"))
            if isinstance(value, Scalar) and value.value is None:
                found.append((name, None))
                continue
            text = self._text(value, path)
            self._warn_rewritten(value, path, text)
            found.append((name, text))
        return tuple(found)

    def _warn_rewritten(self, node: Node, path: str, text: str) -> None:
        """Say that a number is not what was written (``1.10`` is 1.1, ``010`` is 8), as it is in Compose."""
        if isinstance(node, Scalar) and isinstance(node.value, int | float) and text.lower() != node.text.lower():
            self.report.warn(
                issue_at(node, path, f"{node.text} is the number {text}: put it in quotes to keep it as written")
            )

    def valued(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return a mapping of texts; a name without a value has an empty one."""
        return tuple((name, value or "") for name, value in self.pairs(key))

    def maps(self, key: str) -> tuple[Fields, ...]:
        """Return the readers of a list of mappings."""
        return tuple(
            Fields(item, f"{self.below(key)}[{index}]", self.report) for index, item in enumerate(self.items(key))
        )

    def table(self, key: str) -> tuple[tuple[str, Fields], ...]:
        """Return names and readers of a mapping of mappings."""
        inner = self.fields(key)
        return tuple((name, inner.fields(name)) for name in inner.names())

    def fields(self, key: str) -> Fields:
        """Return the reader of a mapping; an empty one when the key is absent."""
        self._asked.add(key)
        return Fields(self._entries.get(key), self.below(key), self.report)

    def names(self) -> tuple[str, ...]:
        """Return all keys but extensions."""
        return tuple(key for key in self._entries if not key.startswith("x-"))

    def finish(self, *, ignored: dict[str, str] | None = None, refused: dict[str, str] | None = None) -> None:
        """Name what nobody asked for: ``refused`` keys are errors with a reason, ``ignored`` and unknown ones warnings."""
        for key, reason in (refused or {}).items():
            if key in self and not self._is_off(key):
                self.error(key, f"carboy does not support this: {reason}")
        for key, reason in (ignored or {}).items():
            if key in self:
                self.warn(key, f"this has no effect: {reason}")
        known = self._asked | set(ignored or {}) | set(refused or {})
        for key in self.names():
            if key not in known:
                near = get_close_matches(key, sorted(known), n=1)
                self.warn(key, "this key is unknown and has no effect" + (f": did you mean {near[0]}?" if near else ""))

    def _is_off(self, key: str) -> bool:
        """Return whether a key only says that something is not wanted."""
        node = self._entries[key]
        if isinstance(node, Scalar):
            return node.value is False or scalar_text(node).lower() in {"", "false", "no", "off", "default", "private"}
        return not (node.entries if isinstance(node, Map) else node.items)
