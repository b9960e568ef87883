"""Where a kept container's output goes, and where its input comes from: its log, and whoever is attached.

An attached reader that does not read holds the container back, as a pipe would, and nothing is kept for it beyond the one chunk
under way: memory does not depend on who reads (moby CVE-2022-31030 and kin). A reader that goes away is forgotten.
"""

from __future__ import annotations

import errno
import fcntl
import os
import termios

from carboy.runtime.loop import READABLE, WRITABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.containers.log import LogWriter

CHUNK_BYTES = 65_536


class Reader:
    """One who is attached: the ends of its pipes (-1: it does not want that stream)."""

    __slots__ = ("ends_input", "held", "out", "source")

    def __init__(self, *, source: int, stdout: int, stderr: int, ends_input: bool) -> None:
        self.source = source
        self.out = {"stdout": stdout, "stderr": stderr}
        self.ends_input = ends_input
        self.held: dict[int, memoryview] = {}
        for fd in (stdout, stderr):
            if fd >= 0:
                os.set_blocking(fd, False)


class Output:
    """The streams of one run of a container. :meth:`close` when it has ended."""

    def __init__(self, loop: Loop, log: LogWriter | None) -> None:
        self._loop = loop
        self._log = log
        self._sources: dict[int, str] = {}
        self._input = -1
        self._pending = memoryview(b"")  # input that the container has not taken yet
        self._readers: list[Reader] = []
        self._terminal = -1
        self._waits_for: set[int] = set()  # readers' pipes that are full

    def open_pipes(self, *, interactive: bool) -> dict[int, int]:
        """Return descriptors 0, 1 and 2 for the container's process; the caller closes them when it has handed them on."""
        child: dict[int, int] = {}
        for number, stream in ((1, "stdout"), (2, "stderr")):
            read, child[number] = os.pipe2(os.O_CLOEXEC)
            self._watch_source(read, stream)
        if interactive:
            child[0], self._input = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._input, False)
        return child

    def open_terminal(self, master: int) -> None:
        """Take the outer end of the container's terminal."""
        os.set_blocking(master, False)
        self._terminal = self._input = master
        self._watch_source(master, "stdout")

    def _watch_source(self, fd: int, stream: str) -> None:
        self._sources[fd] = stream
        self._loop.watch(fd, self._take)

    def attach(self, reader: Reader) -> None:
        """Begin to copy to a reader, and its input to the container."""
        self._readers.append(reader)
        if reader.source >= 0:
            self._loop.watch(reader.source, lambda fd: self._take_input(reader, fd))

    def detach(self, reader: Reader) -> None:
        """Forget a reader and close its pipes; one that was forgotten is fine."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if reader.source >= 0:
            self._loop.forget(reader.source)
            os.close(reader.source)
        for fd in {fd for fd in reader.out.values() if fd >= 0}:
            self._loop.forget(fd)
            self._waits_for.discard(fd)
            os.close(fd)
        self._go_on()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal, when it has one."""
        if self._terminal >= 0:
            size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def _take(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK_BYTES)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            data = b""  # EIO: the last process closed its end of the terminal
        if not data:
            self._drop_source(fd)
            return
        stream = self._sources[fd]
        if self._log is not None:
            self._log.write(stream, data)
        for reader in list(self._readers):
            self._give(reader, reader.out[stream], memoryview(data))

    def _drop_source(self, fd: int) -> None:
        self._loop.forget(fd)
        self._sources.pop(fd, None)
        if fd == self._terminal:
            self._terminal = self._input = -1
        os.close(fd)

    def _give(self, reader: Reader, fd: int, view: memoryview) -> None:
        if fd < 0:
            return
        try:
            while view:
                view = view[os.write(fd, view) :]
        except BlockingIOError:
            reader.held[fd] = view
            self._waits_for.add(fd)
            self._loop.watch(fd, lambda ready: self._give_held(reader, ready), WRITABLE)
            for source in self._sources:
                self._loop.forget(source)
        except OSError:
            self.detach(reader)

    def _give_held(self, reader: Reader, fd: int) -> None:
        self._loop.forget(fd)
        self._waits_for.discard(fd)
        self._give(reader, fd, reader.held.pop(fd, memoryview(b"")))
        self._go_on()

    def _go_on(self) -> None:
        if not self._waits_for:
            for source in self._sources:
                self._loop.watch(source, self._take)

    def _take_input(self, reader: Reader, fd: int) -> None:
        if self._pending:  # the container does not read; nothing more is taken from anybody
            self._loop.forget(fd)
            return
        data = os.read(fd, CHUNK_BYTES)
        if data and self._input >= 0:
            self._put_input(memoryview(data))
            return
        self._loop.forget(fd)
        os.close(fd)
        reader.source = -1
        if not data and reader.ends_input and self._input >= 0 and self._terminal < 0:
            self._end_input()

    def _put_input(self, view: memoryview) -> None:
        try:
            while view:
                view = view[os.write(self._input, view) :]
        except BlockingIOError:
            self._pending = view
            mask = WRITABLE | (READABLE if self._input == self._terminal else 0)
            self._loop.watch(self._input, self._put_pending, mask)
            return
        except OSError:
            self._end_input()
        self._pending = memoryview(b"")

    def _put_pending(self, fd: int) -> None:
        if fd == self._terminal:
            self._take(fd)
            if self._terminal < 0:
                return
            self._loop.watch(fd, self._take)
        else:
            self._loop.forget(fd)
        self._put_input(self._pending)
        if not self._pending:
            for reader in self._readers:
                if reader.source >= 0:
                    self._loop.watch(reader.source, self._input_of(reader))

    def _input_of(self, reader: Reader) -> Callable[[int], None]:
        return lambda fd: self._take_input(reader, fd)

    def _end_input(self) -> None:
        if self._input >= 0 and self._input != self._terminal:
            self._loop.forget(self._input)
            os.close(self._input)
        self._input = -1

    def close(self) -> None:
        """Copy what is left in the pipes, give it to those who read it, and close everything."""
        for fd in list(self._sources):
            os.set_blocking(fd, False)
            self._drain(fd)
        if self._log is not None:
            self._log.flush()
        self._end_input()
        for reader in list(self._readers):
            self.detach(reader)

    def _drain(self, fd: int) -> None:
        stream = self._sources[fd]
        while True:
            try:
                data = os.read(fd, CHUNK_BYTES)
            except OSError:
                data = b""
            if self._log is not None:
                self._log.write(stream, data)
            for reader in list(self._readers):
                self._give_patiently(reader, reader.out[stream], memoryview(data))
            if not data:
                self._drop_source(fd)
                return

    def _give_patiently(self, reader: Reader, fd: int, view: memoryview) -> None:
        held = reader.held.pop(fd, None)
        if held:
            view = memoryview(bytes(held) + bytes(view))
        if fd < 0:
            return
        os.set_blocking(fd, True)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            self.detach(reader)
