"""A container's log: bounded, rotating, one record a line, in the form that Kubernetes' container runtimes write.

``2026-11-25T04:05:06.123456789Z stdout F the line``: time, stream, F for a full line or P for a part of one, text. Lines
longer than ``MAX_LINE_BYTES`` are cut into parts. Source: the CRI logging format (kubernetes design proposals, "CRI: Log
management").

::

    log      what is written now          log.1, log.2 ...   put aside, the highest number oldest

A disk that is full costs the lines of that time, not the container: writing is tried again with the next line, and how many
bytes were lost is said in the log where they are missing.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 16_384
READ_BYTES = 65_536


class LogWriter:
    """Writes a container's log. One writer at a time: the holder of the container's lock."""

    def __init__(self, folder: str, *, max_bytes: int, files: int) -> None:
        self._path = f"{folder}/log"
        self._max_bytes = max_bytes
        self._files = max(1, files)
        self._parts: dict[str, bytes] = {}
        self._lost_bytes = 0
        self._second = -1
        self._second_text = ""
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, stream: str, data: bytes) -> None:
        """Take what came from ``stream`` ("stdout" or "stderr"); whole lines are written at once. Never raises."""
        lines = (self._parts.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        out = []
        stamp = self._stamp()
        for line in lines:
            while len(line) > MAX_LINE_BYTES:
                out.append(b"%s %s P %s\n" % (stamp, stream.encode(), line[:MAX_LINE_BYTES]))
                line = line[MAX_LINE_BYTES:]  # noqa: PLW2901
            out.append(b"%s %s F %s\n" % (stamp, stream.encode(), line))
        while len(rest) > MAX_LINE_BYTES:
            out.append(b"%s %s P %s\n" % (stamp, stream.encode(), rest[:MAX_LINE_BYTES]))
            rest = rest[MAX_LINE_BYTES:]
        if rest:
            self._parts[stream] = rest
        self._append(b"".join(out))

    def flush(self) -> None:
        """Write what has no line's end yet."""
        for stream, rest in list(self._parts.items()):
            self._append(b"%s %s P %s\n" % (self._stamp(), stream.encode(), rest))
        self._parts.clear()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._fd)

    def _stamp(self) -> bytes:
        now_ns = time.time_ns()
        second, rest = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{rest:09d}Z".encode()

    def _append(self, data: bytes) -> None:
        if not data:
            return
        try:
            if self._lost_bytes:
                lost = f"carboy: {self._lost_bytes} bytes are missing here: the disk was full"
                self._put(b"%s stderr F %s\n" % (self._stamp(), lost.encode()))
                self._lost_bytes = 0
            if self._size and self._size + len(data) > self._max_bytes:
                self._rotate()
            self._put(data)
        except OSError:
            self._lost_bytes += len(data)

    def _put(self, data: bytes) -> None:
        start = self._size
        view = memoryview(data)
        try:
            while view:
                count = os.write(self._fd, view)
                self._size += count
                view = view[count:]
        except OSError:
            os.ftruncate(self._fd, start)  # no half lines
            self._size = start
            raise

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            try:
                os.rename(older, f"{self._path}.{number}")
            except FileNotFoundError:
                continue
        if self._files == 1:
            os.ftruncate(self._fd, 0)
        else:
            os.close(self._fd)
            self._fd = self._open()
        self._size = 0


class LogLine:
    """One record of a log: ``time`` as text, ``stream``, the bytes, and whether they end a line."""

    __slots__ = ("full", "stream", "text", "time")

    def __init__(self, *, time: str, stream: str, text: bytes, full: bool) -> None:
        self.time = time
        self.stream = stream
        self.text = text
        self.full = full

    def content(self) -> bytes:
        """Return what the container wrote."""
        return self.text + b"\n" if self.full else self.text


def parse_line(line: bytes) -> LogLine | None:
    """Return a record; None for a line that is none (half a line after a power cut)."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) != 4 or parts[2] not in (b"F", b"P") or not line.endswith(b"\n"):
        return None
    return LogLine(time=parts[0].decode("ascii", "replace"), stream=parts[1].decode("ascii", "replace"),
                   text=parts[3], full=parts[2] == b"F")  # fmt: skip


class LogReader:
    """Reads a log from its oldest line on, through rotations, to where it ends now; :meth:`read` again for what came since."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/log"
        self._file = -1
        self._rest = b""
        older = []
        for number in range(1, 1000):
            try:
                older.append(os.open(f"{self._path}.{number}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
            except FileNotFoundError:
                break
        self._older = older  # the last one is the oldest
        self._open()

    def _open(self) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._file = -1

    def read(self) -> Iterator[LogLine]:
        """Yield the lines that have not been read yet."""
        while self._older:
            fd = self._older.pop()
            yield from self._drain(fd)
            os.close(fd)
        if self._file < 0:
            self._open()
        while self._file >= 0:
            yield from self._drain(self._file)
            try:
                same = os.path.samestat(os.fstat(self._file), os.stat(self._path))
            except FileNotFoundError:
                return
            if same:
                return
            yield from self._drain(self._file)  # what came between the last read and the rotation
            os.close(self._file)
            self._open()

    def _drain(self, fd: int) -> Iterator[LogLine]:
        while data := os.read(fd, READ_BYTES):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                parsed = parse_line(line + b"\n")
                if parsed is not None:
                    yield parsed

    def close(self) -> None:
        """Close the files."""
        for fd in [*self._older, *([self._file] if self._file >= 0 else [])]:
            os.close(fd)
        self._older, self._file = [], -1
