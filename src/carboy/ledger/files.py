"""Trees of files by digest: what is in a folder now, and what has changed in it since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from carboy.base.fs import translate_os_errors
from carboy.layers import tarread
from carboy.ledger.record import FileState, Output, Tree
from carboy.oci.digest import Digest
from carboy.snapshots.merged import Folder, Root, find
from carboy.snapshots.transfer import Item, Vanished, iter_contents, iter_entry

MAX_LISTED = 1_000
"""A record names the files of a folder one by one up to this many; of more it has the digest of all together."""
MAX_OUTPUTS = 10_000
"""So many changed files are named; a run that changes more is recorded as one whose outputs are not all known."""
_CHUNK_BYTES = 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

# By path: the digest of the content, its size, and when it was written.
Contents = dict[str, tuple[Digest, int, int]]


def read_contents(path: str) -> Contents:
    """Return what is in a folder of the host, or in a file (under "."). Links in it are themselves, never followed.

    Sockets, fifos and devices do not count, nor do empty folders. Raises ``CarboyError`` for what cannot be read.
    """
    with translate_os_errors(f"read {path}"):
        path = os.path.realpath(path)  # what is mounted is where a link leads
        if os.path.isdir(path):
            return _read_items(iter_contents(Folder([os.open(path, _FOLDER)])))
        parent = os.path.dirname(path)
        with Folder([os.open(parent, _FOLDER)]) as folder:
            name = os.fsencode(os.path.basename(path))
            entry = folder.lookup(name)
            if entry is None:
                raise FileNotFoundError(2, os.strerror(2), path)
            return _name_one(".", _read_items(iter_entry(folder, name, entry)))


def read_output(root: Root, path: str) -> Contents:
    """Return what a container has at an absolute path: one file, or all files below a folder, by their whole paths.

    Nothing at all is no error. Raises ``CarboyError`` for what cannot be read.
    """
    with translate_os_errors(f"read {path} of the container"), root.open() as top:
        try:
            place = find(top, os.fsencode(path))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        with place:
            if place.entry is None:
                return {}
            if place.entry.is_folder:
                below = _read_items(iter_contents(place.open_folder(top)))
                return {f"{path.rstrip('/')}/{name}": content for name, content in below.items()}
            assert place.folder is not None, "only a folder can be the root"
            return _name_one(path, _read_items(iter_entry(place.folder, place.name, place.entry)))


def _read_items(items: Iterable[Item]) -> Contents:
    found: Contents = {}
    for item in items:
        path = _show(b"/".join(item.parts))
        member = item.member
        if member.kind == tarread.SYMLINK:
            found[path] = Digest.of(b"link:" + member.linkname), 0, item.mtime_ns
        elif member.kind == tarread.HARDLINK:
            found[path] = found[_show(member.linkname)]
        elif item.open is not None:
            try:
                found[path] = _digest(item)
            except Vanished:
                continue
    return found


def _name_one(path: str, found: Contents) -> Contents:
    """Return what is there of one file under another name."""
    return dict.fromkeys([path], next(iter(found.values()))) if found else {}


def _show(name: bytes) -> str:
    """Return a name as text, the same for the same bytes, that JSON can hold."""
    return name.decode("utf-8", "backslashreplace")


def _digest(item: Item) -> tuple[Digest, int, int]:
    assert item.open is not None
    total, size = hashlib.sha256(), 0
    with item.open() as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            total.update(chunk)
            size += len(chunk)
    return Digest.from_hex(total.hexdigest()), size, item.mtime_ns


def make_tree(contents: Contents) -> Tree:
    """Return contents as a record has them. Pure."""
    total = hashlib.sha256()
    for path, (digest, *_) in sorted(contents.items()):
        name = path.encode("utf-8", "surrogatepass")
        total.update(b"%d:%s %s\n" % (len(name), name, str(digest).encode()))
    listed = sorted(contents) if len(contents) <= MAX_LISTED else []
    return Tree(
        digest=Digest.from_hex(total.hexdigest()),
        count=len(contents),
        size_bytes=sum(size for _, size, _ in contents.values()),
        files=tuple(FileState(path=path, digest=contents[path][0]) for path in listed),
    )


def find_changes(before: Contents, after: Contents, *, target: str) -> tuple[Output, ...]:
    """Return what a run has written or removed (no digest) below ``target``, by paths in the container. Pure.

    What was written again with the same bytes counts: it is seen by its time.
    """
    changed = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or (old[0], old[2]) != (new[0], new[2]):
            name = target if path == "." else f"{target.rstrip('/')}/{path}"
            changed.append(Output(path=name, digest=new[0] if new else None, before=old[0] if old else None))
    return tuple(changed)


def find_start(now: Contents, outputs: Iterable[Output], *, target: str) -> Contents:
    """Return what a folder, in which there is ``now``, had before a run with these outputs made its own files. Pure.

    What the run changed or removed is not brought back: it shows as different from then.
    """
    added = {output.path for output in outputs if output.before is None}
    return {path: content for path, content in now.items() if f"{target.rstrip('/')}/{path}" not in added}
