"""Debian package files: an ar archive of two compressed tars (deb(5))."""

from __future__ import annotations

import io
import re
from typing import IO, TYPE_CHECKING

from carboy.bootstrap.errors import ArchiveDataError
from carboy.bootstrap.streams import iter_decompressed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_HEADER = re.compile(rb"(?P<name>[!-~]{1,16}) *\Z")


class DebFile:
    """One package file, opened for reading; ``members`` maps a member's name to (offset, size)."""

    def __init__(self, path: str, *, name: str) -> None:
        """Open ``path``; ``name`` is how messages call it. Raises ``ArchiveDataError`` if it is no package."""
        self.name = name
        self._file = open(path, "rb")  # noqa: SIM115  closed by close()
        try:
            self.members = self._read_members()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> DebFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def open_tar(self, kind: str) -> Iterator[bytes]:
        """Yield the content of the tar ``kind`` ("control" or "data"), decompressed, in chunks."""
        for member, (offset, size_bytes) in self.members.items():
            stem, _, ending = member.partition(".tar")
            if stem == kind:
                raw = _Slice(self._file, offset, size_bytes)
                try:
                    yield from iter_decompressed(raw, ending)
                except (EOFError, OSError, ValueError, ArithmeticError) as error:
                    raise self._damaged(f"{member}: {error}") from error
                except Exception as error:
                    if type(error).__module__.partition(".")[0] in {
                        "_lzma",
                        "lzma",
                        "zstandard",
                        "zstd",
                        "isal",
                        "zlib",
                    }:
                        raise self._damaged(f"{member}: {error}") from error
                    raise
                return
        raise self._damaged(f"it has no {kind}.tar")

    def _read_members(self) -> dict[str, tuple[int, int]]:
        file = self._file
        if file.read(8) != b"!<arch>\n":
            raise self._damaged("it is not an ar archive")
        members: dict[str, tuple[int, int]] = {}
        while header := file.read(60):
            found = _HEADER.match(header[:16])
            if len(header) != 60 or header[58:] != b"`\n" or found is None or not header[48:58].strip().isdigit():
                raise self._damaged("an ar header is wrong")
            name = found["name"].rstrip(b"/").decode()
            size_bytes = int(header[48:58])
            if name in members:
                raise self._damaged(f"it has two members {name}")
            members[name] = (file.tell(), size_bytes)
            file.seek(size_bytes + size_bytes % 2, io.SEEK_CUR)
        offset, size_bytes = members.get("debian-binary", (0, 0))
        file.seek(offset)
        if not size_bytes or file.read(size_bytes)[:2] != b"2.":
            raise self._damaged("it is not a package of format 2")
        return members

    def _damaged(self, reason: str) -> ArchiveDataError:
        return ArchiveDataError(f"the package file of {self.name} is damaged", details=reason)


class _Slice:
    """Part of a file, as a stream. Two slices of one file may be read in turns, but not at once."""

    def __init__(self, file: IO[bytes], offset: int, size_bytes: int) -> None:
        self._file = file
        self._position = offset
        self._left = size_bytes

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        size = self._left if size < 0 else min(size, self._left)
        if not size:
            return b""
        self._file.seek(self._position)
        data = self._file.read(size)
        if not data:
            raise EOFError("it is cut off")
        self._position += len(data)
        self._left -= len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as there is something, which the decoder of gzip asks for."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
