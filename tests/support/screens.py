"""The caller's terminal, for tests of what is around and inside a container's."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

    from sandboxes import Sandboxes


@dataclass(slots=True)
class Screen:
    """The caller's terminal: what a person would type and see."""

    master: int
    slave: int
    seen: bytes = b""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, sandboxes: Sandboxes, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        command = sandboxes.command(*args, terminal=True, stdin=True, **options)
        process = sandboxes.start(command, stdin=self.slave, stdout=self.slave, stderr=self.slave)
        self.processes.append(process)
        return process

    def expect(self, text: bytes, *, timeout_s: float = 10) -> None:
        """Read until ``text`` has been seen, and forget all up to its end."""
        end = time.monotonic() + timeout_s
        while text not in self.seen:
            assert select.select([self.master], [], [], end - time.monotonic())[0], self.seen
            self.seen += os.read(self.master, 4096)
        self.seen = self.seen.partition(text)[2]

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


@pytest.fixture
def screen() -> Iterator[Screen]:
    master, slave = pty.openpty()
    screen = Screen(master, slave)
    screen.resize(33, 101)
    yield screen
    for process in screen.processes:
        process.kill()
        process.wait()
    os.close(master)
    os.close(slave)
