"""The list of changes, in Docker's letters. Layers and exports are compared with the kernel's view in test_merged."""

from __future__ import annotations

import io
import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from carboy.layers.tarread import TarReader
from carboy.snapshots.changes import diff, write_layer, write_root
from carboy.snapshots.merged import MergedRoot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    for name in ("low", "up"):
        (tmp_path / name).mkdir()
    return tmp_path


def changes(trees: Path) -> list[str]:
    return [str(change) for change in diff(str(trees / "up"), [str(trees / "low")])]


def test_letters(trees: Path) -> None:
    low, up = trees / "low", trees / "up"
    for folder in ("kept", "changed", "gone"):
        (low / folder).mkdir()
        (low / folder / "file").touch()
    shutil.copytree(low / "changed", up / "changed")
    os.utime(up / "changed", ns=(0, (low / "changed").stat().st_mtime_ns))
    (up / "changed" / "new").mkdir()
    os.mknod(up / "gone", stat.S_IFCHR, 0)
    os.mknod(up / "never", stat.S_IFCHR, 0)
    assert changes(trees) == ["C /changed", "C /changed/file", "A /changed/new", "D /gone"]


def test_a_folder_made_again(trees: Path) -> None:
    for name in ("old", "same"):
        (trees / "low" / "f" / name).mkdir(parents=True)
    (trees / "up" / "f" / "same").mkdir(parents=True)
    os.setxattr(trees / "up" / "f", "user.overlay.opaque", b"y")
    assert "D /f/old" in changes(trees)
    assert "C /f" in changes(trees)
    assert "D /f/same" not in changes(trees)


def test_a_folder_that_was_only_copied_up(trees: Path) -> None:
    (trees / "low" / "f").mkdir()
    shutil.copytree(trees / "low" / "f", trees / "up" / "f")
    assert changes(trees) == []


def test_nothing(trees: Path) -> None:
    assert changes(trees) == []


def test_layer_of_a_tier_with_one_owner(trees: Path) -> None:
    (trees / "up" / "file").touch()
    out = io.BytesIO()
    assert write_layer(str(trees / "up"), out, owners={b"file": (7, 8)}) == 1
    out.seek(0)
    assert [(member.name, member.uid, member.gid) for member in TarReader(out)] == [(b"file", 7, 8)]


def test_export_leaves_devices_out(trees: Path) -> None:
    os.mkfifo(trees / "low" / "fifo")
    (trees / "low" / "file").write_text("x")
    out = io.BytesIO()
    assert write_root(MergedRoot([str(trees / "low")], str(trees / "up")), out) == 1
