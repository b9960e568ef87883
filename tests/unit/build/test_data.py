"""Data of a folder: which layers it becomes, and what moves none of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.base.home import open_home
from carboy.build.data import LARGE_BYTES, MAX_OWN, DataFile, commit_all, plan_data, read_data
from carboy.build.files import fingerprint
from carboy.build.settings import parse_settings
from carboy.errors import CarboyError
from carboy.store.store import Store

if TYPE_CHECKING:
    from carboy.base.home import Home

names = st.text(alphabet="abcdefgh", min_size=1, max_size=6)
data_files = st.dictionaries(
    names, st.tuples(names, st.sampled_from([0, 10, LARGE_BYTES, 2 * LARGE_BYTES])), max_size=40
).map(lambda found: [DataFile(path=p, kind="file", content=c, size_bytes=n) for p, (c, n) in found.items()])


@given(files=data_files)
def test_each_file_is_in_one_layer_and_there_are_few(files: list[DataFile]) -> None:
    groups = plan_data(files, target="/app")
    assert sorted(f.path for group in groups for f in group.files) == sorted(f.path for f in files)
    assert len(groups) <= MAX_OWN + 4
    assert groups == plan_data(list(reversed(files)), target="/app")


@given(files=data_files, change=st.integers(min_value=0))
def test_a_change_moves_one_layer(files: list[DataFile], change: int) -> None:
    if not files:
        return
    changed = list(files)
    old = changed[change % len(files)]
    changed[change % len(files)] = DataFile(
        path=old.path, kind=old.kind, content=f"{old.content}!", size_bytes=old.size_bytes
    )
    before, after = ({g.key for g in plan_data(fs, target="/app")} for fs in (files, changed))
    assert len(after - before) == 1


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


@pytest.fixture
def store(home: Home) -> Store:
    return Store.open(home, kind="multi")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "data" / "inner").mkdir(parents=True)
    (place / "main.py").write_text("print(1)\n")
    (place / "data" / "small.csv").write_text("a,b\n")
    (place / "data" / "inner" / "run.sh").write_text("#!/bin/sh\n")
    (place / "data" / "inner" / "run.sh").chmod(0o700)
    (place / "data" / "inner" / "notes.tmp").write_text("x")
    (place / "data" / "link").symlink_to("small.csv")
    (place / "data" / "weights.bin").write_bytes(bytes(LARGE_BYTES))
    return place


def build(store: Store, home: Home, folder: Path, *paths: str, ignore: tuple[str, ...] = ()) -> list[tuple[str, bool]]:
    files = read_data(str(folder), paths, ignore, cache_dir=f"{home.cache}/contexts")
    groups = plan_data(files, target="/app")
    made = commit_all(store, str(folder), groups, target="/app", log=lambda _: None)
    return [(str(item.layer.diff_id), item.cached) for item in made]


def test_layers_hold_the_data_and_do_not_know_when_or_by_whom(store: Store, home: Home, folder: Path) -> None:
    first = build(store, home, folder, "data")
    assert not any(cached for _, cached in first)
    found = {}
    for digest, _ in first:
        tree = Path(home.layers, "multi", digest.partition(":")[2], "tree")
        found |= {str(path.relative_to(tree)): path for path in tree.rglob("*")}
    assert found["app/data/small.csv"].read_text() == "a,b\n"
    assert found["app/data/inner/run.sh"].stat().st_mode & 0o777 == 0o755
    assert found["app/data/link"].readlink() == Path("small.csv")
    assert found["app/data/weights.bin"].stat().st_size == LARGE_BYTES
    # The same contents at another time, with other rights and by another umask: the same layers.
    for path in folder.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
    os.umask(os.umask(0o077))
    again = build(store, home, folder, "data")
    assert again == [(digest, True) for digest, _ in first]
    (folder / "data" / "weights.bin").write_bytes(b"\1" * LARGE_BYTES)
    changed = build(store, home, folder, "data")
    assert [cached for _, cached in changed].count(False) == 1


def test_what_is_ignored_is_no_data(store: Store, home: Home, folder: Path) -> None:
    files = read_data(str(folder), ["data"], ("data", "*.tmp", "data/link"), cache_dir=f"{home.cache}/contexts")
    assert {file.path for file in files} == {
        "data", "data/inner", "data/inner/run.sh", "data/small.csv", "data/weights.bin",
    }  # fmt: skip


def test_data_moves_no_code(folder: Path) -> None:
    before = fingerprint(str(folder), (), ("data",))
    (folder / "data" / "small.csv").write_text("other\n")
    assert fingerprint(str(folder), (), ("data",)) == before
    (folder / "main.py").write_text("print(2)\n")
    assert fingerprint(str(folder), (), ("data",)) != before


def test_what_cannot_be_data_is_refused(store: Store, home: Home, folder: Path, tmp_path: Path) -> None:
    (folder / "elsewhere").symlink_to(tmp_path)
    for path, words in (("nothing", "which is not there"), ("elsewhere", "is a link"), ("elsewhere/x", "is a link")):
        with pytest.raises(CarboyError, match=words):
            build(store, home, folder, path)
    for text in ("/etc", "../up", ".", "", "a/../../b"):
        with pytest.raises(CarboyError, match="no path in the folder"):
            parse_settings(f"[data]\npaths = ['{text}']\n")
    with pytest.raises(CarboyError, match="twice"):
        parse_settings("[data]\npaths = ['data', 'data/inner']\n")
    assert parse_settings("[data]\npaths = ['./data/', 'models']\n").data == ("data", "models")
