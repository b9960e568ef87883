"""Files of an image into a folder of somebody's, who may have put anything there."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.images.output.files import FolderWriter
from carboy.snapshots.merged import MergedRoot
from carboy.snapshots.transfer import iter_contents

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return an image's files."""
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "sub" / "file").write_text("new")
    (tree / "sub" / "link").symlink_to("/etc/passwd")
    os.link(tree / "sub" / "file", tree / "sub" / "other")
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o6755)
    (tree / "sub" / "deep").chmod(0o2555)
    os.utime(tree / "sub" / "deep", (1, 1))
    os.utime(tree / "sub" / "file", (2, 2))
    return tree


def write(tree: Path, folder: Path) -> None:
    with FolderWriter(str(folder)) as writer:
        for item in iter_contents(MergedRoot([str(tree)]).open()):
            writer.put(item)


def test_files_are_put_into_a_folder(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True, mode=0o700)
    (out / "sub" / "kept").write_text("kept")
    (out / "sub" / "file").write_text("old")
    write(tree, out)
    assert (out / "sub" / "kept").read_text() == "kept"
    assert (out / "sub" / "file").read_text() == "new"
    assert (out / "sub" / "link").readlink().as_posix() == "/etc/passwd"
    assert (out / "sub" / "other").stat().st_ino == (out / "sub" / "file").stat().st_ino
    assert stat.S_IMODE((out / "program").stat().st_mode) == 0o755  # whoever it belongs to now has not asked for more
    assert stat.S_IMODE((out / "sub").stat().st_mode) == 0o700  # it was there
    assert stat.S_IMODE((out / "sub" / "deep").stat().st_mode) == 0o555
    assert (out / "sub" / "deep").stat().st_mtime == 1
    assert (out / "sub" / "file").stat().st_mtime == 2
    write(tree, out)  # again, over itself
    assert sorted(path.name for path in out.rglob("*")) == ["deep", "file", "kept", "link", "other", "program", "sub"]


def test_no_link_leads_out(tree: Path, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    (outside / "deep").mkdir(parents=True)
    (outside / "file").write_text("mine")
    (out / "sub").symlink_to(outside)
    (out / "program").symlink_to(outside / "file")
    write(tree, out)
    assert sorted(path.name for path in outside.rglob("*")) == ["deep", "file"]
    assert (outside / "file").read_text() == "mine"
    assert not (out / "sub").is_symlink()
    assert (out / "sub" / "file").read_text() == "new"


def test_a_folder_is_not_replaced_by_a_file(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "program" / "mine").mkdir(parents=True)
    with pytest.raises(CarboyError, match="is a folder, and a file in the image"):
        write(tree, tmp_path / "out")
    assert (tmp_path / "out" / "program" / "mine").is_dir()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".tmp")]


class Broken:
    """A file that cannot be read to its end."""

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        raise OSError("broken")


def test_what_fails_leaves_no_half_file(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "program").write_text("old")
    with FolderWriter(str(out)) as writer:
        for item in iter_contents(MergedRoot([str(tree)]).open()):
            if item.parts == [b"program"]:
                item.open = Broken  # type: ignore[assignment]
                with pytest.raises(OSError, match="broken"):
                    writer.put(item)
    assert (out / "program").read_text() == "old"
    assert [path.name for path in out.iterdir()] == ["program"]
