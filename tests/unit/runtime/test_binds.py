"""What is bound where, in which order, and for whom: the pure half, and what may not be a source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.linux import mounts
from carboy.linux.namespaces import encode_id_map
from carboy.runtime.native.binds import check_outside, plan_exchange
from carboy.runtime.native.plan import plan_mounts
from carboy.runtime.spec import ROOT_TIER_COUNT, ROOT_TIER_FIRST_ID, BindMount, FileMount, TmpfsMount

if TYPE_CHECKING:
    from pathlib import Path

IDS = st.integers(0, 2**32 - 3)
CONTAINER_IDS = st.integers(0, ROOT_TIER_COUNT - 1)


def test_mounts_nearer_to_the_root_come_first() -> None:
    binds, operations = plan_mounts(
        [
            TmpfsMount(target="/data/cache/"),
            FileMount(target="/x", content=b""),
            BindMount(source="/srv", target="/data"),
            BindMount(source="/mnt", target="//data/./deep/er"),
        ]
    )
    assert [operation["describe"] for operation in operations] == [
        "place /x", "mount /data", "mount /data/cache/", "mount //data/./deep/er",
    ]  # fmt: skip
    assert [binds[operation["index"]]["source"] for operation in operations if operation["op"] == "bind"] == [
        "/srv",
        "/mnt",
    ]


@pytest.mark.parametrize(("target", "make"), [("/etc", False), ("/", False), ("/et", True), ("/etcetera", True)])
def test_own_files_are_not_made_in_folders_of_the_host(target: str, make: bool) -> None:
    _, operations = plan_mounts(
        [FileMount(target="/etc/hosts", content=b"", optional=True), BindMount(source="/srv", target=target)]
    )
    assert [operation["make"] for operation in operations if operation["op"] == "file"] == [make]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("noexec", [True, False])
def test_restrictions(read_only: bool, noexec: bool) -> None:
    binds, operations = plan_mounts(
        [
            BindMount(source="/srv", target="/a", read_only=read_only, noexec=noexec),
            TmpfsMount(target="/b", read_only=read_only, noexec=noexec),
        ]
    )
    for attributes in (binds[0]["attributes"], operations[1]["attributes"]):
        assert attributes & mounts.MOUNT_ATTR_NOSUID
        assert attributes & mounts.MOUNT_ATTR_NODEV
        assert bool(attributes & mounts.MOUNT_ATTR_RDONLY) == read_only
        assert bool(attributes & mounts.MOUNT_ATTR_NOEXEC) == noexec


def test_ids_by_default() -> None:
    assert BindMount(source="/a", target="/a").idmap == "none"
    assert BindMount(source="/a", target="/a", read_only=False).idmap == "ids"
    assert BindMount(source="/a", target="/a", idmap="ids").idmap == "ids"


@given(owner=IDS, user=CONTAINER_IDS)
def test_exchange_of_owner_and_user(owner: int, user: int) -> None:
    extents = plan_exchange(owner, user)
    encode_id_map(extents)  # the kernel would take it

    def find(disk: int) -> int | None:
        found = [outside + disk - first for first, outside, count in extents if first <= disk < first + count]
        return found[0] - ROOT_TIER_FIRST_ID if found else None

    assert find(owner) == user
    if owner < ROOT_TIER_COUNT:
        assert find(user) == owner
    for other in {0, 1, user + 1, user - 1, ROOT_TIER_COUNT - 1, 1000} - {owner, user, -1, ROOT_TIER_COUNT}:
        assert find(other) == other


@pytest.mark.parametrize(
    "name", ["home", "home/", "home/store", "home/store/file", "home/../home", ".", "link", "store-link"]
)
def test_carboys_own_folder_is_no_source(tmp_path: Path, name: str) -> None:
    (tmp_path / "home" / "store").mkdir(parents=True)
    (tmp_path / "home" / "store" / "file").touch()
    (tmp_path / "link").symlink_to("home")
    (tmp_path / "store-link").symlink_to("home/store")
    with pytest.raises(PermissionError, match="carboy keeps there"):
        check(tmp_path / name, tmp_path / "home")


@pytest.mark.parametrize("name", ["home2", "hom", "home2/store", "file", "homefile"])
def test_a_folder_beside_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "home" / "store").mkdir(parents=True)
    (tmp_path / "home2" / "store").mkdir(parents=True)
    (tmp_path / "hom").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "homefile").symlink_to("file")
    check(tmp_path / name, tmp_path / "home")
    check(tmp_path / name, tmp_path / "missing")


def check(source: Path, folder: Path) -> None:
    fd = os.open(source, os.O_PATH)
    try:
        check_outside(fd, str(folder))
    finally:
        os.close(fd)
