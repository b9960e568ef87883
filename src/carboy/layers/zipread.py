"""Where the members of a zip lie in its file: for packages that are zips of compressed tars, each stored as it is.

Source: PKWARE APPNOTE.TXT 4.3. Only stored members of archives below 4 GiB are read; everything else is refused.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from carboy.layers.errors import LayerError

_END = struct.Struct("<4s4H2IH")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_COMMENT = 2**16
_MAX_MEMBERS = 64
_MAX_DIRECTORY_BYTES = 2**20


class Section:
    """A part of a file as a stream of its own, by positions, so that several can be read at once."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = fd
        self._at = start
        self._end = start + size

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        left = self._end - self._at
        data = os.pread(self._fd, left if size < 0 else min(size, left), self._at)
        self._at += len(data)
        return data


def read_members(file: BinaryIO) -> dict[str, Section]:
    """Return the members of an open zip by name. Raises ``LayerError`` for what is no such zip."""
    size = os.fstat(file.fileno()).st_size
    tail_at = max(0, size - _END.size - _MAX_COMMENT)
    tail = os.pread(file.fileno(), size - tail_at, tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise LayerError("the package is no zip archive, or was cut off", hint="fetch it again")
    _, _, _, _, count, length, start, _ = _END.unpack_from(tail, at)
    if count > _MAX_MEMBERS or length > _MAX_DIRECTORY_BYTES or start + length > size:
        raise LayerError("the package's zip archive has a directory that is not its own")
    directory = os.pread(file.fileno(), length, start)
    found: dict[str, Section] = {}
    position = 0
    for _ in range(count):
        if len(directory) - position < _CENTRAL.size:
            raise LayerError("the package's zip archive has a damaged directory")
        fields = _CENTRAL.unpack_from(directory, position)
        name_length, extra, comment, offset = fields[10], fields[11], fields[12], fields[16]
        name = directory[position + _CENTRAL.size :][:name_length].decode("utf-8", "replace")
        position += _CENTRAL.size + name_length + extra + comment
        if fields[0] != b"PK\x01\x02" or fields[4] != 0 or fields[3] & 1 or fields[8] != fields[9]:
            raise LayerError(f"the package's zip archive has {name[:80]!r} in a form that is not read")
        if name in found:
            raise LayerError(f"the package's zip archive has {name[:80]!r} twice")
        found[name] = _locate(file.fileno(), offset, fields[9], size)
    return found


def _locate(fd: int, offset: int, length: int, size: int) -> Section:
    header = os.pread(fd, _LOCAL.size, offset)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise LayerError("the package's zip archive has a damaged directory")
    fields = _LOCAL.unpack(header)
    start = offset + _LOCAL.size + fields[9] + fields[10]
    if start + length > size:
        raise LayerError("the package's zip archive was cut off", hint="fetch it again")
    return Section(fd, start, length)
