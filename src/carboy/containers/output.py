"""Where a kept container's output goes, and where its input comes from: its log, and whoever is attached.

An attached reader that does not read holds the container back, as a pipe would, and nothing is kept for it beyond the one chunk
under way: memory does not depend on who reads (moby CVE-2022-31030 and kin). A reader that goes away is forgotten. When the
container ends, what is left in its pipes is a reader's last: :func:`write_last` waits for it in the supervisor's place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import termios

from carboy.linux import process
from carboy.runtime.loop import READABLE, WRITABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carboy.containers.log import LogWriter

CHUNK_BYTES = 65_536
# What the pipes of a container that ended can hold at most (pipe-max-size for everybody is 1 MiB): whoever writes more
# than that is not of the container.
MAX_LAST_BYTES = 2**21


class Reader:
    """One who is attached: the ends of its pipes (-1: it does not want that stream). ``held``: what they do not take yet."""

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

    def open_pipes(self, *, interactive: bool) -> dict[int, int]:
        """Return descriptors 0, 1 and 2 for the container's process; the caller closes them when it has handed them on."""
        child: dict[int, int] = {}
        for number, stream in ((1, "stdout"), (2, "stderr")):
            read, child[number] = os.pipe2(os.O_CLOEXEC)
            self._sources[read] = stream
        if interactive:
            child[0], self._input = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._input, False)
        self._follow()
        return child

    def open_terminal(self, master: int) -> None:
        """Take the outer end of the container's terminal."""
        os.set_blocking(master, False)
        self._terminal = self._input = master
        self._sources[master] = "stdout"
        self._follow()

    def attach(self, reader: Reader) -> None:
        """Begin to copy to a reader, and its input to the container."""
        self._readers.append(reader)
        self._follow()

    def detach(self, reader: Reader) -> None:
        """Forget a reader and close its pipes; one that was forgotten is fine."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if reader.source >= 0:
            self._close_input_of(reader)
        for fd in {fd for fd in reader.out.values() if fd >= 0}:
            self._loop.forget(fd)
            os.close(fd)
        reader.held.clear()
        self._follow()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal, when it has one."""
        if self._terminal >= 0:
            size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def _is_held(self) -> bool:
        return any(reader.held for reader in self._readers)

    def _follow(self) -> None:
        """Watch what can go on now: nothing is read while a reader is full, or while the container does not take its input."""
        held = self._is_held()
        for fd in self._sources:
            mask = (0 if held else READABLE) | (WRITABLE if fd == self._input and self._pending else 0)
            self._watch(fd, self._take, mask)
        if self._input >= 0 and self._input != self._terminal:
            self._watch(self._input, lambda _: self._put_input(), WRITABLE if self._pending else 0)
        for reader in self._readers:
            if reader.source >= 0:
                self._watch(reader.source, self._input_of(reader), 0 if self._pending else READABLE)
            for fd in reader.held:
                self._watch(fd, lambda ready, reader=reader: self._give_held(reader, ready), WRITABLE)  # type: ignore[misc]

    def _watch(self, fd: int, call: Callable[[int], object], mask: int) -> None:
        if mask:
            self._loop.watch(fd, call, mask)
        else:  # and not watched for nothing: poll(2) reports an end in any case, again and again
            self._loop.forget(fd)

    # --- from the container -----------------------------------------------------------------------------------------

    def _take(self, fd: int) -> None:
        if fd == self._input and self._pending:
            self._put_input()
        if self._is_held():
            return
        try:
            data = os.read(fd, CHUNK_BYTES)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            data = b""  # EIO: the last process closed its end of the terminal
        if not data:
            self._drop_source(fd)
            return
        self._spread(self._sources[fd], data)
        if self._is_held():
            self._follow()

    def _spread(self, stream: str, data: bytes) -> None:
        """Give a chunk to the log and to every reader."""
        if self._log is not None:
            self._log.write(stream, data)
        for reader in list(self._readers):
            fd = reader.out[stream]
            if fd in reader.held:
                reader.held[fd] = memoryview(bytes(reader.held[fd]) + data)
            elif fd >= 0:
                self._give(reader, fd, memoryview(data))

    def _drop_source(self, fd: int) -> None:
        self._loop.forget(fd)
        self._sources.pop(fd, None)
        if fd == self._terminal:
            self._terminal = self._input = -1
            self._pending = memoryview(b"")
        os.close(fd)

    def _give(self, reader: Reader, fd: int, view: memoryview) -> None:
        """Write to a reader; what it does not take is held, and a reader that is gone is forgotten."""
        try:
            while view:
                view = view[os.write(fd, view) :]
        except BlockingIOError:
            reader.held[fd] = view
        except OSError:
            self.detach(reader)

    def _give_held(self, reader: Reader, fd: int) -> None:
        self._loop.forget(fd)
        self._give(reader, fd, reader.held.pop(fd, memoryview(b"")))
        self._follow()

    # --- to the container -------------------------------------------------------------------------------------------

    def _input_of(self, reader: Reader) -> Callable[[int], None]:
        return lambda fd: self._take_input(reader, fd)

    def _take_input(self, reader: Reader, fd: int) -> None:
        if self._pending:  # the container does not read; nothing more is taken from anybody
            return
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self._input >= 0:
            self._pending = memoryview(data)
            self._put_input()
            return
        self._close_input_of(reader)
        if not data and reader.ends_input and self._terminal < 0:
            self._end_input()

    def _close_input_of(self, reader: Reader) -> None:
        self._loop.forget(reader.source)
        os.close(reader.source)
        reader.source = -1

    def _put_input(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._input, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody in the container reads it any more
            self._end_input()
        self._follow()

    def _end_input(self) -> None:
        self._pending = memoryview(b"")
        if self._input >= 0 and self._input != self._terminal:
            self._loop.forget(self._input)
            os.close(self._input)
        self._input = -1

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take what is left in the pipes, and close everything but the readers that have not taken all: these hold the rest.

        Never waits for a reader: one that is stopped must not keep the container from having ended.
        """
        for fd in list(self._sources):
            os.set_blocking(fd, False)
            self._drain(fd)
        if self._log is not None:
            self._log.flush()
        self._end_input()
        for reader in list(self._readers):
            if not reader.held:
                self.detach(reader)
            elif reader.source >= 0:
                self._close_input_of(reader)

    def _drain(self, fd: int) -> None:
        stream = self._sources[fd]
        left = MAX_LAST_BYTES
        while left > 0:
            try:
                data = os.read(fd, CHUNK_BYTES)
            except OSError:
                break
            if not data:
                break
            left -= len(data)
            self._spread(stream, data)
        self._drop_source(fd)


def write_last(held: Mapping[int, memoryview], *, talk: int, say: Callable[[], object]) -> None:
    """Write ``held`` to readers' pipes however long that takes, then call ``say()``: in a process of its own, nobody's child.

    It has the pipes, the descriptor ``talk``, and nothing else of the supervisor's, the container's lock above all.
    """
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return
    try:
        if os.fork() == 0:
            process.set_name("carboy-last")
            below = 3
            for fd in sorted({*held, talk}):
                os.closerange(below, fd)
                below = fd + 1
            process.close_from(below)
            for fd, rest in held.items():
                _write_all(fd, rest)
            say()
    finally:
        os._exit(0)


def _write_all(fd: int, view: memoryview) -> None:
    os.set_blocking(fd, True)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        return  # the reader is gone
