"""Places for mounts that an image does not have, in a layer below all others: so that none of them becomes part of the new one.

Made in the step's own layer they would have to be found and removed again, after a program that may have exchanged what is
above them (CVE-2024-23652). Where an image hides the lower layers, the sandbox makes them in the step's layer after all;
they are removed when nothing runs any more.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from carboy.snapshots.merged import MergedRoot, find, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What the sandbox covers with file systems of its own.
_OWN = (b"dev", b"proc", b"sys")


class Stubs:
    """The missing places of a step's mounts: made in ``tree``, taken back from ``upper``."""

    def __init__(self, tree: str, lowers: Sequence[str]) -> None:
        self._tree = tree
        self._root = MergedRoot(lowers)
        self._made: list[tuple[list[bytes], int]] = []

    def make(self, folders: Iterable[str], files: Iterable[str]) -> None:
        """Make what is missing of these targets. Raises ``OSError``."""
        for target in folders:
            self._make(target, is_folder=True)
        for target in files:
            self._make(target, is_folder=False)

    def _make(self, target: str, *, is_folder: bool) -> None:
        wanted = split(os.fsencode(target))
        if not wanted or wanted[0] in _OWN:
            return
        where, missing = self._find(wanted)
        if not missing:
            return
        path = os.fsencode(self._tree)
        for count, part in enumerate([*where, *missing], 1):
            path += b"/" + part
            last = count == len(where) + len(missing)
            if os.path.lexists(path):
                continue
            if last and not is_folder:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            else:
                os.mkdir(path, 0o755)
                os.chmod(path, 0o755)  # noqa: S103  whatever the umask
        self._made.append(([*where, *missing], len(missing)))

    def _find(self, wanted: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return (where the part that is there really is, what is missing below it)."""
        where: list[bytes] = []
        with self._root.open() as root:
            for count in range(1, len(wanted) + 1):
                try:
                    with find(root, b"/".join(wanted[:count])) as place:
                        if place.entry is None:
                            return place.parts[:-1], [place.parts[-1], *wanted[count:]]
                        where = place.parts
                except OSError:
                    return where, wanted[count - 1 :]
        return where, []

    def remove(self, upper: str) -> None:
        """Remove from a step's layer what the sandbox made there after all, and is still empty."""
        for parts, missing in reversed(self._made):
            for count in range(missing):
                if not _remove_empty(upper, parts[: len(parts) - count]):
                    break


def _remove_empty(tree: str, parts: list[bytes]) -> bool:
    fd = os.open(tree, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        status = os.stat(parts[-1], dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(parts[-1], dir_fd=fd)
        elif stat.S_ISREG(status.st_mode) and not status.st_size and status.st_nlink == 1:
            os.unlink(parts[-1], dir_fd=fd)
        else:
            return False
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
