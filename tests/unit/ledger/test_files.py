from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from carboy.errors import CarboyError
from carboy.ledger.files import make_tree, read_contents, read_output
from carboy.snapshots.merged import MergedRoot


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_folder_s_files_links_and_nothing_else(tmp_path: Path):
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "a").write_bytes(b"alpha")
    (tmp_path / "sub" / "b").write_bytes(b"")
    (tmp_path / "link").symlink_to("/etc/shadow")
    os.link(tmp_path / "a", tmp_path / "same")
    os.mkfifo(tmp_path / "fifo")
    found = read_contents(str(tmp_path))
    assert sorted(found) == ["a", "link", "same", "sub/b"]
    assert str(found["a"][0]) == str(found["same"][0]) == digest(b"alpha")
    assert str(found["sub/b"][0]) == digest(b"")
    assert str(found["link"][0]) == digest(b"link:/etc/shadow")
    assert found["a"][1] == 5


def test_one_file(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"alpha")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):  # a link is mounted as what it leads to
        found = read_contents(str(tmp_path / name))
        assert {path: str(content[0]) for path, content in found.items()} == {".": digest(b"alpha")}


def test_names_that_are_no_text_are_told_apart(tmp_path: Path):
    for name in (b"\xff", b"\xfe"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    assert make_tree(read_contents(str(tmp_path))).count == 2


def test_what_is_not_there_or_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(CarboyError, match="cannot read"):
        read_contents(str(tmp_path / "gone"))
    deep = tmp_path
    for _ in range(260):
        deep = deep / "d"
    os.makedirs(deep)
    with pytest.raises(CarboyError, match="levels deep"):
        read_contents(str(tmp_path))


def test_an_output_is_looked_for_in_the_container_s_files_and_never_outside(tmp_path: Path):
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "app").mkdir(parents=True)
    (lower / "app" / "old").write_bytes(b"old")
    (upper / "app" / "out").mkdir(parents=True)
    (upper / "app" / "out" / "m").write_bytes(b"model")
    (upper / "app" / "way-out").symlink_to("../../../../../../../../etc")
    root = MergedRoot([str(lower)], str(upper))
    assert {path: str(content[0]) for path, content in read_output(root, "/app/out").items()} == {
        "/app/out/m": digest(b"model")
    }
    assert list(read_output(root, "/app/old")) == ["/app/old"]
    assert read_output(root, "/app/nothing") == {}
    assert read_output(root, "/app/old/below") == {}
    assert read_output(root, "/app/way-out/passwd") == {}
