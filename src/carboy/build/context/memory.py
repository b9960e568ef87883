"""What was hashed before: digests of a context's files by what stat(2) says of them, in one file of the home's cache.

::

    cache/contexts/<hash of the folder's path>    marshal: (FORMAT, {folder: (entries, contents, leaves)}, {file: (entry,
    content)})

``entries`` is the marshalled list of :data:`Entry` in the order of their names, ``contents`` their contents' digests, 32
bytes each (zeros for folders), ``leaves`` one digest over all that are no folders. Comparing bytes is what makes 100,000
files a matter of reading their status. The file may be lost or damaged at any time: then everything is hashed again.
"""

from __future__ import annotations

import marshal
import os
from typing import TypeAlias

FORMAT = 1
# Without references, which depend on what else refers to a string: equal lists give equal bytes.
_MARSHAL = 2
MAX_BYTES = 512 * 2**20
# (name, mode, size in bytes, mtime and ctime in nanoseconds, inode); of a folder only name and mode, the rest is 0.
Entry: TypeAlias = "tuple[str, int, int, int, int, int]"
Remembered: TypeAlias = "tuple[bytes, bytes, bytes]"


def unpack(data: bytes) -> list[Entry]:
    """Return the entries that :func:`pack` packed."""
    entries: list[Entry] = marshal.loads(data)  # noqa: S302  from the caller's own home
    return entries


class Memory:
    """The digests of one context, by folder (its path below the context, "" for itself)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folders: dict[str, Remembered] = {}
        self._files: dict[str, tuple[Entry, bytes]] = {}
        self._changed = False

    @classmethod
    def read(cls, cache_dir: str, folder: str) -> Memory:
        """Return what is remembered of ``folder``: nothing, when there is no file, or it cannot be read."""
        import hashlib

        name = hashlib.sha256(os.fsencode(folder)).hexdigest()
        memory = cls(f"{cache_dir}/{name}")
        try:
            with open(memory._path, "rb") as file:
                if os.fstat(file.fileno()).st_size <= MAX_BYTES:
                    found = marshal.load(file)  # noqa: S302  from the caller's own home
                    if found[0] == FORMAT:
                        memory._folders, memory._files = dict(found[1]), dict(found[2])
                        os.utime(memory._path)  # for clean-up, which begins with what was not used for long
        except (OSError, ValueError, EOFError, TypeError, IndexError):
            pass
        return memory

    def get(self, folder: str) -> Remembered | None:
        """Return what is remembered of a folder."""
        return self._folders.get(folder)

    def put(self, folder: str, remembered: Remembered) -> None:
        """Remember a folder, in place of what was known of it."""
        self._folders[folder] = remembered
        self._changed = True

    def get_file(self, path: str, entry: Entry) -> bytes | None:
        """Return the digest of a file that was asked for by itself, if it is as it was."""
        known = self._files.get(path)
        return known[1] if known is not None and known[0] == entry else None

    def put_file(self, path: str, entry: Entry, content: bytes) -> None:
        """Remember a single file."""
        self._files[path] = (entry, content)
        self._changed = True

    def write(self) -> None:
        """Write the file, if anything is new; what cannot be written is not remembered, which is no error."""
        if not self._changed:
            return
        new = f"{self._path}.{os.urandom(6).hex()}"
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with open(new, "wb") as file:
                marshal.dump((FORMAT, self._folders, self._files), file, _MARSHAL)
            os.rename(new, self._path)
        except OSError:
            try:  # noqa: SIM105
                os.unlink(new)
            except OSError:
                pass
        self._changed = False
