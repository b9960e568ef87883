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
BATCH_BYTES = 65_536
MAX_FILES = 1000


class LogWriter:
    """Writes a container's log. One writer at a time: the holder of the container's lock."""

    def __init__(self, folder: str, *, max_bytes: int, files: int) -> None:
        self._path = f"{folder}/log"
        self._max_bytes = max_bytes
        self._files = max(1, files)
        self._batch_bytes = min(BATCH_BYTES, max_bytes)
        self._parts: dict[str, bytes] = {}
        self._lost_bytes = 0
        self._second = -1
        self._second_text = ""
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size

    def _open(self) -> int:
        """Open the log; half a line that a power cut left is ended, so that the next line is whole."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            try:  # noqa: SIM105
                os.write(fd, b"\n")
            except OSError:
                pass  # the disk is full: one damaged line more
        return fd

    def write(self, stream: str, data: bytes) -> None:
        """Take what came from ``stream`` ("stdout" or "stderr"); whole lines are written at once. Never raises."""
        lines = (self._parts.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        stamp = self._stamp()
        partial, full = (b"%s %s %s " % (stamp, stream.encode(), tag) for tag in (b"P", b"F"))
        batch: list[bytes] = []
        size = 0
        for index, line in enumerate((*lines, rest)):
            start = 0
            while len(line) - start > MAX_LINE_BYTES:
                batch += (partial, line[start : start + MAX_LINE_BYTES], b"\n")
                start += MAX_LINE_BYTES
                size += len(partial) + MAX_LINE_BYTES
            if index == len(lines):
                if len(line) > start:
                    self._parts[stream] = line[start:]
                break
            size += len(full) + len(line) - start + 1
            if size > self._batch_bytes:  # many short lines grow manifold by their stamps
                self._append(b"".join(batch))
                batch.clear()
                size = len(full) + len(line) - start + 1
            batch += (full, line[start:], b"\n")
        self._append(b"".join(batch))

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
            note = b""
            if self._lost_bytes:
                lost = f"carboy: {self._lost_bytes} bytes are missing here: the disk was full"
                note = b"%s stderr F %s\n" % (self._stamp(), lost.encode())
            if self._size and self._size + len(note) + len(data) > self._max_bytes:
                self._rotate()
            self._put(note + data)  # both or neither: the last free bytes are not for the note
            self._lost_bytes = 0
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
        """Put the log aside. The new one is opened first: when that fails, all stays as it is."""
        fresh = f"{self._path}.new"
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            try:
                os.rename(older, f"{self._path}.{number}")
            except FileNotFoundError:
                continue
        os.rename(fresh, self._path)
        os.close(self._fd)
        self._fd = fd
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
    parts = line.removesuffix(b"\n").split(b" ", 3)
    if len(parts) != 4 or parts[2] not in (b"F", b"P") or not line.endswith(b"\n"):
        return None
    return LogLine(time=parts[0].decode("ascii", "replace"), stream=parts[1].decode("ascii", "replace"),
                   text=parts[3], full=parts[2] == b"F")  # fmt: skip


class LogReader:
    """Reads a log from its oldest line on, through rotations, to where it ends now; :meth:`read` again for what came since.

    What was put aside and removed between two reads is lost to it, and nothing else; no line comes twice.
    """

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/log"
        self._rest = b""
        self._files: list[int] = []  # newest first: the last one is read now
        self._files = self._open_newer(None)

    def _open_newer(self, known: int | None) -> list[int]:
        """Return the files that are newer than the open one ``known`` (None: all there are), newest first.

        From the newest on, because what is put aside meanwhile is then met again, and not missed.
        """
        seen = set() if known is None else {_identify(known)}
        found: list[int] = []
        for number in range(MAX_FILES):
            try:
                path = self._path if number == 0 else f"{self._path}.{number}"
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                if number:
                    break
                continue  # between two renames of a rotation
            identity = _identify(fd)
            if identity in seen:
                os.close(fd)
                if known is not None and identity == _identify(known):
                    break
                continue
            seen.add(identity)
            found.append(fd)
        return found

    def read(self) -> Iterator[LogLine]:
        """Yield the lines that have not been read yet."""
        if not self._files:
            self._files = self._open_newer(None)
        while self._files:
            current = self._files[-1]
            yield from self._drain(current)
            if len(self._files) == 1:
                newer = self._open_newer(current)
                if not newer:
                    return
                self._files = [*newer, current]
            yield from self._drain(current)  # what came between the last read and the rotation
            os.close(self._files.pop())
            self._rest = b""  # half a line that a power cut left

    def _drain(self, fd: int) -> Iterator[LogLine]:
        size = os.fstat(fd).st_size
        if size < os.lseek(fd, 0, os.SEEK_CUR):  # the writer took half a batch back: the disk was full
            os.lseek(fd, size, os.SEEK_SET)
            self._rest = b""
        while data := os.read(fd, READ_BYTES):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                parsed = parse_line(line + b"\n")
                if parsed is not None:
                    yield parsed

    def close(self) -> None:
        """Close the files."""
        for fd in self._files:
            os.close(fd)
        self._files = []


def _identify(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
