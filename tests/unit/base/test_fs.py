"""Trees that can always be removed, and directories that anybody may read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from carboy.base.fs import make_open_dirs, remove_tree

if TYPE_CHECKING:
    from pathlib import Path


def make_tree(path: Path, *, depth: int, width: int) -> None:
    path.mkdir()
    for number in range(width):
        (path / f"file-{number}").touch()
        if depth:
            make_tree(path / f"folder-{number}", depth=depth - 1, width=width)


def test_several_remove_the_same_tree(tmp_path: Path) -> None:
    for number in range(20):
        tree = tmp_path / f"tree-{number}"
        make_tree(tree, depth=3, width=4)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(remove_tree, [str(tree)] * 4))
        assert not tree.exists()


def test_links_are_not_followed_and_closed_folders_are_opened(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    make_tree(tmp_path / "tree", depth=1, width=2)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "tree" / "folder-1").chmod(0)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == ["outside"]
    assert (tmp_path / "outside" / "kept").exists()


def test_what_is_not_there_is_fine_and_descriptors_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_tree(str(tmp_path / "nothing"))
    make_tree(tmp_path / "tree", depth=2, width=1)
    before = len(os.listdir("/proc/self/fd"))
    unlink, calls = os.unlink, iter(range(99))

    def refuse(name: str, *, dir_fd: int | None = None) -> None:
        if next(calls) == 2:
            raise PermissionError(name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        remove_tree(str(tmp_path / "tree"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_directories_are_open_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    umask = os.umask(0o077)
    try:
        made = make_open_dirs(str(tmp_path), "/there/inner/last/")
        assert make_open_dirs(str(tmp_path), "there/inner") == []
    finally:
        os.umask(umask)
    assert made == [f"{tmp_path}/there/inner", f"{tmp_path}/there/inner/last"]
    assert [os.stat(path).st_mode & 0o7777 for path in made] == [0o755, 0o755]
    assert os.stat(tmp_path / "there").st_mode & 0o7777 == 0o700
