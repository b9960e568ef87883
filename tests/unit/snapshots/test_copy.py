"""``carboy cp``: what goes where, and whose it is then."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.layers.tarread import DIRECTORY, HARDLINK, REGULAR, SYMLINK, Member, TarReader
from carboy.layers.tarwrite import TarWriter
from carboy.snapshots.copy import copy_in, copy_out, read_tar, write_tar
from carboy.snapshots.merged import LiveRoot, MergedRoot, Root, find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDS = (os.getuid(), os.getgid())


class Place:
    """A host's folder and a container's root, stopped or running."""

    def __init__(self, base: Path, kind: str) -> None:
        self.host = base / "host"
        self.image = base / "image"
        self.upper = base / "upper"
        for folder in (self.host, self.image, self.upper):
            folder.mkdir()
        self.kind = kind
        self.fd = os.open(self.image, os.O_RDONLY)

    @property
    def root(self) -> Root:
        return LiveRoot(self.fd) if self.kind == "running" else MergedRoot([str(self.image)], str(self.upper))

    def tree(self, path: str = "/") -> dict[str, str]:
        """Return what the container sees below a path: content of files, targets of links, "" for folders."""
        found: dict[str, str] = {}

        def walk(path: bytes, name: str) -> None:
            with self.root.open() as top, find(top, path, follow=False) as place:
                assert place.entry is not None
                if place.entry.is_link:
                    assert place.folder is not None
                    found[name] = "-> " + place.folder.readlink(place.name).decode()
                elif place.entry.is_folder:
                    found[name] = ""
                    with place.open_folder(top) as folder:
                        for inner in folder.names():
                            walk(path + b"/" + inner, f"{name}/{inner.decode()}".lstrip("/"))
                else:
                    assert place.folder is not None
                    fd = place.folder.open_file(place.name)
                    found[name] = os.read(fd, 1000).decode()
                    os.close(fd)

        walk(os.fsencode(path), "")
        found.pop("")
        return found


@pytest.fixture(params=["stopped", "running"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, request.param)
    (place.image / "etc").mkdir()
    (place.image / "etc" / "conf").write_text("image")
    (place.image / "usr" / "lib").mkdir(parents=True)
    (place.image / "lib").symlink_to("usr/lib")
    (place.image / "out").symlink_to(place.host)
    (place.host / "file").write_text("host")
    (place.host / "dir" / "sub").mkdir(parents=True)
    (place.host / "dir" / "sub" / "leaf").write_text("leaf")
    (place.host / "link").symlink_to("file")
    yield place
    os.close(place.fd)


@pytest.mark.parametrize(
    ("source", "destination", "made"),
    [
        ("file", "/new", {"new": "host"}),
        ("file", "/etc", {"etc/file": "host"}),
        ("file", "/etc/", {"etc/file": "host"}),
        ("file", "/etc/conf", {"etc/conf": "host"}),
        ("file", "lib/x", {"usr/lib/x": "host"}),
        ("file", "/lib", {"usr/lib/file": "host"}),
        ("file", "/", {"file": "host"}),
        ("link", "/etc", {"etc/link": "-> file"}),
        ("dir", "/new", {"new": "", "new/sub": "", "new/sub/leaf": "leaf"}),
        ("dir", "/new/", {"new": "", "new/sub": "", "new/sub/leaf": "leaf"}),
        ("dir", "/etc", {"etc/dir": "", "etc/dir/sub": "", "etc/dir/sub/leaf": "leaf"}),
        ("dir/", "/etc", {"etc/dir": "", "etc/dir/sub": "", "etc/dir/sub/leaf": "leaf"}),
        ("dir/.", "/etc", {"etc/sub": "", "etc/sub/leaf": "leaf"}),
        ("dir/.", "/new", {"new": "", "new/sub": "", "new/sub/leaf": "leaf"}),
    ],
)
def test_into_a_container(place: Place, source: str, destination: str, made: dict[str, str]) -> None:
    before = place.tree()
    copy_in(place.root, f"{place.host}/{source}", os.fsencode(destination))
    assert place.tree() == {**before, **made}
    assert sorted(path.name for path in place.host.iterdir()) == ["dir", "file", "link"]
    if place.kind == "stopped":
        assert (place.image / "etc" / "conf").read_text() == "image"


@pytest.mark.parametrize(
    ("source", "destination", "brief"),
    [
        ("file", "/none/", "there is no folder"),
        ("file", "/none/x", "no such file"),
        ("file", "/etc/conf/", "not a folder"),
        ("file", "/etc/conf/x", "Not a directory"),
        ("dir", "/etc/conf", "not a folder"),
        ("none", "/etc", "no such file"),
        ("file/", "/etc", "Not a directory"),
        ("file", "/out/x", "no such file"),
    ],
)
def test_not_into_a_container(place: Place, source: str, destination: str, brief: str) -> None:
    before = place.tree()
    with pytest.raises(CarboyError, match=brief):
        copy_in(place.root, f"{place.host}/{source}", os.fsencode(destination))
    assert place.tree() == before


@pytest.mark.parametrize(
    ("source", "destination", "made"),
    [
        ("/etc/conf", "new", {"new": "image"}),
        ("/etc/conf", ".", {"conf": "image"}),
        ("/etc/conf", "file", {"file": "image"}),
        ("/etc/conf", "link", {"file": "image"}),
        ("/etc", "new", {"new/conf": "image"}),
        ("/etc", ".", {"etc/conf": "image"}),
        ("/etc/.", ".", {"conf": "image"}),
        ("/etc/", "dir", {"dir/etc/conf": "image"}),
    ],
)
def test_out_of_a_container(place: Place, source: str, destination: str, made: dict[str, str]) -> None:
    copy_out(place.root, os.fsencode(source), f"{place.host}/{destination}")
    assert {name: (place.host / name).read_text() for name in made} == made


@pytest.mark.parametrize(
    ("source", "destination", "brief"),
    [
        ("/etc/conf", "none/", "there is no folder"),
        ("/etc/conf", "none/x", "no such file"),
        ("/etc", "file", "not a folder"),
        ("/none", ".", "no such file"),
    ],
)
def test_not_out_of_a_container(place: Place, source: str, destination: str, brief: str) -> None:
    with pytest.raises(CarboyError, match=brief):
        copy_out(place.root, os.fsencode(source), f"{place.host}/{destination}")


def test_links_as_source(place: Place) -> None:
    (place.image / "etc" / "here").symlink_to("/etc/conf")
    copy_out(place.root, b"/etc/here", f"{place.host}/plain")
    assert os.readlink(place.host / "plain") == "/etc/conf"
    copy_out(place.root, b"/etc/here", str(place.host), follow=True)
    assert (place.host / "here").read_text() == "image"
    copy_in(place.root, f"{place.host}/link", b"/etc", follow=True)
    assert place.tree("/etc")["link"] == "host"


def test_owners_modes_and_times(place: Place) -> None:
    if os.getuid():
        pytest.skip("owners need root")
    file = place.host / "dir" / "sub" / "leaf"
    os.chown(file, 12, 34)
    file.chmod(0o4751)
    os.setxattr(file, "user.note", b"kept")
    for path in (file, file.parent, place.host / "dir"):
        os.utime(path, ns=(10**18, 10**18 + 5))
    for name, archive, ids in (("plain", False, (0, 0)), ("kept", True, (12, 34))):
        copy_in(place.root, f"{place.host}/dir", os.fsencode(f"/{name}"), archive=archive)
        copied = (place.image if place.kind == "running" else place.upper) / name / "sub" / "leaf"
        status = copied.stat()
        assert (status.st_uid, status.st_gid) == ids
        assert status.st_mode == file.stat().st_mode
        assert [path.stat().st_mtime_ns for path in (copied, copied.parent, copied.parent.parent)] == [10**18 + 5] * 3
        assert os.getxattr(copied, "user.note") == b"kept"
        copy_out(place.root, os.fsencode(f"/{name}/sub"), f"{place.host}/{name}-back", archive=archive)
        assert (place.host / f"{name}-back" / "leaf").stat().st_uid == ids[0]


def test_ids_of_a_running_container(place: Place) -> None:
    if os.getuid() or place.kind != "running":
        pytest.skip("a running container of root's")
    root = LiveRoot(place.fd, first_id=70_000)
    copy_in(root, f"{place.host}/file", b"/etc")
    assert (place.image / "etc" / "file").stat().st_uid == 70_000
    os.chown(place.image / "etc" / "file", 70_007, 70_008)
    copy_out(root, b"/etc/file", f"{place.host}/back", archive=True)
    assert (place.host / "back").stat().st_uid == 7


def test_the_folder_copied_into_stays_as_it_is(place: Place) -> None:
    (place.image / "tmp").mkdir()
    (place.image / "tmp").chmod(0o1777)
    (place.host / "dir").chmod(0o700)
    copy_in(place.root, f"{place.host}/dir/.", b"/tmp")
    with place.root.open() as top, find(top, b"/tmp") as found:
        assert found.entry is not None
        assert found.entry.status.st_mode & 0o7777 == 0o1777


def test_over_what_was_removed(tmp_path: Path) -> None:
    place = Place(tmp_path, "stopped")
    (place.image / "dir" / "old").mkdir(parents=True)
    (place.image / "file").write_text("old")
    for name in ("dir", "file"):
        os.mknod(place.upper / name, stat.S_IFCHR, 0)
    (place.host / "dir").mkdir()
    (place.host / "file").write_text("new")
    copy_in(place.root, f"{place.host}/.", b"/")
    assert place.tree() == {"dir": "", "file": "new"}  # what the image had in the folder does not come back
    os.close(place.fd)


# --- tars ---------------------------------------------------------------------------------------------------------


def pack(*members: tuple[Member, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    writer = TarWriter(out)
    for member, data in members:
        member.size = len(data)
        writer.add(member, data)
    writer.finish()
    out.seek(0)
    return out


def file(name: bytes, data: bytes = b"x", **options: int) -> tuple[Member, bytes]:
    return Member(name=name, kind=REGULAR, **options), data  # type: ignore[arg-type]


def test_tar_in(place: Place) -> None:
    stream = pack(
        (Member(name=b"./", kind=DIRECTORY, mode=0o700), b""),
        file(b"lib/a"),
        file(b"made/for/this"),
        file(b".wh.etc"),
        (Member(name=b"made/link", kind=SYMLINK, linkname=b"/etc"), b""),
        (Member(name=b"made/hard", kind=HARDLINK, linkname=b"lib/a"), b""),
        (Member(name=b"device", kind=b"3"), b""),
    )
    before = place.tree()
    read_tar(place.root, stream, b"/")
    made = {
        "usr/lib/a": "x", "made": "", "made/for": "", "made/for/this": "x", ".wh.etc": "x", "made/link": "-> /etc",
        "made/hard": "x",
    }  # fmt: skip
    assert place.tree() == {**before, **made}


@pytest.mark.parametrize("name", [b"../x", b"a/../../x", b"/../x"])
def test_tar_does_not_lead_out(place: Place, name: bytes) -> None:
    with pytest.raises(CarboyError, match="leads out"):
        read_tar(place.root, pack(file(name)), b"/etc")


def test_tar_hard_link_to_what_is_there(place: Place) -> None:
    with pytest.raises(CarboyError, match="hard link"):
        read_tar(place.root, pack((Member(name=b"x", kind=HARDLINK, linkname=b"etc/conf"), b"")), b"/")


def test_tar_needs_a_folder(place: Place) -> None:
    for path in (b"/etc/conf", b"/none"):
        with pytest.raises(CarboyError):
            read_tar(place.root, pack(), path)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (b"/etc", [b"etc/", b"etc/conf"]),
        (b"/etc/.", [b"conf"]),
        (b"/etc/conf", [b"conf"]),
        (b"/lib", [b"lib"]),
        (b"/lib/", [b"lib/"]),
        (b"/usr", [b"usr/", b"usr/lib/"]),
    ],
)
def test_tar_out(place: Place, source: bytes, names: list[bytes]) -> None:
    out = io.BytesIO()
    write_tar(place.root, source, out)
    out.seek(0)
    assert [member.name for member in TarReader(out)] == names
