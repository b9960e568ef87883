"""Standing beside a sandbox: what its events and the caller's signals become."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import pytest

from carboy.runtime.attend import Watcher, attend, explain
from carboy.runtime.errors import SandboxError
from carboy.runtime.passing import Passing
from carboy.runtime.stdio import Stdio


class ScriptedSandbox:
    """A sandbox whose events are known beforehand; a callable among them is called when its turn comes."""

    def __init__(self, *events: Any) -> None:
        self.pid: int | None = None
        self.events = list(events)
        self.signals: list[int] = []
        self.waited = False
        self._ours, self._theirs = socket.socketpair()
        self._theirs.send(b"x")

    def fileno(self) -> int:
        return self._ours.fileno()

    def receive(self) -> tuple[Any, ...] | None:
        if not self.events:
            return None
        event = self.events.pop(0)
        if callable(event):
            event()
            return ("note",)
        if event[0] == "pid":
            self.pid = event[1]
        return event  # type: ignore[no-any-return]

    def proceed(self, problem: str = "") -> None:
        raise AssertionError(problem)

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def wait(self) -> int:
        self.waited = True
        self._ours.close()
        self._theirs.close()
        return 9


class NotingWatcher(Watcher):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin(self, sandbox: Any, loop: Any) -> None:
        self.seen.append("begin")

    def take(self, event: tuple[Any, ...]) -> None:
        self.seen.append(event[0])

    def end(self) -> None:
        self.seen.append("end")


def stay(sandbox: ScriptedSandbox, watcher: Watcher | None = None) -> int:
    with Passing(Stdio(stdin=None, stdout=1, stderr=2), terminal=False) as passing:
        return attend(lambda: sandbox, passing, watcher=watcher)


def test_the_exit_status_is_the_process_s(capfd: pytest.CaptureFixture[str]) -> None:
    watcher = NotingWatcher()
    sandbox = ScriptedSandbox(("pid", 7), ("started", 7), ("exit", 42))
    assert stay(sandbox, watcher) == 42
    assert sandbox.waited
    assert watcher.seen == ["begin", "pid", "started", "exit", "end"]


@pytest.mark.parametrize(("code", "reason"), [(127, "not found on its PATH"), (126, "Permission denied")])
def test_a_command_that_cannot_be_executed(code: int, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SandboxError, match=reason) as error:
        stay(ScriptedSandbox(("pid", 7), ("command", code, "nope", reason), ("started", 7), ("exit", code)))
    assert error.value.code == code
    assert "nope" in str(error.value)


def test_the_first_of_two_errors_counts(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SandboxError, match="mount /proc"):
        stay(ScriptedSandbox(("error", "mount /proc", 1, "no"), ("error", "run", 0, "ended")))


def test_a_sandbox_that_says_nothing_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    watcher = NotingWatcher()
    with pytest.raises(SandboxError, match="ended with status 9"):
        stay(ScriptedSandbox(), watcher)
    assert watcher.seen == ["begin", "end"]


def test_signals_are_passed_on_also_those_that_came_too_early(capfd: pytest.CaptureFixture[str]) -> None:
    def send(number: int) -> None:
        os.kill(os.getpid(), number)

    sandbox = ScriptedSandbox()

    def late() -> None:
        assert sandbox.signals == [signal.SIGTERM]
        send(signal.SIGINT)

    # Each event gives the loop a turn, in which the signal of the one before is passed on.
    sandbox.events = [
        lambda: send(signal.SIGTERM), ("note",), ("pid", 7), ("note",), late, ("note",), ("note",), ("exit", 143),
    ]  # fmt: skip
    assert stay(sandbox) == 143
    assert sandbox.signals == [signal.SIGTERM, signal.SIGINT]


def test_handlers_are_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGWINCH)}
    stay(ScriptedSandbox(("exit", 0)))
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_launch_that_fails_puts_handlers_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        Passing(Stdio(stdin=None, stdout=1, stderr=2), terminal=False) as passing,
        pytest.raises(ZeroDivisionError),
    ):
        attend(lambda: 1 // 0, passing)  # type: ignore[arg-type,return-value]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("is_ours", "signals"), [(True, [signal.SIGKILL]), (False, [])])
def test_a_sandbox_dies_of_its_caller_s_failure_unless_another_keeps_it(
    capfd: pytest.CaptureFixture[str], is_ours: bool, signals: list[int]
) -> None:
    sandbox = ScriptedSandbox(("pid", 7), lambda: 1 // 0)
    with (
        Passing(Stdio(stdin=None, stdout=1, stderr=2), terminal=False) as passing,
        pytest.raises(ZeroDivisionError),
    ):
        attend(lambda: sandbox, passing, is_ours=is_ours)
    assert sandbox.signals == signals
    assert sandbox.waited


def test_errors_name_the_step_and_the_system_s_reason() -> None:
    assert str(explain(("error", "mount /proc", 1, "mount"))).endswith("mount: Operation not permitted")
    assert "another processor" in explain(("command", 126, "ls", "Exec format error")).hint
    assert explain(("command", 126, "ls", "Permission denied")).hint == ""
    assert "unmasked /proc" in explain(("error", "mount /proc", 1, "mount")).hint
    assert str(explain(("error", "find the user", 0, "no user ana"))).endswith("no user ana")
