"""The commands' side of the talk with the process that keeps a container."""

from __future__ import annotations

import os

from carboy.containers import control
from carboy.errors import CarboyError
from carboy.runtime.passing import Passing, read_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.containers.control import Connection
    from carboy.runtime.sandbox import Event
    from carboy.runtime.stdio import Stdio


class RemoteSandbox:
    """A container, or a process in one, that somebody else keeps, seen through a connection: implements ``Sandbox``.

    ``inside``: what is at the other end is a process that ``exec`` started, which takes signals as bare numbers.
    """

    def __init__(self, connection: Connection, *, inside: bool = False) -> None:
        self._connection = connection
        self._inside = inside
        self.pid: int | None = None if inside else 0

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._connection.fileno()

    def receive(self) -> Event | None:
        """Return the next event; None at the end. Raises ``CarboyError`` (125) when the other end refuses."""
        message, fds = self._connection.receive()
        if message is None:
            return None
        match message[0]:
            case "refused":
                raise refusal(message)
            case "ended":
                return ("exit", message[1])
            case "pid":
                self.pid = message[1]
        return (*message, *fds)

    def proceed(self, problem: str = "") -> None:
        """Never asked for: the keeper has answered."""

    def signal(self, number: int) -> None:
        """Ask the keeper to send a signal."""
        if self._inside:
            try:
                os.write(self._connection.fileno(), b"%d" % number)
            except (BrokenPipeError, ConnectionResetError):
                return  # it has ended, or was refused
        else:
            self._connection.send(("signal", number))

    def wait(self) -> int:
        """End the talk."""
        self._connection.close()
        return 0


def refusal(message: tuple[Any, ...]) -> CarboyError:
    """Return the error that a ("refused", brief, hint) stands for."""
    return CarboyError(message[1], hint=message[2], code=125)


def attend_kept(connection: Connection, passing: Passing, *, tty: bool) -> int:
    """Stay with a kept container through an attached connection, and return its exit status."""
    if tty:
        passing.attach_remote(lambda rows, columns: connection.send(("resize", rows, columns)))
    return _stay(RemoteSandbox(connection), passing)


def _stay(sandbox: RemoteSandbox, passing: Passing) -> int:
    from carboy.runtime.attend import attend  # while the keeper is at what it was asked for: two things at once

    return attend(lambda: sandbox, passing, is_ours=False)


def attach(folder: str, stdio: Stdio) -> int:
    """Attach the caller to a running container and return its exit status. Raises ``CarboyError`` (125)."""
    connection = ask(folder)
    with Passing(stdio, terminal=False, direct=False) as passing:
        fds = [passing.child_fds[1], passing.child_fds[2], *([passing.child_fds[0]] if 0 in passing.child_fds else [])]
        connection.send(("attach", stdio.stdin is not None), fds)
        passing.close_child_ends()
        answer, _ = connection.receive()
        if answer is None or answer[0] != "attached":
            raise refusal(answer or ("", "the container has ended", ""))
        return attend_kept(connection, passing, tty=answer[1])


def execute(folder: str, process: dict[str, Any], stdio: Stdio) -> int:
    """Run a process in a running container, with the caller's input and output, and return its exit status.

    ``process``: "args", and where they differ from the container's own "env" (added), "cwd", "user"; "terminal".
    Raises ``CarboyError``: 125 when it cannot be started there, 126 or 127 for its command.
    """
    connection = ask(folder)
    with Passing(stdio, terminal=process.get("terminal", False)) as passing:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        fds = [passing.child_fds.get(number, null) for number in (0, 1, 2)]
        connection.send(("exec", process), fds)
        os.close(null)
        return _stay(RemoteSandbox(connection, inside=True), passing)


def execute_detached(folder: str, process: dict[str, Any]) -> None:
    """Start a process in a running container and leave it there. Raises ``CarboyError`` as :func:`execute`."""
    connection = ask(folder)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    connection.send(("exec", {**process, "keep": True}), [null] * 3)
    os.close(null)
    wait_started(connection)
    connection.close()


def wait_started(connection: Connection) -> None:
    """Return when a process has been executed. Raises ``CarboyError`` when it could not be."""
    from carboy.runtime.attend import explain

    while True:
        message, _ = connection.receive()
        if message is None:
            raise CarboyError("the container ended before its command was started", code=125)
        match message[0]:
            case "refused":
                raise refusal(message)
            case "error" | "command":
                raise explain(message)
            case "started":
                return


def open_root(folder: str) -> int:
    """Return a descriptor (O_PATH) of a running container's /, which the caller closes.

    Raises ``CarboyError`` (125) when it does not run, or has not begun to.
    """
    connection = ask(folder)
    try:
        _, fds = _talk(connection, ("root",))
    finally:
        connection.close()
    if len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise _ended()
    return fds[0]


def hold(folder: str) -> Connection:
    """Pause a running container until the connection is closed, or this process ends. Raises ``CarboyError`` (125)."""
    connection = ask(folder)
    try:
        _talk(connection, ("hold",))
    except CarboyError:
        connection.close()
        raise
    return connection


def request(folder: str, message: tuple[Any, ...]) -> tuple[Any, ...]:
    """Send one request and return the answer. Raises ``CarboyError`` (125) when it is refused, or nobody is there."""
    connection = ask(folder)
    try:
        return _talk(connection, message)[0]
    finally:
        connection.close()


def _talk(connection: Connection, message: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int]]:
    """Send a message and return the answer with its descriptors. Raises ``CarboyError`` (125), as :func:`request`."""
    connection.send(message)
    answer, fds = connection.receive()
    if answer is None:
        raise _ended()
    if answer[0] == "refused":
        raise refusal(answer)
    return answer, fds


def _ended() -> CarboyError:
    return CarboyError("the process that keeps the container has ended", code=125)


def ask(folder: str) -> Connection:
    """Return a connection to a running container. Raises ``CarboyError`` (125) when it does not run."""
    connection = control.connect(folder)
    if connection is None:
        raise CarboyError("the container is not running", hint="`carboy start` it first", code=125)
    return connection


def terminal_size(stdio: Stdio) -> tuple[int, int] | None:
    """Return the (rows, columns) of the caller's terminal, None when there is none."""
    for fd in (stdio.stdin, stdio.stdout):
        if fd is not None and os.isatty(fd):
            return read_size(fd)
    return None
