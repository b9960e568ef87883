"""Tar headers to values, strictly, in one pass over a stream that nobody vouches for.

Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax, and GNU's long names. Source: tar(5) of libarchive. Where readers of tars
differ (a name given twice, a lone zero block, data behind a link) this one refuses or does as Go's archive/tar does, because
that is what other container tools use. Sparse members are refused: a header of them can ask for any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carboy.layers.errors import LayerError
from carboy.layers.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _SPARSE = b"x", b"g", b"L", b"K", b"S"
_EXTENSIONS = frozenset({_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK})
_KNOWN = frozenset({REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
_XATTR_PREFIX = "SCHILY.xattr."
_CHUNK_BYTES = 2**18
_EXTENSIONS_PER_MEMBER = 16
_ZEROS = bytes(BLOCK)
_NO_ID = 2**32 - 1
# Later than any date in use and within what every file system and the C library can hold.
_MAX_MTIME = 2**33
_MAX_DECIMAL_DIGITS = 19


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
    """Iterates the members of a tar; the data of each is read with :meth:`read_data` before the next is asked for.

    The stream is read in large pieces and may be read beyond the end of the archive.
    """

    def __init__(self, stream: Readable, *, limits: Limits = DEFAULT) -> None:
        self._stream = stream
        self._limits = limits
        self._chunk = b""
        self._at = 0
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield the members in order. Raises ``LayerError`` for anything that is not a tar or is over a limit."""
        count = total = 0
        while (member := self._next()) is not None:
            count += 1
            if count > self._limits.members:
                raise LayerError(f"the layer has more than {self._limits.members} members")
            total += member.size
            if total > self._limits.size_bytes:
                raise LayerError(f"the layer unpacks to more than {self._limits.size_bytes} bytes")
            yield member

    def read_data(self, size: int) -> bytes | memoryview:
        """Return up to ``size`` bytes of the current member, empty at its end."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        if self._at == len(self._chunk):
            self._chunk = b""
            # What is large goes straight through; the rest comes out of a piece that the next headers come from, too.
            data = self._stream.read(wanted if wanted >= _CHUNK_BYTES else _CHUNK_BYTES)
            if not data:
                raise LayerError("the layer ends in the middle of a file", hint="it was cut off; fetch it again")
            if len(data) <= wanted:
                self._at = 0
                self._left -= len(data)
                return data
            self._chunk, self._at = data, 0
        view = memoryview(self._chunk)[self._at : self._at + wanted]
        self._at += len(view)
        self._left -= len(view)
        return view

    def drain(self) -> None:
        """Read the stream to its end, past the closing blocks, so that its digest covers everything."""
        self._chunk, self._at = b"", 0
        while self._stream.read(2**20):
            pass

    def _skip(self) -> None:
        while self._left:
            self.read_data(2**20)
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _exactly(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the stream."""
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            return data
        data = self._chunk[self._at :]
        self._chunk, self._at = b"", 0
        while len(data) < size:
            piece = self._stream.read(_CHUNK_BYTES)
            if not piece:
                return data
            missing = size - len(data)
            data += piece[:missing]
            self._chunk, self._at = piece, min(missing, len(piece))
        return data

    def _next(self) -> Member | None:
        pax: dict[str, bytes] = {}
        long: dict[bytes, bytes] = {}
        for _ in range(_EXTENSIONS_PER_MEMBER):
            self._skip()
            header = self._exactly(BLOCK)
            if not header or header == _ZEROS:
                self._check_end()
                return None
            if len(header) < BLOCK:
                raise LayerError("the layer ends in the middle of a header", hint="it was cut off; fetch it again")
            kind, size = _check_header(header)
            if kind not in _EXTENSIONS:
                member = _parse_member(header, kind, size, pax, long)
                if member.kind == REGULAR:
                    self._left, self._padding = member.size, -member.size % BLOCK
                self._check_names(member)
                return member
            data = self._small(size)
            if kind == _PAX:
                pax = _parse_pax(data)
            elif kind == _PAX_GLOBAL:
                _parse_pax(data)  # must be well-formed; its values are ignored, as Go does: two readers, one meaning
            else:
                long[kind] = data.partition(b"\0")[0]
        raise LayerError(f"the layer holds more than {_EXTENSIONS_PER_MEMBER} extension headers in a row")

    def _check_end(self) -> None:
        """Two blocks of zeros end an archive, or the end of the stream; one alone hides members from some readers."""
        if self._exactly(BLOCK) not in {b"", _ZEROS}:
            raise LayerError("the layer goes on behind its end mark")

    def _small(self, size: int) -> bytes:
        if size > self._limits.header_bytes:
            raise LayerError(f"the layer holds a header of {size} bytes")
        data = self._exactly(size)
        if len(data) < size:
            raise LayerError("the layer ends in the middle of a header", hint="it was cut off; fetch it again")
        self._padding = -size % BLOCK
        return data

    def _check_names(self, member: Member) -> None:
        if b"\0" in member.name or b"\0" in member.linkname:
            raise LayerError("a member's name holds a zero byte")
        if max(len(member.name), len(member.linkname)) > self._limits.path_bytes:
            raise LayerError(f"a member's name has more than {self._limits.path_bytes} bytes")


def _check_header(header: bytes) -> tuple[bytes, int]:
    """Return kind and size of a header whose checksum fits. Raises ``LayerError``."""
    if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise LayerError("the layer is not a tar archive, or is damaged: a checksum does not fit")
    kind = header[156:157]
    return REGULAR if kind in {b"\0", b"7"} else kind, _number(header[124:136])


def _parse_member(header: bytes, kind: bytes, size: int, pax: dict[str, bytes], long: dict[bytes, bytes]) -> Member:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        name = prefix + b"/" + name
    name = _choose(name, pax.get("path"), long.get(_LONG_NAME))
    if kind == _SPARSE or any(key.startswith("GNU.sparse") for key in pax):
        raise LayerError(f"{show(name)} is a sparse member, which layers do not hold")
    if kind not in _KNOWN:
        raise LayerError(f"{show(name)} is of the unknown kind {kind!r}")
    if kind == REGULAR and name.endswith(b"/"):
        kind = DIRECTORY  # how tars before 1988 wrote directories
    member = Member(
        name=name,
        kind=kind,
        mode=_number(header[100:108]) & 0o7777,
        uid=_decimal(pax["uid"]) if "uid" in pax else _number(header[108:116]),
        gid=_decimal(pax["gid"]) if "gid" in pax else _number(header[116:124]),
        mtime=_parse_mtime(header[136:148], pax.get("mtime")),
        linkname=_choose(_text(header[157:257]), pax.get("linkpath"), long.get(_LONG_LINK)),
    )
    # Links, directories and devices carry no data, whatever their size field says.
    if kind == REGULAR:
        member.size = _decimal(pax["size"]) if "size" in pax else size
    elif kind in {CHARACTER, BLOCK_DEVICE}:
        member.device = (_number(header[329:337]), _number(header[337:345]))
    if not (member.uid < _NO_ID and member.gid < _NO_ID):
        raise LayerError(f"{show(name)} belongs to an id that does not exist")
    if pax:
        member.xattrs = {k.removeprefix(_XATTR_PREFIX): v for k, v in pax.items() if k.startswith(_XATTR_PREFIX)}
    return member


def _choose(plain: bytes, pax: bytes | None, long: bytes | None) -> bytes:
    """Return the name that counts. Given by both extensions it depends on the reader, so such an archive is refused."""
    if pax and long:
        raise LayerError(f"a member is named twice: {show(pax)} and {show(long)}")
    return pax or long or plain


def show(name: bytes) -> str:
    """Return a name as it may stand in a message: quoted, without control characters, not longer than needed."""
    return repr(name[:200].decode("utf-8", "backslashreplace"))


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Return an octal field, or GNU's base-256 form. A negative number is refused (CVE-2025-8194)."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise LayerError("a header holds a negative number")
        return int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        return int(text, 8) if text.isdigit() else int("not a number")
    except ValueError:
        raise LayerError("a header holds something that is no number") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_DECIMAL_DIGITS:
        raise LayerError("a pax header holds something that is no number")
    return int(text)


def _parse_mtime(field: bytes, pax: bytes | None) -> int:
    """Return whole seconds since 1970; a time before that is as good as the beginning."""
    if pax:
        whole = pax.partition(b".")[0]
        value = 0 if whole.startswith(b"-") and whole[1:].isdigit() else _decimal(whole)
    else:
        value = 0 if field[0] & 0xC0 == 0xC0 else _number(field)
    return min(value, _MAX_MTIME)


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
        if end > len(data) or end <= blank + 1 or data[end - 1 : end] != b"\n" or not equals:
            raise LayerError("a pax header is malformed")
        text = key.decode("utf-8", "surrogateescape")
        if value or text.startswith(_XATTR_PREFIX):  # an empty value takes back what an earlier record said
            records[text] = value
        else:
            records.pop(text, None)
        position = end
    return records
