"""Trees from one place to another, entry by entry: out of a view or a tar, into a container, a folder or a tar.

An :class:`Item` is one entry on its way: its name below the place where the journey began, what a tar would say of it, and
how to read its content. What is made is made new, below a descriptor, and no link is followed by the kernel on the way.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from carboy.errors import CarboyError
from carboy.layers import tarread
from carboy.layers.attributes import Attributes
from carboy.layers.tarread import Member, TarReader, show
from carboy.linux.process import creating_as
from carboy.snapshots.merged import OPAQUE, Folder, find, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from carboy.layers.tarread import Readable
    from carboy.layers.tarwrite import TarWriter
    from carboy.snapshots.merged import Entry, Root

_CHUNK_BYTES = 2**20
# EINVAL: a link was exchanged for something else, says readlink(2).
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EINVAL})
_MAX_DEPTH = 256
_Inodes = dict[tuple[int, int], bytes]


class Vanished(Exception):
    """What was found in a container that runs is gone, or another thing, by the time it is opened."""


class Item:
    """One entry: ``parts`` of its name (none: the place itself), and ``member``; ``open`` a regular file's descriptor.

    ``open`` raises ``OSError``, or ``Vanished`` for what need not come along.
    """

    __slots__ = ("member", "mtime_ns", "open", "parts")

    def __init__(
        self, parts: list[bytes], member: Member, *, mtime_ns: int, open: Callable[[], Reader] | None = None
    ) -> None:
        self.parts = parts
        self.member = member
        self.mtime_ns = mtime_ns
        self.open = open


class Reader:
    """The content of a regular file; a context manager."""

    __slots__ = ("_fd", "read")

    def __init__(self, read: Callable[[int], bytes | memoryview], fd: int = -1) -> None:
        self.read = read
        self._fd = fd

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class Filter(Protocol):
    """Which entries of a tree go on the journey; ``parts`` are those of :class:`Item`."""

    def takes(self, parts: list[bytes], *, is_folder: bool) -> bool:
        """Return whether an entry is taken. A folder that is not goes along before the first that is taken below it."""
        ...

    def enters(self, parts: list[bytes]) -> bool:
        """Return whether below a folder that is not taken something may be."""
        ...


# --- sources ------------------------------------------------------------------------------------------------------


def iter_entry(folder: Folder, name: bytes, entry: Entry) -> Iterator[Item]:
    """Yield one entry of a folder, and all below it; ``parts`` begin with ``name``. Devices, fifos, sockets are left out.

    Raises ``OSError`` and ``CarboyError``.
    """
    inodes: _Inodes = {}
    item = _describe(folder, name, entry, [name], inodes)
    if item is None:
        raise CarboyError(f"{show(name)} is neither a file nor a folder", hint="copy what is in it by a program inside")
    yield item
    if entry.is_folder:
        yield from _iter_below(folder.open_folder(name), [name], inodes)


def iter_contents(folder: Folder, *, keep: Filter | None = None) -> Iterator[Item]:
    """Yield a folder itself (no parts), and what ``keep`` takes below it (None: all); the folder is closed at the end."""
    yield _describe_folder(folder, folder.fileno(), [])
    yield from _iter_below(folder, [], {}, keep)


def _iter_below(folder: Folder, above: list[bytes], inodes: _Inodes, keep: Filter | None = None) -> Iterator[Item]:
    held: list[Item] = []  # folders on the way here that are not taken for themselves
    # Depth is the tree's, which is hostile: an own stack.
    stack: list[tuple[Folder, list[bytes], list[bytes]]] = [(folder, above, folder.names()[::-1])]
    try:
        while stack:
            here, prefix, names = stack[-1]
            if not names:
                stack.pop()[0].close()
                continue
            name = names.pop()
            entry = here.lookup(name)
            if entry is None:
                continue  # of a running container: removed since the names were read
            parts = [*prefix, name]
            if len(parts) > _MAX_DEPTH:
                raise CarboyError(f"the folder {show(parts[0])} is more than {_MAX_DEPTH} levels deep")
            taken = keep is None or keep.takes(parts, is_folder=entry.is_folder)
            if keep is not None and not taken and not (entry.is_folder and keep.enters(parts)):
                continue
            item = _describe(here, name, entry, parts, inodes, optional=here.live)
            if item is None:
                continue
            held = [folder for folder in held if parts[: len(folder.parts)] == folder.parts]
            if taken:
                yield from held
                held = []
                yield item
            else:
                held.append(item)
            inner = _enter(here, name) if entry.is_folder else None
            if inner is not None:
                stack.append((inner, parts, inner.names()[::-1]))
    finally:
        for here, _, _ in stack:
            here.close()


class _vanishing:  # noqa: N801
    """Turns what an entry's end looks like into ``Vanished``, where that is no error."""

    __slots__ = ("_optional",)

    def __init__(self, *, optional: bool) -> None:
        self._optional = optional

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._optional and isinstance(error, OSError) and error.errno in _GONE:
            raise Vanished from error


def _enter(folder: Folder, name: bytes) -> Folder | None:
    """Return a folder in this one; None when it has vanished."""
    try:
        with _vanishing(optional=folder.live):
            return folder.open_folder(name)
    except Vanished:
        return None


def _describe(
    folder: Folder, name: bytes, entry: Entry, parts: list[bytes], inodes: _Inodes, *, optional: bool = False
) -> Item | None:
    """Return an entry as it goes on its way; None for what does not: a device and the like, or what has vanished."""
    try:
        return _describe_now(folder, name, entry, parts, inodes, optional=optional)
    except Vanished:
        return None


def _describe_now(
    folder: Folder, name: bytes, entry: Entry, parts: list[bytes], inodes: _Inodes, *, optional: bool
) -> Item | None:
    status = entry.status
    member = Member(name=b"/".join(parts), kind=tarread.REGULAR, mode=stat.S_IMODE(status.st_mode))
    member.uid, member.gid = folder.owner(status)
    member.mtime = max(0, status.st_mtime_ns // 10**9)
    if entry.is_folder:
        with _vanishing(optional=optional), folder.open_folder(name) as inner:
            return _describe_folder(inner, inner.fileno(), parts)
    if entry.is_link:
        with _vanishing(optional=optional):
            member.kind, member.linkname, member.mode = tarread.SYMLINK, folder.readlink(name), 0o777
        return Item(parts, member, mtime_ns=status.st_mtime_ns)
    if not stat.S_ISREG(status.st_mode):
        return None
    if status.st_nlink > 1:
        first = inodes.setdefault((status.st_dev, status.st_ino), member.name)
        if first != member.name:
            member.kind, member.linkname = tarread.HARDLINK, first
            return Item(parts, member, mtime_ns=status.st_mtime_ns)
    member.size = status.st_size

    def open_content() -> Reader:
        try:
            with _vanishing(optional=optional):
                fd = folder.open_file(name, entry)
        except Vanished:
            inodes.pop((status.st_dev, status.st_ino), None)  # another name of it may come
            raise
        member.size = os.fstat(fd).st_size  # it may have grown since
        member.xattrs = Attributes.read(fd).kept
        return Reader(lambda size: os.read(fd, size), fd)

    return Item(parts, member, mtime_ns=status.st_mtime_ns, open=open_content)


def _describe_folder(folder: Folder, fd: int, parts: list[bytes]) -> Item:
    status = os.fstat(fd)
    member = Member(name=b"/".join(parts) + b"/", kind=tarread.DIRECTORY, mode=stat.S_IMODE(status.st_mode))
    member.uid, member.gid = folder.owner(status)
    member.mtime = max(0, status.st_mtime_ns // 10**9)
    member.xattrs = Attributes.read(fd).kept
    return Item(parts, member, mtime_ns=status.st_mtime_ns)


def iter_tar(stream: Readable) -> Iterator[Item]:
    """Yield the members of a tar; each must be read before the next is asked for. Raises ``LayerError``."""
    from carboy.layers.inside import split_name

    reader = TarReader(stream)
    for member in reader:
        parts = split_name(member.name, depth=_MAX_DEPTH)
        content = (lambda: Reader(reader.read_data)) if member.kind == tarread.REGULAR else None
        if member.kind in {tarread.REGULAR, tarread.HARDLINK, tarread.SYMLINK, tarread.DIRECTORY}:
            yield Item(parts, member, mtime_ns=member.mtime * 10**9, open=content)
    reader.drain()


# --- sinks --------------------------------------------------------------------------------------------------------


def send_to_tar(items: Iterator[Item], writer: TarWriter, *, rename: Callable[[list[bytes]], bytes]) -> int:
    """Write the items as members under the names that ``rename`` gives their parts; returns how many. Does not finish it.

    A file that becomes shorter under way is an error, one that grows is written as far as it was: of a running container.
    """
    count = 0
    for item in items:
        name = rename(item.parts)
        if not name:
            continue
        member = item.member
        member.name = name + (b"/" if member.kind == tarread.DIRECTORY else b"")
        if member.kind == tarread.HARDLINK:
            member.linkname = rename(member.linkname.split(b"/"))
        if item.open is None:
            writer.add(member)
        else:
            try:
                content = item.open()
            except Vanished:
                continue
            with content:
                writer.add_stream(member, lambda size, read=content.read: bytes(read(size)))  # type: ignore[misc]
        count += 1
    return count


class Ownership:
    """Whose the files are that are made: ``keep`` the item's ids, else ``ids``; None: the caller's, nothing is changed."""

    __slots__ = ("ids", "keep")

    def __init__(self, *, keep: bool = False, ids: tuple[int, int] | None = None) -> None:
        self.keep = keep
        self.ids = ids

    def find(self, member: Member) -> tuple[int, int] | None:
        """Return the (uid, gid) for a member; None: leave it as it is made."""
        return (member.uid, member.gid) if self.keep else self.ids


class Placing:
    """Makes items below the directory ``base`` of a root; a context manager, at whose end the folders get their times.

    Raises ``CarboyError`` when a folder would replace something else, or the other way round.
    """

    def __init__(self, root: Root, base: list[bytes], ownership: Ownership) -> None:
        self._root = root
        self._base = base
        self._ownership = ownership
        self._parent: tuple[list[bytes], int, Folder] | None = None
        self._where: list[bytes] = []
        self._folders: dict[tuple[bytes, ...], Item] = {}
        self._made: dict[bytes, list[bytes]] = {}

    def __enter__(self) -> Placing:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._forget()
        if error is None:
            for parts in sorted(self._folders, key=len, reverse=True):
                fd = self._root.open_writable(list(parts))
                try:
                    self._set_metadata(fd, self._folders[parts])
                finally:
                    os.close(fd)

    def put(self, item: Item) -> None:
        """Make one entry; its folder must be there, or come first. Raises ``OSError``, ``CarboyError`` and ``Vanished``."""
        if not item.parts:
            return  # the place itself is there, and stays as it is: /tmp does not get a stranger's mode
        where, parent, folder = self._open_parent(item.parts[:-1])
        name = item.parts[-1]
        entry = folder.lookup(name)
        is_folder = item.member.kind == tarread.DIRECTORY
        if entry is not None and entry.is_folder != is_folder:
            old, new = ("folder", "file") if entry.is_folder else ("file", "folder")
            raise CarboyError(f"the {new} {show(item.member.name)} cannot replace a {old}", hint="remove that first")
        if entry is not None and not is_folder and folder.is_mount(name):
            shown = show(b"/" + b"/".join([*where, name]))
            raise CarboyError(f"{shown} is a mount, which cannot be replaced", hint="write to what is mounted there")
        if is_folder:
            if entry is None:
                with self._creating():
                    _make_folder(parent, name)
            self._folders[(*where, name)] = item
        elif item.member.kind == tarread.HARDLINK:
            self._link(parent, name, item)
        elif item.open is None:
            _remove(parent, name)
            self._make_link(parent, name, item)
        else:
            with item.open() as content:  # before anything goes for it
                _remove(parent, name)
                self._make_file(parent, name, item, content)
        if not is_folder:
            self._made[b"/".join(item.parts)] = [*where, name]

    def _make_link(self, parent: int, name: bytes, item: Item) -> None:
        with self._creating():
            os.symlink(item.member.linkname, name, dir_fd=parent)
        ids = self._ids(item.member)
        if ids is not None:
            os.chown(name, *ids, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(item.mtime_ns, item.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _make_file(self, parent: int, name: bytes, item: Item, content: Reader) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._creating():
            fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            while data := content.read(_CHUNK_BYTES):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            self._set_metadata(fd, item)
        finally:
            os.close(fd)

    def _link(self, parent: int, name: bytes, item: Item) -> None:
        """Link to a file that was made on this journey: no other can be meant, and none else is touched."""
        source = self._made.get(b"/".join(part for part in item.member.linkname.split(b"/") if part not in {b"", b"."}))
        if source is None:
            raise CarboyError(
                f"{show(item.member.name)} is a hard link to {show(item.member.linkname)}, which does not come"
            )
        _remove(parent, name)
        fd = self._root.open_writable(source[:-1])
        try:
            with self._creating():
                os.link(source[-1], name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _open_parent(self, parts: list[bytes]) -> tuple[list[bytes], int, Folder]:
        """Return (where it really is, a descriptor to write, the view) of a folder: kept, most items have the same."""
        if self._parent is not None and self._parent[0] == parts:
            return self._where, self._parent[1], self._parent[2]
        self._forget()
        self._where = self.find_folder([*self._base, *parts])
        fd = self._root.open_writable(self._where)
        try:
            with self._root.open() as root, find(root, b"/".join(self._where), follow=False) as place:
                folder = place.open_folder(root)
        except BaseException:
            os.close(fd)
            raise
        self._parent = (parts, fd, folder)
        return self._where, fd, folder

    def find_folder(self, parts: list[bytes]) -> list[bytes]:
        """Return where a folder of the root really is: it may be a link inside, as "lib" to "usr/lib".

        A missing one is made, with its parents (0755). Raises ``OSError``.
        """
        for count in (len(parts), *range(1, len(parts) + 1)):  # all of it first: it is there most of the time
            try:
                with self._root.open() as root, find(root, b"/".join(parts[:count])) as place:
                    if place.entry is None:
                        self._make_missing(place.parts)
                    if count == len(parts):
                        return place.parts
            except FileNotFoundError:
                continue
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(b"/".join(parts)))

    def _make_missing(self, parts: list[bytes]) -> None:
        parent = self._root.open_writable(parts[:-1])
        try:
            with self._creating():
                _make_folder(parent, parts[-1])
            ids = self._ids(Member(name=parts[-1], kind=tarread.DIRECTORY))
            if ids is not None:
                os.chown(parts[-1], *ids, dir_fd=parent, follow_symlinks=False)
            os.chmod(parts[-1], 0o755, dir_fd=parent)  # noqa: S103  whatever the umask
        finally:
            os.close(parent)

    def _forget(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent[2].close()
            self._parent = None

    def _creating(self) -> AbstractContextManager[None]:
        """Return what to make new files in: those of a running container of root's can only be its ids'."""
        first = self._root.first_id
        return creating_as(first, first) if first else nullcontext()

    def _ids(self, member: Member) -> tuple[int, int] | None:
        ids = self._ownership.find(member)
        return None if ids is None else (ids[0] + self._root.first_id, ids[1] + self._root.first_id)

    def _set_metadata(self, fd: int, item: Item) -> None:
        """Owner first: changing it clears set-user-id bits and capabilities."""
        ids = self._ids(item.member)
        if ids is not None:
            os.fchown(fd, *ids)
        for name, value in item.member.xattrs.items():
            # A capability counts for the ids of one namespace; only on the disk those are the image's.
            if name.startswith("user.") or (self._ownership.keep and not self._root.first_id):
                os.setxattr(fd, name, value)
        os.fchmod(fd, item.member.mode)
        os.utime(fd, ns=(item.mtime_ns, item.mtime_ns))


def _make_folder(parent: int, name: bytes) -> None:
    """Make a directory; over a whiteout it is opaque, so that what the image had there does not come back."""
    hidden = _remove(parent, name)
    os.mkdir(name, 0o700, dir_fd=parent)
    if hidden:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.setxattr(fd, OPAQUE, b"y")
        finally:
            os.close(fd)


def _remove(parent: int, name: bytes) -> bool:
    """Remove a file or link that is to be replaced; returns whether it was a whiteout."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    whiteout = is_whiteout(parent, name, status)
    os.unlink(name, dir_fd=parent)
    return whiteout
