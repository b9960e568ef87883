"""``carboy cp``: Docker's rules for what goes where, between a container and the host.

===================  ==============================  ===============================================================
source               destination                     what happens
===================  ==============================  ===============================================================
file                 missing, ends in "/"            refused
file                 missing                         the file is made under that name
file                 file                            it is replaced
file, folder         folder                          it comes into the folder, under its own name
folder               missing                         the folder is made, with the contents
folder               file                            refused
folder with "/."     folder                          its contents come into the folder
===================  ==============================  ===============================================================

A link as source is copied as a link, unless it is to be followed; links in a destination are followed, inside the
container for the container's, on the host for the host's. Source: docker-container-cp(1).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.layers.tarread import show
from carboy.layers.tarwrite import TarWriter
from carboy.snapshots.merged import Folder, LiveRoot, Place, find, split
from carboy.snapshots.transfer import (
    Item,
    Ownership,
    Placing,
    Vanished,
    iter_contents,
    iter_entry,
    iter_tar,
    send_to_tar,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.layers.tarread import Readable
    from carboy.layers.tarwrite import Writable
    from carboy.snapshots.merged import Root

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def copy_out(root: Root, source: bytes, destination: str, *, follow: bool = False, archive: bool = False) -> int:
    """Copy ``source`` of a container to the path ``destination`` of the host and return how many entries were made.

    They are the caller's, or keep the image's ids with ``archive``. Raises ``CarboyError``.
    """
    with _Failures(source, os.fsencode(destination)), root.open() as top, find(top, source, follow=follow) as place:
        path = os.path.realpath(destination)
        parent, own = (
            (path, b"") if os.path.isdir(path) else (os.path.dirname(path), os.fsencode(os.path.basename(path)))
        )
        fd = os.open(parent, _FOLDER)
        try:
            target = _Target(LiveRoot(fd), own + (b"/" if destination.endswith("/") else b""), Ownership(keep=archive))
            return target.take(_Source.open(top, place, source))
        finally:
            os.close(fd)


def copy_in(root: Root, source: str, destination: bytes, *, follow: bool = False, archive: bool = False) -> int:
    """Copy ``source`` of the host to the path ``destination`` of a container and return how many entries were made.

    They are root's (0:0), or keep the ids that they have here with ``archive``. Raises ``CarboyError``.
    """
    with _Failures(os.fsencode(source), destination):
        contents = source in {"", ".", "/"} or source.endswith("/.")
        path = os.path.abspath(source)
        if follow or contents or source.endswith("/"):
            path = os.path.realpath(path)
        fd = os.open(os.path.dirname(path), _FOLDER)
        name = os.fsencode(os.path.basename(path))
        # Docker keeps the name of a link that it follows.
        own = os.fsencode(os.path.basename(os.path.abspath(source))) + (b"/." if contents else b"")
        with Folder([fd]) as top, find(top, name, follow=False) as place:
            if source.endswith("/") and not _is_folder(place):
                raise NotADirectoryError(20, os.strerror(20), source)
            target = _Target(root, destination, Ownership(keep=archive, ids=(0, 0)))
            return target.take(_Source.open(top, place, own))


def write_tar(root: Root, source: bytes, out: Writable, *, follow: bool = False) -> int:
    """Write ``source`` of a container as a tar (``cp CONTAINER:SOURCE -``), its members below its own name.

    Returns how many there are. Raises ``CarboyError``.
    """
    with _Failures(source, b"-"), root.open() as top, find(top, source, follow=follow) as place:
        found = _Source.open(top, place, source)
        writer = TarWriter(out)
        count = send_to_tar(
            found.items, writer, rename=lambda parts: b"/".join([found.name, *parts] if found.name else parts)
        )
        writer.finish()
        return count


def read_tar(root: Root, stream: Readable, destination: bytes, *, archive: bool = False) -> int:
    """Unpack a tar into the folder ``destination`` of a container (``cp - CONTAINER:DESTINATION``), which must be there.

    The members' ids are kept with ``archive``, else all is root's. Returns how many entries were made. Raises ``CarboyError``.
    """
    with _Failures(b"-", destination):
        with root.open() as top, find(top, destination) as place:
            if not _is_folder(place):
                raise CarboyError(f"{show(destination)} is not a folder of the container", hint="a tar needs a folder")
            base = place.parts
        return _place(iter_tar(stream), root, base, Ownership(keep=archive, ids=(0, 0)))


def fill_folder(root: Root, source: bytes, fd: int, *, keep_owners: bool) -> None:
    """Give the empty directory ``fd`` what the folder ``source`` of a container has: mode, times and owners included.

    Nothing happens when there is no such folder. ``keep_owners`` False: in a tier where all files have one. Raises ``OSError``
    and ``CarboyError``.
    """
    with root.open() as top:
        try:
            place = find(top, source)
        except (FileNotFoundError, NotADirectoryError):
            return
        with place:
            if place.entry is None or not place.entry.is_folder:
                return
            _place(iter_contents(place.open_folder(top)), LiveRoot(fd), [], Ownership(keep=keep_owners))
            status = place.entry.status
            if keep_owners:
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, status.st_mode & 0o7777)
            os.utime(fd, ns=(status.st_mtime_ns, status.st_mtime_ns))


# --- the rules ----------------------------------------------------------------------------------------------------


def _is_folder(place: Place) -> bool:
    return place.entry is not None and place.entry.is_folder


class _Source:
    """What is copied: its own name (empty: only what is in it), its items, named from it on, and what it is."""

    __slots__ = ("is_folder", "items", "name")

    def __init__(self, name: bytes, items: Iterator[Item], *, is_folder: bool) -> None:
        self.name = name
        self.items = items
        self.is_folder = is_folder

    @classmethod
    def open(cls, top: Folder, place: Place, path: bytes) -> _Source:
        """Return what was found at ``path``, which also gives the name. Raises ``OSError``."""
        if place.entry is None:
            raise FileNotFoundError(2, os.strerror(2), os.fsdecode(path))
        parts = split(path)
        name = parts[-1] if parts and parts[-1] != b".." else b"".join(place.parts[-1:])
        if place.entry.is_folder:
            contents = path in {b"", b"."} or path.endswith((b"/.", b"/./")) or not place.parts
            return cls(b"" if contents else name, iter_contents(place.open_folder(top)), is_folder=True)
        if place.folder is None or path.endswith(b"/"):
            raise NotADirectoryError(20, os.strerror(20), os.fsdecode(path))
        return cls(name, _strip(iter_entry(place.folder, place.name, place.entry)), is_folder=False)


def _strip(items: Iterator[Item]) -> Iterator[Item]:
    """Name one file from itself on: no parts, as a folder's own item."""
    for item in items:
        item.parts = []
        yield item


class _Target:
    """Where it is copied to: a path of a root, and whose it will be."""

    __slots__ = ("_ownership", "_path", "_root")

    def __init__(self, root: Root, path: bytes, ownership: Ownership) -> None:
        self._root = root
        self._path = path
        self._ownership = ownership

    def take(self, source: _Source) -> int:
        """Copy, by the rules above, and return how many entries were made."""
        with self._root.open() as top, find(top, self._path or b".") as place:
            base, entry = place.parts, place.entry
        slash = self._path.endswith(b"/")
        if entry is None and slash and not source.is_folder:
            raise CarboyError(f"there is no folder {show(self._path)}", hint="make it first")
        if entry is not None and not entry.is_folder and (source.is_folder or slash):
            raise CarboyError(f"{show(self._path)} is not a folder", hint="name a folder, or remove the file first")
        if entry is None or not entry.is_folder:
            return _place(_prefix(source.items, base[-1]), self._root, base[:-1], self._ownership)
        items = _prefix(source.items, source.name) if source.name else source.items
        return _place(items, self._root, base, self._ownership)


def _prefix(items: Iterator[Item], name: bytes) -> Iterator[Item]:
    for item in items:
        item.parts = [name, *item.parts]
        if item.member.linkname and item.member.kind == b"1":
            item.member.linkname = name + b"/" + item.member.linkname
        yield item


def _place(items: Iterator[Item], root: Root, base: list[bytes], ownership: Ownership) -> int:
    count = 0
    with Placing(root, base, ownership) as placing:
        for item in items:
            try:
                placing.put(item)
            except Vanished:
                continue
            count += 1
    return count


class _Failures:
    """Puts disk errors into words, with both paths."""

    def __init__(self, source: bytes, destination: bytes) -> None:
        self._what = f"cannot copy {show(source)} to {show(destination)}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, CarboyError):
            error.details = error.details or self._what
        elif isinstance(error, FileNotFoundError):
            missing = os.fsdecode(error.filename) if error.filename else ""
            raise CarboyError(
                f"{self._what}: no such file or folder", details=missing, hint="check both paths"
            ) from error
        elif isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # the reader of a tar went away
            raise CarboyError(f"{self._what}: {error.strerror}", details=os.fsdecode(error.filename or "")) from error
