"""YAML to texts, lists and mappings, as conda's and pixi's tools write it, with caps: pure.

Every scalar is the text that stands there: ``3.10`` is a version, never a number. Tags, anchors and aliases are refused; none of
those tools writes them. Only events are taken from PyYAML, so nothing is ever constructed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

Value: TypeAlias = "str | list[Value] | dict[str, Value]"

MAX_NODES = 2_000_000
MAX_DEPTH = 32


def parse_document(text: str, *, file: str) -> dict[str, Value]:
    """Return the one mapping that ``text`` is; ``file`` names it in errors.

    Raises ``CarboyError`` with the line of what is wrong: syntax, a key written twice, what is not read, too many or too deep.
    """
    import yaml  # local: few folders have such a file

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = _Composer(iter(yaml.parse(text, Loader=loader)), file).compose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _error(file, mark.line + 1 if mark else 0, error.problem or "it is not YAML") from error
    except yaml.YAMLError as error:
        raise _error(file, 0, str(error).partition("\n")[0] or "it is not YAML") from error
    if not isinstance(value, dict):
        raise _error(file, 1, "it is no mapping")
    return value


def _error(file: str, line: int, text: str) -> CarboyError:
    where = f"{file}, line {line}" if line else file
    return CarboyError(f"{file} cannot be read", details=f"{where}: {text}", hint="correct that line")


class _Composer:
    def __init__(self, events: Iterator[yaml.Event], file: str) -> None:
        self._events = events
        self._file = file
        self._count = 0

    def compose(self) -> Value:
        import yaml

        value: Value = {}
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document begins")
                value = self._node(next(self._events), 0)
        return value

    def _error(self, event: yaml.Event, text: str) -> CarboyError:
        return _error(self._file, event.start_mark.line + 1 if event.start_mark else 0, text)

    def _node(self, event: yaml.Event, depth: int) -> Value:
        import yaml

        self._count += 1
        if self._count > MAX_NODES:
            raise self._error(event, f"it has more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise self._error(event, f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._error(event, "anchors and aliases are not read here: write the value out")
        if getattr(event, "tag", None):
            raise self._error(event, "tags are not read here")
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            return items
        entries: dict[str, Value] = {}
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            key = self._node(inner, depth + 1)
            if not isinstance(key, str):
                raise self._error(inner, "a key must be text")
            if key in entries:
                raise self._error(inner, f"the key {key!r} stands here a second time")
            entries[key] = self._node(next(self._events), depth + 1)
        return entries
