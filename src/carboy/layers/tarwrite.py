"""The canonical tar: one tree, one sequence of bytes.

Members are in the order of their names' bytes, directory by directory; owners are numbers; times are whole seconds, none later
than a cap; a field that does not fit a ustar header goes into a pax header, and nothing else does. Overlayfs's whiteouts and
opaque directories become the ``.wh.`` files of the OCI image-spec (layer.md).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol

from carboy.layers import tarread
from carboy.layers.errors import LayerError
from carboy.layers.extract import OPAQUE, OVERLAY_OPAQUE, WHITEOUT, is_kept_xattr
from carboy.layers.tarread import BLOCK, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_OCTAL_ID = 0o7777777
_MAX_OCTAL_SIZE = 0o77777777777
_BUFFER_BYTES = 2**20
# The magic, no names of owners, and no device.
_MIDDLE = b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
# EINVAL: a link was exchanged for something else, says readlink(2); ENXIO: a file for a socket or a device, says open(2).
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EINVAL, errno.ENXIO})
# Since Linux 6.7 an empty file can be a whiteout, where character devices are not allowed: overlayfs.rst.
OVERLAY_WHITEOUT = "user.overlay.whiteout"


class Writable(Protocol):
    """What a tar is written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        ...


class TarWriter:
    """Writes members; small ones are gathered so that hashing and writing work on large pieces."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._pieces: list[bytes] = []
        self._gathered = 0

    def add(self, member: Member, data: bytes = b"") -> None:
        """Write a member with its data in one piece (``member.size`` bytes)."""
        if len(data) != member.size:
            raise ValueError(f"{member.name!r} has {len(data)} bytes, not {member.size}")
        self._write(_headers(member))
        self._write(data)
        self._write(bytes(-member.size % BLOCK))

    def add_stream(self, member: Member, read: Callable[[int], bytes]) -> None:
        """Write a member whose data comes from ``read``. Raises ``LayerError`` when it changes its size under way."""
        self._write(_headers(member))
        left = member.size
        while left:
            data = read(min(left, _BUFFER_BYTES))
            if not data:
                raise LayerError(f"{os.fsdecode(member.name)!r} became shorter while it was read", hint="try again")
            left -= len(data)
            self._write(data)
        self._write(bytes(-member.size % BLOCK))

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(2 * BLOCK))
        self._flush()

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if len(data) >= _BUFFER_BYTES:
            self._flush()
            self._out.write(data)  # as it is: to put it together with others would copy it
            return
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pieces:
            self._out.write(b"".join(self._pieces))
        self._pieces.clear()
        self._gathered = 0


def _headers(member: Member) -> bytes:
    pax: dict[str, bytes] = {}
    name, prefix = _split(member.name)
    if name is None:
        pax["path"] = member.name
        name, prefix = member.name[:100], b""
    if len(member.linkname) > 100:
        pax["linkpath"] = member.linkname
    for field, value in (("uid", member.uid), ("gid", member.gid)):
        if value > _MAX_OCTAL_ID:
            pax[field] = str(value).encode()
    if member.size > _MAX_OCTAL_SIZE:
        pax["size"] = str(member.size).encode()
    for key, content in member.xattrs.items():
        pax[f"SCHILY.xattr.{key}"] = content
    header = _header(member, name, prefix)
    if not pax:
        return header
    body = b"".join(_record(key.encode("utf-8", "surrogateescape"), pax[key]) for key in sorted(pax))
    about = Member(name=b"././@PaxHeader", kind=b"x", mode=0, size=len(body))
    return _header(about, about.name, b"") + body + bytes(-len(body) % BLOCK) + header


def _split(name: bytes) -> tuple[bytes | None, bytes]:
    """Return (name, prefix) for a ustar header, or (None, b"") when it does not fit one."""
    if len(name) <= 100:
        return name, b""
    cut = name.rfind(b"/", 0, 156)
    if cut <= 0 or not 0 < len(name) - cut - 1 <= 100:
        return None, b""
    return name[cut + 1 :], name[:cut]


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _fit(value: int, digits: int) -> int:
    """Return what a field of so many octal digits holds: 0 for what a pax header says instead."""
    return value if value < 8**digits else 0


def _header(member: Member, name: bytes, prefix: bytes) -> bytes:
    mode, uid, gid = _fit(member.mode, 7), _fit(member.uid, 7), _fit(member.gid, 7)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, _fit(member.size, 11), _fit(member.mtime, 11))
    fields = (name.ljust(100, b"\0"), numbers, b" " * 8, member.kind, member.linkname[:100].ljust(100, b"\0"), _MIDDLE)
    header = b"".join(fields) + prefix.ljust(167, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


class TreeOptions:
    """How a tree is written: see :func:`write_tree`."""

    __slots__ = ("exclude", "live", "mtime_cap", "owners", "prefix", "settle")

    def __init__(
        self,
        *,
        mtime_cap: int | None = None,
        owners: Mapping[bytes, tuple[int, int]] | None = None,
        prefix: bytes = b"",
        exclude: Callable[[bytes, bool], bool] | None = None,
        settle: bool = False,
        live: bool = False,
    ) -> None:
        self.mtime_cap = mtime_cap
        self.owners = owners
        self.prefix = prefix.strip(b"/")
        self.exclude = exclude
        self.settle = settle
        self.live = live


def write_tree(tree_dir: str, out: Writable, options: TreeOptions) -> int:
    """Write the directory ``tree_dir`` as a canonical tar and return how many members it has.

    ``prefix`` is put before every name, its directories written as root's, 0755, at the cap. ``owners`` replaces the owners
    on the disk (a name that is not in it is root's). ``exclude(name, is_directory)`` leaves entries out. ``settle`` gives the
    files of the tree the times that were written, so that tree and tar stay equal. ``live``: what goes away meanwhile is no
    error. Sockets are left out. Raises ``OSError``.
    """
    walk = _Walk(TarWriter(out), options)
    root = os.open(tree_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walk.write(root)
    finally:
        os.close(root)
    return walk.count


class _Walk:
    def __init__(self, writer: TarWriter, options: TreeOptions) -> None:
        self._writer = writer
        self._options = options
        self._inodes: dict[tuple[int, int], bytes] = {}
        self.count = 0

    def write(self, root: int) -> None:
        prefix = self._options.prefix
        parts = prefix.split(b"/") if prefix else []
        for count in range(1, len(parts) + 1):
            name = b"/".join(parts[:count]) + b"/"
            self._add(Member(name=name, kind=tarread.DIRECTORY, mode=0o755, mtime=self._options.mtime_cap or 0))
        # Depth is the tree's: an own stack of (descriptor, name, entries still to write).
        stack: list[tuple[int, bytes, list[bytes]]] = [(root, prefix + b"/" if prefix else b"", self._names(root))]
        while stack:
            fd, above, names = stack[-1]
            if not names:
                stack.pop()
                if fd != root:
                    os.close(fd)
                continue
            name = names.pop()
            try:
                inner = self._entry(fd, name, above + name)
            except OSError as error:
                if self._options.live and error.errno in _GONE:
                    continue
                raise
            if inner is not None:
                path = above + name + b"/"
                if _is_opaque(inner):
                    self._add(Member(name=path + OPAQUE, kind=tarread.REGULAR, mtime=self._options.mtime_cap or 0))
                stack.append((inner, path, self._names(inner)))
        self._writer.finish()

    @staticmethod
    def _names(fd: int) -> list[bytes]:
        return sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)

    def _add(self, member: Member, data: bytes = b"") -> None:
        self.count += 1
        self._writer.add(member, data)

    def _entry(self, parent: int, name: bytes, path: bytes) -> int | None:
        """Write one entry; returns a descriptor when it is a directory to go into."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        exclude = self._options.exclude
        if exclude is not None and exclude(path, kind == stat.S_IFDIR):
            return None
        if name.startswith(WHITEOUT):
            raise LayerError(f"the file {os.fsdecode(path)!r} cannot be in a layer: its name means a removal there")
        member = self._describe(path, status)
        if kind == stat.S_IFDIR:
            member.name += b"/"
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            member.xattrs = _read_xattrs(fd)
            self._settle(parent, name, status, member)
            self._add(member)
            return fd
        if kind == stat.S_IFREG:
            self._file(parent, name, status, member)
        elif kind == stat.S_IFLNK:
            member.kind, member.linkname, member.mode = tarread.SYMLINK, os.readlink(name, dir_fd=parent), 0o777
            self._settle(parent, name, status, member)
            self._add(member)
        elif kind == stat.S_IFCHR and status.st_rdev == 0:
            self._white_out(path)
        return None

    def _white_out(self, path: bytes) -> None:
        above, slash, own = path.rpartition(b"/")
        self._add(Member(name=above + slash + WHITEOUT + own, kind=tarread.REGULAR, mtime=self._options.mtime_cap or 0))

    def _describe(self, path: bytes, status: os.stat_result) -> Member:
        owners, cap = self._options.owners, self._options.mtime_cap
        uid, gid = (status.st_uid, status.st_gid) if owners is None else owners.get(path, (0, 0))
        mtime = max(0, status.st_mtime_ns // 10**9)
        kinds = {stat.S_IFDIR: tarread.DIRECTORY}
        return Member(
            name=path,
            kind=kinds.get(stat.S_IFMT(status.st_mode), tarread.REGULAR),
            mode=stat.S_IMODE(status.st_mode),
            uid=uid,
            gid=gid,
            mtime=mtime if cap is None else min(mtime, cap),
        )

    def _settle(self, parent: int, name: bytes, status: os.stat_result, member: Member) -> None:
        if self._options.settle and status.st_mtime_ns != member.mtime * 10**9:
            os.utime(name, ns=(member.mtime * 10**9,) * 2, dir_fd=parent, follow_symlinks=False)

    def _file(self, parent: int, name: bytes, status: os.stat_result, member: Member) -> None:
        if status.st_nlink > 1:
            first = self._inodes.get((status.st_dev, status.st_ino))
            if first is not None:
                member.kind, member.linkname = tarread.HARDLINK, first
                self._add(member)
                return
        self._settle(parent, name, status, member)
        # It may be a fifo by now, which would wait for somebody to write.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            now = os.fstat(fd)
            if not stat.S_ISREG(now.st_mode):
                raise OSError(errno.ESTALE, "it is no regular file any more", os.fsdecode(member.name))
            if not status.st_size and OVERLAY_WHITEOUT in os.listxattr(fd):
                self._white_out(member.name)
                return
            if status.st_nlink > 1:
                self._inodes[status.st_dev, status.st_ino] = member.name
            member.size = now.st_size
            member.xattrs = _read_xattrs(fd)
            self.count += 1
            self._writer.add_stream(member, lambda size: os.read(fd, size))
        finally:
            os.close(fd)


def _is_opaque(fd: int) -> bool:
    return OVERLAY_OPAQUE in os.listxattr(fd) and os.getxattr(fd, OVERLAY_OPAQUE) == b"y"


def _read_xattrs(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in sorted(os.listxattr(fd)) if is_kept_xattr(name)}
