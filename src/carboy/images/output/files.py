"""The files of an image: as one tar with their owners, or in a folder of the caller's, whose they are then."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Self

from carboy.errors import CarboyError
from carboy.images.platforms import list_manifests, read_platform
from carboy.layers import tarread
from carboy.layers.apply import unpack_layer
from carboy.layers.tarwrite import TarWriter
from carboy.oci import mediatypes
from carboy.oci.config import parse_config
from carboy.oci.manifest import parse_manifest
from carboy.snapshots.merged import MergedRoot
from carboy.snapshots.transfer import iter_contents, send_to_tar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.layers.tarwrite import Writable
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.snapshots.transfer import Item
    from carboy.store.store import Store

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_CHUNK_BYTES = 2**20


def list_trees(store: Store, descriptor: Descriptor) -> tuple[tuple[str, Digest], ...]:
    """Return the unpacked layers of an image with their diff ids, lowest first. Raises ``CarboyError``."""
    manifest = parse_manifest(store.blobs.read(descriptor.digest))
    config = parse_config(store.blobs.read(manifest.config.digest))
    return tuple(
        (unpack_layer(store, layer, diff_id=diff_id, tier_chown=store.kind != "single"), diff_id)
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )


def iter_files(store: Store, descriptor: Descriptor) -> Iterator[Item]:
    """Yield all that an image has below /, in the order of the names' bytes, folders before what is in them.

    Raises ``CarboyError``, ``OSError``. The caller holds a lease.
    """
    layers = list_trees(store, descriptor)
    if not layers:
        return
    owners = _Owners(store, layers) if store.kind == "single" else None
    for item in iter_contents(MergedRoot([tree for tree, _ in layers]).open()):
        if owners is not None:
            item.member.uid, item.member.gid = owners.find(b"/".join(item.parts))
        yield item


class _Owners:
    """Whose files are where all on the disk are one user's: as the topmost layer noted it that has the file."""

    def __init__(self, store: Store, layers: Sequence[tuple[str, Digest]]) -> None:
        self._layers = [
            (os.fsencode(tree), {os.fsencode(k): (v[0], v[1]) for k, v in store.layers.meta(diff_id)["owners"].items()})
            for tree, diff_id in reversed(layers)
        ]

    def find(self, path: bytes) -> tuple[int, int]:
        for tree, noted in self._layers:
            if os.path.lexists(tree + b"/" + path):
                return noted.get(path, (0, 0))
        return 0, 0


def write_tar(store: Store, descriptor: Descriptor, out: Writable) -> int:
    """Write the files of an image as a tar with their owners, and return how many members it has.

    Those of several platforms are in a folder for each, "linux_amd64/", as BuildKit has them.
    """
    writer = TarWriter(out)
    count = 0
    for folder, manifest in _list_folders(store, descriptor):
        above = [os.fsencode(folder)] if folder else []
        count += send_to_tar(iter_files(store, manifest), writer, rename=partial(_join, above))
    writer.finish()
    return count


def _join(above: list[bytes], parts: list[bytes]) -> bytes:
    return b"/".join([*above, *parts])


def _list_folders(store: Store, descriptor: Descriptor) -> list[tuple[str, Descriptor]]:
    """Return the images behind a descriptor with the folder that each has in an output, "" for one alone."""
    if descriptor.media_type not in mediatypes.INDEXES:
        return [("", descriptor)]
    found = []
    for one in list_manifests(store, descriptor):
        platform = one.platform or read_platform(store, one)
        variant = "" if platform.architecture == "arm64" else platform.variant
        found.append(("_".join(part for part in (platform.os, platform.architecture, variant) if part), one))
    return found


def write_folder(store: Store, descriptor: Descriptor, path: str) -> int:
    """Put the files of an image into a folder, which is made when it is missing, and return how many there are.

    They are the caller's, without set-user-id bits. What is there stays unless the image has it, too. Those of several
    platforms are in a folder for each, "linux_amd64/". Raises ``CarboyError``.
    """
    count = 0
    for folder, manifest in _list_folders(store, descriptor):
        place = f"{path}/{folder}" if folder else path
        os.makedirs(place, exist_ok=True)
        with FolderWriter(place) as writer:
            for item in iter_files(store, manifest):
                count += writer.put(item)
    return count


class FolderWriter:
    """Puts files into a folder of the machine, by descriptors: no link below it is followed, whoever put it there.

    A file appears whole, under its name, or not at all. Folders that are made get their mode and time at the end, those that
    were there keep theirs. Raises ``CarboyError`` where a file would replace a folder, ``OSError``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent: tuple[list[bytes], int] | None = None
        self._made: list[Item] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                for item in reversed(self._made):
                    self._finish_folder(item)
        finally:
            self._forget()
            os.close(self._root)

    def put(self, item: Item) -> bool:
        """Make one entry, after the folder that it is in, and return whether it is one that can be made."""
        if not item.parts:
            return False
        parent, name = self._open(item.parts[:-1]), item.parts[-1]
        kind = item.member.kind
        if kind == tarread.DIRECTORY:
            self._make_folder(parent, name, item)
            return True
        temporary = b".carboy-" + os.urandom(8).hex().encode() + b".tmp"
        try:
            if kind == tarread.SYMLINK:
                os.symlink(item.member.linkname, temporary, dir_fd=parent)
                os.utime(temporary, ns=(item.mtime_ns,) * 2, dir_fd=parent, follow_symlinks=False)
            elif kind == tarread.HARDLINK:
                self._link(item.member.linkname.split(b"/"), parent, temporary)
            elif item.open is not None:
                self._write(parent, temporary, item)
            else:
                return False
            self._rename(parent, temporary, name, item)
        finally:
            _unlink(parent, temporary)
        return True

    def _rename(self, parent: int, temporary: bytes, name: bytes, item: Item) -> None:
        try:
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}:
                raise
            where = f"{self._path}/{os.fsdecode(b'/'.join(item.parts))}"
            raise CarboyError(f"{where} is a folder, and a file in the image", hint="remove it first") from None

    @staticmethod
    def _make_folder_at(parent: int, name: bytes) -> bool:
        """Make a folder and return whether there was none; what is no folder goes for it, a link as well."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return False
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)
        return True

    def _make_folder(self, parent: int, name: bytes, item: Item) -> None:
        if self._make_folder_at(parent, name):
            self._made.append(item)

    def _finish_folder(self, item: Item) -> None:
        fd = self._open(item.parts)
        os.fchmod(fd, item.member.mode & ~_SET_IDS)
        os.utime(fd, ns=(item.mtime_ns,) * 2)
        self._forget()

    def _write(self, parent: int, temporary: bytes, item: Item) -> None:
        assert item.open is not None
        fd = os.open(temporary, _NEW, 0o600, dir_fd=parent)
        try:
            with item.open() as content:
                while data := content.read(_CHUNK_BYTES):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
            os.fchmod(fd, item.member.mode & ~_SET_IDS)
            os.utime(fd, ns=(item.mtime_ns,) * 2)
        finally:
            os.close(fd)

    def _link(self, source: list[bytes], parent: int, temporary: bytes) -> None:
        """Link to a file that was put here before."""
        fd = self._walk(source[:-1])
        try:
            os.link(source[-1], temporary, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _open(self, parts: list[bytes]) -> int:
        """Return the descriptor of a folder that was put here, kept for the entries that follow."""
        if self._parent is not None and self._parent[0] == parts:
            return self._parent[1]
        fd = self._walk(parts)
        self._forget()
        self._parent = (parts, fd)
        return fd

    def _walk(self, parts: list[bytes]) -> int:
        fd = os.dup(self._root)
        for part in parts:
            try:
                inner = os.open(part, _FOLDER, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def _forget(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None


def _unlink(parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
