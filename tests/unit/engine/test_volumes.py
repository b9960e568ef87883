"""From options to mounts: sources are there, volumes made, noted and filled; all or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from carboy.base.home import Home
from carboy.engine.containers.volumes import make_mounts, open_mounts, release_mounts
from carboy.errors import CarboyError
from carboy.runtime.spec import BindMount, TmpfsMount
from carboy.volumes.store import VolumeStore

KEEP = not os.getuid()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home" / "containers" / "c1").mkdir(parents=True)
    (tmp_path / "source").mkdir()
    return Home(str(tmp_path / "home"))


def make(home: Home, *asked: tuple[str, str], container: str = "c1", **options: Any) -> tuple[tuple[str, str], ...]:
    cwd = str(Path(home.path).parent)
    return make_mounts(home, container, asked, keep_owners=KEEP, cwd=cwd, **options)


def test_every_kind(home: Home, tmp_path: Path) -> None:
    recorded = make(
        home, ("volume", "./source:/data:ro"), ("secret", "x"), ("tmpfs", "/tmp:size=1m"), ("mount", "src=named,dst=/v"),
        image_volumes=["/var/lib/db", "/data"],
    )  # fmt: skip
    (anonymous,) = [volume for volume in VolumeStore(home).list_volumes() if volume.anonymous]
    assert recorded == (
        ("secret", "x"),
        ("mount", f"type=bind,source={tmp_path}/source,target=/data,readonly"),
        ("mount", "type=volume,source=named,target=/v"),
        ("mount", "type=tmpfs,target=/tmp,tmpfs-size=1048576"),
        ("mount", f"type=volume,source={anonymous.name},target=/var/lib/db"),
    )
    volumes = f"{home.path}/volumes"
    assert open_mounts(home, recorded) == (
        BindMount(source=f"{tmp_path}/source", target="/data", idmap="ids", outside=home.path),
        BindMount(source=f"{volumes}/named/data", target="/v", read_only=False, idmap="ids"),
        TmpfsMount(target="/tmp", size_bytes=2**20, noexec=True),
        BindMount(source=f"{volumes}/{anonymous.name}/data", target="/var/lib/db", read_only=False, idmap="ids"),
    )
    assert VolumeStore(home).inspect("named").users == ("c1",)
    release_mounts(home, "c1", remove_anonymous=True)
    assert [volume.name for volume in VolumeStore(home).list_volumes()] == ["named"]


@pytest.mark.parametrize(
    ("source", "brief", "hint"),
    [
        ("./none", "bind source path does not exist: ", "mkdir -p"),
        ("./home", "bind source is not allowed", "neither"),
        ("./home/containers", "bind source is not allowed", "neither"),
        (".", "bind source is not allowed", "neither"),
        ("/", "bind source is not allowed", "neither"),
        ("./link", "bind source is not allowed", "neither"),
        ("/dev/null", "bind source is a device", "--device /dev/null"),
    ],
)
def test_bad_sources_leave_nothing(home: Home, tmp_path: Path, source: str, brief: str, hint: str) -> None:
    (tmp_path / "link").symlink_to("home/containers")
    with pytest.raises(CarboyError) as info:
        make(home, ("volume", "/a"), ("volume", "named:/b"), ("volume", f"{source}:/data"))
    assert brief in info.value.brief
    assert hint in info.value.hint
    assert info.value.code == 125
    assert VolumeStore(home).list_volumes() == []


def test_a_source_that_went_away(home: Home, tmp_path: Path) -> None:
    recorded = make(home, ("volume", "./source:/data"), ("volume", "named:/v"))
    os.rmdir(tmp_path / "source")
    with pytest.raises(CarboyError, match="does not exist") as info:
        open_mounts(home, recorded)
    assert info.value.code == 125
    release_mounts(home, "c1", remove_anonymous=True)
    VolumeStore(home).remove("named")
    with pytest.raises(CarboyError, match="no such volume") as info:
        open_mounts(home, recorded[1:])
    assert info.value.code == 125


@pytest.fixture
def lowers(tmp_path: Path) -> list[str]:
    low, high = tmp_path / "low", tmp_path / "high"
    (low / "data" / "sub").mkdir(parents=True)
    (low / "data" / "sub" / "file").write_text("image")
    (low / "data" / "sub" / "file").chmod(0o640)
    (low / "data" / "gone").touch()
    (low / "data" / "link").symlink_to("/etc/passwd")
    os.link(low / "data" / "sub" / "file", low / "data" / "hard")
    (low / "data").chmod(0o770)
    (low / "alias").symlink_to("data")
    (high / "data").mkdir(parents=True)
    (high / "data").chmod(0o750)
    (high / "data" / "gone").touch()
    os.setxattr(high / "data" / "gone", "user.overlay.whiteout", b"")
    if KEEP:
        os.chown(high / "data", 5, 6)
        os.chown(low / "data" / "sub" / "file", 7, 8)
    return [str(low), str(high)]


@pytest.mark.parametrize("target", ["/data", "/alias"])
def test_an_empty_volume_gets_what_the_image_has(home: Home, lowers: list[str], target: str) -> None:
    make(home, ("volume", f"named:{target}"), lowers=lowers)
    data = Path(VolumeStore(home).inspect("named").path)
    assert sorted(str(path.relative_to(data)) for path in data.rglob("*")) == ["hard", "link", "sub", "sub/file"]
    assert (data / "sub" / "file").read_text() == "image"
    assert os.readlink(data / "link") == "/etc/passwd"
    assert (data / "hard").stat().st_ino == (data / "sub" / "file").stat().st_ino
    assert (data / "sub" / "file").stat().st_mode & 0o7777 == 0o640
    assert data.stat().st_mode & 0o7777 == 0o750
    if KEEP:
        assert (data.stat().st_uid, data.stat().st_gid) == (5, 6)
        assert ((data / "hard").stat().st_uid, (data / "hard").stat().st_gid) == (7, 8)
    (data / "sub" / "file").write_text("mine")
    os.mkdir(f"{home.containers}/c2")
    make(home, ("volume", f"named:{target}"), lowers=lowers, container="c2")
    assert (data / "sub" / "file").read_text() == "mine"


def test_nothing_is_copied_when_not_wanted(home: Home, lowers: list[str]) -> None:
    make(
        home, ("volume", "one:/data:nocopy"), ("volume", "two:/none"), ("volume", "three:/data/sub/file"), lowers=lowers
    )
    for name in ("one", "two", "three"):
        assert os.listdir(VolumeStore(home).inspect(name).path) == []
