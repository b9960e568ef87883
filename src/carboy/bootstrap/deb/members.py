"""The members of a package's tar, as they pass by: names, owners, times; and the move into a merged /usr. Pure.

Debian's packages are GNU tars (deb(5)). Members are passed on as they are but for those below /bin, /sbin and /lib*,
which move below /usr: a base has these as links, and a directory must not replace a link. Nothing is written here:
what comes out is a tar stream for the one extractor.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from carboy.bootstrap.errors import ArchiveDataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from carboy.bootstrap.streams import ChunkReader

BLOCK = 512
MERGED = (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32")
_PASS_CHUNK = 256 * 1024
_NAME_LIMIT = 16 * 1024
_ZERO = bytes(BLOCK)


class Passed:
    """What went by of one package: ``names`` as its file list has them, the newest time, hashes of chosen files."""

    __slots__ = ("digests", "names", "newest_s")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.newest_s = 0
        self.digests: dict[bytes, str] = {}


class Header:
    """One member's header: ``raw`` as it stands in the tar, its full names, ``is_long`` when these came before it."""

    __slots__ = ("is_long", "kind", "link", "mtime_s", "name", "raw", "size_bytes")

    def __init__(self, raw: bytes, long_name: bytes | None, long_link: bytes | None) -> None:
        self.raw = raw
        self.kind = raw[156:157]
        self.name = raw[:100].rstrip(b"\0") if long_name is None else long_name
        self.link = raw[157:257].rstrip(b"\0") if long_link is None else long_link
        self.is_long = long_name is not None or long_link is not None
        self.size_bytes = _parse_number(raw[124:136]) if self.kind in b"\x000LK" else 0
        self.mtime_s = _parse_number(raw[136:148])


def read_header(source: ChunkReader) -> Header | None:
    """Return the next member's header, None at the tar's end. Raises ``ArchiveDataError``."""
    long_name = long_link = None
    while True:
        raw = source.read(BLOCK)
        if len(raw) < BLOCK:
            raise ArchiveDataError("a package's tar is cut off")
        if raw == _ZERO:
            return None
        header = Header(raw, long_name, long_link)
        if header.kind not in {b"L", b"K"}:
            if header.kind not in b"\x000123456":
                raise ArchiveDataError("a package's tar has a member of an unknown kind", details=repr(header.kind))
            return header
        if header.size_bytes > _NAME_LIMIT:
            raise ArchiveDataError("a name in a package's tar is too long")
        text = _read_padded(source, header.size_bytes)[: header.size_bytes].rstrip(b"\0")
        long_name, long_link = (text, long_link) if header.kind == b"L" else (long_name, text)


def read_small_tar(source: ChunkReader, *, limit: int) -> dict[str, bytes]:
    """Return the regular files at the top of a small tar by name; raise ``ArchiveDataError`` beyond ``limit`` bytes."""
    found: dict[str, bytes] = {}
    size_bytes = 0
    while (header := read_header(source)) is not None:
        size_bytes += header.size_bytes + BLOCK
        if size_bytes > limit:
            raise ArchiveDataError("a package's control data is too large")
        data = _read_padded(source, header.size_bytes)[: header.size_bytes]
        name = _strip(header.name).decode("utf-8", "replace")
        if header.kind in b"\x000" and name and "/" not in name:
            found[name] = data
    return found


class Merger:
    """Rewrites the members of many packages, one after another, into one stream for a tree with a merged /usr."""

    def __init__(self, *, mtime_s: int) -> None:
        """Make links with the time ``mtime_s``, each before the first member that goes through it."""
        self._mtime_s = mtime_s
        self._linked: set[bytes] = set()

    def iter_members(self, source: ChunkReader, passed: Passed, *, hashed: Collection[bytes] = ()) -> Iterator[bytes]:
        """Yield the rewritten tar of one package, without its end, and note in ``passed`` what went by.

        The MD5 of files whose path ("/etc/x") is in ``hashed`` is noted: dpkg wants it of configuration files.
        """
        while (header := read_header(source)) is not None:
            yield from self._links_for(header.name, header.kind)
            yield _rename(header)
            path = list_name(header.name)
            passed.names.append(path)
            passed.newest_s = max(passed.newest_s, header.mtime_s)
            digest = hashlib.md5(usedforsecurity=False) if path in hashed and header.kind in b"\x000" else None
            left = header.size_bytes
            while left > 0:
                chunk = _read_padded(source, min(left, _PASS_CHUNK))
                if digest is not None:
                    digest.update(chunk[:left])
                left -= len(chunk)
                yield chunk
            if digest is not None:
                passed.digests[path] = digest.hexdigest()

    def _links_for(self, name: bytes, kind: bytes) -> Iterator[bytes]:
        first = _strip(name).partition(b"/")[0]
        if first in MERGED and first not in self._linked and (b"/" in _strip(name) or kind == b"5"):
            self._linked.add(first)
            yield make_member(first, kind=b"2", mode=0o777, link=b"usr/" + first, mtime_s=self._mtime_s)


def make_member(
    name: bytes, data: bytes = b"", *, kind: bytes = b"0", mode: int = 0o644, link: bytes = b"", mtime_s: int = 0
) -> bytes:
    """Return the bytes of one tar member owned by root."""
    header = bytearray(BLOCK)
    header[100:108] = b"%07o\0" % mode
    header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % len(data)
    header[136:148] = b"%011o\0" % mtime_s
    header[156:157] = kind
    header[257:265] = b"ustar  \0"
    return _name(bytes(header), name, link) + data + bytes(-len(data) % BLOCK)


def _rename(header: Header) -> bytes:
    """Return the header (with long-name members before it where they are needed) under its merged name."""
    name = _merge(header.name, is_directory=header.kind == b"5")
    link = _merge(header.link, is_directory=False) if header.kind == b"1" else header.link
    if not header.is_long and name == header.name and link == header.link:
        return header.raw
    return _name(header.raw, name, link)


def _merge(name: bytes, *, is_directory: bool) -> bytes:
    stripped = _strip(name)
    first, slash, _ = stripped.partition(b"/")
    return b"./usr/" + stripped if first in MERGED and (slash or is_directory) else name


def _strip(name: bytes) -> bytes:
    return name.lstrip(b"/") if name.startswith(b"/") else name[2:] if name.startswith(b"./") else name


def list_name(name: bytes) -> bytes:
    """Return the name as dpkg's file lists spell it: absolute, no slash at the end, the root as "/."."""
    return b"/" + (_strip(name).rstrip(b"/") or b".")


def _name(header: bytes, name: bytes, link: bytes) -> bytes:
    before = _make_long(b"L", name) + _make_long(b"K", link)
    new = bytearray(header)
    new[0:100] = name[:100].ljust(100, b"\0")
    new[157:257] = link[:100].ljust(100, b"\0")
    if new[257:265] == b"ustar\x0000":
        new[345:500] = bytes(155)
    return before + _seal(new)


def _make_long(kind: bytes, text: bytes) -> bytes:
    if len(text) <= 100:  # the header's own field
        return b""
    header = bytearray(BLOCK)
    header[0:13] = b"././@LongLink"
    header[100:108] = header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % (len(text) + 1)
    header[136:148] = b"00000000000\0"
    header[156:157] = kind
    header[257:265] = b"ustar  \0"
    return _seal(header) + text + bytes(BLOCK - len(text) % BLOCK)


def _seal(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _parse_number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise ArchiveDataError("a number in a package's tar cannot be read", details=repr(field)) from error


def _read_padded(source: ChunkReader, size_bytes: int) -> bytes:
    padded = size_bytes + -size_bytes % BLOCK
    data = source.read(padded)
    if len(data) < padded:
        raise ArchiveDataError("a package's tar is cut off")
    return data
