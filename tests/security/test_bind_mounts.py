"""Files of the host in a container: whose they are, that restrictions hold, and races for their names. Rows 21, 27, 28."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandboxes import Sandboxes
    from tests.conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

# As many as the everyday tests have time for; the others are for the tests that take minutes.
MORE_RACES = pytest.mark.parametrize("races", [10, pytest.param(50, marks=pytest.mark.long)])


@pytest.fixture
def folder(sandboxes: Sandboxes) -> Path:
    """Return a folder of the person's with a file in it."""
    path = sandboxes.place / f"shared-{os.urandom(4).hex()}"
    path.mkdir(mode=0o755)
    (path / "file").write_text("host\n")
    (path / "file").chmod(0o600)
    (path / "program").write_text("#!/bin/sh\necho ran\n")
    (path / "program").chmod(0o755)
    return sandboxes.own(path)


def bind(source: Path, target: str = "/data", **options: Any) -> tuple[str, dict[str, Any]]:
    return "BindMount", {"source": str(source), "target": target, **options}


# --- owners -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read_only", [True, False])
def test_files_are_of_the_same_owner_inside(sandboxes: Sandboxes, folder: Path, read_only: bool) -> None:
    if sandboxes.tier == "root":
        os.chown(folder / "program", 1234, 5678)
    mounts = [bind(folder, read_only=read_only, idmap="ids")]
    result = sandboxes.run("sh", "-c", "cat /data/file; stat -c %u:%g /data/file /data/program", mounts=mounts)
    assert result.stdout.split() == ["host", "0:0", "1234:5678" if sandboxes.tier == "root" else "0:0"], result


def test_files_written_belong_to_the_caller(sandboxes: Sandboxes, folder: Path) -> None:
    result = sandboxes.run("touch", "/data/new", mounts=[bind(folder, read_only=False)])
    assert result.status == 0, result
    status = (folder / "new").stat()
    assert (status.st_uid, status.st_gid) == (sandboxes.uid, sandboxes.gid)


def test_files_written_belong_to_the_owner(sandboxes: Sandboxes, folder: Path) -> None:
    if sandboxes.tier == "root":
        os.chown(folder, 77, 88)
    mounts = [bind(folder, read_only=False, idmap="owner")]
    script = "stat -c %u:%g /data; touch /data/new"
    result = sandboxes.run("sh", "-c", script, user="ana", mounts=mounts)
    if sandboxes.tier == "subuid":
        assert result.status == 125
        assert "only root can map" in result.error
        assert sandboxes.run("sh", "-c", script, user="root", mounts=mounts).status == 0
        return
    assert (result.status, result.stdout) == (0, "1000:1000\n"), result
    status = (folder / "new").stat()
    assert (status.st_uid, status.st_gid) == ((77, 88) if sandboxes.tier == "root" else (sandboxes.uid, sandboxes.gid))


# --- restrictions -------------------------------------------------------------------------------------------------


@pytest.fixture
def nested(sandboxes: Sandboxes, folder: Path) -> Iterator[Path]:
    """Return the folder with another file system mounted two levels down, which every restriction must reach."""
    inner = folder / "inner" / "deep"
    inner.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777", "none", str(inner)], check=True)
    (inner / "program").write_text("#!/bin/sh\necho ran\n")
    (inner / "program").chmod(0o755)
    yield folder
    subprocess.run(["umount", str(inner)], check=True)


OPTIONS = "grep -E ' /data(/inner/deep)? ' /proc/self/mountinfo | while read a b c d e f g; do echo $e $f; done"


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("noexec", [True, False])
@pytest.mark.parametrize("recursive", [True, False])
def test_restrictions_reach_everything(
    sandboxes: Sandboxes, nested: Path, read_only: bool, noexec: bool, recursive: bool
) -> None:
    options = {"read_only": read_only, "noexec": noexec, "recursive": recursive}
    script = (
        f"{OPTIONS}; touch /data/new && echo wrote; /data/program; "
        "touch /data/inner/deep/new && echo wrote; /data/inner/deep/program"
    )
    result = sandboxes.run("sh", "-c", script, mounts=[bind(nested, **options)])
    if sandboxes.tier != "root" and not recursive:
        # What is mounted below hides something that this user must not see: the kernel does not take it off.
        assert result.status == 125
        assert "cannot be left out" in result.error
        return
    lines = result.stdout.splitlines()
    shown = dict(line.split()[:2] for line in lines if line.startswith("/data"))
    assert set(shown) == ({"/data", "/data/inner/deep"} if recursive else {"/data"}), result
    for words in (words.split(",") for words in shown.values()):
        assert {"nosuid", "nodev", "ro" if read_only else "rw"} <= set(words)
        assert ("noexec" in words) == noexec
    # Without the inner mount there is the empty folder below it, which can be written as well.
    assert lines.count("wrote") == (0 if read_only else 2), result
    assert lines.count("ran") == (0 if noexec else 2 if recursive else 1)


def test_restrictions_of_memory(sandboxes: Sandboxes) -> None:
    mounts = [("TmpfsMount", {"target": "/data", "read_only": True, "noexec": True, "mode": 0o700})]
    result = sandboxes.run("sh", "-c", f"{OPTIONS}; stat -c %a /data; touch /data/x", mounts=mounts)
    assert result.stdout.splitlines()[0].split()[1].split(",")[:4] == ["ro", "nosuid", "nodev", "noexec"]
    assert result.stdout.splitlines()[1] == "700"
    assert result.status == 1


def test_nothing_that_is_mounted_comes_in_or_goes_out(sandboxes: Sandboxes, folder: Path, leftovers: Leftovers) -> None:
    before = list_mounts(sandboxes)
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "--make-shared", str(folder)], check=True)
    (folder / "sub").mkdir()
    sandboxes.own(folder)
    try:
        mounts = [bind(folder), ("TmpfsMount", {"target": "/data/sub"})]
        result = sandboxes.run("sh", "-c", "grep ' /data' /proc/self/mountinfo", mounts=mounts)
        assert "shared:" not in result.stdout
        assert result.stdout.count("\n") == 2
        assert "/sub" not in Path("/proc/self/mountinfo").read_text()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert list_mounts(sandboxes) == before
    assert leftovers.find() == []


def list_mounts(sandboxes: Sandboxes) -> list[str]:
    """Return the machine's mounts, without those that other tests make for themselves at the same time."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(sandboxes.place.parent) not in line or str(sandboxes.place) in line]


# --- order and kinds ----------------------------------------------------------------------------------------------


def test_a_mount_in_a_mount(sandboxes: Sandboxes, folder: Path) -> None:
    (folder / "cache").mkdir()
    sandboxes.own(folder)
    mounts = [
        ("TmpfsMount", {"target": "/data/cache"}),
        ("FileMount", {"target": "/data/cache/note", "content": "kept\n"}),
        bind(folder, idmap="ids"),
    ]
    result = sandboxes.run("sh", "-c", "cat /data/file /data/cache/note; touch /data/cache/x; echo $?", mounts=mounts)
    assert result.stdout.split() == ["host", "kept", "0"], result
    assert list((folder / "cache").iterdir()) == []


def test_a_file_is_a_source(sandboxes: Sandboxes, folder: Path) -> None:
    mounts = [bind(folder / "file", "/etc/some/file", read_only=False)]
    result = sandboxes.run("sh", "-c", "cat /etc/some/file; echo more >>/etc/some/file", mounts=mounts)
    assert result.stdout == "host\n", result
    assert (folder / "file").read_text() == "host\nmore\n"


def test_a_device_is_no_source(sandboxes: Sandboxes) -> None:
    result = sandboxes.run("true", mounts=[bind(Path("/dev/null"), "/null")])
    assert result.status == 125
    assert "--device" in result.error


def test_own_files_do_not_reach_a_folder_of_the_host(sandboxes: Sandboxes, folder: Path) -> None:
    for name in ("passwd", "group"):
        (folder / name).write_text((sandboxes.lower / "etc" / name).read_text())
    (folder / "hosts").touch()
    sandboxes.own(folder)
    result = sandboxes.run("sh", "-c", "ls /etc; cat /etc/hosts", mounts=[bind(folder, "/etc", read_only=False)])
    assert "127.0.0.1" in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["file", "group", "hosts", "passwd", "program"]
    assert (folder / "hosts").read_text() == ""


def test_what_carboy_keeps_is_no_source(sandboxes: Sandboxes) -> None:
    home = sandboxes.containers
    for source in (home, home.parent, Path("/")):
        result = sandboxes.run("true", mounts=[bind(source, outside=str(home))])
        assert result.status == 125
        assert "what carboy keeps" in result.error


# --- races --------------------------------------------------------------------------------------------------------


class Flipper:
    """Exchanges a folder and a link to elsewhere under one name, as fast as it can (renameat2(2), RENAME_EXCHANGE)."""

    def __init__(self, place: Path, link: str) -> None:
        self._names = [os.fsencode(place / "target"), os.fsencode(place / "other")]
        (place / "target").mkdir()
        (place / "other").symlink_to(link)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flip)

    def _flip(self) -> None:
        import ctypes

        libc = ctypes.CDLL(None)
        while not self._stop.is_set():
            libc.renameat2(-100, self._names[0], -100, self._names[1], 2)

    def __enter__(self) -> Flipper:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


@MORE_RACES
@pytest.mark.parametrize("link", ["/proc", "../../../../../../../../../../tmp", "/proc/1/root"])
def test_flipping_target(sandboxes: Sandboxes, folder: Path, link: str, races: int, leftovers: Leftovers) -> None:
    """A second container could do so in a volume that both have (CVE-2021-30465)."""
    before = list_mounts(sandboxes)
    mounts = [bind(folder, "/vol", read_only=False), bind(Path("/usr"), "/vol/target")]
    with Flipper(folder, link):
        for _ in range(races):
            result = sandboxes.run("sh", "-c", "cat /proc/sys/kernel/ostype; ls /vol", mounts=mounts)
            # Refused, or mounted where the name led to inside; /proc itself may be covered then, never left.
            assert result.status in (0, 1, 125), result
            assert list_mounts(sandboxes) == before
    assert leftovers.find() == []


@MORE_RACES
def test_flipping_source(sandboxes: Sandboxes, folder: Path, races: int) -> None:
    """What is checked is what is mounted: a source that is now a folder, now a link to what must not be seen."""
    secret = sandboxes.containers.parent / f"home-{os.urandom(4).hex()}"
    secret.mkdir()
    (secret / "canary").write_text("secret")
    sandboxes.own(secret)
    source = folder / "target"
    with Flipper(folder, str(secret)):
        for _ in range(races):
            mounts = [bind(source, outside=str(secret))]
            result = sandboxes.run("sh", "-c", "ls /data", mounts=mounts)
            assert "canary" not in result.stdout
            assert result.status in (0, 125)
