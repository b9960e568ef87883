"""The members of a package's data, as they pass by on their way to the extractor: names, owners, checksums. Pure.

A package's tar is passed on as it is but for what stands at its top with a dot: that is apk's own. What goes by is noted for the
database of what is installed. The extractor reads the same bytes again, and is strict; here nothing is written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.bootstrap.errors import ArchiveDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.bootstrap.streams import ChunkReader

BLOCK = 512
_ZERO = bytes(BLOCK)
_CHUNK = 256 * 1024
_EXTENSION_LIMIT = 64 * 1024
_CHECKSUM = b"APK-TOOLS.checksum.SHA1"
DIRECTORY, SYMLINK = b"5", b"2"
_REGULAR = (b"\0", b"0", b"7")
_KINDS = (*_REGULAR, b"1", SYMLINK, DIRECTORY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member: ``path`` without a slash at either end, who owns it by number and by name, and the SHA-1 of what is in it.

    For a link ``sha1`` is of where it leads, for a directory it is empty.
    """

    path: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    user: bytes
    group: bytes
    sha1: bytes = b""


@dataclass(slots=True)
class Passed:
    """What went by of one package: its members in their order, and the newest time, seconds since 1970."""

    entries: list[Entry] = field(default_factory=list)
    newest_s: int = 0


@dataclass(frozen=True, slots=True)
class _Header:
    """A member's header: ``extension`` and ``raw`` as they stand in the tar, ``pax`` what the former says."""

    raw: bytes
    extension: bytes
    pax: dict[bytes, bytes]


def iter_members(source: ChunkReader, passed: Passed, *, name: str) -> Iterator[bytes]:
    """Yield the members of a package's data tar without its end. Raises ``ArchiveDataError``, calling the package ``name``.

    A file whose content is not what its checksum says is found out at its end: whoever reads on then throws the tree away.
    """
    while (header := _read_header(source, name)) is not None:
        yield from _iter_member(source, header, passed, name)


def _read_header(source: ChunkReader, name: str) -> _Header | None:
    """Return the next member's header, None at the tar's end."""
    extension = b""
    pax: dict[bytes, bytes] = {}
    while True:
        raw = _exactly(source, BLOCK, name)
        if raw == _ZERO:
            return None
        if raw[156:157] not in {b"x", b"g"}:
            return _Header(raw, extension, pax)
        size_bytes = _number(raw[124:136], name)
        if size_bytes > _EXTENSION_LIMIT or extension:
            raise _damaged(name, "a header is too long")
        body = _exactly(source, size_bytes + -size_bytes % BLOCK, name)
        if raw[156:157] == b"x":  # the other is a comment of whoever made the tar
            extension, pax = raw + body, _parse_pax(body[:size_bytes], name)


def _iter_member(source: ChunkReader, header: _Header, passed: Passed, name: str) -> Iterator[bytes]:
    raw, pax = header.raw, header.pax
    kind = raw[156:157]
    if kind not in _KINDS:
        raise _damaged(name, f"it has a member of the kind {kind!r}")
    path = pax.get(b"path", _path(raw)).removeprefix(b"./").strip(b"/")
    size_bytes = 0
    if kind in _REGULAR:
        size_bytes = int(pax[b"size"]) if pax.get(b"size", b"").isdigit() else _number(raw[124:136], name)
    link = pax.get(b"linkpath", _text(raw[157:257]))
    # What is apk's own stands at the top with a dot: signatures, .PKGINFO, scripts. "../x" is for the extractor to refuse.
    wanted = b"/" in path or not path.startswith(b".")
    if wanted:
        yield header.extension + raw
    digest = hashlib.sha1(link if kind == SYMLINK else b"", usedforsecurity=False)
    left = size_bytes
    while left > 0:
        part = min(left, _CHUNK)
        chunk = _exactly(source, part + -part % BLOCK, name)
        digest.update(chunk[:part])
        left -= part
        if wanted:
            yield chunk
    checksum = pax.get(_CHECKSUM, b"")
    if kind in _REGULAR and checksum and checksum.decode("ascii", "replace").lower() != digest.hexdigest():
        raise _damaged(name, f"{path.decode('utf-8', 'replace')[:200]} is not what its checksum says")
    if wanted and path:
        passed.newest_s = max(passed.newest_s, _number(raw[136:148], name))
        passed.entries.append(
            Entry(
                path=path,
                kind=kind,
                mode=_number(raw[100:108], name) & 0o7777,
                uid=_number(raw[108:116], name),
                gid=_number(raw[116:124], name),
                user=_text(raw[265:297]),
                group=_text(raw[297:329]),
                sha1=b"" if kind == DIRECTORY else digest.digest(),
            )
        )


def _path(raw: bytes) -> bytes:
    prefix = _text(raw[345:500]) if raw[257:263] == b"ustar\0" else b""
    return (prefix + b"/" if prefix else b"") + _text(raw[:100])


def _parse_pax(data: bytes, name: str) -> dict[bytes, bytes]:
    """Return the records of an extended header (pax, "length key=value"). Raises ``ArchiveDataError``."""
    found: dict[bytes, bytes] = {}
    while data:
        length, _, _ = data.partition(b" ")
        size = int(length) if length.isdigit() and len(length) < 10 else 0
        record = data[len(length) + 1 : size]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or size > len(data):
            raise _damaged(name, "an extended header is wrong")
        found[key] = value[:-1]
        data = data[size:]
    return found


def _text(field_bytes: bytes) -> bytes:
    return field_bytes.partition(b"\0")[0]


def _number(field_bytes: bytes, name: str) -> int:
    text = field_bytes.strip(b" \0")
    try:
        return int(text or b"0", 8)
    except ValueError as error:
        raise _damaged(name, f"a number cannot be read: {field_bytes!r}") from error


def _exactly(source: ChunkReader, size_bytes: int, name: str) -> bytes:
    data = source.read(size_bytes)
    if len(data) < size_bytes:
        raise _damaged(name, "its data is cut off")
    return data


def _damaged(name: str, reason: str) -> ArchiveDataError:
    return ArchiveDataError(f"the package {name} is damaged", details=reason)
