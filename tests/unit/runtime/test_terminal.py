"""A process with a terminal of its own, and the caller's terminal around it."""

from __future__ import annotations

import os
import signal
import termios
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandboxes import Sandboxes
    from screens import Screen

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


def test_a_terminal_of_its_own(sandboxes: Sandboxes, screen: Screen) -> None:
    script = (
        "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; echo direct >/dev/tty; ls /dev/pts; exit 4"
    )
    process = screen.start(sandboxes, "sh", "-c", script)
    for text in (b"/dev/pts/0\r\n", b"33 101\r\n", b"all\r\n", b"direct\r\n", b"0", b"ptmx"):
        screen.expect(text)
    assert process.wait(timeout=10) == 4


def test_owner_is_the_user(sandboxes: Sandboxes, screen: Screen) -> None:
    process = screen.start(sandboxes, "sh", "-c", "stat -c '%u %a' $(tty); echo x >/dev/pts/0", user="ana")
    screen.expect(b"1000 620\r\n")
    screen.expect(b"x\r\n")
    assert process.wait(timeout=10) == 0


def test_keys_go_to_the_process(sandboxes: Sandboxes, screen: Screen) -> None:
    process = screen.start(sandboxes, "sh", "-c", "read line; echo got $line; sleep 100")
    os.write(screen.master, b"hello\r")
    screen.expect(b"got hello\r\n")
    os.write(screen.master, b"\x03")
    assert process.wait(timeout=10) == 130


def test_size_follows(sandboxes: Sandboxes, screen: Screen) -> None:
    # A signal and a key that arrive together may be handled in either order, so the size is asked for until it is there.
    script = 'echo ready; until stty size | grep "^20 60"; do sleep 0.02; done'
    process = screen.start(sandboxes, "sh", "-c", script)
    screen.expect(b"ready")
    screen.resize(20, 60)
    process.send_signal(signal.SIGWINCH)  # the kernel sends it to the terminal's foreground group
    screen.expect(b"20 60\r\n")
    assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("ending", ["exit", "error", "signal"])
def test_the_callers_terminal_is_put_back(sandboxes: Sandboxes, screen: Screen, ending: str) -> None:
    before = termios.tcgetattr(screen.slave)
    process = screen.start(
        sandboxes, "sh", "-c", "echo ready; read x", user="nobody-knows" if ending == "error" else ""
    )
    if ending == "error":
        assert process.wait(timeout=10) == 125
    else:
        screen.expect(b"ready")
        assert termios.tcgetattr(screen.slave) != before
        if ending == "exit":
            os.write(screen.master, b"\r")
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == (0 if ending == "exit" else 143)
    assert termios.tcgetattr(screen.slave) == before


def test_much_output(sandboxes: Sandboxes, screen: Screen) -> None:
    process = screen.start(sandboxes, "sh", "-c", "seq 20000; echo end")
    screen.expect(b"20000\r\nend\r\n")
    assert process.wait(timeout=10) == 0


def test_a_terminal_without_one_outside(sandboxes: Sandboxes) -> None:
    """`-t` in a pipe line: the process has a terminal, the caller reads what it shows."""
    result = sandboxes.run("sh", "-c", "tty; echo done", terminal=True)
    assert (result.status, result.stdout) == (0, "/dev/pts/0\r\ndone\r\n")
