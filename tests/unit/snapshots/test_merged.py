"""The view of a container's trees: as overlayfs merges them, and never out of its root."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.snapshots.merged import NOBODY, Folder, LiveRoot, MergedRoot, Root, find, split

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "overlays.py"


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.userns
@pytest.mark.parametrize("namespaces", ["-m", "-Urm"])
@pytest.mark.parametrize("seed", range(6))
def test_as_the_kernel_merges(tmp_path: Path, namespaces: str, seed: int) -> None:
    """View, diff, layer and export of random changes, as root and in a user namespace."""
    if os.getuid():
        pytest.skip("mounting needs root")
    command = ["unshare", namespaces, sys.executable, str(PROGRAM), str(tmp_path / "t"), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    for name in ("low", "high", "up"):
        (tmp_path / name).mkdir()
    return tmp_path


def merged(trees: Path, *, upper: bool = True) -> MergedRoot:
    return MergedRoot([str(trees / "low"), str(trees / "high")], str(trees / "up") if upper else None)


def names(root: Root, path: bytes = b"/") -> list[bytes]:
    with root.open() as top, find(top, path) as place, place.open_folder(top) as folder:
        return folder.names()


def test_whiteouts_of_both_forms(trees: Path) -> None:
    for name in ("device", "attribute", "kept"):
        (trees / "low" / name).write_text("x")
    os.mknod(trees / "high" / "device", stat.S_IFCHR, 0)
    (trees / "high" / "attribute").touch()
    os.setxattr(trees / "high" / "attribute", "user.overlay.whiteout", b"")
    (trees / "high" / "empty").touch()
    assert names(merged(trees)) == [b"empty", b"kept"]


def test_opaque_folder_hides(trees: Path) -> None:
    for tree in ("low", "high", "up"):
        (trees / tree / "f").mkdir()
        (trees / tree / "f" / tree).touch()
    assert names(merged(trees), b"/f") == [b"high", b"low", b"up"]
    os.setxattr(trees / "high" / "f", "user.overlay.opaque", b"y")
    assert names(merged(trees), b"/f") == [b"high", b"up"]
    os.setxattr(trees / "high" / "f", "user.overlay.opaque", b"x")  # "has whiteouts of the second form", no more
    assert names(merged(trees), b"/f") == [b"high", b"low", b"up"]


def test_a_file_between_folders_separates_them(trees: Path) -> None:
    (trees / "low" / "f").mkdir()
    (trees / "low" / "f" / "old").touch()
    (trees / "high" / "f").touch()
    (trees / "up" / "f").mkdir()
    assert names(merged(trees), b"/f") == []


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"/", []),
        (b"", []),
        (b"../../..", []),
        (b"etc/./passwd", [b"etc", b"passwd"]),
        (b"/absolute", [b"etc"]),
        (b"/absolute/passwd", [b"etc", b"passwd"]),
        (b"/up/passwd", [b"etc", b"passwd"]),
        (b"/etc/link", [b"etc", b"passwd"]),
        (b"/chain/passwd", [b"etc", b"passwd"]),
        (b"/dangling", [b"etc", b"new"]),
        (b"/etc/new", [b"etc", b"new"]),
        (b"/a/../etc", [b"etc"]),
        (b"/absolute/..", []),
    ],
)
def test_links_stay_inside(trees: Path, path: bytes, parts: list[bytes]) -> None:
    low = trees / "low"
    (low / "etc").mkdir()
    (trees / "high" / "a").mkdir()
    (trees / "high" / "etc").mkdir()
    (trees / "high" / "etc" / "passwd").write_text("x")
    for name, target in {
        "absolute": "/etc",
        "up": "../../../../etc",
        "etc/link": "/../etc/passwd",
        "chain": "absolute/../up/.",
        "dangling": "etc/new",
    }.items():
        (low / name).symlink_to(target)
    with merged(trees).open() as top, find(top, path) as place:
        assert place.parts == parts


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"/none/x", FileNotFoundError),
        (b"/file/x", NotADirectoryError),
        (b"/loop", OSError),
        (b"/loop/x", OSError),
        (b"/nowhere/x", FileNotFoundError),
    ],
)
def test_no_such_path(trees: Path, path: bytes, error: type[OSError]) -> None:
    (trees / "low" / "file").touch()
    (trees / "low" / "loop").symlink_to("loop")
    (trees / "low" / "nowhere").symlink_to("none")
    with merged(trees).open() as top, pytest.raises(error):
        find(top, path)
    with merged(trees).open() as top, find(top, b"/loop", follow=False) as place:
        assert place.entry is not None
        assert place.entry.is_link


WAYS = st.lists(st.sampled_from([b"..", b".", b"", b"a", b"b", b"up", b"abs", b"none"]), max_size=12)


@given(path=WAYS)
def test_any_path_is_as_in_a_chroot(tmp_path_factory: pytest.TempPathFactory, path: list[bytes]) -> None:
    """Compared with openat2(2) and RESOLVE_IN_ROOT."""
    from carboy.linux.files import RESOLVE_IN_ROOT, openat2

    base = tmp_path_factory.getbasetemp() / "chroot"
    if not base.exists():
        (base / "a" / "b" / "a").mkdir(parents=True)
        (base / "a" / "up").symlink_to("../../a/b")
        (base / "a" / "b" / "abs").symlink_to("/a")
        (base / "b").symlink_to("a/up/a")
    text = b"/".join(path) or b"."
    fd = os.open(base, os.O_PATH)
    try:
        try:
            expected = openat2(fd, text, os.O_PATH, 0, RESOLVE_IN_ROOT)
            status = os.fstat(expected)
            os.close(expected)
        except OSError:
            status = None
        with LiveRoot(fd).open() as top:
            try:
                with find(top, text) as place:
                    found = None if place.entry is None else (place.entry.status.st_dev, place.entry.status.st_ino)
            except OSError:
                found = None
        assert found == (None if status is None else (status.st_dev, status.st_ino))
    finally:
        os.close(fd)


def test_split() -> None:
    assert split(b"//a/./b/../") == [b"a", b"b", b".."]


def test_only_files_are_opened(trees: Path) -> None:
    os.mkfifo(trees / "low" / "fifo")
    (trees / "low" / "link").symlink_to("/etc/passwd")
    with merged(trees).open() as top:
        for name in (b"fifo", b"link"):
            with pytest.raises(OSError):
                top.open_file(name)
        with pytest.raises(FileNotFoundError):
            top.open_file(b"none")


def test_ids_of_a_running_container(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    status = os.fstat(fd)
    with Folder([fd], first_id=status.st_uid) as folder:
        assert folder.owner(status)[0] == 0
    folder = Folder([], first_id=status.st_uid + 1)
    assert folder.owner(status)[0] == NOBODY


def test_copying_up_leaves_times_modes_and_attributes(trees: Path) -> None:
    deep = trees / "low" / "a" / "b"
    deep.mkdir(parents=True)
    deep.chmod(0o1751)
    os.setxattr(deep, "user.note", b"kept")
    for path in (deep, trees / "low" / "a", trees / "up"):
        os.utime(path, ns=(10**18, 10**18 + 7))
    root = merged(trees)
    fd = root.open_writable([b"a", b"b"])
    os.close(fd)
    os.close(root.open_writable([b"a", b"b"]))
    copy = trees / "up" / "a" / "b"
    assert copy.stat().st_mode == deep.stat().st_mode
    assert os.getxattr(copy, "user.note") == b"kept"
    assert [path.stat().st_mtime_ns for path in (copy, copy.parent, trees / "up")] == [10**18 + 7] * 3
    with pytest.raises(FileNotFoundError):
        root.open_writable([b"none"])
    with pytest.raises(OSError, match="Read-only"):
        merged(trees, upper=False).open_writable([b"a"])


def test_no_descriptor_is_left(trees: Path) -> None:
    (trees / "low" / "a" / "b").mkdir(parents=True)
    (trees / "low" / "a" / "loop").symlink_to("loop")
    before = os.listdir("/proc/self/fd")
    for path in (b"/", b"/a/b", b"/a/none", b"/a/loop", b"/none/x", b"/a/b/../.."):
        with merged(trees).open() as top:
            try:
                with find(top, path) as place:
                    place.open_folder(top).close()
            except OSError:
                continue
    assert os.listdir("/proc/self/fd") == before
