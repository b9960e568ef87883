"""Removal of containers: whenever it is killed or interrupted, no name is left without the folder that tells of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from carboy.base.home import Home, open_home
from carboy.containers import removal
from carboy.containers.names import claim_name, write_name
from carboy.containers.removal import remove_container, remove_stale
from carboy.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

# What a removal does, one after the other: (where it is looked up, its name).
STEPS = [
    (removal, "release_volumes"),
    (snapshot.Container, "forsake"),
    (removal, "remove_cgroup"),
    (removal, "release_names"),
    (snapshot.Container, "take_back"),
    (snapshot, "_remove"),
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def make_kept(home: Home, container_id: str) -> None:
    with snapshot.open_container(home, container_id) as container:
        write_name(container.path, claim_name(home, container_id, "web"))
        container.keep()


def remove(home: Home, container_id: str) -> None:
    container = snapshot.lock_container(home, container_id)
    assert container is not None
    remove_container(home.path, container_id, name=None, lock=container.lock)


def die() -> NoReturn:
    os._exit(9)


def press_ctrl_c() -> NoReturn:
    raise KeyboardInterrupt


def strike(patch: pytest.MonkeyPatch, step: tuple[object, str], *, is_done: bool, end: Callable[[], NoReturn]) -> None:
    """Have the command end before a step, or, ``is_done``, behind it."""
    real = getattr(*step)

    def act(*args: object, **options: object) -> None:
        if is_done:
            real(*args, **options)
        end()

    patch.setattr(*step, act)


def find_names_of_nobody(home: Home) -> list[str]:
    return [
        name
        for name in os.listdir(home.names)
        if not os.path.isdir(f"{home.containers}/{os.readlink(f'{home.names}/{name}')}")
    ]


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("step", STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("end", [die, press_ctrl_c])
def test_a_removal_that_ends_at_any_step_leaves_no_name_without_a_folder(
    home: Home, step: tuple[object, str], end: Callable[[], NoReturn], *, is_done: bool
) -> None:
    make_kept(home, "c1")
    with pytest.MonkeyPatch.context() as patch:
        strike(patch, step, is_done=is_done, end=end)
        end_within(home, lambda: remove(home, "c1"))
    if os.path.exists(f"{home.containers}/c1/kept"):
        assert os.listdir(home.names) == ["web"], "whole, and can be removed again"
        remove(home, "c1")
    remove_stale(home)
    assert os.listdir(home.names) == os.listdir(home.containers) == []


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("step", [STEPS[2], STEPS[3], STEPS[5]], ids=lambda step: str(step[1]))
def test_a_clean_up_that_is_killed_at_any_step_leaves_no_name_without_a_folder(
    home: Home, step: tuple[object, str], *, is_done: bool
) -> None:
    make_kept(home, "c1")
    Path(home.containers, "c1", "kept").unlink()
    with pytest.MonkeyPatch.context() as patch:
        strike(patch, step, is_done=is_done, end=die)
        end_within(home, lambda: remove_stale(home))
    remove_stale(home)
    assert os.listdir(home.names) == os.listdir(home.containers) == []


def end_within(home: Home, act: Callable[[], None]) -> None:
    """Do it in a process of its own, which is killed or interrupted; what it leaves has no name without a folder."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert find_names_of_nobody(home) == []
