"""What a container changed: as a list (``diff``), as a layer (``commit``), and its whole root as a tar (``export``).

Sources: docker-container-diff(1); image-spec, layer.md; moby pkg/archive/changes.go. Of a directory that was removed and made
again, Docker reports the directory as deleted; here it is changed, and what is gone of it is deleted.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carboy.layers.tarwrite import TarWriter, TreeOptions, write_tree
from carboy.snapshots.merged import Folder, MergedRoot, is_opaque, is_whiteout
from carboy.snapshots.transfer import iter_contents, send_to_tar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.layers.tarwrite import Writable
    from carboy.snapshots.merged import Entry, Root

Kind = Literal["A", "C", "D"]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One path that was added (A), changed (C) or deleted (D); ``path`` is absolute and raw, sorted by it."""

    path: bytes
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind} {os.fsdecode(self.path)}"


def diff(upper: str, lowers: Sequence[str]) -> list[Change]:
    """Return what the writable tree ``upper`` changes of the layers (lowest first), sorted by path. Raises ``OSError``.

    The tree may be in use; what changes meanwhile is reported or not.
    """
    changes: dict[bytes, Kind] = {}
    top = os.open(upper, _FOLDER)
    # (descriptor of the upper directory, the same in the image or None, its path, names still to look at)
    stack: list[tuple[int, Folder | None, bytes, list[bytes]]] = [(top, MergedRoot(lowers).open(), b"", _names(top))]
    try:
        while stack:
            fd, below, path, names = stack[-1]
            if not names:
                _close(*stack.pop()[:2])
                continue
            name = names.pop()
            own = path + b"/" + name
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                inner = os.open(name, _FOLDER, dir_fd=fd) if stat.S_ISDIR(status.st_mode) else -1
            except (FileNotFoundError, NotADirectoryError):
                continue
            image = None if below is None else below.lookup(name)
            if is_whiteout(fd, name, status):
                if image is not None:
                    changes[own] = "D"
                continue
            kind = _compare(status, image)
            if kind:
                changes[own] = kind
            if inner >= 0:
                inner_below = (
                    below.open_folder(name) if below is not None and image is not None and image.is_folder else None
                )
                if inner_below is not None and is_opaque(inner):
                    kept = set(_names(inner))
                    changes |= {own + b"/" + gone: "D" for gone in inner_below.names() if gone not in kept}
                stack.append((inner, inner_below, own, _names(inner)))
    finally:
        for fd, below, _, _ in stack:
            _close(fd, below)
    # A folder in which something changed has changed: its time did, whatever the file system says of it now.
    for changed in list(changes):
        above = changed.rpartition(b"/")[0]
        while above and above not in changes:
            changes[above] = "C"
            above = above.rpartition(b"/")[0]
    return sorted(Change(path, kind) for path, kind in changes.items())


def _names(fd: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(fd)), reverse=True)


def _close(fd: int, folder: Folder | None) -> None:
    os.close(fd)
    if folder is not None:
        folder.close()


def _compare(status: os.stat_result, image: Entry | None) -> Kind | None:
    if image is None:
        return "A"
    old = image.status
    if image.is_folder and stat.S_ISDIR(status.st_mode):
        same = (old.st_mode, old.st_uid, old.st_gid, old.st_mtime_ns) == (
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
        )  # fmt: skip
        return None if same else "C"  # only copied up, because of something in it
    return "C"


def write_layer(
    upper: str, out: Writable, *, owners: Mapping[bytes, tuple[int, int]] | None = None, live: bool = False
) -> int:  # fmt: skip
    """Write the writable tree as a canonical layer: whiteouts as ``.wh.`` files; returns how many members it has.

    ``live``: the container runs, and what it removes meanwhile is no error.
    ``owners`` stands for the owners on the disk in the tier where all files have one. Raises ``OSError`` and ``LayerError``.
    """
    return write_tree(upper, out, TreeOptions(owners=owners, live=live))


def write_root(root: Root, out: Writable) -> int:
    """Write all that a container has below / as a tar, without devices; returns how many members it has.

    Give it a ``MergedRoot``, of a running container as well: a ``LiveRoot`` has /proc and all volumes in it. Raises
    ``OSError`` and ``CarboyError``.
    """
    writer = TarWriter(out)
    count = send_to_tar(iter_contents(root.open()), writer, rename=b"/".join)
    writer.finish()
    return count
