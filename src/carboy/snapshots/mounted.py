"""The root of a container that does not run, with its volumes and folders of the host where they would be mounted.

Nothing is mounted for it: at the name of a mount the walk (``merged.find``) goes on in the mount's own tree, and so links that
lead across mounts are taken as a process inside would take them. What a mount covers is not seen.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from carboy.snapshots.merged import Entry, Folder, LiveRoot, find, split
from carboy.snapshots.transfer import Ownership, Placing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.snapshots.merged import Root

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Mounted:
    """A file or folder of the host, open (O_PATH) until :meth:`MountedRoot.close`, and the path where it is mounted.

    ``closed`` says why it cannot be written into; empty when it can.
    """

    __slots__ = ("closed", "fd", "target")

    def __init__(self, fd: int, target: bytes, *, closed: str = "") -> None:
        self.fd = fd
        self.target = target
        self.closed = closed


class _Node:
    """A name on the way to mounts: what is mounted on it, and the names below it."""

    __slots__ = ("below", "mount")

    def __init__(self) -> None:
        self.mount: Mounted | None = None
        self.below: dict[bytes, _Node] = {}


class MountedRoot:
    """``base`` with mounts, those nearer to the root first, else as given; it owns their descriptors. A context manager.

    What a target needs to be there is made in ``base``, as a start does. ``closed`` says why ``base`` itself cannot be
    written into. Raises ``OSError`` when a target cannot be.
    """

    def __init__(self, base: Root, mounts: Sequence[Mounted], *, closed: str = "") -> None:
        self.first_id = base.first_id
        self._base = base
        self._closed = ""
        self._mounts = mounts
        self._top = _Node()
        try:
            for mount in sorted(mounts, key=lambda mount: len(split(mount.target))):
                self._attach(mount)
        except BaseException:
            self.close()
            raise
        self._closed = closed

    def __enter__(self) -> MountedRoot:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is mounted."""
        for mount in self._mounts:
            os.close(mount.fd)
        self._mounts = ()

    def _attach(self, mount: Mounted) -> None:
        *above, name = split(mount.target)
        with Placing(self, [], Ownership(ids=(0, 0))) as placing:
            parent = placing.find_folder(above) if above else []
        with self.open() as top, find(top, b"/".join([*parent, name])) as place:
            is_folder = place.entry is None or place.entry.is_folder
            if place.entry is not None and is_folder != stat.S_ISDIR(os.fstat(mount.fd).st_mode):
                raise OSError(errno.ENOTDIR, "a folder and a file cannot be mounted on each other", mount.target)
            node = self._top
            for part in place.parts:
                node = node.below.setdefault(part, _Node())
            node.mount = mount

    def open(self) -> Folder:
        """Return its /. Raises ``OSError``."""
        return _Above(self._base.open(), self._top)

    def open_writable(self, parts: list[bytes]) -> int:
        """Return a descriptor of a directory that can be written into. Raises ``OSError``: EROFS where that is not wanted."""
        node, found, rest = self._top, None, parts
        for index, part in enumerate(parts):
            if part not in node.below:
                break
            node = node.below[part]
            if node.mount is not None:
                found, rest = node.mount, parts[index + 1 :]
        closed = self._closed if found is None else found.closed
        if closed:
            raise OSError(errno.EROFS, closed, b"/" + b"/".join(parts))
        return self._base.open_writable(parts) if found is None else LiveRoot(found.fd).open_writable(rest)


class _Above(Folder):
    """A folder with mounts on some of its names, or below them; it takes the descriptors of ``folder`` over."""

    __slots__ = ("_node",)

    def __init__(self, folder: Folder, node: _Node) -> None:
        super().__init__(folder.take(), first_id=folder.first_id, live=folder.live)
        self._node = node

    def copy(self) -> Folder:
        return _Above(super().copy(), self._node)

    def names(self) -> list[bytes]:
        mounted = {name for name, node in self._node.below.items() if node.mount is not None}
        return sorted({*super().names(), *mounted})

    def _mount(self, name: bytes) -> Mounted | None:
        node = self._node.below.get(name)
        return None if node is None else node.mount

    def lookup(self, name: bytes) -> Entry | None:
        mount = self._mount(name)
        return super().lookup(name) if mount is None else Entry(os.fstat(mount.fd), (0,))

    def open_folder(self, name: bytes) -> Folder:
        node = self._node.below.get(name)
        if node is None:
            return super().open_folder(name)
        if node.mount is None:
            return _Above(super().open_folder(name), node)
        return _Above(Folder([os.open(".", _FOLDER, dir_fd=node.mount.fd)]), node)

    def open_file(self, name: bytes, entry: Entry | None = None) -> int:
        mount = self._mount(name)
        if mount is None:
            return super().open_file(name, entry)
        if not stat.S_ISREG(os.fstat(mount.fd).st_mode):
            raise OSError(errno.ESTALE, "it is no regular file any more", os.fsdecode(name))
        return os.open(f"/proc/self/fd/{mount.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def is_mount(self, name: bytes) -> bool:
        return self._mount(name) is not None or super().is_mount(name)
