"""What the values of this room are: frozen, compared by their fields, made by keyword.

``dataclasses`` would do the same. It writes and compiles code for every class, which for the fifty of this room takes longer than
to read a Dockerfile: 40 ms of each start. Type checkers see a frozen dataclass.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform

_Some = TypeVar("_Some", bound="Value")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A frozen record; its fields are those that its class and the classes above annotate, defaults their values there."""

    _fields: ClassVar[tuple[str, ...]] = ()
    _required: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own = [name for name in cls.__annotations__ if not name.startswith("__")]
        cls._fields = (*cls._fields, *(name for name in own if name not in cls._fields))
        cls._required = frozenset(name for name in cls._fields if not hasattr(cls, name))

    def __init__(self, **values: Any) -> None:
        if self._required - values.keys() or values.keys() - set(self._fields):
            wrong = sorted(self._required - values.keys()) or sorted(values.keys() - set(self._fields))
            raise TypeError(f"{type(self).__name__} is made with {', '.join(self._fields)}: {', '.join(wrong)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and _items(self) == _items(other)

    def __hash__(self) -> int:
        return hash(tuple(_items(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _items(self).items())})"


def replace(value: _Some, **changes: object) -> _Some:
    """Return ``value`` with some of its fields changed."""
    return type(value)(**{**vars(value), **changes})


def _items(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value._fields}
