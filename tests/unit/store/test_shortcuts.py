"""A shortcut is believed only while the database is the one that it was taken from."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from carboy.base.home import open_home
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.store.store import Store

NAME = "docker.io/library/a:1"


def make_descriptor(digit: str) -> Descriptor:
    return Descriptor(media_type=mediatypes.MANIFEST, digest=Digest.parse(f"sha256:{digit * 64}"), size=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(open_home(str(tmp_path / "home")))
    store.refs.set(NAME, make_descriptor("1"))
    age(store)
    return store


def age(store: Store, seconds: float = 10) -> None:
    """Make the last change of the database one of long ago."""
    for path in (store.home.state_db, f"{store.home.state_db}-wal"):
        if Path(path).exists():
            os.utime(path, (time.time() - seconds, time.time() - seconds))


def keep(store: Store, text: str, name: str = NAME) -> None:
    with store.hold_still() as stamp:
        store.shortcuts.write(name, text, stamp=stamp)


def test_a_shortcut_is_there_until_anything_is_changed(store: Store) -> None:
    assert store.shortcuts.read(NAME) is None
    keep(store, "one\ntwo")
    other = Store.open(store.home)
    assert other.shortcuts.read(NAME) == "one\ntwo"
    other.refs.set(NAME, make_descriptor("2"))
    assert store.shortcuts.read(NAME) is None
    age(store, 9)
    assert store.shortcuts.read(NAME) is None


def test_who_changes_the_database_need_not_know_of_shortcuts(store: Store) -> None:
    keep(store, "text")
    with sqlite3.connect(store.home.state_db) as foreign:
        foreign.execute("DELETE FROM refs")
    foreign.close()
    age(store, 9)
    assert store.shortcuts.read(NAME) is None


def test_no_shortcut_is_made_of_a_database_in_motion(store: Store) -> None:
    writer = sqlite3.connect(store.home.state_db, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    with store.hold_still() as stamp:
        assert stamp is None
    assert time.monotonic() - begin < 5
    writer.execute("ROLLBACK")
    writer.close()
    with store.hold_still() as stamp:
        assert stamp is not None
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(store.home.state_db, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
    store.refs.set(NAME, make_descriptor("2"))
    with store.hold_still() as stamp:
        assert stamp is None  # it has changed a moment ago
    keep(store, "text")
    age(store)
    assert store.shortcuts.read(NAME) is None


def test_old_shortcuts_go_when_a_new_one_is_made(store: Store) -> None:
    keep(store, "text")
    keep(store, "text", "b:1")
    folder = Path(store.home.run) / "starts"
    assert sorted(path.name for path in folder.iterdir()) == ["b:1", "docker.io%2Flibrary%2Fa:1"]
    age(store, 9)
    keep(store, "text", "c:1")
    assert [path.name for path in folder.iterdir()] == ["c:1"]


@pytest.mark.parametrize("name", ["", ".", "..", "a" * 201, "ä", "a\n", "a\0"])
def test_names_that_are_none_of_a_file_have_no_shortcut(store: Store, name: str) -> None:
    keep(store, "text", name)
    assert store.shortcuts.read(name) is None
    assert not (Path(store.home.run) / "starts").exists()


def test_damage_counts_as_nothing(store: Store) -> None:
    keep(store, "text")
    (path,) = (Path(store.home.run) / "starts").iterdir()
    for content in (b"", b"\xff", b"\0" * 100, path.read_bytes().partition(b"\n")[0]):
        path.write_bytes(content)
        assert store.shortcuts.read(NAME) is None


def test_a_disk_that_cannot_be_written_is_no_reason_to_fail(store: Store) -> None:
    (Path(store.home.run) / "starts").write_text("a file where the folder belongs")
    keep(store, "text")
    assert store.shortcuts.read(NAME) is None
