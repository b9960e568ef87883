"""What a keeper makes of its sandbox's events, and of commands."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carboy.containers import control
from carboy.containers.control import Connection, connect
from carboy.containers.keeper import Keeper
from carboy.containers.network import NetworkKeeper
from carboy.containers.record import read_json
from carboy.runtime.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator

HUP, KILL, TERM = 1, 9, 15
PLAN = {
    "id": "c1", "idmap": True, "network": "none", "deny_setgroups": False, "root_uid": 0, "root_gid": 0,
    "process": {"env": (), "cwd": "/", "user": ""},
}  # fmt: skip


class ScriptedSandbox:
    """A sandbox that notes its signals."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Stand:
    """A keeper beside a scripted sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.sandbox = ScriptedSandbox()
        self.keeper = Keeper(str(folder), PLAN)
        self.keeper.begin(self.sandbox, self.loop)  # type: ignore[arg-type]

    def run(self) -> None:
        """Let the process be there."""
        self.sandbox.pid = os.getpid()
        self.keeper.take(("pid", os.getpid()))
        self.keeper.take(("started", 7))

    def settle(self) -> None:
        while self.loop.step(0):
            pass

    def send(self, *message: Any) -> Connection:
        connection = connect(str(self.folder))
        assert connection is not None
        connection.send(message)
        self.settle()
        return connection

    def ask(self, *message: Any) -> tuple[Any, ...] | None:
        connection = self.send(*message)
        answer, _ = connection.receive()
        connection.close()
        self.settle()
        return answer

    def state(self) -> dict[str, Any]:
        value = read_json(f"{self.folder}/state.json")
        assert value is not None
        return value


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.keeper.close()


def test_a_process_that_ended_before_it_was_heard_of_is_no_error(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitpid(pid, 0)
    keeper = Keeper(str(tmp_path), {})
    try:
        keeper.take(("pid", pid))
        keeper.take(("exit", 7))
        keeper.end()
        assert (keeper.state.status, keeper.state.exit_code, keeper.state.pid) == ("exited", 7, 0)
    finally:
        keeper.close()


def test_the_state_on_disk_follows_the_life(stand: Stand) -> None:
    stand.run()
    assert (stand.state()["status"], stand.state()["pid"]) == ("running", os.getpid())
    assert stand.state()["supervisor"] == os.getpid()
    stand.keeper.take(("oom", 1))
    stand.keeper.take(("exit", 137))
    stand.keeper.end()
    assert (stand.state()["status"], stand.state()["exit_code"], stand.state()["oom_killed"]) == ("exited", 137, True)
    assert stand.state()["pid"] == 0


def test_why_a_start_failed_is_kept_whatever_comes_after(stand: Stand) -> None:
    stand.keeper.take(("error", "mount /proc", 0, "no"))
    stand.run()
    stand.keeper.end()
    assert "mount /proc" in stand.state()["error"]
    stand.keeper.begin(stand.sandbox, stand.loop)  # type: ignore[arg-type]
    stand.run()
    assert stand.state()["error"] == ""


def test_signals_reach_the_process(stand: Stand) -> None:
    stand.run()
    assert stand.ask("signal", HUP) == ("ok",)
    assert not stand.keeper.state.stopped
    assert stand.ask("signal", TERM) == ("ok",)
    assert stand.keeper.state.stopped
    assert stand.sandbox.signals == [HUP, TERM]


def test_a_stop_that_comes_before_the_process_is_not_lost(stand: Stand) -> None:
    waiting = stand.send("stop", TERM, 0)
    stand.settle()
    assert stand.sandbox.signals == []
    stand.run()
    assert stand.sandbox.signals == [TERM, KILL]
    stand.keeper.take(("exit", 137))
    stand.keeper.end()
    assert waiting.receive()[0] == ("ended", 137)
    waiting.close()


def test_a_stop_kills_after_its_time_and_never_the_next_run(stand: Stand) -> None:
    stand.run()
    waiting = stand.send("stop", TERM, 0)
    stand.keeper.take(("exit", 0))
    stand.keeper.end()
    assert waiting.receive()[0] == ("ended", 0)
    following = ScriptedSandbox()
    stand.keeper.begin(following, stand.loop)  # type: ignore[arg-type]
    stand.settle()
    assert following.signals == []
    waiting.close()


@pytest.mark.parametrize("request_", [("exec", {"args": ["true"]}), ("signal", 15), ("pause",), ("resume",)])
def test_what_needs_a_running_container_is_refused_after_its_end(stand: Stand, request_: tuple[Any, ...]) -> None:
    stand.run()
    stand.keeper.end()
    answer = stand.ask(*request_)
    assert answer is not None
    assert answer[0] == "refused"


@pytest.mark.parametrize("request_", [("dance",), ("signal",), ("signal", "x", "y"), (), (7,), ("exec", {}), ("stop",)])
def test_a_request_that_makes_no_sense_ends_nothing(stand: Stand, request_: tuple[Any, ...]) -> None:
    stand.run()
    answer = stand.ask(*request_)
    assert answer is not None
    assert answer[0] == "refused"
    assert stand.ask("signal", HUP) == ("ok",)


def test_bytes_that_are_no_message_end_nothing(stand: Stand) -> None:
    stand.run()
    connection = connect(str(stand.folder))
    assert connection is not None
    os.write(connection.fileno(), b"\xff\xfe what")
    stand.settle()
    assert connection.receive() == (None, [])
    connection.close()
    assert stand.ask("signal", HUP) == ("ok",)


def test_a_process_that_cannot_be_started_inside_is_told_and_ends_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.run()

    def refuse(*_: object) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("carboy.runtime.native.launch.enter", refuse)
    connection = connect(str(stand.folder))
    assert connection is not None
    null = os.open(os.devnull, os.O_RDWR)
    before = len(os.listdir("/proc/self/fd"))
    connection.send(("exec", {"args": ["true"]}), [null] * 3)
    stand.settle()
    answer, _ = connection.receive()
    assert answer is not None
    assert answer[0] == "refused"
    assert "temporarily unavailable" in answer[1]
    assert len(os.listdir("/proc/self/fd")) <= before
    connection.close()
    os.close(null)


def test_who_waits_hears_of_the_end_and_who_left_is_forgotten(stand: Stand) -> None:
    stand.run()
    first, second = stand.send("wait"), stand.send("wait")
    second.close()
    stand.settle()
    stand.keeper.take(("exit", 3))
    stand.keeper.end()
    assert first.receive()[0] == ("ended", 3)
    first.close()
    assert stand.ask("wait") == ("ended", 3)


def test_who_follows_hears_nothing_before_the_keeper_goes(stand: Stand) -> None:
    stand.run()
    follower = stand.send("follow")
    stand.keeper.end()
    os.set_blocking(follower.fileno(), False)
    with pytest.raises(BlockingIOError):
        os.read(follower.fileno(), 1)
    stand.keeper.close()
    assert os.read(follower.fileno(), 1) == b""
    follower.close()


def test_without_descriptors_a_keeper_sleeps_instead_of_turning_round(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.run()
    calls = []

    def refuse(_: object) -> None:
        calls.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    accept = control.accept
    monkeypatch.setattr(control, "accept", refuse)
    connection = connect(str(stand.folder))
    assert connection is not None
    stand.settle()
    assert calls == [1]
    monkeypatch.setattr(control, "accept", accept)
    connection.send(("signal", HUP))
    while not stand.sandbox.signals:
        stand.loop.step(1)
    assert connection.receive()[0] == ("ok",)
    connection.close()


def test_a_full_disk_costs_the_note_and_not_the_container(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("carboy.containers.keeper.write_record", refuse)
    stand.run()
    assert stand.keeper.state.status == "running"


def test_a_network_that_fails_fails_the_start(tmp_path: Path) -> None:
    class Refusing(NetworkKeeper):
        def attach(self, netns: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
            raise OSError(errno.EADDRINUSE, "Address already in use")

        def detach(self) -> None:
            """Nothing was attached."""

    answers = []
    sandbox = ScriptedSandbox()
    sandbox.proceed = answers.append  # type: ignore[attr-defined]
    keeper = Keeper(str(tmp_path), {"id": "c1"}, network=Refusing())
    keeper.begin(sandbox, Loop())  # type: ignore[arg-type]
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    keeper.take(("netns", os.getpid(), fd))
    assert "Address already in use" in answers[0]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    keeper.close()


def test_the_root_is_handed_out_while_the_command_runs_only(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    answers = []
    for event in (("pid", os.getpid()), ("started", 7), ("exit", 0)):
        connection = stand.send("root")
        answers.append(connection.receive())
        connection.close()
        stand.keeper.take(event)
    stand.keeper.end()
    connection = stand.send("root")
    answers.append(connection.receive())
    connection.close()
    assert [message[0] for message, _ in answers if message] == ["refused", "refused", "ok", "refused"]
    (root,) = answers[2][1]
    assert os.path.samestat(os.fstat(root), Path("/").stat())
    os.close(root)
    stand.keeper.close()
