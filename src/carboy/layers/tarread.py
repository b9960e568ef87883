"""Tar headers to values, strictly, in one pass over a stream that nobody vouches for.

Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax, and GNU's long names. Source: tar(5) of libarchive. Sparse members are refused:
no image tool writes them, and a header of them can ask for any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carboy.layers.errors import LayerError
from carboy.layers.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KNOWN = frozenset({REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
_XATTR_PREFIX = "SCHILY.xattr."


class Readable(Protocol):
    """What a tar is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        ...


class Member:
    """One member: names as raw bytes, sizes in bytes, ``mtime`` in whole seconds."""

    __slots__ = ("device", "gid", "kind", "linkname", "mode", "mtime", "name", "size", "uid", "xattrs")

    def __init__(
        self,
        *,
        name: bytes,
        kind: bytes,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime: int = 0,
        linkname: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: dict[str, bytes] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime
        self.linkname = linkname
        self.device = device
        self.xattrs = xattrs or {}


class TarReader:
    """Iterates the members of a tar; the data of each is read with :meth:`read_data` before the next is asked for."""

    def __init__(self, stream: Readable, *, limits: Limits = DEFAULT) -> None:
        self._stream = stream
        self._limits = limits
        self._left = 0
        self._padding = 0
        self._global: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[Member]:
        """Yield the members in order. Raises ``LayerError`` for anything that is not a tar or is over a limit."""
        count = 0
        while (member := self._next()) is not None:
            count += 1
            if count > self._limits.members:
                raise LayerError(f"the layer has more than {self._limits.members} members")
            yield member

    def read_data(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the current member, b"" at its end."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._stream.read(wanted)
        if not data:
            raise LayerError("the layer ends in the middle of a file", hint="it was cut off; fetch it again")
        self._left -= len(data)
        return data

    def drain(self) -> None:
        """Read the stream to its end, past the closing blocks, so that its digest covers everything."""
        while self._stream.read(2**20):
            pass

    def _skip(self) -> None:
        while self._left:
            self.read_data(2**20)
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                break
            data += more
        return data

    def _next(self) -> Member | None:
        extra: dict[str, bytes] = {}
        long_name = long_link = None
        while True:
            self._skip()
            header = self._exactly(BLOCK)
            if not header or header == bytes(BLOCK):
                return None
            if len(header) < BLOCK:
                raise LayerError("the layer ends in the middle of a header", hint="it was cut off; fetch it again")
            member, size = self._parse(header)
            self._left, self._padding = size, -size % BLOCK
            if member.kind in {b"x", b"g"}:
                records = _parse_pax(self._small(size))
                if member.kind == b"g":
                    self._global |= records
                else:
                    extra = records
            elif member.kind == b"L":
                long_name = self._small(size).rstrip(b"\0")
            elif member.kind == b"K":
                long_link = self._small(size).rstrip(b"\0")
            else:
                member.name = long_name if long_name is not None else member.name
                member.linkname = long_link if long_link is not None else member.linkname
                self._finish(member, {**self._global, **extra})
                return member

    def _small(self, size: int) -> bytes:
        if size > self._limits.header_bytes:
            raise LayerError(f"the layer holds a header of {size} bytes")
        data = self._exactly(size)
        self._left = 0
        return data

    def _parse(self, header: bytes) -> tuple[Member, int]:
        if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
            raise LayerError("the layer is not a tar archive, or is damaged: a checksum does not fit")
        kind = header[156:157]
        if kind in {b"\0", b"7"}:
            kind = REGULAR
        name = _text(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
            name = prefix + b"/" + name
        size = _number(header[124:136])
        # Links and directories carry no data, whatever their size field says.
        if kind in _KNOWN and kind != REGULAR:
            size = 0
        member = Member(
            name=name,
            kind=kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=_number(header[108:116]),
            gid=_number(header[116:124]),
            size=size,
            mtime=_number(header[136:148]),
            linkname=_text(header[157:257]),
            device=(_number(header[329:337]), _number(header[337:345])) if kind in {CHARACTER, BLOCK_DEVICE} else (0, 0),
        )
        return member, size

    def _finish(self, member: Member, pax: dict[str, bytes]) -> None:
        if any(key.startswith("GNU.sparse") for key in pax) or member.kind == b"S":
            raise LayerError(f"{_show(member.name)} is a sparse member, which layers do not hold")
        if member.kind not in _KNOWN:
            raise LayerError(f"{_show(member.name)} is of the unknown kind {member.kind!r}")
        member.name = pax.get("path", member.name)
        member.linkname = pax.get("linkpath", member.linkname)
        if "size" in pax and member.kind == REGULAR:
            member.size = _decimal(pax["size"], "size")
            self._left, self._padding = member.size, -member.size % BLOCK
        for field in ("uid", "gid"):
            if field in pax:
                setattr(member, field, _decimal(pax[field], field))
        if "mtime" in pax:
            member.mtime = _decimal(pax["mtime"].partition(b".")[0], "mtime")
        member.xattrs = {k.removeprefix(_XATTR_PREFIX): v for k, v in pax.items() if k.startswith(_XATTR_PREFIX)}
        if b"\0" in member.name or b"\0" in member.linkname:
            raise LayerError("a member's name holds a zero byte")
        if max(len(member.name), len(member.linkname)) > self._limits.path_bytes:
            raise LayerError(f"a member's name has more than {self._limits.path_bytes} bytes")
        if not (0 <= member.uid < 2**32 - 1 and 0 <= member.gid < 2**32 - 1):
            raise LayerError(f"{_show(member.name)} belongs to an id that does not exist")
        if member.name.rstrip(b"/") != member.name and member.kind == REGULAR:
            member.kind = DIRECTORY  # how tars before 1988 wrote directories


def _show(name: bytes) -> str:
    return repr(name[:200].decode("utf-8", "backslashreplace"))


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Return an octal field, or GNU's base-256 form. A negative number is refused (CVE-2025-8194)."""
    if field[0] & 0x80:
        if field[0] == 0xFF:
            raise LayerError("a header holds a negative number")
        return int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    if not text:
        return 0
    if not text.isdigit():
        raise LayerError("a header holds something that is no number")
    try:
        return int(text, 8)
    except ValueError:
        raise LayerError("a header holds something that is no octal number") from None


def _decimal(text: bytes, field: str) -> int:
    if not text.isdigit() or len(text) > 19:
        if field == "mtime" and text[:1] == b"-" and text[1:].isdigit():
            return 0  # before 1970: as good as the beginning
        raise LayerError(f"a header's {field} is no number")
    return int(text)


def _parse_pax(data: bytes) -> dict[str, bytes]:
    """Return pax records: "LENGTH KEY=VALUE\\n", the length counting itself."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        blank = data.find(b" ", position, position + 20)
        digits = data[position:blank] if blank > 0 else b""
        if not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break
            raise LayerError("a pax header is malformed")
        end = position + int(digits)
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= blank or data[end - 1 : end] != b"\n" or not equals:
            raise LayerError("a pax header is malformed")
        records[key.decode("utf-8", "surrogateescape")] = value
        position = end
    return records
