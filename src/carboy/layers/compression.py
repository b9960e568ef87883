"""Compression of layers: gzip by isal, zstd, or none, told by the first bytes; of archives also bzip2 and xz.

In this process, never by a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carboy.layers.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.layers.tarread import Readable

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BZIP2, XZ = b"BZh", b"\xfd7zX"
MAX_RATIO = 250  # what real layers reach stays far below; a bomb of zeros has 1,000 with deflate, 3,000 with zstd
FREE_BYTES = 256 * 2**20
MAX_WINDOW_BYTES = 128 * 2**20
MAX_XZ_MEMORY_BYTES = 512 * 2**20
_CHUNK_BYTES = 2**18


class _Peeked:
    """A stream whose first bytes were looked at."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head = head
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._head and size >= 0:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data, self._head = self._head + self._stream.read(size), b""
        self.count += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what the gzip reader offers: it asks in this form only."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Bounded:
    """Refuses a stream that grows out of proportion to what was read for it."""

    def __init__(self, stream: Readable, source: _Peeked) -> None:
        self._stream = stream
        self._source = source
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size if size >= 0 else 2**20)
        self._count += len(data)
        if self._count > FREE_BYTES + MAX_RATIO * self._source.count:
            raise LayerError(
                f"the layer unpacks to more than {MAX_RATIO} times its size", hint="it is a decompression bomb"
            )
        return data


def open_decompressed(stream: Readable) -> Readable:
    """Return ``stream`` uncompressed, whatever it is called. Raises ``LayerError`` while reading, for damage and bombs."""
    return _open(stream, foreign=False)


def open_archive(stream: Readable) -> Readable:
    """Return ``stream`` uncompressed as :func:`open_decompressed` does, also when it is bzip2 or xz: for people's archives."""
    return _open(stream, foreign=True)


def _open(stream: Readable, *, foreign: bool) -> Readable:
    head = stream.read(4)
    source = _Peeked(head, stream)
    if foreign and head.startswith(BZIP2):
        import bz2

        return _Translated(_Bounded(_Decoder(source, bz2.BZ2Decompressor), source))
    if foreign and head == XZ:
        import lzma

        return _Translated(
            _Bounded(_Decoder(source, lambda: lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY_BYTES)), source)
        )
    if head.startswith(GZIP):
        from isal import igzip

        return _Translated(_Bounded(igzip.IGzipFile(fileobj=source), source))  # type: ignore[no-untyped-call]
    if head == ZSTD:
        import zstandard

        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        return _Translated(_Bounded(decoder.stream_reader(source, read_across_frames=True), source))  # type: ignore[arg-type]
    return source


class _Step(Protocol):
    """A decoder of the standard library's, bzip2's or xz's."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Decoder:
    """Reads one compressed stream after the other, a bounded piece at a time."""

    def __init__(self, source: _Peeked, make: Callable[[], _Step]) -> None:
        self._source = source
        self._make = make
        self._decoder = make()
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        size = size if size >= 0 else 2**20
        while True:
            if self._decoder.eof:
                self._rest = self._decoder.unused_data or self._source.read(_CHUNK_BYTES)
                # Zeros behind an xz stream are padding.
                self._rest = self._rest.lstrip(b"\0") if not self._rest.strip(b"\0") else self._rest
                if not self._rest:
                    return b""
                self._decoder = self._make()
            elif self._decoder.needs_input and not self._rest:
                self._rest = self._source.read(_CHUNK_BYTES)
                if not self._rest:
                    raise LayerError("the archive ends in the middle", hint="it was cut off; fetch it again")
            data, self._rest = self._decoder.decompress(self._rest, size), b""
            if data:
                return data


class _Translated:
    """Turns the decoders' exceptions into ours."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read(size)
        except LayerError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise LayerError("the layer's compression is damaged", details=str(error)[:200]) from error
