"""Names of containers: one owner each, whoever races."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.base.home import Home, open_home
from carboy.containers import names
from carboy.containers.names import (
    check_name,
    claim_name,
    find_owner,
    read_name,
    release_claimed,
    release_name,
    release_names,
    remove_stale_names,
    write_name,
)
from carboy.containers.removal import remove_stale
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable

RACERS = 8


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def add(home: Home, container_id: str) -> str:
    Path(home.containers, container_id).mkdir()
    return container_id


def race(count: int, call: Callable[[int], bool]) -> int:
    """Call ``call`` in so many processes at once, and return for how many it was true."""
    start, go = os.pipe()
    children = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(start, 1)
            won = False
            try:
                won = call(number)
            finally:
                os._exit(0 if won else 1)
        children.append(pid)
    os.close(start)
    os.close(go)
    return sum(os.waitpid(pid, 0)[1] == 0 for pid in children)


def claims(home: Home, number: int) -> bool:
    try:
        claim_name(home, f"c{number}", "web")
    except CarboyError:
        return False
    return True


def test_of_many_that_ask_at_once_one_gets_the_name(home: Home) -> None:
    for number in range(RACERS):
        add(home, f"c{number}")
    for _ in range(20):
        assert race(RACERS, lambda number: claims(home, number)) == 1
        owner = find_owner(home, "web")
        assert owner is not None
        release_name(home, "web", owner=owner)


def test_the_name_of_a_dead_container_goes_to_one_only(home: Home) -> None:
    for number in range(RACERS):
        add(home, f"c{number}")
    for _ in range(20):
        os.symlink("gone", f"{home.names}/web")
        assert race(RACERS, lambda number: claims(home, number)) == 1
        owner = find_owner(home, "web")
        assert owner is not None
        release_name(home, "web", owner=owner)


def test_the_slower_finder_of_a_dead_link_leaves_the_quicker_ones_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(home, "quick")
    add(home, "slow")
    os.symlink("gone", f"{home.names}/web")
    find = names.find_owner
    answers: list[Callable[[], str | None]] = [lambda: None]

    def look(where: Home, name: str) -> str | None:
        if answers:  # the first look of the slow one: dead; then the quick one takes it
            answers.pop()
            os.unlink(f"{home.names}/web")
            os.symlink("quick", f"{home.names}/web")
            return None
        return find(where, name)

    monkeypatch.setattr(names, "find_owner", look)
    with pytest.raises(CarboyError, match="in use"):
        claim_name(home, "slow", "web")
    assert find(home, "web") == "quick"


def test_a_name_in_use_is_told_with_its_owner(home: Home) -> None:
    claim_name(home, add(home, "a" * 64), "web")
    with pytest.raises(CarboyError, match=f"the name web is in use by the container {'a' * 12}$") as error:
        claim_name(home, add(home, "b" * 64), "web")
    assert error.value.code == 125
    assert "carboy rename" in error.value.hint


def test_names_of_the_dead_are_taken_away_and_no_others(home: Home) -> None:
    claim_name(home, add(home, "c1"), "web")
    os.symlink("gone", f"{home.names}/ghost")
    remove_stale_names(home)
    assert os.listdir(home.names) == ["web"]


def test_a_name_whose_container_went_without_it_goes_with_the_next(home: Home) -> None:
    """There is no folder that would tell of it, and another folder has no name: the numbers of both tell nothing."""
    claim_name(home, add(home, "c1"), "web")
    for container in ("c1", add(home, "nameless")):
        Path(home.containers, container, "kept").touch()
    os.symlink("gone", f"{home.names}/ghost")
    remove_stale(home)
    assert os.listdir(home.names) == ["web"]


def test_a_name_is_let_go_by_who_was_not_told_it(home: Home) -> None:
    """Ctrl-C can come when the link is there and its maker has not yet been told."""
    claim_name(home, add(home, "c1"), "web")
    claim_name(home, add(home, "c2"), "other")
    release_claimed(home, "", owner="c1")
    release_claimed(home, "other", owner="c1")
    assert os.listdir(home.names) == ["other"]


def test_only_the_owner_lets_a_name_go(home: Home) -> None:
    claim_name(home, add(home, "c1"), "web")
    release_name(home, "web", owner="c2")
    assert find_owner(home, "web") == "c1"
    release_name(home, "web", owner="c1")
    assert find_owner(home, "web") is None
    release_name(home, "web", owner="c1")


def test_all_names_of_a_container_go_whatever_else_lies_there(home: Home) -> None:
    owner, other = add(home, "c1"), add(home, "c2")
    for name, of in (("one", owner), ("two", owner), ("three", other)):
        assert claim_name(home, of, name) == name
    for number in range(20):  # no links: what cannot be read is passed over, wherever it is listed
        Path(home.names, f"file-{number}").touch()
    release_names(home, owner)
    assert [name for name in ("one", "two", "three") if find_owner(home, name)] == ["three"]
    assert not os.path.lexists(f"{home.names}/one")


def test_names_are_made_up_until_one_is_free(home: Home) -> None:
    made = {claim_name(home, add(home, f"c{number}"), None) for number in range(200)}
    assert len(made) == 200
    for name in made:
        check_name(name)


@given(st.text(max_size=10))
def test_a_name_is_never_a_path(name: str) -> None:
    try:
        check_name(name)
    except CarboyError as error:
        assert error.code == 125  # noqa: PT017
    else:
        assert "/" not in name
        assert name[0] not in ".-"
        assert name.isascii()
        assert "\n" not in name


@pytest.mark.parametrize("name", ["a", "", ".hidden", "-x", "a b", "a/b", "a\n", "x" * 129, "ä1", "a:b"])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(CarboyError):
        check_name(name)


def test_the_note_in_the_folder(tmp_path: Path) -> None:
    assert read_name(str(tmp_path)) == ""
    write_name(str(tmp_path), "web")
    write_name(str(tmp_path), "shop")
    assert read_name(str(tmp_path)) == "shop"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
