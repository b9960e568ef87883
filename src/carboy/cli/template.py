"""``--format``: the part of Go's templates that people write behind ``docker inspect -f`` and ``docker ps --format``.

A path (``.State.Status``), variables (``$name``, ``$`` for all), functions (``_FUNCTIONS``), brackets, pipes; ``range`` (with
``$key, $value :=``), ``if`` and ``with``, with ``else`` and ``end``. Pure. Where Go prints "<no value>" for a field that is
not there, this refuses and names what is; ``index`` is for tables whose names are free (labels). Source: Go's text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from carboy.errors import CarboyError

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|([()|,])|([^\s"`()|,]+))')
_BLOCKS = {"range", "if", "with"}
MAX_TEMPLATE = 10_000
MAX_DEPTH = 20

Node = tuple[Any, ...]  # ("text", str) | ("print", words) | (block, names, words, [Node], [Node])
Words = list[Any]  # texts, and lists where brackets stood


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
        if text in {"end", "else"}:
            return nodes, text
        block, _, rest = text.partition(" ")
        if block not in _BLOCKS:
            nodes.append(("print", _split(text)))
            continue
        names, assigns, words = rest.rpartition(":=")
        variables = [name.strip() for name in names.split(",")] if assigns else []
        if len(variables) > 2 or not all(name.startswith("$") for name in variables):
            raise _wrong(f"{names.strip()!r} are no variables")
        body, ending = _parse(tokens, depth=depth + 1)
        other: list[Node] = []
        if ending == "else":
            other, ending = _parse(tokens, depth=depth + 1)
        if ending != "end":
            raise _wrong(f"{block} has no end")
        nodes.append((block, variables, _split(words), body, other))
    return nodes, ""


def _split(text: str) -> Words:
    """Return the words of an action."""
    stack: list[Words] = [[]]
    position, text = 0, text.strip()
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise _wrong(f"{text[position:]!r} is not understood")
        position = match.end()
        word = match[1] or match[2] or match[3]
        if word == "(":
            if len(stack) > MAX_DEPTH:
                raise _wrong("its brackets are too deep")
            stack.append([])
        elif word == ")":
            if len(stack) == 1 or not stack[-1]:
                raise _wrong("its brackets do not match")
            group = stack.pop()
            path = re.compile(r"[.\w]*").match(text, position)
            assert path is not None
            position = path.end()
            stack[-1].append([path[0], *group])
        else:
            stack[-1].append(word)
    if len(stack) > 1 or not stack[0]:
        raise _wrong("an action is empty" if len(stack) == 1 else "its brackets do not match")
    return stack[0]


def render_template(nodes: list[Node], value: Any, variables: Mapping[str, Any] | None = None) -> str:
    """Return the text of a template for a value of JSON's kinds. Raises ``CarboyError`` (2) for a field that there is not."""
    known = {"$": value, **(variables or {})}
    out = []
    for node in nodes:
        if node[0] == "text":
            out.append(node[1])
        elif node[0] == "print":
            out.append(_text(_evaluate(node[1], value, known)))
        else:
            kind, names, words, body, other = node
            found = _evaluate(words, value, known)
            if not found:
                out.append(render_template(other, value, known))
            elif kind == "range":
                for key, item in _iterate(found, words):
                    own = dict(zip(names, (key, item) if len(names) == 2 else (item,), strict=False))
                    out.append(render_template(body, item, {**known, **own}))
            else:
                own = dict.fromkeys(names, found)
                out.append(render_template(body, found if kind == "with" else value, {**known, **own}))
    return "".join(out)


def _iterate(value: Any, words: Words) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    raise _wrong(f"{words[-1]} is no list")


def _evaluate(words: Words, value: Any, known: Mapping[str, Any]) -> Any:
    if "|" in words:
        last = len(words) - 1 - words[::-1].index("|")
        before, after = words[:last], words[last + 1 :]
        if not before or not after:
            raise _wrong("one side of | is empty")
        arguments = [_operand(word, value, known) for word in after[1:]]
        return _call(after[0], [*arguments, _evaluate(before, value, known)])
    first, *rest = words
    if not rest and (isinstance(first, list) or first[0] in '.$"`'):
        return _operand(first, value, known)
    return _call(first, [_operand(word, value, known) for word in rest])


def _operand(word: Any, value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(word, list):
        path, *words = word
        return _follow(_evaluate(words, value, known), path, path)
    if word[0] in '"`':
        return word[1:-1].replace('\\"', '"').replace("\\t", "\t").replace("\\n", "\n")
    if word.isascii() and word.isdigit():
        return int(word)
    name, _, path = word.partition(".")
    if name.startswith("$"):
        if name not in known:
            raise _wrong(f"there is no variable {name}")
        return _follow(known[name], path, word)
    if name:
        raise _wrong(f"{word!r} is no field; fields begin with a dot")
    return _follow(value, path, word)


def _follow(value: Any, path: str, whole: str) -> Any:
    for name in path.strip(".").split(".") if path.strip(".") else ():
        if not isinstance(value, dict) or name not in value:
            names = ", ".join(sorted(value)) if isinstance(value, dict) else ""
            hint = f"there are: {names}" if names else "`carboy inspect` without --format shows all fields"
            raise CarboyError(f"there is no field {whole}", hint=hint, code=2)
        value = value[name]
    return value


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
    "eq": lambda first, *others: first in others,
    "ne": lambda first, second: first != second,
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "print": lambda *values: "".join(map(_text, values)),
}


def _call(name: Any, arguments: list[Any]) -> Any:
    if not isinstance(name, str) or name not in _FUNCTIONS:
        raise _wrong(f"there is no function {name!r}; there are {', '.join(_FUNCTIONS)}")
    try:
        return _FUNCTIONS[name](*arguments)
    except (TypeError, AttributeError, IndexError):
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
