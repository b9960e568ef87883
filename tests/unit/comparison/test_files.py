"""Files compared by all that a layer says of them, and layers put one over the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carboy.comparison.files import FileEntry, compare_files, is_reordered, merge_layers

FILE = FileEntry(kind="file", mode=0o644, size_bytes=3, digest="a" * 64)
FOLDER = FileEntry(kind="folder", mode=0o755)


@pytest.mark.parametrize(
    ("change", "aspect"),
    [
        ({"digest": "b" * 64}, ("content", "sha256:aaaaaaaaaaaa, 3 bytes", "sha256:bbbbbbbbbbbb, 3 bytes")),
        ({"mode": 0o4755}, ("mode", "0644", "4755")),
        ({"uid": 7, "gid": 8}, ("owner", "0:0", "7:8")),
        ({"mtime_s": 86_400}, ("mtime", "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")),
        ({"xattrs": (("user.a", b"\1"),)}, ("xattrs", "", "user.a=01")),
        ({"kind": "fifo"}, ("kind", "file", "fifo")),
    ],
)
def test_each_aspect_is_told(change: dict[str, object], aspect: tuple[str, str, str]) -> None:
    (found,) = compare_files({b"a": FILE}, {b"a": replace(FILE, **change)})  # type: ignore[arg-type]
    assert [(one.name, one.left, one.right) for one in found.aspects] == [aspect]


def test_what_one_side_has_not_and_what_links_and_devices_are() -> None:
    link = FileEntry(kind="link", mode=0o777, target=b"a")
    null = FileEntry(kind="character device", mode=0o666, device=(1, 3))
    left = {b"only": FILE, b"l": link, b"d": null, b"same": FOLDER}
    right = {b"l": replace(link, target=b"b\xff"), b"d": replace(null, device=(1, 5)), b"new": FOLDER, b"same": FOLDER}
    found = {
        one.path: (one.aspects[0].name, one.aspects[0].left, one.aspects[0].right) for one in compare_files(left, right)
    }
    assert found == {
        b"only": ("presence", "file", ""),
        b"new": ("presence", "", "folder"),
        b"l": ("target", "a", "b\\xff"),
        b"d": ("device", "1:3", "1:5"),
    }
    assert compare_files(left, dict(left)) == ()


def test_order_counts_among_what_both_have() -> None:
    assert is_reordered({b"a": FILE, b"b": FILE}, {b"b": FILE, b"a": FILE})
    assert not is_reordered({b"a": FILE, b"b": FILE}, {b"a": FILE, b"c": FILE, b"b": FILE})


def test_layers_hide_what_is_below() -> None:
    lower = {
        b"d": FOLDER,
        b"d/x": FILE,
        b"d/y": FILE,
        b"e": FOLDER,
        b"e/deep": FOLDER,
        b"e/deep/z": FILE,
        b"f": FOLDER,
        b"f/w": FILE,
    }
    upper = {b"d/.wh.x": FILE, b"e": FOLDER, b"e/.wh..wh..opq": FILE, b"e/new": FILE, b"f": FILE}
    assert list(merge_layers([lower, upper])) == [b"d", b"d/y", b"e", b"e/new", b"f"]
    assert list(merge_layers([lower, {b".wh.d": FILE}, {b"d": FOLDER}]))[-1] == b"d"
    assert list(merge_layers([lower, {b".wh..wh..opq": FILE}])) == []
