"""Volumes: made, used, filled, removed, by many at once and after a death at any moment."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import Home
from carboy.errors import CarboyError
from carboy.volumes.store import VolumeStore, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "containers").mkdir()
    return Home(str(tmp_path))


@pytest.fixture
def store(home: Home) -> VolumeStore:
    return VolumeStore(home)


def make_container(home: Home, name: str) -> str:
    os.makedirs(f"{home.containers}/{name}", exist_ok=True)
    return name


def on_disk(home: Home) -> list[str]:
    return sorted(os.listdir(f"{home.path}/volumes"))


def die_in(action: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_life(store: VolumeStore, home: Home) -> None:
    assert store.list_volumes() == []
    made = store.create("data", labels={"b": "2", "a": "1"})
    assert made == store.inspect("data") == store.create("data", labels={"other": "x"})
    assert made.labels == (("a", "1"), ("b", "2"))
    assert made.path == f"{home.path}/volumes/data/data"
    assert os.stat(made.path).st_mode & 0o7777 == 0o755
    assert os.stat(os.path.dirname(made.path)).st_mode & 0o7777 == 0o700
    assert not made.anonymous
    assert [volume.name for volume in store.list_volumes()] == ["data"]
    store.remove("data")
    assert on_disk(home) == []


def test_anonymous(store: VolumeStore, home: Home) -> None:
    made = store.create()
    assert len(made.name) == 64
    assert made.anonymous
    for name in ("one", "two"):
        store.acquire(made.name, make_container(home, name))
    assert store.release("one", remove_anonymous=True) == []
    assert store.release("two", remove_anonymous=False) == []
    assert store.release("two", remove_anonymous=True) == []  # it has no note of it any more
    assert store.prune() == ([made.name], 0)


def test_removed_with_its_container(store: VolumeStore, home: Home) -> None:
    anonymous, named = store.create(), store.create("named")
    for volume in (anonymous, named):
        store.acquire(volume.name, make_container(home, "c"))
    assert store.release("c", remove_anonymous=True) == [anonymous.name]
    assert on_disk(home) == ["named"]


def test_in_use(store: VolumeStore, home: Home) -> None:
    store.acquire("data", make_container(home, "c1"))
    assert store.inspect("data").users == ("c1",)
    for force in (True, False):
        with pytest.raises(CarboyError, match=r"volume is in use - \[c1\]"):
            store.remove("data", force=force)
    assert store.prune(all=True) == ([], 0)
    os.rmdir(f"{home.containers}/c1")  # as after a kill -9 between the two removals
    store.remove("data")


def test_prune(store: VolumeStore, home: Home) -> None:
    anonymous = store.create()
    store.create("named", labels={"keep": ""})
    (open(f"{anonymous.path}/file", "w")).close()
    names, size = store.prune()
    assert names == [anonymous.name]
    assert size == 0
    assert store.prune(all=True, accept=lambda volume: not volume.labels) == ([], 0)
    assert store.prune(all=True)[0] == ["named"]


def test_measure(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(10_000))
    assert measure(str(tmp_path)) >= 10_000


@pytest.mark.parametrize("name", ["", "a", "../x", "a/b", ".hidden", "-x", "x" * 129, "a\0b", "ä", ".new-1"])
def test_bad_names(store: VolumeStore, name: str) -> None:
    with pytest.raises(CarboyError):
        store.create(name)
    with pytest.raises(CarboyError, match="no such volume"):
        store.inspect(name)
    with pytest.raises(CarboyError, match="no such volume"):
        store.remove(name)


def test_unknown(store: VolumeStore) -> None:
    store.create("training-data")
    with pytest.raises(CarboyError) as info:
        store.inspect("trainin-data")
    assert info.value.hint == "did you mean training-data?"
    with pytest.raises(CarboyError):
        store.remove("none")
    store.remove("none", force=True)


# --- first contents -----------------------------------------------------------------------------------------------


def put(name: str) -> Callable[[int], None]:
    return lambda fd: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))


def test_filled_while_empty(store: VolumeStore, home: Home) -> None:
    container = make_container(home, "c")
    path = store.acquire("data", container, fill=lambda fd: None).path
    store.acquire("data", container, fill=put("first"))
    store.acquire("data", container, fill=put("second"))
    assert os.listdir(path) == ["first"]


def test_a_failed_filling_leaves_it_empty(store: VolumeStore, home: Home) -> None:
    def fail(fd: int) -> None:
        put("half")(fd)
        raise OSError(28, "full")

    container = make_container(home, "c")
    with pytest.raises(CarboyError, match="the disk is full"):
        store.acquire("data", container, fill=fail)
    volume = store.inspect("data")
    assert os.listdir(volume.path) == []
    die_in(lambda: store.acquire("data", container, fill=lambda fd: (put("half")(fd), os.kill(os.getpid(), 9))[0]))
    assert os.listdir(volume.path) == ["half"]
    store.acquire("data", container, fill=put("whole"))
    assert os.listdir(volume.path) == ["whole"]


def test_others_wait_for_the_first_contents(store: VolumeStore, home: Home) -> None:
    container, seen = make_container(home, "c"), []
    begun, finish = threading.Event(), threading.Event()

    def slowly(fd: int) -> None:
        begun.set()
        finish.wait(10)
        put("first")(fd)

    def second() -> None:
        seen.extend(os.listdir(store.acquire("data", container, fill=put("second")).path))

    one = threading.Thread(target=lambda: store.acquire("data", container, fill=slowly))
    one.start()
    begun.wait(10)
    two = threading.Thread(target=second)
    two.start()
    finish.set()
    one.join()
    two.join()
    assert seen == ["first"]


# --- at once, and dying -------------------------------------------------------------------------------------------


def test_makers_users_and_removers_at_once(store: VolumeStore, home: Home) -> None:
    """A volume that a container has is never taken from it."""
    problems: list[str] = []

    def use(container: str) -> None:
        make_container(home, container)
        for _ in range(40):
            volume = store.acquire("data", container, fill=put("file"))
            if os.listdir(volume.path) != ["file"]:
                problems.append("not filled")
            if not os.path.isdir(volume.path):
                problems.append("gone")
            store.release(container, remove_anonymous=True)

    def remove() -> None:
        for _ in range(100):
            try:
                store.remove("data", force=True)
            except CarboyError as error:
                if "in use" not in error.brief:
                    problems.append(error.brief)
            store.prune(all=True)

    threads = [threading.Thread(target=use, args=(f"c{number}",)) for number in range(3)]
    threads += [threading.Thread(target=remove) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    store.remove("data", force=True)
    assert on_disk(home) == []


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir", "flock"])
def test_killed_while_making(store: VolumeStore, home: Home, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    import fcntl

    def die() -> None:
        calls = {"count": 0}

        def killed(*args: object, **options: object) -> None:
            calls["count"] += 1
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(fcntl if call == "flock" else os, call, killed)
        store.create("data")

    store.create("first")
    die_in(die)
    monkeypatch.undo()
    assert [volume.name for volume in store.list_volumes()] == ["first"]
    store.create("data")
    assert [name for name in on_disk(home) if not name.startswith(".")] == ["data", "first"]
    store.remove("data")
    if call != "mkdir":
        assert on_disk(home) == ["first"]
