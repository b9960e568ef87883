"""What tests of kept containers share: waiting for a state, and containers that go away with the test."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from small_image import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Carboy


def wait_for(call: Callable[[], object], *, patience_s: float = 20) -> None:
    """Return when ``call()`` is true; the moments in which containers change are told to nobody."""
    end = time.monotonic() + patience_s
    while not call():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def find_port() -> int:
    """Return a port of the loopback that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Containers:
    """Containers of one person, all of whose names begin alike, so that they can be removed."""

    def __init__(self, carboy: Carboy) -> None:
        self.carboy = carboy
        self.prefix = f"t{os.urandom(3).hex()}"

    def name(self, text: str) -> str:
        """Return a name of this test's own."""
        return f"{self.prefix}-{text}"

    def run(self, text: str, *words: str, options: tuple[str, ...] = (), image: str = SMALL) -> str:
        """Start a detached container and return its name."""
        name = self.name(text)
        self.carboy("run", "-d", "--name", name, *options, image, *words)
        return name

    def sh(self, text: str, script: str, *options: str) -> str:
        """Start a detached container that runs a script."""
        return self.run(text, "sh", "-c", script, options=options)

    def find(self, name: str) -> dict[str, Any]:
        """Return what ``ps -a`` says of a container."""
        rows = json.loads(self.carboy("ps", "-a", "--json", "--filter", f"name={name}").stdout)
        found: dict[str, Any] = next(row for row in rows if row["Name"] == name)
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what ``inspect`` says."""
        found: dict[str, Any] = json.loads(self.carboy("inspect", name).stdout)[0]
        return found

    def state(self, name: str) -> str:
        """Return what it does."""
        return str(self.find(name)["State"])

    def exit_code(self, name: str) -> int:
        """Return how it ended."""
        return int(self.find(name)["ExitCode"])

    def status(self, name: str) -> str:
        """Return the STATUS column."""
        return self.carboy("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").stdout.strip()

    def logs(self, name: str, *options: str) -> str:
        """Return its log."""
        return self.carboy("logs", *options, name).stdout

    def wait_state(self, name: str, state: str) -> None:
        """Return when it does that."""
        wait_for(lambda: self.state(name) == state)

    def wait_logged(self, name: str, text: str) -> None:
        """Return when it has written ``text``."""
        wait_for(lambda: text in self.logs(name))

    def remove_all(self) -> None:
        """Remove every container of the test."""
        names = sorted(link.name for link in (self.carboy.home / "names").glob(f"{self.prefix}*"))
        if names:
            self.carboy("rm", "-f", *names)


@pytest.fixture
def containers(small_carboy: Carboy) -> Iterator[Containers]:
    """Return a maker of containers for the person of each tier in turn."""
    made = Containers(small_carboy)
    yield made
    made.remove_all()


class OnTerminal:
    """A command on a terminal of its own."""

    def __init__(self, carboy: Carboy, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = carboy.start(*arguments, stdin=slave, stdout=slave, stderr=slave, preexec_fn=_take_terminal)
        os.close(slave)
        self.seen = ""
        self._read = 0

    def read_until(self, text: str, *, patience_s: float = 20) -> None:
        """Read until ``text`` has been seen behind what was read up to by the last call."""
        start = self._read
        end = time.monotonic() + patience_s
        while text not in self.seen[start:]:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} did not come: {self.seen[start:]!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 65_536).decode(errors="replace")
                except OSError:
                    assert text in self.seen[start:], f"{text!r} did not come: {self.seen[start:]!r}"
        self._read = self.seen.index(text, start) + len(text)

    def type(self, text: str) -> None:
        """Type on it."""
        os.write(self.master, text.encode())

    def wait(self) -> int:
        """Return the exit status, reading on meanwhile."""
        end = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 65_536).decode(errors="replace")
                except OSError:
                    break
        return self.process.wait(20)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def on_terminal(carboy: Carboy, *arguments: str) -> Iterator[OnTerminal]:
    """Give a command on a terminal; it is ended with the block."""
    made = OnTerminal(carboy, *arguments)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        os.close(made.master)


def close_pipes(process: subprocess.Popen[str]) -> None:
    """Close this side's ends of a command's pipes."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
