"""Frozen values that are written to disk as JSON, for the path of a start: no ``dataclasses``, no ``json``.

Importing either costs more than making a sandbox's namespaces does (ADR 6). Reading a record back is not on that path and
uses ``json``.
"""

from __future__ import annotations

from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):  # noqa: D103  typing's, for the type checker only
        return lambda value: value


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """A frozen value whose fields are the annotations of its class; a field without a default must be given.

    Fields hold None, booleans, numbers, texts, and tuples of these. Raises ``TypeError`` for a field that is unknown
    or missing.
    """

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    if not TYPE_CHECKING:

        def __init__(self, **fields: object) -> None:
            values = self.__dict__
            for name in self._fields:
                if name in fields:
                    values[name] = fields.pop(name)
                elif not hasattr(type(self), name):
                    raise TypeError(f"{type(self).__name__} needs {name}")
            if fields:
                raise TypeError(f"{type(self).__name__} has no {', '.join(fields)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.fields().items())})"

    def fields(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self._fields}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{**self.fields(), **changes})

    def encode(self) -> str:
        """Return the record as one JSON object."""
        return encode_json(self.fields())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the record of a JSON object; fields that this version does not know are left out."""
        return cls(**{name: _freeze(item) for name, item in value.items() if name in cls._fields})


def encode_json(value: object) -> str:
    """Return the JSON text of None, booleans, numbers, texts, tuples, lists and dicts with text keys."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(encode_json(item) for item in value)}]"
    if isinstance(value, dict):
        items = (f"{encode_basestring_ascii(name)}: {encode_json(item)}" for name, item in value.items())
        return f"{{{', '.join(items)}}}"
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value
