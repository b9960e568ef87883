"""The segments of apk's files: gzip streams one after another, each a tar (apk-package(5), apk-index(5))."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from carboy.bootstrap.errors import ArchiveDataError
from carboy.layers.errors import LayerError
from carboy.layers.limits import Limits
from carboy.layers.tarread import REGULAR, TarReader

if TYPE_CHECKING:
    from collections.abc import Callable

_INPUT_CHUNK = 64 * 1024
_GZIP = 31
_TAR_LIMITS = Limits(members=1000, header_bytes=64 * 1024)
SIGNATURE_LIMIT = 256 * 1024
CONTROL_LIMIT = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Segment:
    """One gzip stream: its content, and where it stands in the file, in bytes."""

    data: bytes
    start: int
    end: int


def read_segment(read: Callable[[int, int], bytes], start: int, *, limit: int, name: str) -> Segment:
    """Return the gzip stream that begins at ``start``; ``read`` returns what is at an offset, up to a size.

    Raises ``ArchiveDataError``, calling the file ``name``, for damage and for what unpacks to more than ``limit`` bytes.
    """
    decoder = zlib.decompressobj(_GZIP)
    data = bytearray()
    position = start
    while not decoder.eof:
        chunk = read(position, _INPUT_CHUNK)
        if not chunk:
            raise _damaged(name, "it is cut off")
        try:
            data += decoder.decompress(chunk, limit + 1 - len(data))
        except zlib.error as error:
            raise _damaged(name, str(error)) from error
        if len(data) > limit:
            raise _damaged(name, f"a part of it unpacks to more than {limit} bytes")
        position += len(chunk) - len(decoder.unused_data) - len(decoder.unconsumed_tail)
    return Segment(bytes(data), start, position)


def read_files(segment: Segment, *, name: str) -> dict[str, bytes]:
    """Return the regular files of a segment's tar by name. Raises ``ArchiveDataError``."""
    reader = TarReader(io.BytesIO(segment.data), limits=_TAR_LIMITS)
    found: dict[str, bytes] = {}
    try:
        for member in reader:
            if member.kind != REGULAR:
                continue
            parts = []
            while piece := reader.read_data(member.size):
                parts.append(bytes(piece))
            path = member.name.decode("utf-8", "replace")
            if path in found:
                raise _damaged(name, f"it has two files {path[:100]}")
            found[path] = b"".join(parts)
    except LayerError as error:
        raise _damaged(name, error.brief) from error
    return found


@dataclass(frozen=True, slots=True)
class Control:
    """A package's head: its control files by name, their segment's SHA-1, and where the data begins in the file."""

    files: dict[str, bytes]
    sha1: str
    data_start: int

    @property
    def info(self) -> dict[str, list[str]]:
        """The values of .PKGINFO by key, in their order."""
        values: dict[str, list[str]] = {}
        for line in self.files[".PKGINFO"].decode("utf-8", "replace").splitlines():
            key, equals, value = line.partition(" = ")
            if equals and not line.startswith("#"):
                values.setdefault(key.strip(), []).append(value.strip())
        return values


def read_control(file: IO[bytes], *, name: str) -> Control:
    """Return the head of a package's file. Raises ``ArchiveDataError``."""

    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    position = 0
    for _ in range(2):
        segment = read_segment(read, position, limit=CONTROL_LIMIT, name=name)
        files = read_files(segment, name=name)
        if ".PKGINFO" in files:
            sha1 = hashlib.sha1(_read_all(read, segment), usedforsecurity=False).hexdigest()
            return Control(files=files, sha1=sha1, data_start=segment.end)
        if not all(path.startswith(".SIGN.") for path in files):
            break
        position = segment.end  # the package's own signature: what the index says of it is signed, too
    raise _damaged(name, "it has no .PKGINFO")


def identify(file: IO[bytes]) -> str:
    """Return what an index names a package's file by, "sha1-" and its control segment's hash, once all of it belongs together.

    The control segment has the SHA-256 of the data. A file in which they do not fit has no name: "" is returned.
    """
    try:
        control = read_control(file, name="the package")
        info = control.info
    except ArchiveDataError:
        return ""
    file.seek(control.data_start)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return f"sha1-{control.sha1}" if info.get("datahash") == [digest] else ""


def _read_all(read: Callable[[int, int], bytes], segment: Segment) -> bytes:
    return read(segment.start, segment.end - segment.start)


def _damaged(name: str, reason: str) -> ArchiveDataError:
    return ArchiveDataError(f"{name} is damaged", details=reason)
