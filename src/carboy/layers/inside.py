"""Finding directories of a tree that is being filled by somebody hostile: by descriptor, and never out of the tree.

Links on the way are followed as a process would see them whose root the tree is. The kernel does it (openat2(2),
RESOLVE_IN_ROOT); where it cannot, a walk does, a component at a time.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from carboy.layers.errors import LayerError
from carboy.layers.tarread import show
from carboy.linux import files

if TYPE_CHECKING:
    from collections.abc import Callable

    Opener = Callable[[int, bytes, int, int, int], int]
    Maker = Callable[[int, bytes], None]

MAX_LINKS = 40
MAX_REAL_DEPTH = 1024
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_DIRECTORIES = 64
_RESOLVE = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS
_TRIES = 16
# Absent: the kernel is older than 5.6, or a sandbox around us answers for it (old ones say EPERM).
_ABSENT = (errno.ENOSYS, errno.EPERM)


def split_name(name: bytes, *, depth: int) -> tuple[bytes, ...]:
    """Return the components of a member's name; () is the root itself.

    Raises ``LayerError`` for ".." (no tool that writes layers writes it) and for a name that is too deep.
    """
    parts = tuple(part for part in name.split(b"/") if part and part != b".")
    if b".." in parts:
        raise LayerError(f"the layer holds the name {show(name)}, which leads out of it")
    if len(parts) > depth:
        raise LayerError(f"the layer holds a name of {len(parts)} levels")
    return parts


class Place:
    """A directory of the tree: ``fd`` (O_PATH, owned by the :class:`Inside` that gave it) and its ``inode``."""

    __slots__ = ("fd", "inode")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode = os.fstat(fd).st_ino


class Inside:
    """The tree at ``path``, whose directories are found by name and kept open for the members that follow.

    ``openat2`` is for tests. Not for use by several threads, nor while somebody else changes the tree.
    """

    def __init__(self, path: str, *, openat2: Opener = files.openat2) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._openat2: Opener | None = openat2
        self._kept: dict[tuple[bytes, ...], Place] = {}

    def close(self) -> None:
        """Close every descriptor."""
        self.forget()
        os.close(self.fd)

    def forget(self) -> None:
        """Close what is kept: after a directory or a link was replaced, names may mean other directories."""
        for place in self._kept.values():
            os.close(place.fd)
        self._kept.clear()

    def find(self, parts: tuple[bytes, ...], *, make: Maker | None = None) -> Place:
        """Return a directory; it is the caller's until the next call. Links are followed as seen from inside.

        ``make(parent, name)`` is asked to make each directory that is missing (or raises). Raises ``OSError``: ENOENT,
        ENOTDIR, ELOOP.
        """
        place = self._kept.get(parts)
        if place is not None:
            return place
        try:
            fd = self._open(parts)
        except (FileNotFoundError, NotADirectoryError):
            if make is None:
                raise
            fd = self._walk(parts, make)[0]
        place = Place(fd)
        if len(self._kept) >= _KEPT_DIRECTORIES:
            # Archives go through a tree in order: what was opened first is needed last.
            os.close(self._kept.pop(next(iter(self._kept))).fd)
        self._kept[parts] = place
        return place

    def real(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the same directory's name without links. Raises ``OSError``."""
        fd, names = self._walk(parts, None)
        os.close(fd)
        return names

    def _open(self, parts: tuple[bytes, ...]) -> int:
        path = b"/".join(parts) or b"."
        for _ in range(_TRIES):
            if self._openat2 is None:
                break
            try:
                return self._openat2(self.fd, path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, _RESOLVE)
            except OSError as error:
                if error.errno in _ABSENT:
                    self._openat2 = None
                elif error.errno != errno.EAGAIN:  # something was renamed or mounted on this machine meanwhile
                    raise
        return self._walk(parts, None)[0]

    def _walk(self, parts: tuple[bytes, ...], make: Maker | None) -> tuple[int, tuple[bytes, ...]]:
        """Do what RESOLVE_IN_ROOT does, and make what is missing; returns a descriptor and the name without links."""
        todo = list(reversed(parts))
        names: list[bytes] = []
        links = 0
        fd = self._reopen(())
        try:
            while todo:
                part = todo.pop()
                if part in {b"", b"."}:
                    continue
                if part == b"..":
                    # Not "..": the names so far are without links, and the root's parent must stay the root.
                    fd = _replace(fd, self._reopen(names[:-1]))
                    names = names[:-1]
                    continue
                inner = _step(fd, part, make)
                if isinstance(inner, int):
                    fd = _replace(fd, inner)
                    names.append(part)
                    if len(names) > MAX_REAL_DEPTH:
                        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
                    continue
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if inner.startswith(b"/"):
                    fd = _replace(fd, self._reopen(()))
                    names = []
                todo += reversed(inner.split(b"/"))
        except BaseException:
            os.close(fd)
            raise
        return fd, tuple(names)

    def _reopen(self, names: tuple[bytes, ...] | list[bytes]) -> int:
        fd = os.open(b".", _PLACE, dir_fd=self.fd)
        for name in names:
            try:
                inner = os.open(name, _PLACE, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd


def _replace(old: int, new: int) -> int:
    os.close(old)
    return new


def _step(parent: int, name: bytes, make: Maker | None) -> int | bytes:
    """Return the descriptor of a directory, or what the link says that is there instead."""
    for attempt in range(2):
        try:
            return os.open(name, _PLACE, dir_fd=parent)
        except NotADirectoryError:
            try:
                return os.readlink(name, dir_fd=parent)
            except OSError as error:
                if error.errno != errno.EINVAL:  # neither directory nor link
                    raise
                if make is None or attempt:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        except FileNotFoundError:
            if make is None or attempt:
                raise
        make(parent, name)
    raise AssertionError("the second attempt returns or raises")
