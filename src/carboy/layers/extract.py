"""The only extractor: a tar stream into a directory tree, whoever wrote the stream.

Nothing is reached by a path from the host's root, and no link of the tree is followed out of it (``inside``). A file is made new
(O_EXCL, no links followed) and its owner, mode and times are set through the descriptor that made it, so that no later member
can redirect them. Directories get theirs in a second pass, when nothing is written into them any more.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from carboy.layers import tarread
from carboy.layers.errors import LayerError
from carboy.layers.inside import make_directories, open_directory, remove_entry, split_name
from carboy.layers.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.layers.tarread import Member, Readable

CHUNK_BYTES = 2**20
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OVERLAY_OPAQUE = "user.overlay.opaque"


@dataclass(slots=True)
class ExtractReport:
    """What came out: entries, bytes of files, and the owners other than root, by name without a leading slash."""

    entries: int = 0
    size_bytes: int = 0
    skipped: list[str] = field(default_factory=list)
    owners: dict[bytes, tuple[int, int]] = field(default_factory=dict)


class Members(Protocol):
    """What is unpacked: see ``tarread.TarReader``, which is one."""

    def __iter__(self) -> Iterator[Member]:
        """Yield the members in order."""
        ...

    def read_data(self, size: int) -> bytes | memoryview:
        """Return up to ``size`` bytes of the current member, empty at its end."""
        ...

    def drain(self) -> None:
        """Read what it comes from to its end."""
        ...


def extract(
    stream: Readable, tree_dir: str, *, limits: Limits = DEFAULT, chown: bool = True, whiteouts: str = "overlay"
) -> ExtractReport:
    """Unpack the tar ``stream`` into the directory ``tree_dir`` and return what came out.

    ``chown`` False leaves everything to the caller's one id (owners are in the report). ``whiteouts`` "overlay" turns them
    into overlayfs's form, "apply" removes what they name from the tree. Devices, fifos and sockets are left out (a runtime
    makes its own /dev). Raises ``LayerError`` for a hostile or damaged stream; the tree is then to be thrown away.
    """
    reader = tarread.TarReader(stream, limits=limits)
    return extract_members(reader, tree_dir, limits=limits, chown=chown, whiteouts=whiteouts)


def extract_members(
    reader: Members, tree_dir: str, *, limits: Limits = DEFAULT, chown: bool = True, whiteouts: str = "overlay"
) -> ExtractReport:
    """Do what :func:`extract` does with the members that ``reader`` gives: those of a tar, or what somebody made of them."""
    extraction = _Extraction(reader, tree_dir, limits=limits, chown=chown, overlay=whiteouts == "overlay")
    try:
        for member in reader:
            extraction.take(member)
        extraction.finish()
        reader.drain()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE):
            raise
        raise LayerError("the layer cannot be unpacked", details=f"{extraction.current}: {error.strerror}") from error
    finally:
        extraction.close()
    return extraction.report


class _Extraction:
    def __init__(self, reader: Members, tree_dir: str, *, limits: Limits, chown: bool, overlay: bool) -> None:
        self._reader = reader
        self._limits = limits
        self._chown = chown
        self._overlay = overlay
        self._root = os.open(tree_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent: tuple[list[bytes], int] | None = None
        self._directories: dict[bytes, Member] = {}
        self._own: set[bytes] = set()  # what this layer brought; kept for opaque markers where they are applied
        self.report = ExtractReport()
        self.current = ""

    def close(self) -> None:
        self._forget_parent()
        os.close(self._root)

    def take(self, member: Member) -> None:
        self.current = os.fsdecode(member.name)
        parts = split_name(member.name, depth=self._limits.depth)
        if not parts:
            if member.kind != tarread.DIRECTORY:
                raise LayerError("the layer replaces its own root directory")
            self._directories[b""] = member
            return
        self.report.size_bytes += member.size
        if self.report.size_bytes > self._limits.size_bytes:
            raise LayerError(f"the layer unpacks to more than {self._limits.size_bytes} bytes")
        self.report.entries += 1
        parent, name = self._open_parent(parts[:-1]), parts[-1]
        if name.startswith(WHITEOUT):
            self._white_out(parent, name, parts)
            return
        self._note(b"/".join(parts), member)
        if member.kind == tarread.DIRECTORY:
            self._make_directory(parent, name)
        elif member.kind == tarread.REGULAR:
            remove_entry(parent, name)
            self._make_file(parent, name, member)
        elif member.kind == tarread.SYMLINK:
            remove_entry(parent, name)
            os.symlink(member.linkname, name, dir_fd=parent)
            if self._chown:
                os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=(member.mtime * 10**9,) * 2, dir_fd=parent, follow_symlinks=False)
        elif member.kind == tarread.HARDLINK:
            self._make_hardlink(parent, name, member)
        else:
            self.report.skipped.append(self.current)

    def _note(self, path: bytes, member: Member) -> None:
        if not self._overlay:
            self._own.add(path)
        if member.uid or member.gid:
            self.report.owners[path] = (member.uid, member.gid)
        else:
            self.report.owners.pop(path, None)
        if member.kind == tarread.DIRECTORY:
            self._directories[path] = member

    def _open_parent(self, parts: list[bytes]) -> int:
        """Return the directory's descriptor, kept for the members that follow: most have the same parent."""
        if self._parent is not None and self._parent[0] == parts:
            return self._parent[1]
        fd = make_directories(self._root, parts)
        self._forget_parent()
        self._parent = (parts, fd)
        return fd

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _white_out(self, parent: int, name: bytes, parts: list[bytes]) -> None:
        if name == OPAQUE:
            if self._overlay:
                os.setxattr(parent, OVERLAY_OPAQUE, b"y")
            else:
                # What this layer itself put there stays: it may come before or after the marker.
                prefix = b"/".join([*parts[:-1], b""])
                own = {path[len(prefix) :].partition(b"/")[0] for path in self._own if path.startswith(prefix)}
                for entry in os.listdir(parent):
                    if os.fsencode(entry) not in own:
                        remove_entry(parent, os.fsencode(entry))
            return
        target = name[len(WHITEOUT) :]
        if target.startswith(WHITEOUT):
            return  # aufs's own bookkeeping
        if target in {b"", b".", b".."}:
            raise LayerError(f"the layer holds the whiteout {os.fsdecode(name)!r}, which names no file")
        remove_entry(parent, target)
        self._forget_parent()
        if self._overlay:
            fd = self._open_parent(parts[:-1])
            os.mknod(target, stat.S_IFCHR, os.makedev(0, 0), dir_fd=fd)

    @staticmethod
    def _make_directory(parent: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                remove_entry(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)

    def _make_file(self, parent: int, name: bytes, member: Member) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            left = member.size
            while left:
                view = memoryview(self._reader.read_data(min(CHUNK_BYTES, left)))
                left -= len(view)
                while view:
                    view = view[os.write(fd, view) :]
            self._set_metadata(fd, member)
        finally:
            os.close(fd)

    def _set_metadata(self, fd: int, member: Member) -> None:
        """Owner first: changing it clears set-user-id bits and capabilities."""
        if self._chown:
            os.fchown(fd, member.uid, member.gid)
        for name, value in member.xattrs.items():
            if is_kept_xattr(name) and (self._chown or name.startswith("user.")):
                os.setxattr(fd, name, value)
        os.fchmod(fd, member.mode)
        os.utime(fd, ns=(member.mtime * 10**9,) * 2)

    def _make_hardlink(self, parent: int, name: bytes, member: Member) -> None:
        parts = split_name(member.linkname, depth=self._limits.depth)
        if not parts:
            raise LayerError(f"{self.current!r} is a hard link to the root directory")
        try:
            source = open_directory(self._root, parts[:-1])
        except (FileNotFoundError, NotADirectoryError):
            raise LayerError(f"{self.current!r} is a hard link to nothing in the layer") from None
        try:
            status = os.stat(parts[-1], dir_fd=source, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise LayerError(f"{self.current!r} is a hard link to something that is no file")
            try:
                existing = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                pass
            else:
                if (existing.st_dev, existing.st_ino) == (status.st_dev, status.st_ino):
                    return
                remove_entry(parent, name)
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise LayerError(f"{self.current!r} is a hard link to nothing in the layer") from None
        finally:
            os.close(source)

    def finish(self) -> None:
        """Set what directories have, the deepest first, so that no step changes what an earlier one set."""
        self._forget_parent()
        for path in sorted(self._directories, key=lambda p: p.count(b"/"), reverse=True):
            parts = path.split(b"/") if path else []
            try:
                parent = open_directory(self._root, parts[:-1])
            except OSError:
                continue  # replaced by a later member
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(parts[-1] if parts else b".", flags, dir_fd=parent)
            except OSError:
                continue
            finally:
                os.close(parent)
            self._set_metadata(fd, self._directories[path])
            os.close(fd)


def is_kept_xattr(name: str) -> bool:
    """Return whether a layer may set this attribute: file capabilities and the user's own, never overlayfs's controls."""
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name == "security.capability"
