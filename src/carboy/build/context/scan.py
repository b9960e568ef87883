"""What a context holds, as digests: of names, modes, sizes, kinds, links, contents and attributes; never of times or owners.

Two checkouts of the same files have the same digests (trap 61 of the language's reference). What was hashed before is known
by its status, see ``memory``. The walk is by descriptors: a folder that somebody exchanges for a link meanwhile leads
nowhere, and what the .dockerignore leaves out is never opened.
"""

from __future__ import annotations

import gc
import hashlib
import os
import stat
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.build.context.memory import Memory, unpack
from carboy.build.context.observed import Observed, pack
from carboy.build.graph.options import DEFAULT_LIMIT_BYTES
from carboy.errors import CarboyError
from carboy.layers.attributes import Attributes
from carboy.snapshots.merged import Folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carboy.build.context.memory import Entry
    from carboy.build.graph.ops import Ignore
    from carboy.snapshots.transfer import Filter

MAX_DEPTH = 256
# A file that was changed so shortly before it was read may change again without its time telling: the kernel's clock ticks.
_FRESH_NS = 50_000_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOTHING = bytes(32)


@dataclass(slots=True)
class _Listed:
    """A folder as it was listed: its entries by name, which of them are folders, and once hashed, their contents."""

    path: str
    entries: list[Entry]
    folders: list[Entry]
    contents: bytes = b""  # 32 bytes each
    leaves: bytes = b""
    digest: bytes = b""
    ignored: tuple[tuple[str, bool], ...] = ()


class ContextScan:
    """The files of one folder, scanned for one build; safe to use from several threads."""

    def __init__(
        self,
        folder: str,
        *,
        ignore: Ignore | None = None,
        cache_dir: str | None = None,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        self.folder = folder
        self.ignore = ignore
        self._limit_bytes = limit_bytes
        self._cache_dir = cache_dir
        self._memory = Memory.read(cache_dir, folder) if cache_dir else Memory("")
        self._listed: dict[str, _Listed] = {}
        self._lock = threading.RLock()
        self._began_ns = 0
        self._seen: dict[str, Entry] = {}
        self._fresh = False
        self.size_bytes = 0
        self.files = 0

    def open(self) -> Folder:
        """Return the context's root as a view, which the caller closes. Raises ``OSError``."""
        return Folder([os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)])

    def again(self) -> ContextScan:
        """Return a new scan of the same folder, which knows what is remembered but has looked at nothing yet."""
        scan = ContextScan(self.folder, ignore=self.ignore, limit_bytes=self._limit_bytes)
        scan._memory = self._memory
        return scan

    def digest_folder(self, path: str, *, keep: Filter | None = None) -> str:
        """Return the digest of what is in a folder (a path without links, "" for the context), without what is ignored.

        ``keep`` has paths from the folder on, and leaves out more. Raises ``CarboyError``: too large, too deep.
        """
        with self._lock:
            self._look(path)
            if keep is None:
                return self._digest(self._listed[path]).hex()
            total = hashlib.sha256()
            for parts, entry, content in self._iter(path, ()):
                own, is_folder = [os.fsencode(part) for part in parts], stat.S_ISDIR(entry[1])
                # A folder on the way to what is taken comes along, with its mode.
                if keep.takes(own, is_folder=is_folder) or (is_folder and keep.enters(own)):
                    total.update(_header("/".join(parts), entry) + content)
            return total.hexdigest()

    def digest_file(self, path: str) -> str:
        """Return the digest of a file or link (a path whose folders are no links), without its name. Raises ``OSError``."""
        with self._lock:
            above, _, name = path.rpartition("/")
            with self._open(above) as folder:
                status = os.stat(name, dir_fd=folder.fileno(), follow_symlinks=False)
                self._count(status.st_size)
                self._check()
                entry = _entry(name, status)
                content = self._memory.get_file(path, entry)
                if content is None:
                    began_ns = time.time_ns()
                    content = _read_content(folder.fileno(), entry)
                    if max(entry[3], entry[4]) <= began_ns - _FRESH_NS:
                        self._memory.put_file(path, entry, content)
                    else:
                        self._fresh = True
                self._seen[path] = entry
            return hashlib.sha256(_header("", entry) + content).hexdigest()

    def save(self) -> None:
        """Remember for the next build what was hashed in this one."""
        if self._cache_dir:
            with self._lock:
                self._memory.write()

    def observe(self, names: Iterable[tuple[str, tuple[str, ...]]]) -> Observed | None:
        """Return what was seen of the files whose digests were asked for, and ``names``, which the caller saw.

        None when some changed so shortly before they were read that a later change need not show.
        """
        with self._lock:
            if self._fresh:
                return None
            return Observed(
                folder=self.folder,
                device=os.stat(self.folder).st_dev,
                files=tuple(self._seen.items()),
                folders=tuple((path, pack(one.entries), one.ignored) for path, one in self._listed.items()),
                names=tuple(names),
            )

    # --- walking ----------------------------------------------------------------------------------------------------

    def _open(self, path: str) -> Folder:
        root = self.open()
        for part in path.split("/") if path else []:
            with root:
                inner = root.open_folder(os.fsencode(part))
            root = inner
        return root

    def _look(self, path: str) -> None:
        """List a folder and all below it, then hash what is not known: a context that is too large is not read at all."""
        if path in self._listed:
            return
        self._began_ns = self._began_ns or time.time_ns()
        new: list[_Listed] = []
        collecting = gc.isenabled()
        gc.disable()  # a hundred thousand tuples that all stay: looking through them again and again finds nothing
        try:
            with self._open(path) as folder:
                self._list(folder.fileno(), path, new, depth=0)
            self._check()
            for listed in new:
                self._hash(listed)
                self._listed[listed.path] = listed
        finally:
            if collecting:
                gc.enable()

    def _list(self, fd: int, path: str, new: list[_Listed], *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise CarboyError(f"the folder {self.folder}/{path} is more than {MAX_DEPTH} levels deep")
        above = f"{path}/" if path else ""
        entries: list[Entry] = []
        folders: list[Entry] = []
        ignored: list[tuple[str, bool]] = []
        ignore = self.ignore
        size_bytes = 0
        with os.scandir(fd) as found:
            for item in found:
                name = item.name
                status = item.stat(follow_symlinks=False)
                mode = status.st_mode
                if mode & 0o170000 == 0o040000:
                    if ignore is not None and self._is_shut(ignore, above + name):
                        ignored.append((name, True))
                        continue
                    entry = (name, mode, 0, 0, 0, 0)
                    folders.append(entry)
                elif ignore is not None and ignore.matches(above + name, is_folder=False):
                    ignored.append((name, False))
                    continue
                elif mode & 0o170000 in {0o100000, 0o120000}:
                    size = status.st_size
                    size_bytes += size
                    entry = (name, mode, size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
                else:
                    continue  # a socket or a device has no place in an image
                entries.append(entry)
        self.size_bytes += size_bytes
        self.files += len(entries) - len(folders)
        entries.sort()
        folders.sort()
        new.append(_Listed(path, entries, folders, ignored=tuple(ignored)))
        for entry in folders:
            inner = os.open(entry[0], _FOLDER, dir_fd=fd)
            try:
                self._list(inner, above + entry[0], new, depth=depth + 1)
            finally:
                os.close(inner)

    @staticmethod
    def _is_shut(ignore: Ignore, path: str) -> bool:
        return ignore.matches(path, is_folder=True) and not ignore.may_hold_exceptions(path)

    def _count(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self.files += 1

    def _check(self) -> None:
        """Raise ``CarboyError`` when there is more than a context should have, with what is largest in it."""
        if self.size_bytes <= self._limit_bytes:
            return
        limit = self._limit_bytes / 2**30
        raise CarboyError(
            f"the context holds {self.size_bytes / 2**30:.1f} GiB, more than the {limit:.1f} GiB that a build takes",
            details=f"the largest in {self.folder}: " + ", ".join(find_largest(self.folder, self.ignore)),
            hint="name what the image does not need in a .dockerignore (data, models, .git), or raise the limit: "
            "--context-limit SIZE, or context-limit in config.toml of the home",
        )

    # --- hashing ----------------------------------------------------------------------------------------------------

    def _hash(self, listed: _Listed) -> None:
        """Find the contents' digests of a folder's entries: those that are remembered, and those that are read now."""
        packed = pack(listed.entries)
        known = self._memory.get(listed.path)
        if known is not None and known[0] == packed:
            listed.contents, listed.leaves = known[1], known[2]
            return
        old = _index(known)
        fresh = False
        contents: list[bytes] = []
        folder: Folder | None = None
        try:
            for entry in listed.entries:
                content = _NOTHING if stat.S_ISDIR(entry[1]) else old.get(entry)
                if content is None:
                    folder = folder or self._open(listed.path)
                    content = _read_content(folder.fileno(), entry)
                    fresh = fresh or max(entry[3], entry[4]) > self._began_ns - _FRESH_NS
                contents.append(content)
        finally:
            if folder is not None:
                folder.close()
        leaves = hashlib.sha256()
        for entry, content in zip(listed.entries, contents, strict=True):
            if not stat.S_ISDIR(entry[1]):
                leaves.update(_header(entry[0], entry) + content)
        listed.contents, listed.leaves = b"".join(contents), leaves.digest()
        if fresh:
            self._fresh = True
        else:
            self._memory.put(listed.path, (packed, listed.contents, listed.leaves))

    def _digest(self, listed: _Listed) -> bytes:
        if not listed.digest:
            total = hashlib.sha256(listed.leaves)
            for entry in listed.folders:
                inner = self._listed[f"{listed.path}/{entry[0]}" if listed.path else entry[0]]
                # A folder that is ignored itself is there for what is taken back in below it only.
                if self.ignore is None or inner.entries or not self.ignore.matches(inner.path, is_folder=True):
                    total.update(_header(entry[0], entry) + self._digest(inner))
            listed.digest = total.digest()
        return listed.digest

    def _iter(self, path: str, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Entry, bytes]]:
        listed = self._listed[path]
        for at, entry in enumerate(listed.entries):
            parts = (*above, entry[0])
            yield parts, entry, listed.contents[32 * at : 32 * at + 32]
            if stat.S_ISDIR(entry[1]):
                yield from self._iter(f"{path}/{entry[0]}" if path else entry[0], parts)


def _entry(name: str, status: os.stat_result) -> Entry:
    if stat.S_ISDIR(status.st_mode):
        return (name, status.st_mode, 0, 0, 0, 0)
    return (name, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _index(known: tuple[bytes, bytes, bytes] | None) -> dict[Entry, bytes]:
    if known is None:
        return {}
    return {entry: known[1][32 * at : 32 * at + 32] for at, entry in enumerate(unpack(known[0]))}


def _header(name: str, entry: Entry) -> bytes:
    """Return what counts of an entry beside its content: the length keeps names and the rest apart."""
    own = os.fsencode(name)
    size = entry[2] if stat.S_ISREG(entry[1]) else 0
    return b"%d:%s%o:%d:" % (len(own), own, entry[1], size)


def _read_content(folder: int, entry: Entry) -> bytes:
    """Return the digest of a file's bytes and attributes, or of where a link points. Raises ``CarboyError``."""
    name = entry[0]
    try:
        if stat.S_ISLNK(entry[1]):
            return hashlib.sha256(os.fsencode(os.readlink(name, dir_fd=folder))).digest()
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except PermissionError as error:
        raise CarboyError(
            f"the file {name} of the context cannot be read",
            details=os.strerror(error.errno or 0),
            hint="make it readable, or name it in a .dockerignore",
        ) from error
    with open(fd, "rb", buffering=0) as file:
        total = hashlib.file_digest(file, "sha256").digest()
        kept = Attributes.read(fd).kept
    if kept:
        total = hashlib.sha256(total + repr(sorted(kept.items())).encode()).digest()
    return total


def find_largest(folder: str, ignore: Ignore | None, *, count: int = 3) -> list[str]:
    """Return the largest entries at the top of a folder, with their sizes, for a message."""
    sizes: dict[str, int] = {}
    for above, folders, files in os.walk(folder):
        relative = os.path.relpath(above, folder)
        prefix = "" if relative == "." else f"{relative}/"
        if ignore is not None:
            folders[:] = [name for name in folders if not ContextScan._is_shut(ignore, prefix + name)]
        top = relative.partition("/")[0]
        for name in files:
            if ignore is not None and ignore.matches(prefix + name, is_folder=False):
                continue
            own = name if relative == "." else f"{top}/"
            sizes[own] = sizes.get(own, 0) + os.lstat(f"{above}/{name}").st_size
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:count]
    return [f"{name} ({size / 2**30:.1f} GiB)" for name, size in largest]
