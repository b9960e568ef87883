"""The name that somebody may have meant. Source: moby/buildkit, util/suggest."""

from __future__ import annotations

from collections.abc import Iterable

# A name that needs this many changes is another one.
_TOO_FAR = 3


def find_nearest(word: str, names: Iterable[str]) -> str:
    """Return the name nearest to ``word``, "" when none is near."""
    best, nearest = _TOO_FAR, ""
    for name in names:
        if abs(len(name) - len(word)) < best and (distance := _distance(word, name)) < best:
            best, nearest = distance, name
    return nearest


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return " (did you mean X?)" for the nearest name, "" when none is near."""
    nearest = find_nearest(word, names)
    return f" (did you mean {nearest}?)" if nearest else ""


def _distance(one: str, other: str) -> int:
    """Return how many characters must be put in, left out or changed (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
