"""Opening below a directory that somebody else fills, and flushing a file system.

Sources: openat2(2), syncfs(2).
"""

from __future__ import annotations

import errno
import os

from carboy.linux import foreign
from carboy.linux.libc import LIBC, check, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10


class _OpenHow(foreign.Structure):
    _fields_ = (("flags", foreign.c_uint64), ("mode", foreign.c_uint64), ("resolve", foreign.c_uint64))


# A ".." is refused with EAGAIN whenever anything on the machine was renamed or mounted meanwhile: openat2(2).
MAX_TRIES = 1000


def openat2(dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` below ``dirfd`` under the restrictions ``resolve`` and return the descriptor.

    Raises ``OSError``: ENOSYS before Linux 5.6, EXDEV or ELOOP when the path leaves what ``resolve`` allows.
    """
    how = _OpenHow(flags, mode, resolve)
    for _ in range(MAX_TRIES):
        try:
            return syscall("openat2", dirfd, foreign.c_char_p(path), foreign.byref(how), foreign.sizeof(how))
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, f"openat2: something keeps moving below {os.fsdecode(path)}")


def syncfs(fd: int) -> None:
    """Write everything of the file system that ``fd`` lies on to its device. Raises ``OSError``."""
    check(LIBC.syncfs(fd), "syncfs")
