"""What the stage and exec have in common: commands of a runtime, run while the launcher is listened to."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select
import socket
import sys

from carboy.base.proc import spawn
from carboy.linux import mounts, namespaces
from carboy.runtime.oci.program import find_status, plan_flags, read_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from carboy.runtime.native.report import Reporter

SIGKILL, SIGPIPE, SIGSTOP = 9, 13, 19
MAX_CONSOLE_WAIT_MS = 10_000


class LauncherGoneError(Exception):
    """Nobody is there any more who wants the container."""


class RuntimeFailedError(Exception):
    """The runtime could not do what it was told; ``status`` is Docker's exit status for it."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.status = find_status(words)


class Commands:
    """Runs commands of one runtime. ``report`` is the launcher's socket, ``folder`` a private one for what they write."""

    def __init__(self, program: dict[str, Any], report: Reporter, folder: str) -> None:
        self.program = program
        self.report = report
        self.log = f"{folder}/log"
        self._folder = folder
        self._listener: socket.socket | None = None

    def start(self, *words: str, fds: dict[int, int] | None = None) -> int:
        """Start one command and return its pid."""
        return spawn([*plan_flags(self.program, log=self.log), *words], fds=fds)

    def run(
        self, *words: str, fds: dict[int, int] | None = None, deliver: Callable[[int], object] = lambda _: None
    ) -> None:
        """Run one command to its end. Raises ``RuntimeFailedError``, ``LauncherGoneError``.

        ``deliver`` gets the signals that arrive meanwhile; before the launcher knows of a process it sends none.
        """
        if self.wait(self.start(*words, fds=fds), deliver):
            self.fail(words[0])

    def try_run(self, *words: str) -> None:
        """Run one command to its end, however it ends, and whoever listens."""
        os.waitpid(self.start(*words), 0)

    def fail(self, command: str) -> NoReturn:
        """Raise ``RuntimeFailedError`` with what the log says."""
        raise RuntimeFailedError(read_failure(self.log) or f"{self.program['kind']} {command} failed without a word")

    def wait(self, pid: int, deliver: Callable[[int], object], *, keep: bool = False) -> int:
        """Return the exit status of the child ``pid``, giving the signals that the launcher sends to ``deliver``.

        Raises ``LauncherGoneError`` after killing the child when the launcher goes away, unless ``keep``.
        """
        ended = os.pidfd_open(pid)
        caller = self.report.socket.fileno()
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(caller, select.POLLIN)
        try:
            while not any(fd == ended for fd, _ in poll.poll()):
                message = self.report.socket.recv(64)
                if message:
                    deliver(int(message))
                elif keep:
                    poll.unregister(caller)
                else:
                    os.kill(pid, SIGKILL)
                    os.waitpid(pid, 0)
                    raise LauncherGoneError
        finally:
            os.close(ended)
        _, status = os.waitpid(pid, 0)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def open_console(self) -> list[str]:
        """Listen for a terminal, and return the words that tell a command where to send it."""
        path = f"{self._folder}/console"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.bind(path)
        self._listener.listen(1)
        return ["--console-socket", path]

    def pass_console(self) -> None:
        """Hand the terminal that the runtime has sent on to the launcher. Raises ``OSError``."""
        assert self._listener is not None
        poll = select.poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        if not poll.poll(MAX_CONSOLE_WAIT_MS):
            raise OSError(0, "the runtime sent no terminal")
        connection, _ = self._listener.accept()
        _, ancillary, _, _ = connection.recvmsg(4096, 64, socket.MSG_CMSG_CLOEXEC)
        connection.close()
        self._listener.close()
        self._listener = None
        if not ancillary:
            raise OSError(0, "the runtime sent no terminal")
        master = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        self.report.send_descriptor(("console",), master)
        os.close(master)


def report_failure(report: Reporter, failure: RuntimeFailedError, *, kind: str, name: str) -> int:
    """Tell the launcher, in the runtime's own words, and return the exit status."""
    if failure.status == 125:
        report.send("error", f"run the sandbox by {kind}", 0, failure.words)
    else:
        report.send("command", failure.status, name, failure.words)
    return failure.status


def hide_streams() -> None:
    """Let go of the container's pipes: they end with the container, not with this process."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def reset_signals() -> None:
    """Undo what the launcher ignores (a keeper: those of a terminal): the runtimes would hand it on to the container."""
    for number in _signal.valid_signals() - {SIGKILL, SIGSTOP, SIGPIPE}:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def find_cover(*needed: str) -> str:
    """Return a folder to cover with our own mount: reachable for every id of a container, and holding nothing ``needed``.

    A runtime looks up the root as the container's root, who may not pass through a home of mode 0700; in a private mount
    namespace any folder near the top will do. This program and its interpreter must stay in sight, too.
    """
    needed = (*needed, os.path.abspath(__file__), os.path.realpath(sys.executable), sys.base_prefix)
    for path in ("/run", "/mnt", "/srv", "/media", "/opt", "/tmp"):  # noqa: S108
        if os.path.isdir(path) and not os.path.islink(path) and not any(f"{n}/".startswith(f"{path}/") for n in needed):
            return path
    raise OSError(0, "there is no folder to mount the root at")


def make_private(cover: str) -> None:
    """Enter a mount namespace of our own with an empty ``cover``. Raises ``OSError``."""
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("carboy", cover, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755,size=1m")
    os.chdir(cover)
