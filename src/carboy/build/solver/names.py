"""Patterns of tags in the table of bases: "{a,b}" is one of several, "*" is anything. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from carboy.errors import CarboyError

_MOST = 256


def check_pattern(pattern: str, place: str) -> None:
    """Raise ``CarboyError`` (125), naming ``place``, for a pattern that is none, or that stands for too many tags."""
    depth, count = 0, 1
    for group in pattern.split("{")[1:]:
        count *= group.partition("}")[0].count(",") + 1
    for character in pattern:
        depth += (character == "{") - (character == "}")
        if depth not in {0, 1}:
            break
    if depth or not pattern or count > _MOST or "[" in pattern or "?" in pattern:
        raise CarboyError(
            f"{place}: not a pattern of tags",
            hint='write tags as "3.11{,-slim}" or "3.*"; braces do not nest',
            code=125,
        )


def expand_pattern(pattern: str) -> list[str]:
    """Return what a checked pattern stands for, in its order, with each "*" as it is written."""
    before, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    choices, _, after = rest.partition("}")
    return [f"{before}{choice}{end}" for choice in choices.split(",") for end in expand_pattern(after)]


def fits(tag: str, pattern: str) -> bool:
    """Return whether a tag is one of those that a checked pattern stands for."""
    return any(tag == one or ("*" in one and fnmatchcase(tag, one)) for one in expand_pattern(pattern))
