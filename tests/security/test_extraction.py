"""The weakness classes of layer extraction: what each archive tries must not happen, and nothing outside may change."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from carboy.layers import inside
from carboy.layers.compression import open_decompressed
from carboy.layers.errors import LayerError
from carboy.layers.extract import extract
from carboy.layers.limits import Limits
from carboy.layers.pieces import Piece, make_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Entry = tuple[str, bytes, str, bytes]  # name, tar type, link name, data


def make_tar(*entries: Entry, pax: dict[str, str] | None = None) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o644
            info.pax_headers = dict(pax or {})
            if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                info.devmajor, info.devminor = 1, 3
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def file(name: str, data: bytes = b"evil") -> Entry:
    return (name, tarfile.REGTYPE, "", data)


def link(name: str, target: str) -> Entry:
    return (name, tarfile.SYMTYPE, target, b"")


def hard(name: str, target: str) -> Entry:
    return (name, tarfile.LNKTYPE, target, b"")


def folder(name: str) -> Entry:
    return (name, tarfile.DIRTYPE, "", b"")


@pytest.fixture(params=["openat2", "no openat2"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tree to unpack into, beside files that must be the same afterwards; with and without openat2(2)."""
    if request.param == "no openat2":

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSYS, "forced")

        monkeypatch.setattr(inside, "openat2", refuse)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(b"canary")
    (outside / "folder").mkdir()
    (outside / "folder" / "file").write_bytes(b"file")
    tree = tmp_path / "tree"
    tree.mkdir()
    before = snapshot(outside)
    yield tree
    assert snapshot(outside) == before


def snapshot(path: Path) -> list[tuple[str, int, int, int, bytes]]:
    return [
        (p.name, p.lstat().st_ino, p.lstat().st_mode, p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in sorted([path, *path.rglob("*")])
    ]


def unpack(tar: io.BytesIO, tree: Path, **options: object) -> None:
    extract(tar, str(tree), chown=os.geteuid() == 0, **options)  # type: ignore[arg-type]


BREAKOUTS: dict[str, Callable[[str], tuple[Entry, ...]]] = {
    "1 dotdot": lambda out: (file("../outside/canary"),),
    "1 dotdot inside": lambda out: (file("a/../../outside/canary"),),
    "1 absolute": lambda out: (file(f"{out}/canary"),),
    "2 link out, exit and re-entry": lambda out: (folder("a"), link("a/b", "../../outside"), file("a/b/canary")),
    "3 write through absolute link": lambda out: (link("l", f"{out}/canary"), file("l")),
    "3 write through relative link": lambda out: (link("l", "../outside/canary"), file("l")),
    "3 write below linked folder": lambda out: (link("l", out), file("l/canary")),
    "3 write below chained links": lambda out: (link("m", out), link("l", "m"), file("l/canary")),
    "3 folder over link": lambda out: (link("l", f"{out}/folder"), folder("l"), file("l/file")),
    "4 hard link to outside": lambda out: (hard("h", "../outside/canary"), file("h")),
    "4 hard link to absolute": lambda out: (hard("h", f"{out}/canary"), file("h")),
    "4 hard link to link": lambda out: (link("l", f"{out}/canary"), hard("h", "l"), file("h")),
    "4 hard link through link": lambda out: (link("l", out), hard("h", "l/canary"), file("h")),
    "6 mode through link": lambda out: (link("l", f"{out}/canary"), hard("h", "l")),
    "7 whiteout of dotdot": lambda out: (file(".wh..."),),
    "7 whiteout of dot": lambda out: (file(".wh.."),),
    "7 whiteout of nothing": lambda out: (file(".wh."),),
    "7 whiteout through link": lambda out: (link("l", out), file("l/.wh.canary")),
    "7 opaque through link": lambda out: (link("l", out), file("l/.wh..wh..opq")),
}


@pytest.mark.parametrize("mode", ["overlay", "apply"])
@pytest.mark.parametrize("name", BREAKOUTS)
def test_nothing_outside_changes(name: str, mode: str, place: Path) -> None:
    entries = BREAKOUTS[name](str(place.parent / "outside"))
    try:
        unpack(make_tar(*entries), place, whiteouts=mode)
    except LayerError:
        return
    # Contained: whatever was written is below the tree. The fixture holds the canaries against what they were.
    assert all(str(p).startswith(str(place)) for p in place.rglob("*"))


@pytest.mark.parametrize("name", [".", "./", "/", ""])
def test_05_the_root_cannot_become_something_else(name: str, place: Path) -> None:
    with pytest.raises(LayerError):
        unpack(make_tar(link(name, "/etc")), place)


def test_08_overlay_control_attributes_are_inert(place: Path) -> None:
    pax = {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
    }
    unpack(make_tar(folder("d"), file("f"), pax=pax), place)
    assert not [name for path in (place / "d", place / "f") for name in os.listxattr(path) if "overlay" in name]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_09_devices_and_fifos_are_left_out(kind: bytes, place: Path) -> None:
    unpack(make_tar(("node", kind, "", b""), file("after")), place)
    assert sorted(p.name for p in place.iterdir()) == ["after"]


def read_until_refused(data: bytes) -> int:
    """Return how many bytes came out before the refusal."""
    stream = open_decompressed(io.BytesIO(data))
    sizes = []
    with pytest.raises(LayerError, match="times its size"):  # noqa: PT012 -- what came out before the refusal counts
        while chunk := stream.read(2**20):
            sizes.append(len(chunk))
    return sum(sizes)


def test_11_a_bomb_is_stopped_early() -> None:
    member = gzip.compress(bytes(2**22), 9)
    count = 10 * 2**30 // 2**22  # ten gigabytes of zeros, in gzip members of four megabytes
    assert read_until_refused(member * count) < 2**30


def test_11_a_zstd_bomb_is_stopped_early() -> None:
    zstandard = pytest.importorskip("zstandard")
    member = zstandard.ZstdCompressor(level=3).compress(bytes(2**24))
    assert read_until_refused(member * 640) < 2**30


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_11_a_bomb_in_pieces_is_stopped_early(kind: str) -> None:
    """Tables between the pieces, which decoders pass over, neither end what is read nor begin the count anew."""
    zstandard = pytest.importorskip("zstandard")
    zeros = bytes(2**22)
    member = gzip.compress(zeros, 9) if kind == "gzip" else zstandard.ZstdCompressor(level=3).compress(zeros)
    table = make_table([Piece(bytes(16), len(member))], kind=kind)
    assert read_until_refused((member + table) * 2560) < 2**30


def test_11_sizes_are_capped(place: Path) -> None:
    with pytest.raises(LayerError, match="unpacks to more"):
        unpack(make_tar(file("big", bytes(5000))), place, limits=Limits(size_bytes=4096))


def test_12_a_negative_size_is_refused(place: Path) -> None:
    data = bytearray(make_tar(file("x")).getvalue())
    data[124:136] = b"\xff" * 12
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(LayerError, match="negative"):
        unpack(io.BytesIO(bytes(data)), place)


def test_13_huge_headers_and_too_many_members_are_refused(place: Path) -> None:
    with pytest.raises(LayerError, match="header"):
        unpack(make_tar(file("x"), pax={"comment": "x" * 5000}), place, limits=Limits(header_bytes=1000))
    with pytest.raises(LayerError, match="members"):
        unpack(make_tar(*(file(str(i)) for i in range(20))), place, limits=Limits(members=10))
    with pytest.raises(LayerError, match="levels"):
        unpack(make_tar(file("/".join("d" * 400))), place)


def test_13_sparse_members_are_refused(place: Path) -> None:
    with pytest.raises(LayerError, match="sparse"):
        unpack(make_tar(file("x"), pax={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(2**40)}), place)


def test_14_the_last_of_two_names_wins_and_case_counts(place: Path) -> None:
    unpack(make_tar(file("a", b"1"), file("./a", b"2"), file("A", b"3"), file("b//c", b"4")), place)
    assert (place / "a").read_bytes() == b"2"
    assert (place / "A").read_bytes() == b"3"
    assert (place / "b" / "c").read_bytes() == b"4"


def test_a_cut_off_archive_is_refused(place: Path) -> None:
    data = make_tar(file("x", bytes(4000))).getvalue()
    for length in (100, 600, 1000, 4000):
        with pytest.raises(LayerError):
            unpack(io.BytesIO(data[:length]), place)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")
def test_whiteouts_become_overlayfs_own(place: Path) -> None:
    unpack(make_tar(folder("d"), file("d/.wh..wh..opq"), file("d/.wh.gone"), file("d/here")), place)
    status = (place / "d" / "gone").lstat()
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    assert os.getxattr(place / "d", "user.overlay.opaque") == b"y"
    assert (place / "d" / "here").read_bytes() == b"evil"


@pytest.mark.parametrize("order", [0, 1])
def test_applying_an_opaque_marker_keeps_what_its_own_layer_brings(order: int, place: Path) -> None:
    (place / "d").mkdir()
    (place / "d" / "old").write_text("from the layer below")
    pair = [file("d/.wh..wh..opq"), file("d/new")]
    unpack(make_tar(folder("d"), *(pair if order == 0 else pair[::-1])), place, whiteouts="apply")
    assert sorted(p.name for p in (place / "d").iterdir()) == ["new"]
