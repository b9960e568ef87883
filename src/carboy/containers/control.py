"""The talk between a command and the process that keeps a container: one socket, one packet a message.

The socket lies in the container's folder, which is the caller's alone; who connects is checked again by SO_PEERCRED. A request
is a tuple of a verb and its values, with descriptors where the verb needs some; the answers are events
(``runtime.sandbox``), ("ok", ...), ("refused", brief, hint) or ("ended", exit status). Messages are ``marshal``, whose both
ends are carboy of one user; no packet from inside a container arrives here.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_MESSAGE_BYTES = 200_000
MAX_FDS = 3
_INT = 4


class Connection:
    """One end of the talk. Make the client's with :func:`connect`."""

    __slots__ = ("_socket",)

    def __init__(self, socket: _socket.socket) -> None:
        self._socket = socket

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def send(self, message: tuple[Any, ...], fds: Sequence[int] = ()) -> bool:
        """Send a message; False when the other end is gone. Raises ``CarboyError`` for one that is too long."""
        data = marshal.dumps(message)
        if len(data) > MAX_MESSAGE_BYTES:
            raise CarboyError("the command and its environment are too long", hint="put them into a file", code=125)
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(_INT, sys.byteorder) for fd in fds))]
        try:
            self._socket.sendmsg([data], rights if fds else [])
        except OSError:
            return False
        return True

    def receive(self) -> tuple[tuple[Any, ...] | None, list[int]]:
        """Return the next message and its descriptors; (None, []) when the other end is gone, or does not talk like us."""
        try:
            space = _socket.CMSG_SPACE(MAX_FDS * _INT)
            data, ancillary, _, _ = self._socket.recvmsg(MAX_MESSAGE_BYTES, space, _socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return None, []
        fds = []
        for level, kind, rights in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                whole = len(rights) - len(rights) % _INT
                fds += [int.from_bytes(rights[i : i + _INT], sys.byteorder) for i in range(0, whole, _INT)]
        if not data:
            return None, fds
        try:
            message: tuple[Any, ...] = marshal.loads(data)  # noqa: S302
        except (ValueError, EOFError, TypeError):
            return None, fds
        return message, fds

    def close(self) -> None:
        """End the talk."""
        self._socket.close()

    def detach(self) -> int:
        """Return the descriptor, which is the caller's from here on."""
        return self._socket.detach()

    def adopt(self, fd: int) -> None:
        """Go on with another descriptor of the same socket."""
        self._socket = _socket.socket(fileno=fd)


def listen(folder: str) -> _socket.socket:
    """Return a socket that listens in a container's folder. Raises ``OSError``."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:  # noqa: SIM105
            os.unlink("control", dir_fd=place)
        except FileNotFoundError:
            pass
        # By descriptor, because a socket's path has 108 bytes and a home may lie deep.
        socket.bind(f"/proc/self/fd/{place}/control")
    finally:
        os.close(place)
    socket.listen(64)
    socket.setblocking(False)
    return socket


def accept(listener: _socket.socket) -> Connection | None:
    """Return the next connection when it is the same user's; None otherwise. Raises ``OSError`` when no descriptor is left."""
    try:
        fd, _ = listener._accept()  # type: ignore[attr-defined]  # what socket.socket.accept is made of
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
            raise
        return None
    socket = _socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    peer = socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if int.from_bytes(peer[4:8], sys.byteorder) != os.geteuid():
        socket.close()
        return None
    return Connection(socket)


def connect(folder: str) -> Connection | None:
    """Return a connection to the process that keeps the container of ``folder``; None when there is none."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        socket.close()
        return None
    try:
        socket.connect(f"/proc/self/fd/{place}/control")
    except OSError:
        socket.close()
        return None
    finally:
        os.close(place)
    return Connection(socket)
