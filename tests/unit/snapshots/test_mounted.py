"""The files of a container that does not run, with volumes and folders of the host at their places."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.snapshots.copy import copy_in
from carboy.snapshots.merged import LiveRoot, MergedRoot, find
from carboy.snapshots.mounted import Mounted, MountedRoot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Place:
    """An image, what was written over it, and things to mount."""

    def __init__(self, base: Path) -> None:
        for name in ("image", "upper", "volume", "other"):
            (base / name).mkdir()
        self.base = base

    def mount(self, name: str, target: str, *, closed: str = "") -> Mounted:
        return Mounted(os.open(self.base / name, os.O_PATH), os.fsencode(target), closed=closed)

    def open(self, *mounts: Mounted, closed: str = "") -> MountedRoot:
        merged = MergedRoot([str(self.base / "image")], str(self.base / "upper"))
        return MountedRoot(merged, mounts, closed=closed)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    (tmp_path / "image" / "srv").mkdir()
    (tmp_path / "image" / "srv" / "covered").write_text("of the image")
    (tmp_path / "image" / "run").mkdir()
    (tmp_path / "image" / "var").mkdir()
    (tmp_path / "image" / "var" / "run").symlink_to("/run")
    (tmp_path / "image" / "etc").mkdir()
    (tmp_path / "image" / "etc" / "conf").write_text("of the image")
    (tmp_path / "volume" / "file").write_text("of the volume")
    (tmp_path / "volume" / "up").symlink_to("../etc")
    (tmp_path / "other" / "deep").mkdir()
    (tmp_path / "other" / "file").write_text("other")
    before = set(os.listdir("/proc/self/fd"))
    yield place
    assert len(os.listdir("/proc/self/fd")) == len(before)


def read(root: MountedRoot, path: str) -> str:
    with root.open() as top, find(top, path.encode()) as found:
        assert found.folder is not None
        fd = found.folder.open_file(found.name)
        with open(fd, "rb") as file:
            return file.read().decode()


def names(root: MountedRoot, path: str) -> list[str]:
    with root.open() as top, find(top, path.encode()) as found, found.open_folder(top) as folder:
        return [name.decode() for name in folder.names()]


def write(root: MountedRoot, path: str) -> None:
    fd = root.open_writable([part.encode() for part in path.split("/") if part])
    os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_a_mount_covers_what_was_there(place: Place) -> None:
    with place.open(place.mount("volume", "/srv")) as root:
        assert names(root, "/srv") == ["file", "up"]
        assert read(root, "/srv/file") == "of the volume"
        write(root, "/srv")
        write(root, "/etc")
    assert (place.base / "volume" / "new").exists()
    assert (place.base / "upper" / "etc" / "new").exists()
    assert not (place.base / "upper" / "srv").exists()


def test_mounts_on_mounts_whatever_their_order(place: Place) -> None:
    mounts = (place.mount("other", "/srv/inner"), place.mount("volume", "/srv"))
    with place.open(*mounts) as root:
        assert names(root, "/srv") == ["file", "inner", "up"]
        assert names(root, "/srv/inner") == ["deep", "file"]
        write(root, "/srv/inner/deep")
    assert (place.base / "other" / "deep" / "new").exists()


def test_links_lead_where_they_would_inside(place: Place) -> None:
    with place.open(place.mount("volume", "/var/run"), place.mount("other", "/etc/more")) as root:
        assert read(root, "/run/file") == "of the volume"
        assert read(root, "/run/up/conf") == "of the image"
        assert read(root, "/var/run/up/more/file") == "other"
    (place.base / "volume" / "out").symlink_to(place.base / "other")
    with place.open(place.mount("volume", "/srv")) as root, pytest.raises(FileNotFoundError):
        read(root, "/srv/out/file")


def test_what_a_target_needs_is_made(place: Place) -> None:
    with place.open(place.mount("volume", "/new/er/est")) as root:
        assert names(root, "/new") == ["er"]
        assert names(root, "/new/er") == ["est"]
        assert read(root, "/new/er/est/file") == "of the volume"
    assert (place.base / "upper" / "new" / "er").stat().st_mode & 0o777 == 0o755


def test_a_file_on_a_file(place: Place) -> None:
    with place.open(place.mount("other/file", "/etc/conf")) as root:
        assert read(root, "/etc/conf") == "other"
        with pytest.raises(CarboyError, match="is a mount"):
            copy_in(root, str(place.base / "volume" / "file"), b"/etc/conf")
    with pytest.raises(OSError, match="mounted on each other"):
        place.open(place.mount("other/file", "/srv"))


def test_what_is_closed(place: Place) -> None:
    with place.open(place.mount("volume", "/srv", closed="because"), place.mount("other", "/srv/in")) as root:
        write(root, "/srv/in/deep")
        with pytest.raises(OSError, match="because") as caught:
            write(root, "/srv")
        assert caught.value.errno == errno.EROFS
    with place.open(place.mount("volume", "/srv"), closed="the root") as root:
        write(root, "/srv")
        with pytest.raises(OSError, match="the root"):
            write(root, "/etc")


def test_hidden_names(place: Place) -> None:
    fd = os.open(place.base / "image", os.O_PATH)
    root = LiveRoot(fd, hidden=frozenset({b"srv"}))
    with root.open() as top:
        assert top.names() == [b"etc", b"run", b"var"]
        with find(top, b"/srv") as found:
            assert found.entry is None
        with pytest.raises(FileNotFoundError):
            find(top, b"/var/run/../srv/covered")
    os.close(fd)
