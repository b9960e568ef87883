"""The stage program's way back to its launcher, and the name of what it is doing."""

from __future__ import annotations

import _socket
import marshal
import os
import sys


class Reporter:
    """The way back to the launcher: one marshalled tuple per packet."""

    def __init__(self, fd: int) -> None:
        self.socket = _socket.socket(fileno=fd)
        os.set_inheritable(fd, False)

    def send(self, *message: object) -> None:
        """Send one message; a launcher that is gone is no reason to fail: its death ends us anyway."""
        try:  # noqa: SIM105
            self.socket.send(marshal.dumps(message))  # type: ignore[arg-type]  # numbers and texts only
        except OSError:
            pass

    def send_descriptor(self, message: tuple[str | int, ...], fd: int) -> None:
        """Send a message together with a descriptor."""
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))
        self.socket.sendmsg([marshal.dumps(message)], [rights])

    def ask(self, message: tuple[str | int, ...], fd: int) -> None:
        """Send a message together with a descriptor and wait for leave to go on. Raises ``OSError`` with the answer's text."""
        self.send_descriptor(message, fd)
        answer = self.socket.recv(4096)
        if answer != b"y":
            raise OSError(0, answer.decode(errors="replace") or "the launcher is gone")


class Step:
    """Names the operation under way, for the report of its failure."""

    name = "read the plan"
