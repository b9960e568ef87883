"""The C library, loaded once, and the one way in which its failures become ``OSError``.

Every module of this room is imported by the sandbox's stage program, where each import is paid at every start:
nothing beyond ``os``, ``errno`` and the C half of ``ctypes`` may be imported here.
"""

from __future__ import annotations

import errno
import os

from carboy.linux import foreign

LIBC = foreign.CDLL(None, use_errno=True)
LIBC.syscall.restype = foreign.c_long

_ENOSYS_FORCED = frozenset(os.environ.get("CARBOY_TEST_ENOSYS", "").split(","))

# System calls that glibc 2.36 has no wrapper for. Since Linux 5.0 new calls have one number on every architecture.
NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_MACHINE_NUMBERS = {
    "x86_64": {"pivot_root": 155, "keyctl": 250, "capset": 126, "seccomp": 317, "unshare": 272, "setns": 308},
    "aarch64": {"pivot_root": 41, "keyctl": 219, "capset": 91, "seccomp": 277, "unshare": 97, "setns": 268},
}


def number(name: str) -> int:
    """Return the number of a system call on this machine; raises ``OSError`` ENOSYS for one that it does not have."""
    found = NUMBERS.get(name) or _MACHINE_NUMBERS.get(os.uname().machine, {}).get(name)
    if found is None or name in _ENOSYS_FORCED:
        raise OSError(errno.ENOSYS, f"{name}: {os.strerror(errno.ENOSYS)}")
    return found


def check(result: int, call: str, *what: object) -> int:
    """Return ``result``, or raise the ``OSError`` of ``errno`` naming the call and what it was about."""
    if result >= 0:
        return result
    code = foreign.get_errno()
    about = " ".join(str(w) for w in what)
    raise OSError(code, f"{call}{' ' + about if about else ''}: {os.strerror(code)}")


def syscall(name: str, *arguments: object) -> int:
    """Make the system call ``name``; integers are passed at register width. Raises ``OSError``."""
    wide = [foreign.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(LIBC.syscall(foreign.c_long(number(name)), *wide), name)
