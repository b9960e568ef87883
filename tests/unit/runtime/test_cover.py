"""A file over one of a container that runs: where the container's links lead, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carboy.runtime.native.cover import cover_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts into another's namespace: needs root"),
]

INSIDE = """
import os, sys
from carboy.linux import mounts, namespaces
root = sys.argv[1]
namespaces.unshare(namespaces.CLONE_NEWNS)
mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
fd = mounts.open_tree(root, recursive=True)
mounts.move_mount(fd, root)
os.chdir(root)
mounts.pivot_root(".", ".")
mounts.umount(".")
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def open_root(root: Path) -> Iterator[int]:
    """Give a process whose root is the folder, in a mount namespace of its own."""
    command = [sys.executable, "-c", INSIDE, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout
        assert inside.stdout.readline() == "ready\n"
        yield inside.pid


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder to be a root, beside a file that no container may change."""
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "staging").mkdir()
    (tmp_path / "secret").write_text("ours")
    return tmp_path / "root"


def cover(root: Path, pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        cover_file(pidfd, "/etc/resolv.conf", b"nameserver 127.0.0.11\n", staging=str(root.parent / "staging"))
    finally:
        os.close(pidfd)


def test_the_file_is_covered_for_the_container_alone_and_cannot_be_written(root: Path) -> None:
    (root / "etc" / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    with open_root(root) as pid:
        cover(root, pid)
        place = Path(f"/proc/{pid}/root/etc/resolv.conf")
        assert place.read_text() == "nameserver 127.0.0.11\n"
        with pytest.raises(OSError, match="Read-only"):
            place.open("w")
    assert (root / "etc" / "resolv.conf").read_text() == "nameserver 192.0.2.1\n"
    assert list((root.parent / "staging").iterdir()) == []


@pytest.mark.parametrize("link", ["/own", "../../../../own"])
def test_a_link_leads_to_the_containers_own_file_only(root: Path, link: str) -> None:
    (root / "etc" / "resolv.conf").symlink_to(link)
    (root / "own").write_text("theirs")
    with open_root(root) as pid:
        cover(root, pid)
        assert Path(f"/proc/{pid}/root/own").read_text() == "nameserver 127.0.0.11\n"
    assert (root / "own").read_text() == "theirs"


def test_what_is_not_there_is_said_and_nothing_is_made(root: Path) -> None:
    (root / "etc" / "resolv.conf").symlink_to(str(root.parent / "secret"))
    with open_root(root) as pid, pytest.raises(FileNotFoundError):
        cover(root, pid)
    assert (root.parent / "secret").read_text() == "ours"
    assert sorted(path.name for path in root.iterdir()) == ["etc"]
