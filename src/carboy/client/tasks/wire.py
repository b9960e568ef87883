"""What travels between a task's caller and its container. Nothing that is read can run code: there is no pickle here.

A *frame* is a length (4 bytes, big endian), that many bytes of JSON, and the blobs that the JSON counts, one after the
other: ``{"kind": ..., "value": ..., "blobs": [sizes]}``. A value is JSON, where an object with the one key ``"$"`` stands for
what JSON has not:

=================================  ======================================================================
``{"$": ["tuple", [...]]}``        a tuple; likewise ``set``, ``frozenset``
``{"$": ["dict", [[k, v], ...]]}`` a dict whose keys are not all texts, or that has the key ``$``
``{"$": ["bytes", n]}``            bytes: the blob number n
``{"$": ["complex", [re, im]]}``   a complex number; likewise ``float`` for nan and infinities
``{"$": ["datetime", text]}``      ISO 8601; likewise ``date``, ``timedelta`` (seconds), ``decimal``, ``uuid``
``{"$": ["path", [name, n]]}``     a file: its last name, and its content as a blob
``{"$": ["array", n]}``            a NumPy array or number as ``.npy``, without objects
``{"$": ["frame", [...]]}``        a pandas data frame: [[column, values], ...] and its index
``{"$": ["series", [...]]}``       a pandas series: name, values, index
=================================  ======================================================================

This module is sent into the container as it is: the standard library only, and Python 3.8 or newer.
"""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math
import os
import struct
import uuid

MAX_HEADER_BYTES = 256 * 2**20
MAX_BLOB_BYTES = 16 * 2**30
MAX_DEPTH = 100


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Callable


class WireError(ValueError):
    """A value that cannot travel, or bytes that are no frame."""


def encode(value: Any, blobs: list[bytes], depth: int = 0) -> Any:
    """Return ``value`` as JSON values; what is bytes is appended to ``blobs``. Raises ``WireError``."""
    if depth > MAX_DEPTH:
        raise WireError("the value is nested more than %d deep, or holds itself" % MAX_DEPTH)
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$": ["float", repr(value)]}
    if type(value) is list:
        return [encode(item, blobs, depth + 1) for item in value]
    if type(value) is dict:
        if all(type(key) is str for key in value) and "$" not in value:
            return {key: encode(item, blobs, depth + 1) for key, item in value.items()}
        pairs = [[encode(k, blobs, depth + 1), encode(v, blobs, depth + 1)] for k, v in value.items()]
        return {"$": ["dict", pairs]}
    return {"$": _encode_special(value, blobs, depth)}


def _encode_special(value: Any, blobs: list[bytes], depth: int) -> list[Any]:  # noqa: PLR0911  a table of types
    for kind in (tuple, set, frozenset):
        if type(value) is kind:
            return [kind.__name__, [encode(item, blobs, depth + 1) for item in value]]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ["bytes", _blob(bytes(value), blobs)]
    if type(value) is complex:
        return ["complex", [encode(value.real, blobs), encode(value.imag, blobs)]]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return [type(value).__name__, value.isoformat()]
    if isinstance(value, datetime.timedelta):
        return ["timedelta", value.total_seconds()]
    if isinstance(value, decimal.Decimal):
        return ["decimal", str(value)]
    if isinstance(value, uuid.UUID):
        return ["uuid", str(value)]
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        with open(path, "rb") as file:
            return ["path", [os.path.basename(os.path.normpath(path)), _blob(file.read(), blobs)]]
    return _encode_foreign(value, blobs, depth)


def _encode_foreign(value: Any, blobs: list[bytes], depth: int) -> list[Any]:
    """NumPy and pandas, known by the names of their types, so that neither is imported for nothing."""
    room = type(value).__module__.partition(".")[0]
    if room == "numpy":
        import numpy

        array = numpy.asarray(value)
        if array.dtype.hasobject:
            raise WireError("a NumPy array of objects cannot travel; turn it into a list")
        file = io.BytesIO()
        numpy.save(file, array, allow_pickle=False)
        return ["array", [_blob(file.getvalue(), blobs), not isinstance(value, numpy.ndarray)]]
    if room == "pandas":
        name = type(value).__name__
        if name == "DataFrame":
            columns = [[encode(c, blobs, depth + 1), _values(value[c], blobs, depth)] for c in value.columns]
            return ["frame", [columns, _values(value.index, blobs, depth)]]
        if name == "Series":
            return [
                "series",
                [encode(value.name, blobs), _values(value, blobs, depth), _values(value.index, blobs, depth)],
            ]
        if name == "Timestamp":
            return ["datetime", value.isoformat()]
    raise WireError("a value of type %s.%s cannot travel" % (type(value).__module__, type(value).__qualname__))


def _values(column: Any, blobs: list[bytes], depth: int) -> Any:
    array = column.to_numpy()
    return encode(array.tolist() if array.dtype.hasobject else array, blobs, depth + 1)


def _blob(data: bytes, blobs: list[bytes]) -> int:
    blobs.append(data)
    return len(blobs) - 1


def decode(value: Any, blobs: list[bytes], folder: str) -> Any:
    """Return the value that :func:`encode` made; files are written into ``folder``. Raises ``WireError``."""
    if isinstance(value, list):
        return [decode(item, blobs, folder) for item in value]
    if not isinstance(value, dict):
        return value
    if list(value) != ["$"]:
        return {key: decode(item, blobs, folder) for key, item in value.items()}
    try:
        kind, content = value["$"]
        return _SIMPLE[kind](content) if kind in _SIMPLE else _NESTED[kind](content, blobs, folder)
    except WireError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
        raise WireError("a value came that is of no known form: %s" % error) from error


def _items(content: list[Any], blobs: list[bytes], folder: str) -> list[Any]:
    return [decode(item, blobs, folder) for item in content]


def _decode_dict(content: list[Any], blobs: list[bytes], folder: str) -> dict[Any, Any]:
    return {decode(k, blobs, folder): decode(v, blobs, folder) for k, v in content}


def _decode_path(content: list[Any], blobs: list[bytes], folder: str) -> Any:
    import pathlib

    name, number = content
    # A name is all that is taken from the other end: never where to.
    name = os.path.basename(str(name).replace("\0", "")) or "file"
    if name in (".", ".."):
        name = "file"
    path = pathlib.Path(folder) / name
    for count in range(1, 10000):
        try:
            with open(str(path), "xb") as file:
                file.write(blobs[number])
            return path
        except FileExistsError:
            path = pathlib.Path(folder) / ("%d-%s" % (count, name))
    raise WireError("too many files of the name %s" % name)


def _decode_array(content: list[Any], blobs: list[bytes], _: str) -> Any:
    import numpy

    number, scalar = content
    array = numpy.load(io.BytesIO(blobs[number]), allow_pickle=False)
    return array[()] if scalar else array


def _decode_frame(content: list[Any], blobs: list[bytes], folder: str) -> Any:
    import pandas

    columns, index = content
    names = [decode(name, blobs, folder) for name, _ in columns]
    data = {n: decode(values, blobs, folder) for n, (_, values) in enumerate(columns)}
    frame = pandas.DataFrame(data, index=decode(index, blobs, folder))
    frame.columns = names
    return frame


def _decode_series(content: list[Any], blobs: list[bytes], folder: str) -> Any:
    import pandas

    name, values, index = (decode(item, blobs, folder) for item in content)
    return pandas.Series(values, index=index, name=name)


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda seconds: datetime.timedelta(seconds=seconds),
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
}
_NESTED: dict[str, Callable[[Any, list[bytes], str], Any]] = {
    "tuple": lambda *content: tuple(_items(*content)),
    "set": lambda *content: set(_items(*content)),
    "frozenset": lambda *content: frozenset(_items(*content)),
    "complex": lambda *content: complex(*_items(*content)),
    "bytes": lambda number, blobs, _: blobs[number],
    "dict": _decode_dict,
    "path": _decode_path,
    "array": _decode_array,
    "frame": _decode_frame,
    "series": _decode_series,
}


def write_frame(file: IO[bytes], kind: str, value: Any) -> None:
    """Write one frame and flush. Raises ``WireError`` for a value that cannot travel; nothing is written then."""
    blobs: list[bytes] = []
    content = encode(value, blobs)
    header = json.dumps({"kind": kind, "value": content, "blobs": [len(blob) for blob in blobs]}).encode()
    file.write(struct.pack(">I", len(header)) + header)
    for blob in blobs:
        file.write(blob)
    file.flush()


def read_frame(file: IO[bytes], folder: str) -> tuple[str, Any] | None:
    """Return (kind, value) of the next frame, None at the end; files are written into ``folder``. Raises ``WireError``."""
    first = file.read(1)
    if not first:
        return None
    start = first + _read(file, 3)
    (size,) = struct.unpack(">I", start)
    if size > MAX_HEADER_BYTES:
        raise WireError("a frame of %d bytes is too long" % size)
    try:
        header = json.loads(_read(file, size))
        sizes = header["blobs"]
        if not all(type(n) is int and n >= 0 for n in sizes) or sum(sizes) > MAX_BLOB_BYTES:
            raise WireError("the frame's blobs are too long")
        blobs = [_read(file, n) for n in sizes]
        return header["kind"], decode(header["value"], blobs, folder)
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise WireError("what came is no frame: %s" % error) from error


def _read(file: IO[bytes], size: int) -> bytes:
    parts: list[bytes] = []
    left = size
    while left:
        data = file.read(min(left, 1 << 20))
        if not data:
            raise WireError("the other end is gone in the middle of a frame")
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
