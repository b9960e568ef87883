"""What a build saw of a context, in the least form in which it can be compared: what stat(2) said of its files.

It is made by the scan that gave the files' digests, and looked at again by a build that hopes to find nothing changed. So it
imports next to nothing.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.build.context.memory import Entry

# Without references, which depend on what else refers to a string: equal lists give equal bytes.
_MARSHAL = 2


def pack(entries: list[Entry]) -> bytes:
    """Return a folder's entries as bytes: equal lists, equal bytes."""
    return marshal.dumps(entries, _MARSHAL)


class Observed:
    """What was seen below ``folder``, an absolute path without links, on the device ``device``.

    ``files`` are (path, entry); ``folders`` (path, packed entries, what was ignored in it as (name, whether a folder)), each
    folder for itself; ``names`` (path, all names in it). Paths have no links and begin at the folder, "" is itself.
    """

    __slots__ = ("device", "files", "folder", "folders", "names")

    def __init__(
        self,
        *,
        folder: str,
        device: int,
        files: tuple[tuple[str, Entry], ...] = (),
        folders: tuple[tuple[str, bytes, tuple[tuple[str, bool], ...]], ...] = (),
        names: tuple[tuple[str, tuple[str, ...]], ...] = (),
    ) -> None:
        self.folder = folder
        self.device = device
        self.files = files
        self.folders = folders
        self.names = names

    def encode(self) -> tuple[Any, ...]:
        """Return it as a value that ``marshal`` knows."""
        return self.folder, self.device, self.files, self.folders, self.names

    @classmethod
    def decode(cls, value: tuple[Any, ...]) -> Observed:
        """Return what :meth:`encode` gave."""
        folder, device, files, folders, names = value
        return cls(folder=folder, device=device, files=files, folders=folders, names=names)

    def is_still(self) -> bool:
        """Return whether all of it is as it was; False as well for what cannot be read."""
        try:
            return (
                os.path.realpath(self.folder) == self.folder
                and os.stat(self.folder).st_dev == self.device
                and self._has_no_links()
                and all(_look(f"{self.folder}/{path}", entry[0]) == entry for path, entry in self.files)
                and all(tuple(sorted(os.listdir(f"{self.folder}/{path}"))) == names for path, names in self.names)
                and all(_list(f"{self.folder}/{path}", frozenset(out)) == seen for path, seen, out in self.folders)
            )
        except OSError:
            return False

    def _has_no_links(self) -> bool:
        """Return whether no folder on the way to what was seen has become a link."""
        ways: set[str] = set()
        for path in (
            *(path for path, _ in self.files),
            *(path for path, *_ in self.folders),
            *(p for p, _ in self.names),
        ):
            above, _, _ = path.rpartition("/")
            while above and above not in ways:
                ways.add(above)
                above, _, _ = above.rpartition("/")
        return all(os.lstat(f"{self.folder}/{path}").st_mode & 0o170000 == 0o040000 for path in ways)


def _look(path: str, name: str) -> Entry:
    status = os.lstat(path)
    return (name, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _list(path: str, ignored: frozenset[tuple[str, bool]]) -> bytes:
    """Return a folder's entries as the scan packs them."""
    entries: list[Entry] = []
    if os.lstat(path).st_mode & 0o170000 != 0o040000:
        return b""
    with os.scandir(path) as found:
        for item in found:
            name = item.name
            if ignored and (name, item.is_dir(follow_symlinks=False)) in ignored:
                continue
            status = item.stat(follow_symlinks=False)
            mode = status.st_mode
            if mode & 0o170000 == 0o040000:
                entries.append((name, mode, 0, 0, 0, 0))
            elif mode & 0o170000 in {0o100000, 0o120000}:
                entries.append((name, mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    entries.sort()
    return pack(entries)
