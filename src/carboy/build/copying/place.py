"""Where copied files go: the folders of a destination, links on the way to it, modes and owners, archives that are unpacked.

What is made is made in the upper tree of a new layer over the parent's layers, below descriptors; a link of the parent's is
followed inside its root only. Traps 35 to 38, 42 to 45, 48. Sources: moby/buildkit, solver/llbsolver/file/backend.go;
tonistiigi/fsutil, copy.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.layers.compression import open_archive
from carboy.layers.errors import LayerError
from carboy.layers.tarread import DIRECTORY, HARDLINK, SYMLINK, TarReader, show
from carboy.snapshots.merged import OPAQUE, MergedRoot, find, split
from carboy.snapshots.transfer import Item, Ownership, Placing, iter_tar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.build.copying.modes import Chmod
    from carboy.build.copying.select import Selected
    from carboy.build.copying.views import View
    from carboy.layers.tarread import Readable

Ids = tuple[int, int]
MAX_TRIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and how: ``destination`` as ``graph.ops.Copy`` has it, owners and modes read, times no later than ``epoch_s``."""

    destination: str
    chown: Ids | None
    chmod: Chmod | None
    epoch_s: int


class Placer:
    """Copies into the tree ``upper`` over ``lowers`` (trees, lowest first).

    ``owners`` has, afterwards, whose what was made is; ``on_disk`` says that the disk has it, too.
    """

    def __init__(self, lowers: list[str], upper: str, *, on_disk: bool) -> None:
        self._root = MergedRoot(lowers, upper)
        self._upper = upper
        self._on_disk = on_disk
        self.owners: dict[bytes, Ids] = {}

    def copy(self, selected: Selected, view: View, target: Target, *, unpack: str) -> None:
        """Copy one selected thing. Raises ``CarboyError``, also when a folder and something else would replace each other."""
        if unpack != "never" and not selected.is_folder and self._unpack(selected, target):
            return
        if unpack == "always":
            raise CarboyError(f"{show(selected.name)} is not an archive", hint="leave --unpack out")
        destination = os.fsencode(target.destination)
        self._make_missing(destination if destination.endswith(b"/") else os.path.dirname(destination), target)
        if selected.is_folder:
            base = self._make_missing(destination, target)
            self._put(self._dress(selected, view, target, base), base)
            return
        base, name = self._find_file(destination, selected.name)
        items = self._dress(selected, view, target, [*base, name])
        self._put(_rename(items, name), base)

    def make_folder(self, path: str, *, mode: int, ids: Ids, epoch_s: int) -> None:
        """Make a folder, with those above it that are missing, alike. One that is there stays as it is."""
        self._make_all(os.fsencode(path), mode, ids, epoch_s)

    # --- files ------------------------------------------------------------------------------------------------------

    def _dress(self, selected: Selected, view: View, target: Target, base: list[bytes]) -> Iterator[Item]:
        """Give the items the owners, modes and times that they have in the image."""
        is_dated = view.is_dated()
        for item in selected.open_items():
            member = item.member
            member.uid, member.gid = target.chown or view.find_owner(selected, item)
            if target.chmod is not None and member.kind != SYMLINK:
                member.mode = target.chmod.apply(member.mode, is_folder=member.kind == DIRECTORY)
            if not is_dated or item.mtime_ns > target.epoch_s * 10**9:
                item.mtime_ns = target.epoch_s * 10**9
            if item.parts or not selected.is_folder:
                self._note(b"/".join([*base, *item.parts]), (member.uid, member.gid))
            yield item

    def _put(self, items: Iterator[Item], base: list[bytes]) -> None:
        with Placing(self._root, base, Ownership(keep=self._on_disk)) as placing:
            for item in items:
                placing.put(item)

    def _note(self, path: bytes, ids: Ids) -> None:
        if not self._on_disk:
            self.owners[path] = ids

    def _find_file(self, destination: bytes, name: bytes) -> tuple[list[bytes], bytes]:
        """Return the folder and the name that a file gets: into a folder that is there, else as the destination says."""
        with self._root.open() as top, find(top, destination or b"/") as place:
            if place.entry is not None and place.entry.is_folder:
                return place.parts, name
            return place.parts[:-1], place.parts[-1]

    # --- folders ----------------------------------------------------------------------------------------------------

    def _make_missing(self, path: bytes, target: Target) -> list[bytes]:
        """Make the folders of a destination: 0755, or as an octal --chmod says (trap 37); return where it really is."""
        number = None if target.chmod is None else target.chmod.number
        return self._make_all(path, 0o755 if number is None else number, target.chown or (0, 0), target.epoch_s)

    def _make_all(self, path: bytes, mode: int, ids: Ids, epoch_s: int) -> list[bytes]:
        """Return the parts of a folder, made where it is missing; a dangling link on the way is made good, inside."""
        parts = split(path)
        for _ in range(MAX_TRIES * (len(parts) + 1)):
            for count in range(len(parts) + 1):
                here = b"/".join(parts[:count])
                try:
                    with self._root.open() as top, find(top, here or b".") as place:
                        if place.entry is None:
                            self._make(place.parts, mode, ids, epoch_s)
                            break
                        if not place.entry.is_folder:
                            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                        if count == len(parts):
                            return place.parts
                except (FileNotFoundError, NotADirectoryError) as error:
                    what = "leads nowhere" if isinstance(error, FileNotFoundError) else "is not a folder"
                    raise CarboyError(
                        f"/{show(here)} {what}, so nothing can be copied into it",
                        hint="choose another destination, or remove that first",
                    ) from error
        raise CarboyError(f"the destination {show(path)} cannot be made", hint="choose another one")

    def _make(self, parts: list[bytes], mode: int, ids: Ids, epoch_s: int) -> None:
        parent = self._root.open_writable(parts[:-1])
        try:
            hidden = _remove_whiteout(parent, parts[-1])
            os.mkdir(parts[-1], 0o700, dir_fd=parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(parts[-1], flags, dir_fd=parent)
        finally:
            os.close(parent)
        try:
            if hidden:
                os.setxattr(fd, OPAQUE, b"y")
            if self._on_disk:
                os.fchown(fd, *ids)
            os.fchmod(fd, mode)
            os.utime(fd, ns=(epoch_s * 10**9,) * 2)
        finally:
            os.close(fd)
        self._note(b"/".join(parts), ids)

    # --- archives ---------------------------------------------------------------------------------------------------

    def _unpack(self, selected: Selected, target: Target) -> bool:
        """Unpack an archive into the destination, a folder then; return whether it is one, by its content."""
        for item in selected.open_items():  # one, and it can be read while the journey lasts
            if item.open is None or not is_archive(item):
                return False
            base = self._make_missing(os.fsencode(target.destination), target)
            with item.open() as reader:
                members = self._dress_members(iter_tar(open_archive(_Stream(reader))), target, base)
                self._put(members, base)
        return True

    def _dress_members(self, items: Iterator[Item], target: Target, base: list[bytes]) -> Iterator[Item]:
        """--chown is for what an archive holds, --chmod and --exclude are not (trap 48)."""
        for item in items:
            member = item.member
            if target.chown is not None:
                member.uid, member.gid = target.chown
            item.mtime_ns = min(item.mtime_ns, target.epoch_s * 10**9)
            if item.parts and member.kind != HARDLINK:
                self._note(b"/".join([*base, *item.parts]), (member.uid, member.gid))
            yield item


class _Stream:
    """The content of an item as what a decompressor reads."""

    def __init__(self, reader: object) -> None:
        self._read = reader.read  # type: ignore[attr-defined]

    def read(self, size: int = -1, /) -> bytes:
        return bytes(self._read(size if size >= 0 else 2**20))


def is_archive(item: Item) -> bool:
    """Return whether a file is a tar, plain or compressed, by its first member; an empty one is not."""
    if item.open is None or not item.member.size:
        return False
    with item.open() as reader:
        stream: Readable = _Stream(reader)
        try:
            return next(iter(TarReader(open_archive(stream))), None) is not None
        except LayerError:
            return False


def _rename(items: Iterator[Item], name: bytes) -> Iterator[Item]:
    for item in items:
        item.parts = [name]
        yield item


def _remove_whiteout(parent: int, name: bytes) -> bool:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode):
        return False
    os.unlink(name, dir_fd=parent)
    return True
