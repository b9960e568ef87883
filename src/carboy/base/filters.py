"""``--filter KEY=VALUE`` of everything that is listed, as Docker has it: one of the values of each key, and all labels. Pure."""

from __future__ import annotations

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    Item = TypeVar("Item")

# Keys of which every value must hold; "label!" is Docker's word for those that do not have it.
_ALL = frozenset({"label", "label!"})


def parse_filters(texts: Sequence[str], tests: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the values of each key. Raises ``CarboyError`` (2) for a key of which there is no test."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        if not has_value or key not in tests:
            raise CarboyError(f"there is no filter {text!r}", hint=f"use NAME=VALUE with {', '.join(tests)}", code=2)
        wanted.setdefault(key, []).append(value)
    return wanted


def passes(item: Item, wanted: Mapping[str, Sequence[str]], tests: Mapping[str, Callable[[Item, str], bool]]) -> bool:
    """Return whether an item passes what :func:`parse_filters` has read."""
    return all(
        (all if key in _ALL else any)(tests[key](item, value) for value in values) for key, values in wanted.items()
    )


def has_label(labels: Iterable[tuple[str, str]], wanted: str) -> bool:
    """Return whether there is the label that NAME, or NAME=VALUE, asks for."""
    name, has_value, text = wanted.partition("=")
    return any(name == key and (not has_value or text == value) for key, value in labels)
