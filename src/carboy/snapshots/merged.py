"""What a container sees below /, read without mounting anything: its layers and its writable tree, one over the other.

A :class:`Folder` is an open directory of that view: a descriptor for each tree that has it, the topmost first. Whiteouts and
opaque directories hide what is below them, as overlayfs has it with ``userxattr``. The root of a running container is a
folder of one descriptor, opened from /proc/<pid>/root: there the kernel merges, and the trees must not be touched.

Nothing here follows a link of the container's: names are single components, opened with O_NOFOLLOW below a descriptor
that is held, and :func:`find` interprets links itself, never out of the root (CVE-2018-15664). A kernel without openat2(2)
gets the same answers. Source: overlayfs.rst of the kernel.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

OPAQUE = "user.overlay.opaque"
WHITEOUT = "user.overlay.whiteout"
MAX_LINKS = 40
NOBODY = 65_534
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry:
    """What a folder has under a name: ``status`` as lstat(2), and which of the folder's trees have it."""

    __slots__ = ("status", "trees")

    def __init__(self, status: os.stat_result, trees: tuple[int, ...]) -> None:
        self.status = status
        self.trees = trees

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


class Folder:
    """An open directory of a view. It owns its descriptors: close it, or use it as a context manager.

    ``first_id`` is where the container's ids begin among those that stat(2) shows; 0 for trees on the disk. ``live``: programs
    change it meanwhile, so that what was there may be gone when it is opened.
    """

    __slots__ = ("_fds", "first_id", "live")

    def __init__(self, fds: Sequence[int], *, first_id: int = 0, live: bool = False) -> None:
        self._fds = tuple(fds)
        self.first_id = first_id
        self.live = live

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self._fds:
            os.close(fd)
        self._fds = ()

    def fileno(self) -> int:
        """Return the topmost descriptor: the one with the folder's own mode, owner, times and attributes."""
        return self._fds[0]

    def copy(self) -> Folder:
        """Return the same folder with descriptors of its own."""
        return Folder([os.dup(fd) for fd in self._fds], first_id=self.first_id, live=self.live)

    def take(self) -> tuple[int, ...]:
        """Return the descriptors, which are the caller's from here on."""
        fds, self._fds = self._fds, ()
        return fds

    def names(self) -> list[bytes]:
        """Return the names in the folder, sorted by their bytes."""
        if len(self._fds) == 1:
            names = sorted(map(os.fsencode, os.listdir(self._fds[0])))
            return [name for name in names if self.lookup(name) is not None]
        hidden: set[bytes] = set()
        shown: set[bytes] = set()
        for fd in self._fds:
            own = {os.fsencode(name) for name in os.listdir(fd)} - hidden
            for name in own - shown:
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if is_whiteout(fd, name, status):
                    hidden.add(name)
                else:
                    shown.add(name)
        return sorted(shown)

    def lookup(self, name: bytes) -> Entry | None:
        """Return what is there under a name, None when nothing is. Raises ``OSError``."""
        found: os.stat_result | None = None
        trees: list[int] = []
        for index, fd in enumerate(self._fds):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if is_whiteout(fd, name, status):
                break
            if found is not None and not stat.S_ISDIR(status.st_mode):
                break
            trees.append(index)
            found = found or status
            if not stat.S_ISDIR(status.st_mode):
                break
        return None if found is None else Entry(found, tuple(trees))

    def open_folder(self, name: bytes) -> Folder:
        """Return a folder in this one. Raises ``OSError``: ENOENT, ENOTDIR, ELOOP."""
        entry = self.lookup(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(name))
        fds: list[int] = []
        try:
            for index in entry.trees:
                fds.append(os.open(name, _FOLDER, dir_fd=self._fds[index]))
                if is_opaque(fds[-1]):
                    break
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return Folder(fds, first_id=self.first_id, live=self.live)

    def open_file(self, name: bytes, entry: Entry | None = None) -> int:
        """Return a descriptor of a regular file; anything else is not even opened. Raises ``OSError``.

        ``entry`` is what :meth:`lookup` returned for the name, which spares looking through all trees again.
        """
        entry = entry or self.lookup(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(name))
        found = os.open(name, _PATH, dir_fd=self._fds[entry.trees[0]])
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise OSError(errno.ESTALE, "it is no regular file any more", os.fsdecode(name))
            # Opening by name again could meet a fifo by now, and wait for ever, or a device.
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        finally:
            os.close(found)

    def is_mount(self, name: bytes) -> bool:
        """Return whether something is mounted on a name. To replace it would take the mount off, or meet what is below."""
        try:
            found = os.open(name, _PATH, dir_fd=self._fds[0])
        except OSError:
            return False
        try:
            return _mount_id(found) != _mount_id(self._fds[0])
        finally:
            os.close(found)

    def readlink(self, name: bytes) -> bytes:
        """Return where a link points. Raises ``OSError``."""
        entry = self.lookup(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(name))
        return os.readlink(name, dir_fd=self._fds[entry.trees[0]])

    def owner(self, status: os.stat_result) -> tuple[int, int]:
        """Return the image's (uid, gid) of what was found in this view; an id that the container does not have is nobody."""
        first = self.first_id
        uid, gid = (number - first if number >= first else NOBODY for number in (status.st_uid, status.st_gid))
        return uid, gid


class _TopFolder(Folder):
    """A root that does not show some of its names."""

    __slots__ = ("_hidden",)

    def __init__(self, fds: Sequence[int], *, first_id: int, hidden: frozenset[bytes]) -> None:
        super().__init__(fds, first_id=first_id, live=True)
        self._hidden = hidden

    def copy(self) -> Folder:
        return _TopFolder([os.dup(fd) for fd in self._fds], first_id=self.first_id, hidden=self._hidden)

    def lookup(self, name: bytes) -> Entry | None:
        return None if name in self._hidden else super().lookup(name)


def is_whiteout(parent: int, name: bytes, status: os.stat_result) -> bool:
    """Return whether an entry says that there is nothing: a device 0:0, or an empty file with overlayfs's attribute."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return False
    return _has_xattr(b"/proc/self/fd/%d/%s" % (parent, name), WHITEOUT)


def is_opaque(fd: int) -> bool:
    """Return whether a directory hides what lower trees have in it."""
    try:
        return os.getxattr(fd, OPAQUE) == b"y"
    except OSError:
        return False


def _mount_id(fd: int) -> bytes:
    """Return which mount a descriptor is of. Source: proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next((line for line in file if line.startswith(b"mnt_id:")), b"")


def _has_xattr(path: bytes, name: str) -> bool:
    try:
        os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return False
    return True


# --- finding ------------------------------------------------------------------------------------------------------


class Place:
    """Where a path leads: ``parts`` are the components without links, ``entry`` what is there (None: nothing yet).

    The root itself has no parts, and no ``folder``. It owns ``folder``, the one that has it: use it as a context manager.
    """

    __slots__ = ("entry", "folder", "parts")

    def __init__(self, folder: Folder | None, parts: list[bytes], entry: Entry | None) -> None:
        self.folder = folder
        self.parts = parts
        self.entry = entry

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.parts[-1]

    def open_folder(self, root: Folder) -> Folder:
        """Return the folder that is there. Raises ``OSError``."""
        return root.copy() if self.folder is None else self.folder.open_folder(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder is not None:
            self.folder.close()


def split(path: bytes) -> list[bytes]:
    """Return the components of a path, ".." included."""
    return [part for part in path.split(b"/") if part not in {b"", b"."}]


def find(root: Folder, path: bytes, *, follow: bool = True) -> Place:
    """Return where ``path`` leads from the root, links taken as a process inside would, the last one only if ``follow``.

    Only the last component may be missing. Raises ``OSError``: ENOENT, ENOTDIR, ELOOP.
    """
    # "name/" asks for what the link "name" points to.
    follow = follow or path.endswith((b"/", b"/."))
    walk = _Walk(root, path)
    try:
        while walk.todo:
            part = walk.todo.pop()
            if part == b"..":
                walk.leave()
                continue
            entry = walk.folders[-1].lookup(part)
            if entry is not None and entry.is_folder:
                walk.enter(part)
            elif entry is not None and entry.is_link and (walk.todo or follow):
                walk.follow(part)
            elif not walk.todo:
                return Place(walk.folders.pop(), [*walk.names, part], entry)
            else:
                code = errno.ENOENT if entry is None else errno.ENOTDIR
                raise OSError(code, os.strerror(code), os.fsdecode(part))
        if not walk.names:
            return Place(None, [], Entry(os.fstat(root.fileno()), ()))
        walk.folders.pop().close()
        return Place(walk.folders[-1].copy(), walk.names, walk.folders[-1].lookup(walk.names[-1]))
    finally:
        for folder in walk.folders:
            folder.close()


class _Walk:
    """On the way along a path: the folders from the root to here, their names, and the components still to go."""

    def __init__(self, root: Folder, path: bytes) -> None:
        self.folders = [root.copy()]
        self.names: list[bytes] = []
        self.todo = split(path)[::-1]
        self._links = 0

    def enter(self, name: bytes) -> None:
        self.folders.append(self.folders[-1].open_folder(name))
        self.names.append(name)

    def leave(self) -> None:
        if self.names:
            self.names.pop()
            self.folders.pop().close()

    def follow(self, name: bytes) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(name))
        target = self.folders[-1].readlink(name)
        if target.startswith(b"/"):
            while self.names:
                self.leave()
        self.todo += split(target)[::-1]


# --- roots --------------------------------------------------------------------------------------------------------


class Root(Protocol):
    """A container's file system, stopped or running: to be looked at, and to be written into."""

    @property
    def first_id(self) -> int:
        """Where the container's ids begin among those of the files (0: they are the same)."""
        ...

    def open(self) -> Folder:
        """Return its / (the caller closes it). Raises ``OSError``."""
        ...

    def open_writable(self, parts: list[bytes]) -> int:
        """Return a descriptor of a directory that can be written into: ``parts`` as :func:`find` gave them.

        What only the image has of it is copied up first. Raises ``OSError``; the caller closes it.
        """
        ...


class LiveRoot:
    """The root of a running container, or any directory, by a descriptor that stays the caller's.

    ``hidden`` are names right below it that are not shown: the kernel's own file systems of a container.
    """

    __slots__ = ("_fd", "_hidden", "first_id")

    def __init__(self, fd: int, *, first_id: int = 0, hidden: frozenset[bytes] = frozenset()) -> None:
        self._fd = fd
        self._hidden = hidden
        self.first_id = first_id

    def open(self) -> Folder:
        """Return its /. Raises ``OSError``."""
        fds = [os.open(".", _FOLDER, dir_fd=self._fd)]
        if self._hidden:
            return _TopFolder(fds, first_id=self.first_id, hidden=self._hidden)
        return Folder(fds, first_id=self.first_id, live=True)

    def open_writable(self, parts: list[bytes]) -> int:
        """Return a descriptor of a directory of it. Raises ``OSError``: ELOOP or ENOTDIR when it was exchanged."""
        fd = os.open(".", _FOLDER, dir_fd=self._fd)
        for part in parts:
            above, fd = fd, -1
            try:
                fd = os.open(part, _FOLDER, dir_fd=above)
            finally:
                os.close(above)
        return fd


class MergedRoot:
    """The root of a container that does not run: ``lowers`` (trees, lowest first, as ``OverlayMount``) below ``upper``.

    Without ``upper`` it is the image, which cannot be written into. ``live``: the container runs after all, and is only read.
    """

    __slots__ = ("_live", "_lowers", "_upper", "first_id")

    def __init__(self, lowers: Sequence[str], upper: str | None = None, *, live: bool = False) -> None:
        self._lowers = tuple(lowers)
        self._upper = upper
        self._live = live
        self.first_id = 0

    def open(self) -> Folder:
        """Return its /. Raises ``OSError``."""
        fds: list[int] = []
        try:
            for path in (*([self._upper] if self._upper else []), *reversed(self._lowers)):
                fds.append(os.open(path, _FOLDER))
                if is_opaque(fds[-1]):
                    break
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return Folder(fds, live=self._live)

    def open_writable(self, parts: list[bytes]) -> int:
        """Return a descriptor of a directory of the upper tree, copied up with its parents. Raises ``OSError``."""
        if self._upper is None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        fd = os.open(self._upper, _FOLDER)
        folder = self.open()
        try:
            for part in parts:
                inner = folder.open_folder(part)
                folder.close()
                folder = inner
                above, fd = fd, -1
                try:
                    fd = _copy_up(above, part, folder.fileno())
                finally:
                    os.close(above)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        finally:
            folder.close()
        return fd


def _copy_up(parent: int, name: bytes, original: int) -> int:
    """Return a descriptor of a directory of the upper tree, made like ``original`` when it is not there."""
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        pass
    above, status = os.fstat(parent), os.fstat(original)
    os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, _FOLDER, dir_fd=parent)
    os.fchown(fd, status.st_uid, status.st_gid)
    for attribute in os.listxattr(original):
        if attribute.startswith("user.") and not attribute.startswith("user.overlay."):
            os.setxattr(fd, attribute, os.getxattr(original, attribute))
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Copying up is no change of the folder above: overlayfs leaves its times alone, too.
    os.utime(parent, ns=(above.st_atime_ns, above.st_mtime_ns))
    return fd
