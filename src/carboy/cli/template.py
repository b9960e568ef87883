"""``--format``: the part of Go's templates that people write behind ``docker inspect -f`` and ``docker ps --format``.

A path (``.State.Status``); ``json``, ``index``, ``len``, ``join``, ``upper``, ``lower``, ``print``, ``println`` of paths; pipes;
``range``, ``if`` and ``with``, with ``else`` and ``end``. Pure. Where Go prints "<no value>" for a field that there is not,
this refuses and names what there is; ``index`` is for tables whose names are free (labels). Source: Go's text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from carboy.errors import CarboyError

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s"`]+')
_BLOCKS = {"range", "if", "with"}
MAX_TEMPLATE = 10_000
MAX_DEPTH = 20

Node = tuple[Any, ...]  # ("text", str) | ("print", words) | (block, words, [Node], [Node])


def parse_template(text: str) -> list[Node]:
    """Return the parts of a template; ``.A.B`` alone stands for ``{{.A.B}}``. Raises ``CarboyError`` (2)."""
    if len(text) > MAX_TEMPLATE:
        raise CarboyError("the format is too long", code=2)
    if text.startswith(".") and "{{" not in text:
        text = f"{{{{{text}}}}}"
    tokens: list[tuple[str, str]] = []
    position = 0
    for match in _ACTION.finditer(text):
        before = text[position : match.start()]
        tokens.append(("text", before.rstrip() if match[1] else before))
        tokens.append(("action", match[2]))
        position = match.end()
        if match[3]:
            position += len(text[position:]) - len(text[position:].lstrip())
    tokens.append(("text", text[position:]))
    if any("{{" in part or "}}" in part for kind, part in tokens if kind == "text"):
        raise _wrong("its braces do not match")
    nodes, ending = _parse(iter(tokens), depth=0)
    if ending:
        raise _wrong(f"{ending} without a beginning")
    return nodes


def _parse(tokens: Any, *, depth: int) -> tuple[list[Node], str]:
    """Return the nodes up to ``end`` or ``else``, and which it was ("" at the end of the text)."""
    if depth > MAX_DEPTH:
        raise _wrong("its blocks are too deep")
    nodes: list[Node] = []
    for kind, text in tokens:
        if kind == "text":
            if text:
                nodes.append(("text", text.replace("\\t", "\t").replace("\\n", "\n")))
            continue
        words = _WORD.findall(text)
        if text in {"end", "else"}:
            return nodes, text
        if not words:
            raise _wrong("an action is empty")
        if words[0] in _BLOCKS:
            if len(words) < 2:
                raise _wrong(f"{words[0]} of what?")
            body, ending = _parse(tokens, depth=depth + 1)
            other: list[Node] = []
            if ending == "else":
                other, ending = _parse(tokens, depth=depth + 1)
            if ending != "end":
                raise _wrong(f"{words[0]} has no end")
            nodes.append((words[0], words[1:], body, other))
        else:
            nodes.append(("print", words))
    return nodes, ""


def render_template(nodes: list[Node], value: Any) -> str:
    """Return the text of a template for a value of JSON's kinds. Raises ``CarboyError`` (2) for a field that there is not."""
    out = []
    for node in nodes:
        if node[0] == "text":
            out.append(node[1])
        elif node[0] == "print":
            out.append(_text(_evaluate(node[1], value)))
        else:
            kind, words, body, other = node
            found = _evaluate(words, value)
            if not found:
                out.append(render_template(other, value))
            elif kind == "range":
                items = [found[name] for name in sorted(found)] if isinstance(found, dict) else found
                if not isinstance(items, list):
                    raise _wrong(f"{' '.join(words)} is no list")
                out += [render_template(body, item) for item in items]
            else:
                out.append(render_template(body, found if kind == "with" else value))
    return "".join(out)


def _evaluate(words: list[str], value: Any) -> Any:
    first, *rest = words
    if first == "|" or "|" in rest:
        before, _, after = _partition(words)
        return _call(after[0], [*(_operand(word, value) for word in after[1:]), _evaluate(before, value)])
    if first.startswith((".", '"', "`")) and not rest:
        return _operand(first, value)
    return _call(first, [_operand(word, value) for word in rest])


def _partition(words: list[str]) -> tuple[list[str], str, list[str]]:
    last = len(words) - 1 - words[::-1].index("|")
    before, after = words[:last], words[last + 1 :]
    if not before or not after:
        raise _wrong("one side of | is empty")
    return before, "|", after


def _operand(word: str, value: Any) -> Any:
    if word[0] in '"`':
        return word[1:-1].replace('\\"', '"').replace("\\t", "\t").replace("\\n", "\n")
    if word.isdigit():
        return int(word)
    if not word.startswith("."):
        raise _wrong(f"{word!r} is no field; fields begin with a dot")
    found = value
    for name in word[1:].split(".") if word != "." else ():
        found = _field(found, name, word)
    return found


def _field(value: Any, name: str, path: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        names = ", ".join(sorted(value)) if isinstance(value, dict) else ""
        hint = f"there are: {names}" if names else "`carboy inspect` without --format shows all fields"
        raise CarboyError(f"there is no field {path}", hint=hint, code=2)
    return value[name]


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return "" if isinstance(value, dict) else None
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": json.dumps,
    "index": _index,
    "len": lambda value: len(value or ""),
    "join": lambda values, between: between.join(map(_text, values or ())),
    "upper": lambda value: _text(value).upper(),
    "lower": lambda value: _text(value).lower(),
    "println": lambda *values: " ".join(map(_text, values)) + "\n",
    "print": lambda *values: "".join(map(_text, values)),
}


def _call(name: str, arguments: list[Any]) -> Any:
    if name not in _FUNCTIONS:
        raise _wrong(f"there is no function {name!r}; there are {', '.join(_FUNCTIONS)}")
    try:
        return _FUNCTIONS[name](*arguments)
    except (TypeError, AttributeError):
        raise _wrong(f"{name} cannot be used so") from None


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{' '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{_text(item)}' for name, item in sorted(value.items()))}]"
    return str(value)


def _wrong(reason: str) -> CarboyError:
    return CarboyError(
        f"the format cannot be read: {reason}", hint="write a path (.State.Status) or {{json .Config}}", code=2
    )
