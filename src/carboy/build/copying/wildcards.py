"""Go's path patterns, one component at a time: ``*``, ``?``, ``[a-z]``, ``[^a]`` and escapes. Pure.

Source: the documentation of Go's path/filepath.Match.
"""

from __future__ import annotations

import re

from carboy.errors import CarboyError

ANY_DEPTH = "**"


def has_wildcards(text: str) -> bool:
    """Return whether something in ``text`` stands for other characters."""
    return any(character in text for character in "*?[\\")


def compile_component(pattern: str) -> re.Pattern[str]:
    """Return what matches one name. Raises ``CarboyError`` for a pattern that is not closed."""
    regex, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            regex += "[^/]*"
        elif character == "?":
            regex += "[^/]"
        elif character == "[":
            own, at = _compile_class(pattern, at)
            regex += own
        elif character == "\\":
            regex += re.escape(_take(pattern, at))
            at += 1
        else:
            regex += re.escape(character)
    return re.compile(regex, re.DOTALL)


def _compile_class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while _take(pattern, at) != "]" or not ranges:
        low, at = _take_bound(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _take_bound(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # Go: an empty range, which nothing is in
    content = "".join(ranges)
    if not content:
        return ("[^/]" if negated else "(?!)"), at + 1
    return f"(?!/)[{'^' if negated else ''}{content}]", at + 1


def _take_bound(pattern: str, at: int) -> tuple[str, int]:
    character = _take(pattern, at)
    if character in "-]":
        raise _bad(pattern)
    if character == "\\":
        return _take(pattern, at + 1), at + 2
    return character, at + 1


def _take(pattern: str, at: int) -> str:
    if at >= len(pattern):
        raise _bad(pattern)
    return pattern[at]


def _bad(pattern: str) -> CarboyError:
    return CarboyError(
        f"{pattern!r} is not a pattern of names", hint="a [ needs its ]; a [ that means itself is written [[]"
    )
