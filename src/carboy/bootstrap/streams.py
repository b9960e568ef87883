"""Streams of package files: decompressed in bounded chunks, by a thread that works ahead.

Nothing is decompressed by a program, and never more than a few chunks are held: a thread decompresses ahead of whoever
reads, since liblzma, zlib and zstd work without the interpreter's lock.
"""

from __future__ import annotations

import queue
import threading
from typing import IO, TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_INPUT_CHUNK = 128 * 1024
_OUTPUT_CHUNK = 512 * 1024
_CHUNKS_AHEAD = 24
_XZ_MEMORY_LIMIT = 256 * 2**20
_ZSTD_WINDOW_LIMIT = 1 << 27


class Readable(Protocol):
    """What can be read in pieces."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


def iter_decompressed(raw: Readable, ending: str) -> Iterator[bytes]:
    """Yield the decompressed content of ``raw`` in chunks of bounded size; ``ending`` is "", ".gz", ".xz" or ".zst"."""
    match ending:
        case "":
            while chunk := raw.read(_OUTPUT_CHUNK):
                yield chunk
        case ".xz":
            yield from _iter_xz(raw)
        case ".gz":
            from isal import igzip

            with igzip.IGzipFile(fileobj=raw, mode="rb") as stream:  # type: ignore[no-untyped-call]
                while chunk := stream.read(_OUTPUT_CHUNK):
                    yield chunk
        case ".zst":
            import zstandard

            decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_LIMIT)
            with decompressor.stream_reader(cast("IO[bytes]", raw), read_across_frames=True) as stream:
                while chunk := stream.read(_OUTPUT_CHUNK):
                    yield chunk
        case _:
            raise ValueError(f"compression {ending!r} is not known")


def _iter_xz(raw: Readable) -> Iterator[bytes]:
    import lzma

    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LIMIT)
    while True:
        data = raw.read(_INPUT_CHUNK) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            raise EOFError("it is cut off")
        chunk = decompressor.decompress(data, _OUTPUT_CHUNK)
        if chunk:
            yield chunk
        if decompressor.eof:
            rest = (decompressor.unused_data + raw.read(_INPUT_CHUNK)).lstrip(b"\0")
            if rest:
                raise ValueError("data follows its end")
            return


class ChunkReader:
    """A stream over chunks of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all of the rest when ``size`` is negative."""
        if 0 <= size <= len(self._rest):
            data = bytes(self._rest[:size])
            self._rest = self._rest[size:]
            return data
        parts = []
        while not self._ended and size != 0:
            if not self._rest:
                chunk = self._next()
                self._ended = chunk is None
                self._rest = memoryview(chunk or b"")
                continue
            part = self._rest if size < 0 else self._rest[:size]
            self._rest = self._rest[len(part) :]
            parts.append(part)
            size -= len(part) if size >= 0 else 0
        return b"".join(parts)

    def _next(self) -> bytes | None:
        return next(self._chunks, None)


class ReadAhead(ChunkReader):
    """A stream over chunks that a thread makes ahead; what the thread raises is raised by ``read``.

    Use it as a context manager: leaving it early ends the thread.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks)
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_CHUNKS_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="carboy-decompress", daemon=True)
        self._thread.start()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:  # make room, so that a thread that waits for it can see that nobody reads any more
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def _next(self) -> bytes | None:
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        return item

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                if self._stop.is_set():
                    return
                self._queue.put(chunk)
            self._queue.put(None)
        except BaseException as error:  # noqa: BLE001  raised again by the reader
            self._queue.put(error)
