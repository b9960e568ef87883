from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from carboy.base.home import Home, open_home
from carboy.errors import CarboyError
from carboy.ledger.record import RunRecord
from carboy.ledger.store import RunStore
from carboy.oci.digest import Digest


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def make_record(letter: str, *, started_at_s: float = 1.0) -> RunRecord:
    return RunRecord(
        id=letter * 64, manifest=Digest.of(b"image"), command=("true",), seed=1, started_at_s=started_at_s,
        platform="linux/amd64", version="0.1.0",
    )  # fmt: skip


def test_records_are_kept_found_by_their_beginning_and_removed(home: Home):
    store = RunStore(home)
    assert store.list_ids() == []
    first, second = make_record("a"), make_record("b")
    store.write(first)
    store.write(second)
    store.write(first.replace(state="ended", exit_status=3))
    assert store.list_ids() == [first.id, second.id]
    assert store.read(store.find_id("aa")).exit_status == 3
    assert os.stat(f"{home.path}/runs/{first.id}.json").st_mode & 0o777 == 0o600
    store.remove(first.id)
    assert list(store.iter_records()) == [second]
    for text in ("aa", "", "../b"):
        with pytest.raises(CarboyError, match="there is no run"):
            store.find_id(text)
    with pytest.raises(CarboyError, match="there is no run"):
        store.remove(first.id)


def test_a_beginning_of_two_ids_names_neither(home: Home):
    store = RunStore(home)
    store.write(make_record("a"))
    store.write(make_record("a").replace(id="ab" * 32))
    with pytest.raises(CarboyError, match="start of 2 runs"):
        store.find_id("a")


def test_one_damaged_record_hides_no_other(home: Home):
    store = RunStore(home)
    store.write(make_record("a"))
    Path(home.path, "runs", f"{'c' * 64}.json").write_text("{")
    good, bad = store.iter_records()
    assert good == make_record("a")
    assert isinstance(bad, CarboyError)
    store.remove("c" * 64)
    assert store.list_ids() == ["a" * 64]


def test_what_a_killed_writer_left_goes_with_the_next_removal(home: Home):
    store = RunStore(home)
    store.write(make_record("a"))
    store.write(make_record("b"))
    old, fresh = (Path(home.path, "runs", f"{letter * 64}.json.{'0' * 12}.tmp") for letter in "ef")
    for path in (old, fresh):
        path.write_text("{")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert store.list_ids() == ["a" * 64, "b" * 64]
    store.remove("a" * 64)
    assert not old.exists()
    assert fresh.exists()  # somebody may be writing it
