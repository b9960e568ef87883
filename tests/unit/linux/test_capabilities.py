"""Capabilities: names, and what a child process has left after giving some up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.linux import capabilities
from carboy.linux.capabilities import NAMES, NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")


def test_known_numbers() -> None:
    # From linux/capability.h: first, last, and some between.
    assert (NUMBERS["CHOWN"], NUMBERS["SYS_ADMIN"], NUMBERS["SETFCAP"], NUMBERS["CHECKPOINT_RESTORE"]) == (
        0,
        21,
        31,
        40,
    )
    assert capabilities.mask(frozenset({"CHOWN", "CHECKPOINT_RESTORE"})) == 1 | 1 << 40


@pytest.mark.parametrize("text", ["NET_RAW", "CAP_NET_RAW", "cap_net_raw", "net_raw"])
def test_parse(text: str) -> None:
    assert capabilities.parse_capability(text) == "NET_RAW"
    assert capabilities.parse([text, "CHOWN"]) == {"NET_RAW", "CHOWN"}


@pytest.mark.parametrize("text", ["", "CAP_", "NETRAW", "CAP_CAP_CHOWN", "CHOWN ", "0"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        capabilities.parse([text])


def test_all_is_everything() -> None:
    assert capabilities.parse(["all"]) == set(NAMES)
    assert capabilities.parse([]) == frozenset()


@given(st.frozensets(st.sampled_from(NAMES)))
def test_masks_and_names_are_the_same_thing(names: frozenset[str]) -> None:
    assert capabilities.from_mask(capabilities.mask(names)) == names
    assert capabilities.from_mask(capabilities.mask(names) | 1 << 60) == names


def sets_in_child(action: Callable[[], object]) -> dict[str, int]:
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os.write(write_fd, repr(capabilities.read_sets()).encode())
        except BaseException as error:  # noqa: BLE001
            os.write(write_fd, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    answer = os.read(read_fd, 65_536).decode()
    os.close(read_fd)
    os.waitpid(pid, 0)
    sets: dict[str, int] = eval(answer)
    assert isinstance(sets, dict), sets
    return sets


@pytest.mark.root
@needs_root
def test_drop_bounding_and_set_process() -> None:
    keep = frozenset({"CHOWN", "KILL"})

    def action() -> None:
        capabilities.drop_bounding(keep)
        capabilities.set_process(keep)

    bits = capabilities.mask(keep)
    expected = {"inheritable": 0, "permitted": bits, "effective": bits, "bounding": bits, "ambient": 0}
    assert sets_in_child(action) == expected


@pytest.mark.root
@needs_root
def test_nothing_is_left_when_nothing_is_kept() -> None:
    def action() -> None:
        capabilities.drop_bounding(frozenset())
        capabilities.set_process(frozenset())

    assert set(sets_in_child(action).values()) == {0}


@pytest.mark.root
@needs_root
def test_capabilities_survive_setuid_when_kept() -> None:
    keep = frozenset({"NET_BIND_SERVICE"})

    def action() -> None:
        capabilities.keep_across_setuid(True)
        os.setresuid(65534, 65534, 65534)
        capabilities.keep_across_setuid(False)
        capabilities.set_process(keep)

    sets = sets_in_child(action)
    assert sets["effective"] == sets["permitted"] == capabilities.mask(keep)
    assert sets["ambient"] == 0


@pytest.mark.root
@needs_root
def test_what_was_given_up_is_gone() -> None:
    def action() -> None:
        capabilities.set_process(frozenset())
        capabilities.set_process(frozenset({"SYS_ADMIN"}))

    with pytest.raises(AssertionError, match="capset: Operation not permitted"):
        sets_in_child(action)
