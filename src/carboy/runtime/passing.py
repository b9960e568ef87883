"""Moving bytes between the caller and the process: what the caller's descriptors are must not matter to the sandbox.

A pipe or /dev/null is handed on as it is. Anything else (a terminal, a file of the host) stays outside: the process gets a pipe,
and this module copies. With a terminal of its own the process has only that, and the caller's is put into raw mode.

What goes inward never blocks: a process that does not read its input may be waiting for its output to be read. The bytes
that it does not take are held, one chunk at most, and nothing more is read from the caller until they have gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import sys

from carboy.runtime.loop import READABLE, WRITABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from carboy.runtime.stdio import Stdio

CHUNK_BYTES = 65_536
# Of asm-generic/ioctls.h. `termios` knows them, but is a library of its own, for runs with a terminal only.
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414


class Terminal:
    """The outer side of a container's terminal."""

    def __init__(self, master: int, stdio: Stdio) -> None:
        self.master = master
        self._outer = next((fd for fd in (stdio.stdin, stdio.stdout) if fd is not None and os.isatty(fd)), None)
        self._before: list[int | list[bytes | int]] | None = None
        self.resize()
        if stdio.stdin is not None and os.isatty(stdio.stdin):
            import termios
            import tty

            self._raw = stdio.stdin
            self._before = termios.tcgetattr(stdio.stdin)
            tty.setraw(stdio.stdin, termios.TCSANOW)

    def resize(self) -> None:
        """Give the inner terminal the outer one's size."""
        if self._outer is not None:
            size = fcntl.ioctl(self._outer, TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self.master, TIOCSWINSZ, size)

    def close(self) -> None:
        """Put the outer terminal back as it was."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._raw, termios.TCSADRAIN, self._before)
        os.close(self.master)


class RawTerminal:
    """The caller's terminal in raw mode, for a process whose own terminal somebody else holds."""

    def __init__(self, stdio: Stdio, resized: Callable[[int, int], object]) -> None:
        self._outer = next((fd for fd in (stdio.stdin, stdio.stdout) if fd is not None and os.isatty(fd)), None)
        self._resized = resized
        self._before: list[int | list[bytes | int]] | None = None
        if stdio.stdin is not None and os.isatty(stdio.stdin):
            import termios
            import tty

            self._raw = stdio.stdin
            self._before = termios.tcgetattr(stdio.stdin)
            tty.setraw(stdio.stdin, termios.TCSANOW)
        self.resize()

    def resize(self) -> None:
        """Tell the caller's size."""
        if self._outer is not None:
            self._resized(*read_size(self._outer))

    def close(self) -> None:
        """Put the terminal back as it was."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._raw, termios.TCSADRAIN, self._before)


def read_size(fd: int) -> tuple[int, int]:
    """Return a terminal's (rows, columns)."""
    size = fcntl.ioctl(fd, TIOCGWINSZ, bytes(8))
    return int.from_bytes(size[:2], sys.byteorder), int.from_bytes(size[2:4], sys.byteorder)


class Passing:
    """The copies under way for one run; a context manager that closes what it opened.

    ``direct``: a caller's pipe is handed to the process itself, which spares a copy.
    """

    def __init__(self, stdio: Stdio, *, terminal: bool, direct: bool = True) -> None:
        self.stdio = stdio
        self._direct = direct
        self._routes: dict[int, int | None] = {}  # from -> to; None: to the capture
        self._held: dict[int, tuple[int, memoryview]] = {}  # inward end -> where the bytes came from, and the bytes
        self._terminal: Terminal | RawTerminal | None = None
        self._child_ends: list[int] = []
        self._ours: set[int] = set()
        self._loop = Loop()
        self.child_fds: dict[int, int] = {}
        if not terminal:
            self._plan_plain(stdio)

    def _plan_plain(self, stdio: Stdio) -> None:
        if stdio.stdin is not None:
            if self._direct and direct_pass(stdio.stdin):
                self.child_fds[0] = stdio.stdin
            else:
                read, write = self._pipe()
                self.child_fds[0] = read
                self._child_ends.append(read)
                os.set_blocking(write, False)
                self._routes[stdio.stdin] = write
                self._ours.add(write)
        if stdio.capture is not None:
            read, write = self._pipe()
            self.child_fds[1] = self.child_fds[2] = write
            self._child_ends.append(write)
            self._routes[read] = None
            self._ours.add(read)
            return
        for number, fd in ((1, stdio.stdout), (2, stdio.stderr)):
            if self._direct and direct_pass(fd):
                self.child_fds[number] = fd
                continue
            read, write = self._pipe()
            self.child_fds[number] = write
            self._child_ends.append(write)
            self._routes[read] = fd
            self._ours.add(read)

    @staticmethod
    def _pipe() -> tuple[int, int]:
        return os.pipe2(os.O_CLOEXEC)

    def __enter__(self) -> Passing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_child_ends()
        if self._terminal is not None:
            self._terminal.close()
        for fd in self._ours:
            os.close(fd)

    def close_child_ends(self) -> None:
        """Close this process's copies of what the child has, so that its end is seen as an end."""
        for fd in self._child_ends:
            os.close(fd)
        self._child_ends.clear()

    def register(self, loop: Loop) -> None:
        """Watch everything that may have bytes to move."""
        self._loop = loop
        for fd in self._routes:
            loop.watch(fd, self.move)

    def attach(self, terminal: Terminal) -> None:
        """Begin to copy between the caller and the container's terminal."""
        self._terminal = terminal
        os.set_blocking(terminal.master, False)
        self._routes[terminal.master] = self.stdio.stdout
        self._loop.watch(terminal.master, self.move)
        if self.stdio.stdin is not None:
            self._routes[self.stdio.stdin] = terminal.master
            self._loop.watch(self.stdio.stdin, self.move)

    def attach_remote(self, resized: Callable[[int, int], object]) -> None:
        """Put the caller's terminal into raw mode: the process's own is held by whoever keeps it, behind our pipes."""
        self._terminal = RawTerminal(self.stdio, resized)

    def resize(self) -> None:
        """Follow the caller's terminal."""
        if self._terminal is not None:
            self._terminal.resize()

    def move(self, fd: int) -> None:
        """Copy one chunk; at the end of a source, or when nobody reads any more, stop copying it."""
        if fd in self._held:
            source, view = self._held.pop(fd)
            if fd in self._routes:
                self._loop.watch(fd, self.move)
            else:
                self._loop.forget(fd)
            if self._write(source, view):
                if fd not in self._held:
                    self._loop.watch(source, self.move)
            else:
                self._end(source)
        if fd not in self._routes:
            return
        try:
            data = os.read(fd, CHUNK_BYTES)
        except OSError as error:
            # EIO: the last process closed the container's terminal. EAGAIN: the caller's descriptor is non-blocking.
            if error.errno == errno.EAGAIN:
                return
            data = b""
        if not data or not self._write(fd, memoryview(data)):
            self._loop.forget(fd)
            self._end(fd)
        elif self._routes[fd] in self._held:
            self._loop.forget(fd)

    def _end(self, source: int) -> None:
        target = self._routes.pop(source)
        for fd in (source, target):
            if fd in self._ours:
                self._ours.discard(fd)
                self._loop.forget(fd)
                os.close(fd)

    def _write(self, source: int, view: memoryview) -> bool:
        """Write to where ``source`` goes; False when nobody reads there. What an inward end does not take is held."""
        target = self._routes[source]
        if target is None:
            assert self.stdio.capture is not None
            self.stdio.capture(bytes(view))
            return True
        while view:
            try:
                view = view[os.write(target, view) :]
            except BlockingIOError:
                if source == self.stdio.stdin:
                    self._held[target] = source, view
                    self._loop.watch(target, self.move, WRITABLE | (READABLE if target in self._routes else 0))
                    return True
                select.select([], [target], [])
            except BrokenPipeError:
                return False
        return True

    def drain(self) -> None:
        """Copy what the process left in the pipes when it ended."""
        inputs = {self.stdio.stdin} if self.stdio.stdin is not None else set()
        self._loop = loop = Loop()
        for fd in list(self._routes):
            if fd in inputs:
                continue
            loop.watch(fd, self.move)
            while fd in self._routes and loop.step(0):
                pass
            loop.forget(fd)


def direct_pass(fd: int) -> bool:
    """Return whether a descriptor can be handed into the sandbox: a pipe or /dev/null tells and gives nothing."""
    status = os.fstat(fd)
    if stat.S_ISFIFO(status.st_mode):
        return True
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)


def let_reopen(fds: dict[int, int]) -> None:
    """Let whoever the process becomes open /dev/stdin, /dev/stdout and /dev/stderr, which programs write their logs to.

    Behind them is a pipe that belongs to an id which the container does not have. Others may write into an output's, and read
    from an input's, no more: the process can do so anyhow. A pipe with a name is left alone. Other runtimes give the pipe to
    the user instead (runc, fixStdioPermissions), with which a container could read what others wrote to the caller's.
    """
    for number in (0, 1, 2):
        fd = fds.get(number)
        if fd is not None and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
            status = os.fstat(fd)
            if status.st_uid == os.geteuid():  # another user's stays as it is
                os.fchmod(fd, stat.S_IMODE(status.st_mode) | (0o044 if number == 0 else 0o022))
