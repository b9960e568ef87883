"""``exec`` and ``attach``: processes beside a container's own, and its input and output, in each tier."""

from __future__ import annotations

import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from containers import Containers, close_pipes, on_terminal, wait_for
from small_image import SMALL

if TYPE_CHECKING:
    pass

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


@pytest.fixture
def name(containers: Containers) -> str:
    """Return a container that sleeps."""
    return containers.run("host", "sleep", "1000", options=("-e", "OWN=1", "-w", "/opt"))


def test_exec_passes_streams_and_the_exit_status(containers: Containers, name: str) -> None:
    carboy = containers.carboy
    done = carboy("exec", name, "sh", "-c", "echo out; echo err >&2; exit 42", expect=42)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert carboy("exec", "-i", name, "cat", input="hello\n").stdout == "hello\n"
    assert carboy("exec", name, "cat", input="not passed on\n").stdout == ""
    big = "x" * 200_000 + "\n"
    assert carboy("exec", "-i", name, "cat", input=big).stdout == big
    assert carboy("exec", name, "sh", "-c", "kill -9 $$", expect=137).stdout == ""
    assert containers.logs(name) == "", "what exec writes is not the container's"


def test_exec_with_other_variables_folder_and_user(containers: Containers, name: str) -> None:
    carboy = containers.carboy
    assert carboy("exec", name, "sh", "-c", "echo $OWN $PWD $HOME").stdout == "1 /opt /root\n"
    assert carboy("exec", "-e", "OWN=2", "--env", "A=b c", name, "sh", "-c", 'echo "$OWN $A"').stdout == "2 b c\n"
    assert carboy("exec", "-w", "/etc", name, "pwd").stdout == "/etc\n"
    assert "no user 'nobody-here'" in carboy("exec", "-u", "nobody-here", name, "true", expect=125).stderr
    if carboy.person.tier == "single":
        refused = carboy("exec", "-u", "ana", name, "true", expect=125).stderr
        assert "become the user 1000:1000: this container has no other ids than its own user's" in refused
        return
    assert carboy("exec", "-u", "ana", name, "sh", "-c", "whoami; echo $HOME").stdout == "ana\n/home/ana\n"
    assert carboy("exec", "-u", "1000:2001", name, "id", "-g").stdout == "2001\n"


def test_commands_that_exec_cannot_run(containers: Containers, name: str) -> None:
    carboy = containers.carboy
    assert "not found" in carboy("exec", name, "nope", expect=127).stderr
    assert "denied" in carboy("exec", name, "/etc/passwd", expect=126).stderr.lower()
    carboy("stop", "-t0", name)
    refused = carboy("exec", name, "true", expect=125)
    assert "is not running" in refused.stderr
    assert "carboy start" in refused.stderr


def test_exec_leaves_a_process_running_when_it_is_asked_to(containers: Containers, name: str) -> None:
    carboy = containers.carboy
    assert carboy("exec", "-d", name, "sh", "-c", "sleep 0.3; echo later > /later; sleep 1000").stdout == ""
    wait_for(lambda: carboy("exec", name, "cat", "/later", expect=None).stdout == "later\n")
    assert "not found" in carboy("exec", "-d", name, "nope", expect=127).stderr
    assert "sleep 1000" in carboy("exec", name, "ps").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_to_exec_reach_the_process(containers: Containers, name: str, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name[3:]}; echo ready; while :; do sleep 0.02; done"
    inside = containers.carboy.start("exec", name, "sh", "-c", script)
    assert inside.stdout is not None
    assert inside.stdout.readline() == "ready\n"
    inside.send_signal(number)
    assert inside.communicate(timeout=20)[0] == "got\n"
    assert inside.returncode == 7


def test_a_process_of_exec_ends_with_whoever_asked_for_it(containers: Containers, name: str) -> None:
    inside = containers.carboy.start("exec", name, "sh", "-c", "echo ready; exec sleep 777")
    assert inside.stdout is not None
    assert inside.stdout.readline() == "ready\n"
    inside.kill()
    inside.wait()
    close_pipes(inside)
    wait_for(lambda: "sleep 777" not in containers.carboy("exec", name, "ps").stdout)
    assert containers.state(name) == "running"


def test_a_process_of_exec_ends_with_the_container(containers: Containers, name: str) -> None:
    inside = containers.carboy.start("exec", name, "sleep", "777")
    wait_for(lambda: "sleep 777" in containers.carboy("exec", name, "ps").stdout)
    containers.carboy("stop", "-t0", name)
    assert inside.wait(20) == 137
    close_pipes(inside)


def test_a_shell_on_a_terminal(containers: Containers, name: str) -> None:
    with on_terminal(containers.carboy, "exec", "-it", name, "sh") as terminal:
        terminal.type("tty; echo term=$TERM; stty size\n")
        terminal.read_until("/dev/pts/0")
        terminal.read_until("term=")
        terminal.type("sleep 1000\n")
        time.sleep(0.3)  # until sleep is in the foreground there is nothing to see
        terminal.type("\x03")
        terminal.type("echo still $((40 + 2))\n")
        terminal.read_until("still 42")
        terminal.type("exit 5\n")
        assert terminal.wait() == 5


def test_a_terminal_s_size_goes_in(containers: Containers, name: str) -> None:
    import fcntl
    import struct
    import termios

    with on_terminal(containers.carboy, "exec", "-it", name, "sh") as terminal:
        fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))

        def has_size() -> bool:
            terminal.type("stty size; echo ok\n")
            terminal.read_until("ok\r\n")
            return "33 99" in terminal.seen

        wait_for(has_size)
        terminal.type("exit\n")
        assert terminal.wait() == 0


def test_a_container_with_a_terminal_is_attached_and_left(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.run("shell", "sh", options=("-it",))
    with on_terminal(carboy, "attach", name) as terminal:
        terminal.type("echo $((40 + 2))\n")
        terminal.read_until("42")
        terminal.process.kill()  # the terminal's window is closed
        terminal.process.wait()
    assert containers.state(name) == "running"
    with on_terminal(carboy, "attach", name) as terminal:
        terminal.type("echo $((50 + 2))\n")
        terminal.read_until("52")
        terminal.type("exit 9\n")
        assert terminal.wait() == 9
    assert containers.exit_code(name) == 9
    assert "42" in containers.logs(name)


def test_attach_shows_both_streams_and_passes_input_on(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.run("cat", "sh", "-c", "while read line; do echo got $line; echo err >&2; done", options=("-i",))
    one, two = carboy.start("attach", name, stdin=subprocess.PIPE), carboy.start("attach", "--no-stdin", name)
    stdin, outputs = one.stdin, (one.stdout, two.stdout)
    assert stdin is not None

    def are_both_told() -> bool:  # who attaches later has not missed the last line
        stdin.write("hello\n")
        stdin.flush()
        return len(select.select(outputs, (), (), 0.2)[0]) == 2

    wait_for(are_both_told)
    for output in outputs:
        assert output is not None
        assert output.readline() == "got hello\n"
    one.kill()
    one.wait()
    close_pipes(one)
    assert containers.state(name) == "running", "an attached caller that goes away does not end it"
    carboy("stop", "-t0", name)
    assert two.wait(20) in {137, 143}
    close_pipes(two)


def test_ctrl_c_in_the_foreground_reaches_the_container_and_closing_leaves_it(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.name("shell")
    script = 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.05; done'
    with on_terminal(carboy, "run", "-it", "--name", name, SMALL, "sh", "-c", script) as terminal:
        terminal.read_until("ready")
        terminal.type("\x03")
        terminal.read_until("interrupted")
        assert terminal.wait() == 3
    left = containers.name("left")
    with on_terminal(carboy, "run", "-it", "--name", left, SMALL, "sh", "-c", "echo ready; sleep 1000") as terminal:
        terminal.read_until("ready")
        terminal.process.kill()
        terminal.process.wait()
    assert containers.state(left) == "running"


def test_many_processes_at_once(containers: Containers, name: str) -> None:
    running = [containers.carboy.start("exec", name, "sh", "-c", f"echo {number}") for number in range(12)]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == [str(n) for n in range(12)]
