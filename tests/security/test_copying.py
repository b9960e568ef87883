"""``cp``, export and commit while the container exchanges folders for links under their feet (row 74)."""

from __future__ import annotations

import ctypes
import io
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.layers.errors import LayerError
from carboy.layers.tarread import TarReader
from carboy.runtime.spec import ROOT_TIER_FIRST_ID
from carboy.snapshots.changes import diff, write_layer, write_root
from carboy.snapshots.copy import copy_in, copy_out, write_tar
from carboy.snapshots.merged import LiveRoot, MergedRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandboxes import Sandboxes

pytestmark = [pytest.mark.slow]

ROUNDS = 300


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    folder = tmp_path / "canary"
    (folder / "sub").mkdir(parents=True)
    (folder / "leaf").write_text("secret")
    (folder / "sub" / "leaf").write_text("secret")
    return folder


@pytest.fixture
def flipping(tmp_path: Path, canary: Path) -> Iterator[Path]:
    """Return a container's root in which /dir is now a folder, now a link to the canary (as are its parts)."""
    root = tmp_path / "root"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "dir" / "leaf").write_text("inside")
    (root / "dir" / "sub" / "leaf").write_text("inside")
    (root / "other").symlink_to(canary)
    (root / "dir" / "other").symlink_to(canary / "sub")
    pairs = [(b"dir", b"other"), (b"dir/sub", b"dir/other")]
    stop = threading.Event()
    libc = ctypes.CDLL(None)

    def flip() -> None:
        base = os.fsencode(root)
        while not stop.is_set():
            for one, two in pairs:
                libc.renameat2(-100, base + b"/" + one, -100, base + b"/" + two, 2)

    thread = threading.Thread(target=flip)
    thread.start()
    yield root
    stop.set()
    thread.join()


def state(folder: Path) -> list[tuple[str, int, int, str]]:
    return sorted(
        (str(path), path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_text() if path.is_file() else "")
        for path in folder.rglob("*")
    )


@pytest.mark.parametrize("path", [b"/dir", b"/dir/sub", b"/dir/sub/leaf", b"/dir/.", b"/"])
@pytest.mark.parametrize("follow", [True, False])
def test_copying_out(flipping: Path, tmp_path: Path, path: bytes, follow: bool) -> None:
    fd = os.open(flipping, os.O_RDONLY)
    copied = 0
    rounds = ROUNDS if path != b"/" else ROUNDS // 10
    for number in range(100 * rounds):
        if number >= rounds and copied:
            break  # on a busy machine the other thread may win many times in a row
        target = tmp_path / f"out-{number}"
        try:
            copy_out(LiveRoot(fd), path, str(target), follow=follow)
            copied += 1
        except CarboyError:
            pass
        for found in [target, *target.rglob("*")] if not target.is_symlink() else []:
            assert found.is_symlink() or not found.is_file() or found.read_text() == "inside"
    os.close(fd)
    assert copied


@pytest.mark.parametrize("destination", [b"/dir", b"/dir/sub", b"/dir/sub/leaf"])
def test_copying_in(flipping: Path, tmp_path: Path, canary: Path, destination: bytes) -> None:
    (tmp_path / "source" / "deep").mkdir(parents=True)
    (tmp_path / "source" / "deep" / "leaf").write_text("mine")
    (tmp_path / "leaf").write_text("mine")
    before = state(canary)
    fd = os.open(flipping, os.O_RDONLY)
    for _ in range(ROUNDS):
        for source in ("source/.", "leaf"):
            try:
                copy_in(LiveRoot(fd), f"{tmp_path}/{source}", destination)
            except CarboyError:
                continue
    os.close(fd)
    assert state(canary) == before


def test_export(flipping: Path) -> None:
    for _ in range(ROUNDS // 3):
        out = io.BytesIO()
        try:
            write_root(MergedRoot([str(flipping)]), out)
        except (OSError, LayerError):
            continue
        assert b"secret" not in out.getvalue()


# --- a container that runs ----------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.userns
def test_a_running_container(root_sandboxes: Sandboxes, tmp_path: Path) -> None:
    """Both directions through /proc/<pid>/root: mounts are seen, ids are the image's, magic links lead nowhere."""
    sandboxes = root_sandboxes
    marker = f"marker-{os.urandom(4).hex()}"
    script = f"touch /{marker}; ln -s /proc/1/root/etc /etc/trap; ln -s / /tmp/top; echo ready; sleep 60"
    command = sandboxes.command("sh", "-c", script, mounts=[("TmpfsMount", {"target": "/data"})])
    process = sandboxes.start(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        fd = os.open(find_root(marker), os.O_RDONLY | os.O_DIRECTORY)
        root = LiveRoot(fd, first_id=ROOT_TIER_FIRST_ID)
        (tmp_path / "file").write_text("from the host")
        copy_in(root, f"{tmp_path}/file", b"/data/file")
        out = io.BytesIO()
        write_tar(root, b"/data/file", out)
        out.seek(0)
        (member,) = list(TarReader(out))
        assert (member.uid, member.gid, member.size) == (0, 0, 13)
        (tmp_path / "tree" / "sub").mkdir(parents=True)
        (tmp_path / "tree" / "sub" / "leaf").write_text("x")
        (tmp_path / "tree" / "link").symlink_to("sub")
        os.link(tmp_path / "tree" / "sub" / "leaf", tmp_path / "tree" / "hard")
        for path in (tmp_path / "tree", tmp_path / "tree" / "link", tmp_path / "tree" / "hard"):
            os.chown(path, 1000, 2000, follow_symlinks=False)
        (tmp_path / "tree").chmod(0o700)
        copy_in(root, f"{tmp_path}/tree", b"/home/tree", archive=True)
        copy_in(root, f"{tmp_path}/tree", b"/home/tree", archive=True)  # into a folder that is closed to root's id
        out = io.BytesIO()
        write_tar(root, b"/home/tree/tree/.", out)
        out.seek(0)
        assert {member.name: (member.uid, member.gid) for member in TarReader(out)} == {
            b"hard": (1000, 2000), b"link": (1000, 2000), b"sub/": (0, 0), b"sub/leaf": (1000, 2000),
        }  # fmt: skip
        copy_in(root, f"{tmp_path}/file", b"/tmp/top/tmp/file")
        copy_out(root, b"/tmp/file", f"{tmp_path}/back", archive=True)
        assert (tmp_path / "back").read_text() == "from the host"
        copy_out(root, b"/tmp", f"{tmp_path}/all")
        assert os.readlink(tmp_path / "all" / "top") == "/"
        copy_in(root, f"{tmp_path}/file", b"/etc/trap/new")
        assert not Path("/etc/new").exists()
        os.close(fd)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def find_root(marker: str) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*/root"):
            if os.path.lexists(path / marker):
                return str(path)
    raise AssertionError("the container is not found")


# --- what comes and goes ------------------------------------------------------------------------------------------


@pytest.fixture
def restless(tmp_path: Path) -> Iterator[Path]:
    """Return a writable tree in which files and folders come, go, and become fifos and links all the time."""
    upper = tmp_path / "upper"
    (upper / "w").mkdir(parents=True)
    (upper / "w" / "steady").write_text("steady")
    stop = threading.Event()

    def stir() -> None:
        one, two = upper / "w" / "one", upper / "w" / "two"
        while not stop.is_set():
            one.write_text("x" * 100)
            (two / "deep").mkdir(parents=True)
            (two / "deep" / "leaf").write_text("leaf")
            one.unlink()
            os.mkfifo(one)
            one.unlink()
            one.symlink_to("steady")
            one.unlink()
            (two / "deep" / "leaf").unlink()
            (two / "deep").rmdir()
            two.rmdir()
            two.write_text("")
            two.unlink()

    thread = threading.Thread(target=stir)
    thread.start()
    yield upper
    stop.set()
    thread.join()


@pytest.mark.timeout(60)
def test_what_vanishes_is_no_error_and_a_fifo_nothing_to_wait_for(restless: Path, tmp_path: Path) -> None:
    fd = os.open(restless, os.O_RDONLY)
    outputs = []
    for number in range(ROUNDS // 3):
        for write in (
            lambda out: write_root(MergedRoot([], str(restless), live=True), out),
            lambda out: write_layer(str(restless), out, live=True),
            lambda out: write_tar(LiveRoot(fd), b"/w", out),
        ):
            out = io.BytesIO()
            try:
                write(out)
            except LayerError:
                continue  # it became shorter, which is the one thing that a tar has no way to say
            out.seek(0)
            outputs.append({member.name for member in TarReader(out)})
        copy_out(LiveRoot(fd), b"/w", f"{tmp_path}/copy-{number}")
        assert (tmp_path / f"copy-{number}" / "steady").read_text() == "steady"
        diff(str(restless), [])
    os.close(fd)
    assert all(b"w/steady" in names for names in outputs)
    assert len(outputs) > ROUNDS // 3
    with pytest.raises(CarboyError, match="no such file"):
        copy_out(MergedRoot([], str(restless)), b"/w/never", f"{tmp_path}/never")
