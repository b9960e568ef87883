"""Containers' folders: made, claimed, removed, and cleaned up after a death at any moment."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import Home
from carboy.errors import CarboyError
from carboy.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "ho~me" / "containers").mkdir(parents=True)
    return Home(str(tmp_path / "ho~me"))


def names(home: Home) -> list[str]:
    return sorted(os.listdir(home.containers))


def die_in(action: Callable[[], object]) -> None:
    """Run ``action`` in a child that is then killed, as by kill -9."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_layer_that_an_image_has_twice_is_mounted_once(home: Home) -> None:
    with snapshot.open_container(home, "c1") as container:
        mount = container.prepare(["/l/1", "/l/empty", "/l/2", "/l/empty", "/l/3"], userxattr=True)
    assert mount.lower == ("/l/1", "/l/2", "/l/empty", "/l/3")


def test_prepare_describes_the_overlay(home: Home) -> None:
    with snapshot.open_container(home, "a1") as container:
        mount = container.prepare(["/l/1", "/l/2"], userxattr=True)
        assert mount.lower == ("/l/1", "/l/2")
        assert mount.userxattr
        assert mount.upper == f"{home.containers}/a1/rw/upper"
        assert mount.work == f"{home.containers}/a1/rw/work"
        assert os.path.isdir(mount.work)
    assert names(home) == []


def test_what_overlayfs_alone_has_left_is_removed_without_a_search(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(snapshot, "_remove_tree", refuse)
    for files in ([], ["dirty"]):
        with snapshot.open_container(home, "a1") as container:
            mount = container.prepare([], userxattr=True)
            container.claim(["sha256:1"])
            volatile = os.path.join(mount.work, "work", "incompat", "volatile")
            os.makedirs(volatile)
            for name in files:
                os.mknod(f"{volatile}/{name}")
        assert names(home) == []


def test_modes_do_not_depend_on_the_umask(home: Home) -> None:
    old = os.umask(0o077)
    try:
        with snapshot.open_container(home, "a1") as container:
            mount = container.prepare([], userxattr=False)
            assert os.stat(mount.upper).st_mode & 0o777 == 0o755
            assert os.stat(container.path).st_mode & 0o777 == 0o700
    finally:
        os.umask(old)


def test_what_was_written_is_removed_also_after_an_error(home: Home) -> None:
    def fail_in(container: snapshot.Container) -> None:
        mount = container.prepare([], userxattr=False)
        os.makedirs(f"{mount.upper}/deep/er")
        os.symlink("/etc/passwd", f"{mount.upper}/deep/link")
        os.mkdir(f"{mount.work}/work", 0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), snapshot.open_container(home, "a1") as container:
        fail_in(container)
    assert names(home) == []
    assert os.path.exists("/etc/passwd")


def test_an_id_is_used_once(home: Home) -> None:
    with snapshot.open_container(home, "a1"):
        with pytest.raises(CarboyError) as caught:
            snapshot.open_container(home, "a1")
        assert caught.value.code == 125
        assert names(home) == ["a1"]


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "a\0b", "-a", ".a", "ä", "a" * 65, "a b", "a\n"])
def test_an_id_is_a_plain_name(home: Home, bad: str) -> None:
    with pytest.raises(CarboyError):
        snapshot.open_container(home, bad)
    assert names(home) == []


def test_ids_of_all_allowed_forms(home: Home) -> None:
    for good in ("a", "_", "0", "a.b-c_d", "f" * 64):
        with snapshot.open_container(home, good):
            assert names(home) == [good]


def test_claims_of_the_living(home: Home) -> None:
    with snapshot.open_container(home, "a1") as one, snapshot.open_container(home, "a2") as two:
        one.claim(["sha256:1", "sha256:2"])
        two.claim(["sha256:2", "sha256:3"])
        with snapshot.open_container(home, "a3"):  # alive, but without a claim yet
            assert snapshot.read_claims(home) == {"sha256:1", "sha256:2", "sha256:3"}
        one.claim(["sha256:9"])
        assert snapshot.read_claims(home) == {"sha256:9", "sha256:2", "sha256:3"}
    assert snapshot.read_claims(home) == set()


def test_the_dead_are_removed_and_claim_nothing(home: Home) -> None:
    def live_and_die() -> None:
        container = snapshot.open_container(home, "dead")
        container.claim(["sha256:1"])
        mount = container.prepare([], userxattr=False)
        os.mkdir(f"{mount.upper}/kept")

    die_in(live_and_die)
    with snapshot.open_container(home, "alive"):
        assert snapshot.read_claims(home) == set()
        assert list(snapshot.iter_stale(home)) == [f"{home.containers}/dead"]
        assert len(snapshot.remove_stale(home)) == 1
        assert names(home) == ["alive"]
        assert snapshot.remove_stale(home) == []


@pytest.mark.parametrize("files", [[], ["lock"], ["lock", "claim"], ["lock", "claim.new"], ["claim"]])
def test_a_death_between_two_calls_leaves_nothing_for_ever(home: Home, files: list[str]) -> None:
    os.mkdir(f"{home.containers}/half")
    for name in files:
        with open(f"{home.containers}/half/{name}", "w", encoding="ascii") as file:
            file.write("sha256:1\n")
    assert snapshot.read_claims(home) == set()
    assert len(snapshot.remove_stale(home)) == 1
    assert names(home) == []


def test_a_removal_that_was_interrupted_is_finished(home: Home) -> None:
    os.makedirs(f"{home.containers}/a1~0123/rw/upper/kept")
    assert list(snapshot.iter_stale(home)) == [f"{home.containers}/a1~0123"]
    assert snapshot.read_claims(home) == set()
    assert len(snapshot.remove_stale(home)) == 1
    assert names(home) == []


def test_a_home_without_containers(tmp_path: Path) -> None:
    empty = Home(str(tmp_path))
    assert snapshot.remove_stale(empty) == []
    assert snapshot.read_claims(empty) == set()
    with pytest.raises(CarboyError) as caught:
        snapshot.open_container(empty, "a1")
    assert caught.value.code == 125


def test_a_folder_taken_away_before_it_was_locked_is_made_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = snapshot._lock_new, []

    def lock_after_a_clean_up(path: str) -> int | None:
        calls.append(path)
        if len(calls) == 1:
            assert len(snapshot.remove_stale(home)) == 1
        return real(path)

    monkeypatch.setattr(snapshot, "_lock_new", lock_after_a_clean_up)
    with snapshot.open_container(home, "a1"):
        assert len(calls) == 2
        assert snapshot.remove_stale(home) == []
        assert names(home) == ["a1"]


@pytest.mark.slow
def test_makers_and_cleaners_at_once(home: Home) -> None:
    def make(worker: int) -> None:
        for turn in range(60):
            with snapshot.open_container(home, f"w{worker}-{turn}") as container:
                container.claim(["sha256:1"])
                mount = container.prepare([], userxattr=False)
                assert os.path.isdir(mount.upper)

    def clean() -> None:
        for _ in range(150):
            snapshot.remove_stale(home)
            snapshot.read_claims(home)

    children = []
    for action in (lambda: make(1), lambda: make(2), clean, clean):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                action()
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0, 0]
    assert names(home) == []
