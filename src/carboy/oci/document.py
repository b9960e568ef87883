"""Strict JSON: what two parsers could read differently is refused.

A manifest is signed and named by its bytes, so those are kept beside the parsed value and never written again.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from carboy.oci.errors import InvalidDocumentError

MAX_DOCUMENT_BYTES = 4 * 2**20
MAX_DEPTH = 32
T = TypeVar("T")


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in ``data``. Raises ``InvalidDocumentError``: size, UTF-8, duplicate keys, depth, not an object."""
    value = _parse(data, what)
    if not isinstance(value, dict):
        raise InvalidDocumentError(f"the {what} is not a JSON object")
    return value


def parse_json_array(data: bytes, what: str) -> list[dict[str, Any]]:
    """Return the JSON array of objects in ``data``. Raises ``InvalidDocumentError`` as :func:`parse_json` does."""
    value = _parse(data, what)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidDocumentError(f"the {what} is not a JSON array of objects")
    return value


def _parse(data: bytes, what: str) -> Any:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidDocumentError(f"the {what} is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidDocumentError(f"the {what} is not valid JSON", details=str(error)[:200]) from error
    _check_depth(value, what)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object names a key twice")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _check_depth(value: object, what: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            v
            for item in level
            for v in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
        if not level:
            return
    raise InvalidDocumentError(f"the {what} is nested more than {MAX_DEPTH} levels deep")


def convert(value: dict[str, Any], kind: type[T], what: str) -> T:
    """Return ``value`` as a Struct. Raises ``InvalidDocumentError`` that says which field is wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidDocumentError(f"the {what} breaks its specification", details=str(error)) from error


def encode(value: object) -> bytes:
    """Return canonical JSON: sorted keys, no blanks, nothing that is at its default; the same value, the same bytes."""
    built = msgspec.to_builtins(value)
    return json.dumps(built, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
