"""The lowest layer, which our own files are mounted on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.base.home import open_home
from carboy.runtime.native.targets import find_names, make_targets


def test_names() -> None:
    targets = ["/etc/hosts", "/etc/hostname", "/run/secret", "/etc/a/b", "/etc/..", "/etc/hosts"]
    operations = [{"op": "file", "target": target} for target in targets] + [{"op": "mount", "target": "/etc/x"}]
    assert find_names(operations) == ["hostname", "hosts"]


def test_made_once_whatever_the_umask(tmp_path: Path) -> None:
    home = open_home(str(tmp_path / "home"))
    before = os.umask(0o077)
    try:
        tree = Path(make_targets(home, ["hostname", "hosts"]))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*")) == [
        "dev", "etc", "etc/hostname", "etc/hosts", "proc", "sys",
    ]  # fmt: skip
    assert (tree.stat().st_mode & 0o777, (tree / "etc").stat().st_mode & 0o777) == (0o755, 0o755)
    assert ((tree / "etc" / "hosts").stat().st_mode & 0o777, (tree / "etc" / "hosts").read_bytes()) == (0o644, b"")
    inode = tree.stat().st_ino
    assert make_targets(home, ["hostname", "hosts"]) == str(tree)
    assert tree.stat().st_ino == inode
    assert make_targets(home, ["hosts"]) != str(tree)


def test_the_one_that_is_quicker_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(str(tmp_path / "home"))
    rename = os.rename

    def lose(old: str, new: str) -> None:
        (Path(new) / "etc").mkdir(parents=True)
        rename(old, new)

    monkeypatch.setattr(os, "rename", lose)
    tree = Path(make_targets(home, ["hosts"]))
    assert [path.name for path in tree.parent.iterdir()] == ["hosts"]
