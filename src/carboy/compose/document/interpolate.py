"""Variables in values, with the shell's operators as Compose has them: pure.

``$VAR ${VAR} ${VAR:-default} ${VAR-default} ${VAR:?message} ${VAR?message} ${VAR:+other} ${VAR+other} $$``, nested in any of the
words. A word is looked at only when it is used. Source: Compose specification, "Interpolation".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from carboy.compose.document.nodes import List, Map, Node, Scalar, issue_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.compose.errors import Report

MAX_DEPTH = 20
# One value may not grow beyond this by what its variables hold.
MAX_LENGTH = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OPERATOR = re.compile(r":?[-?+]")


class TemplateError(ValueError):
    """A text whose variables cannot be replaced; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One ``${name operator word}``; without an operator, ``word`` is empty."""

    name: str
    operator: str = ""
    word: tuple[str | Reference, ...] = ()


Template = tuple["str | Reference", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A text with its variables replaced, and the names of those that were not set and had no default."""

    text: str
    unset: tuple[str, ...] = field(default=())


def parse_template(text: str, *, lenient: bool = False) -> Template:
    """Return the parts of ``text``. Raises ``TemplateError`` for a ``$`` that starts nothing, unless ``lenient`` keeps it."""
    parts, end = _parse(text, 0, depth=0, lenient=lenient)
    if end != len(text):
        raise AssertionError(text)
    return parts


def _parse(text: str, start: int, *, depth: int, lenient: bool) -> tuple[Template, int]:
    """Parse up to the end, or inside braces (``depth`` above 0) up to the one that closes them."""
    if depth > MAX_DEPTH:
        raise TemplateError(f"variables are nested deeper than {MAX_DEPTH} levels")
    parts: list[str | Reference] = []
    at = start
    while at < len(text):
        stop = _find_special(text, at, inside=depth > 0)
        if stop > at:
            parts.append(text[at:stop])
        if stop == len(text) or text[stop] == "}":
            return tuple(parts), stop
        part, at = _parse_dollar(text, stop, depth=depth, lenient=lenient)
        parts.append(part)
    return tuple(parts), at


def _find_special(text: str, at: int, *, inside: bool) -> int:
    dollar = text.find("$", at)
    dollar = len(text) if dollar < 0 else dollar
    brace = text.find("}", at, dollar) if inside else -1
    return dollar if brace < 0 else brace


def _parse_dollar(text: str, at: int, *, depth: int, lenient: bool) -> tuple[str | Reference, int]:
    if text.startswith("$$", at):
        return "$", at + 2
    if match := _NAME.match(text, at + 1):
        return Reference(name=match.group()), match.end()
    braced = _NAME.match(text, at + 2) if text.startswith("${", at) else None
    if not braced:
        if lenient:
            return "$", at + 1
        raise TemplateError(f"{_excerpt(text, at)} is not a variable: write $$ for a dollar sign")
    if text.startswith("}", braced.end()):
        return Reference(name=braced.group()), braced.end() + 1
    operator = _OPERATOR.match(text, braced.end())
    if not operator:
        what = "is not closed" if braced.end() == len(text) else "has an operator that Compose does not know"
        raise TemplateError(f"{_excerpt(text, at)} {what}: it knows :- - :? ? :+ +")
    word, end = _parse(text, operator.end(), depth=depth + 1, lenient=lenient)
    if end == len(text):
        raise TemplateError(f"{_excerpt(text, at)} is not closed")
    return Reference(name=braced.group(), operator=operator.group(), word=word), end + 1


def _excerpt(text: str, at: int) -> str:
    piece = text[at : at + 24]
    return piece if at + 24 >= len(text) else piece + "..."


def expand_template(template: Template, variables: Mapping[str, str]) -> Expansion:
    """Return the text of a template. Raises ``TemplateError`` for a required variable that is missing."""
    unset: list[str] = []
    text = _expand(template, variables, unset)
    return Expansion(text=text, unset=tuple(dict.fromkeys(unset)))


def _expand(template: Template, variables: Mapping[str, str], unset: list[str]) -> str:
    pieces, length = [], 0
    for part in template:
        piece = part if isinstance(part, str) else _expand_reference(part, variables, unset)
        pieces.append(piece)
        length += len(piece)
        if length > MAX_LENGTH:
            raise TemplateError("the text becomes too long")
    return "".join(pieces)


def _expand_reference(reference: Reference, variables: Mapping[str, str], unset: list[str]) -> str:
    value = variables.get(reference.name)
    operator = reference.operator
    if not operator:
        if value is None:
            unset.append(reference.name)
        return value or ""
    present = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return _expand(reference.word, variables, unset) if present else ""
    if present:
        return value or ""
    word = _expand(reference.word, variables, unset)
    if operator.endswith("?"):
        why = "is empty" if value is not None else "is not set"
        raise TemplateError(f"the required variable {reference.name} {why}" + (f": {word}" if word else ""))
    return word


def interpolate(text: str, variables: Mapping[str, str], *, lenient: bool = False) -> Expansion:
    """Return ``text`` with its variables replaced. Raises ``TemplateError``."""
    if "$" not in text:
        return Expansion(text=text)
    return expand_template(parse_template(text, lenient=lenient), variables)


def interpolate_tree(node: Node, variables: Mapping[str, str], report: Report, *, path: str = "") -> Node:
    """Return the tree with variables replaced in all values, keys left alone; errors and unset names go to ``report``."""
    if isinstance(node, Map):
        entries = {
            key: interpolate_tree(value, variables, report, path=f"{path}.{key}" if path else key)
            for key, value in node.entries.items()
        }
        return replace(node, entries=entries)
    if isinstance(node, List):
        items = (
            interpolate_tree(item, variables, report, path=f"{path}[{index}]") for index, item in enumerate(node.items)
        )
        return replace(node, items=tuple(items))
    if not isinstance(node.value, str) or "$" not in node.value:
        return node
    return _interpolate_scalar(node, variables, report, path)


def _interpolate_scalar(node: Scalar, variables: Mapping[str, str], report: Report, path: str) -> Scalar:
    text = str(node.value)
    try:
        expansion = interpolate(text, variables)
    except TemplateError as error:
        report.error(issue_at(node, path, str(error)))
        return node
    for name in expansion.unset:
        report.warn(issue_at(node, path, f"the variable {name} is not set: an empty text stands in for it"))
    return replace(node, value=expansion.text)
