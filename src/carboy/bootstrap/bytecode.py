"""Compiled Python files of a base: the same in every build, and quick to check at run time."""

from __future__ import annotations

import os
import stat
import struct

_MAGIC_BYTES = 4
_CHECKED_HASH = 3
_HEADER = struct.Struct("<III")


def stamp_bytecode(tree_dir: str, *, mtime_cap: int) -> int:
    """Turn hash-checked .pyc files below ``tree_dir`` into time-checked ones and return how many there were.

    With SOURCE_DATE_EPOCH set, Debian's packages compile to files that hash their source at every import (PEP 552).
    The times of sources are as fixed as their hashes in a layer, and checking one is a stat. Links are not followed.
    """
    count = 0
    for _, _, files, folder in os.fwalk(tree_dir, topdown=True, follow_symlinks=False):
        for name in files:
            if name.endswith(".pyc") and _stamp(folder, name, mtime_cap):
                count += 1
    return count


def _stamp(folder: int, name: str, mtime_cap: int) -> bool:
    source = f"../{name.partition('.')[0]}.py"
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return False  # a link, or gone
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        header = os.pread(fd, 16, 0)
        if len(header) < 16 or int.from_bytes(header[_MAGIC_BYTES:8], "little") != _CHECKED_HASH:
            return False
        found = os.stat(source, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return False
        mtime_s = min(int(found.st_mtime), mtime_cap)
        os.pwrite(fd, _HEADER.pack(0, mtime_s & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF), _MAGIC_BYTES)
        return True
    except FileNotFoundError:
        return False  # compiled without its source beside it
    finally:
        os.close(fd)
