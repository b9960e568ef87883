"""Containers by name: found, shown as they are, and removed once."""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import signal
import threading
from pathlib import Path

import pytest

from carboy.base.home import Home, open_home
from carboy.containers import control
from carboy.containers.log import LogLine
from carboy.containers.names import claim_name, write_name
from carboy.containers.record import ContainerConfig, ContainerState, read_boot, write_record
from carboy.engine.containers import manage
from carboy.engine.containers.manage import (
    ContainerView,
    delete_container,
    find_container,
    list_containers,
    open_view,
    prune_containers,
    read_log,
    rename_container,
    view_container,
)
from carboy.errors import CarboyError
from carboy.snapshots import snapshot

LEARNED = ("a" * 64, "ab" + "c" * 62, "d" * 64)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def add(home: Home, container_id: str, name: str, *, state: ContainerState | None = None, at_s: float = 1.0) -> Path:
    with snapshot.open_container(home, container_id) as container:
        config = ContainerConfig(
            id=container_id, image="debian", manifest="sha256:0", layers=(), created_at_s=at_s, args=("sh",)
        )
        write_record(container.path, "config", config)
        if state is not None:
            write_record(container.path, "state", state)
        write_name(container.path, claim_name(home, container_id, name))
        container.keep()
        return Path(container.path)


class Held:
    """Holds a container's lock, as its keeper does."""

    def __init__(self, folder: Path) -> None:
        self.fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def let_go(self) -> None:
        os.close(self.fd)


def test_a_container_is_found_by_name_by_id_and_by_the_beginning_of_its_id(home: Home) -> None:
    for container_id, name in zip(LEARNED, ("web", "shop", "d"), strict=False):
        if len(name) > 1:
            add(home, container_id, name)
    assert find_container(home, "web") == LEARNED[0]
    assert find_container(home, LEARNED[1]) == LEARNED[1]
    assert find_container(home, "abc") == LEARNED[1]
    with pytest.raises(CarboyError, match="a is the beginning of 2 containers' ids"):
        find_container(home, "a")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "wbe", "~"])
def test_what_is_not_there(home: Home, name: str) -> None:
    add(home, LEARNED[0], "web")
    with pytest.raises(CarboyError, match="no container") as error:
        find_container(home, name)
    assert ("did you mean web?" in error.value.hint) is (name == "wbe")


def test_a_keeper_that_died_is_told_by_its_lock(home: Home) -> None:
    state = ContainerState(status="running", pid=7, boot=read_boot(), health="healthy", ports=("x",))
    folder = add(home, LEARNED[0], "web", state=state)
    view = open_view(home, "web")
    assert (view.state.status, view.state.exit_code, view.state.pid, view.state.health) == ("exited", 137, 0, "")
    assert "was killed" in view.state.error
    held = Held(folder)
    assert open_view(home, "web").state == state
    held.let_go()


def test_a_reboot_is_told_apart(home: Home) -> None:
    add(home, LEARNED[0], "web", state=ContainerState(status="running", pid=7, boot="another"))
    assert open_view(home, "web").state.error == "the machine was restarted"


def test_an_end_that_comes_between_two_looks_is_the_end_that_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    running = ContainerState(status="running", pid=7, boot=read_boot())
    folder = add(home, LEARNED[0], "web", state=running)
    look = snapshot.is_running

    def end_meanwhile(where: Home, container_id: str) -> bool:
        write_record(str(folder), "state", running.replace(status="exited", exit_code=3, pid=0))
        return look(where, container_id)

    monkeypatch.setattr(manage.snapshot, "is_running", end_meanwhile)
    view = open_view(home, "web")
    assert (view.state.status, view.state.exit_code, view.state.error) == ("exited", 3, "")


def test_folders_that_are_no_containers_are_passed_over(home: Home) -> None:
    add(home, LEARNED[0], "web", at_s=1)
    add(home, LEARNED[1], "shop", at_s=2)
    Path(home.containers, "step").mkdir()
    Path(home.containers, "gone~1").mkdir()
    assert [view.name for view in list_containers(home, everything=True)] == ["shop", "web"]
    assert list_containers(home) == []
    assert view_container(home, "step") is None


def test_a_running_container_is_not_removed(home: Home) -> None:
    folder = add(home, LEARNED[0], "web", state=ContainerState(status="running", boot=read_boot()))
    held = Held(folder)
    with pytest.raises(CarboyError, match="is running"):
        delete_container(home, open_view(home, "web"))
    assert prune_containers(home) == []
    held.let_go()
    assert prune_containers(home) == ["web"]
    assert os.listdir(home.containers) == os.listdir(home.names) == []


def test_the_end_is_written_down_before_the_keeper_lets_go(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has read that a container has ended can remove it: what is left of its keeper is waited for."""
    held = Held(add(home, LEARNED[0], "web", state=ContainerState(status="exited", boot=read_boot())))
    view = open_view(home, "web")
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        held.let_go()

    monkeypatch.setattr("carboy.engine.containers.manage.time.sleep", wait)
    delete_container(home, view)
    assert waited
    assert os.listdir(home.containers) == []


def test_one_that_was_started_meanwhile_is_not_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add(home, LEARNED[0], "web", state=ContainerState(status="exited", boot=read_boot()))
    view, held = open_view(home, "web"), Held(folder)
    write_record(str(folder), "state", ContainerState(status="running", boot=read_boot()))
    with pytest.raises(CarboyError, match="has just been started"):
        delete_container(home, view)
    held.let_go()


def test_force_ends_one_that_was_started_again_after_it_was_looked_at(home: Home) -> None:
    folder = add(home, LEARNED[0], "web", state=ContainerState(status="exited", boot=read_boot()))
    view, held = open_view(home, "web"), Held(folder)
    asked = []

    def keep(listener: _socket.socket) -> None:
        select.select([listener], [], [], 20)
        connection = control.accept(listener)
        assert connection is not None
        asked.append(connection.receive()[0])
        held.let_go()
        connection.send(("ended", 137))
        connection.close()

    listener = control.listen(str(folder))
    keeper = threading.Thread(target=keep, args=(listener,))
    keeper.start()
    delete_container(home, view, force=True)
    keeper.join()
    listener.close()
    assert asked == [("stop", signal.SIGKILL, 0)]
    assert os.listdir(home.containers) == []


def test_of_many_that_remove_at_once_one_does_it_and_nothing_is_left(home: Home) -> None:
    for _ in range(10):
        folder = add(home, LEARNED[0], "web")
        (folder / "rw").mkdir()
        (folder / "rw" / "data").write_text("x")
        view = open_view(home, "web")
        children = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                status = 2
                try:
                    delete_container(home, view)
                    status = 0
                except CarboyError as error:
                    status = 1 if "no container web" in str(error) or "just been started" in str(error) else 3
                finally:
                    os._exit(status)
            children.append(pid)
        statuses = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
        assert statuses == [0, 1, 1, 1]
        assert os.listdir(home.containers) == os.listdir(home.names) == []


def test_a_container_gets_another_name(home: Home) -> None:
    add(home, LEARNED[0], "web")
    add(home, LEARNED[1], "shop")
    with pytest.raises(CarboyError, match="in use"):
        rename_container(home, open_view(home, "web"), "shop")
    rename_container(home, open_view(home, "web"), "front")
    assert open_view(home, "front").id == LEARNED[0]
    assert sorted(os.listdir(home.names)) == ["front", "shop"]


def test_looking_at_a_container_does_not_keep_others_from_starting_it(home: Home) -> None:
    folder = add(home, LEARNED[0], "web")
    start, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(start)
            for _ in range(2000):
                snapshot.is_running(home, LEARNED[0])
        finally:
            os._exit(0)
    os.close(go)
    for _ in range(300):
        container = snapshot.lock_container(home, LEARNED[0])
        assert container is not None
        os.close(container.lock)
    os.read(start, 1)
    os.waitpid(pid, 0)
    os.close(start)
    assert folder.exists()


# --- logs -----------------------------------------------------------------------------------------------------------


def make_line(text: str, *, full: bool = True) -> LogLine:
    return LogLine(time="", stream="stdout", text=text.encode(), full=full)


@pytest.mark.parametrize(
    ("texts", "count", "kept"),
    [
        ("a b c", 2, "b c"), ("a b c", 9, "a b c"), ("a b c", 0, ""), ("", 3, ""), ("a b- c", 1, "b- c"),
        ("a b- c- d e", 2, "b- c- d e"), ("a b c-", 1, "c-"), ("a b- c-", 1, "b- c-"), ("a b c-", 2, "b c-"),
    ],
)  # fmt: skip
def test_the_last_lines(texts: str, count: int, kept: str) -> None:
    lines = (make_line(text.strip("-"), full=not text.endswith("-")) for text in texts.split())
    found = manage._last(lines, count)
    assert " ".join(line.text.decode() + ("" if line.full else "-") for line in found) == kept


LINES = (
    "2026-11-25T04:00:00.000000500Z stdout F one",
    "2026-11-25T04:00:00.500000000Z stderr F two",
    "2026-11-25T04:00:01.000000100Z stdout P three, ",
    "2026-11-25T04:00:01.000000200Z stdout F and four",
)


def texts(folder: Path, **options: object) -> list[str]:
    config = ContainerConfig(id="a", image="x", manifest="m", layers=(), created_at_s=0.0, args=("x",))
    view = ContainerView(config=config, state=ContainerState(status="exited"), name="web", folder=str(folder))
    return [line.text.decode() for line in read_log(view, **options)]  # type: ignore[arg-type]


def test_lines_between_two_times_ends_included(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in LINES))
    assert len(texts(tmp_path)) == 4
    assert texts(tmp_path, since="2026-11-25T04:00:00.000000Z")[0] == "one"
    assert texts(tmp_path, since="2026-11-25T04:00:00.000001Z")[0] == "two"
    assert texts(tmp_path, until="2026-11-25T04:00:00.500000Z") == ["one", "two"]
    assert texts(tmp_path, since="2026-11-25T04:00:00.1Z", until="2026-11-25T04:00:00.9Z") == ["two"]
    assert texts(tmp_path, until="2026-11-25T03:00:00.000000Z") == []
    assert texts(tmp_path, tail=1) == ["three, ", "and four"]
    assert texts(tmp_path, tail=1, until="2026-11-25T04:00:00.700000Z", follow=True) == ["two"]
    assert texts(tmp_path, tail=0) == []


def test_no_log_is_told(home: Home) -> None:
    add(home, LEARNED[0], "web")
    view = open_view(home, "web")
    view.config = view.config.replace(log_bytes=0)
    with pytest.raises(CarboyError, match="keeps no log"):
        list(read_log(view))
