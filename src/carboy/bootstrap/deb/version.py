"""Debian version numbers: their order. Pure (deb-version(7))."""

from __future__ import annotations

import re
from functools import lru_cache

_PART = re.compile(r"(\D*)(\d*)")

VersionKey = tuple[object, ...]


def _order(character: str) -> int:
    """Letters sort before everything else, and a tilde before even the end (which is 0)."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


@lru_cache(maxsize=4096)
def version_key(version: str) -> VersionKey:
    """Return a value that sorts as ``version`` does among Debian versions."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return (int(epoch) if epoch.isdigit() else 0, _key(upstream), _key(revision))


def _key(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    return tuple(
        ((*(_order(character) for character in letters), 0), int(digits or 0))
        for letters, digits in _PART.findall(text)
    )


def is_satisfied(version: str, relation: str, wanted: str) -> bool:
    """Return whether ``version`` stands in ``relation`` ("<<", "<=", "=", ">=", ">>", or "" for any) to ``wanted``."""
    if not relation:
        return True
    have, want = version_key(version), version_key(wanted)
    match relation:
        case "<<":
            return have < want
        case "<=" | "<":
            return have <= want
        case "=":
            return have == want
        case ">=" | ">":
            return have >= want
        case ">>":
            return have > want
    raise ValueError(relation)
