"""What a process may do to itself. Sources: prctl(2), close_range(2), keyctl(2), sethostname(2)."""

from __future__ import annotations

import errno
import os

from carboy.linux import foreign
from carboy.linux.libc import LIBC, check, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 0x4
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
KEYCTL_JOIN_SESSION_KEYRING = 1


def _prctl(option: int, value: int, name: str) -> None:
    zero = foreign.c_ulong(0)
    check(LIBC.prctl(option, foreign.c_ulong(value), zero, zero, zero), name, value)


def set_parent_death_signal(signal: int) -> None:
    """Ask for ``signal`` when the parent dies. Forgotten by the kernel at each change of credentials."""
    _prctl(PR_SET_PDEATHSIG, signal, "prctl(PR_SET_PDEATHSIG)")


def set_child_subreaper() -> None:
    """Become the parent of orphans among this process's descendants, instead of the first process."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1, "prctl(PR_SET_CHILD_SUBREAPER)")


def set_dumpable(value: bool) -> None:
    """Allow or forbid others to look into this process through /proc and ptrace."""
    _prctl(PR_SET_DUMPABLE, int(value), "prctl(PR_SET_DUMPABLE)")


def set_no_new_privileges() -> None:
    """Make execve(2) grant nothing: set-user-id bits and file capabilities are without effect from here on."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1, "prctl(PR_SET_NO_NEW_PRIVS)")


def set_name(name: str) -> None:
    """Set the name that ps(1) shows for this process (15 bytes)."""
    LIBC.prctl(PR_SET_NAME, foreign.c_char_p(name.encode()[:15]), 0, 0, 0)


def set_command_line(text: str) -> None:
    """Replace what ps(1) shows as this process's arguments, which may name places of the host; never longer than they are."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end: fields 48 and 49 of proc(5)
    if end > start:
        data = text.encode()[: end - start - 1]
        LIBC.memset(foreign.c_ulong(start), 0, foreign.c_size_t(end - start))
        LIBC.memcpy(foreign.c_ulong(start), data, foreign.c_size_t(len(data)))


def join_new_session_keyring() -> None:
    """Leave the caller's keys behind. Raises ``OSError``."""
    syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, foreign.c_char_p(None), 0, 0, 0)


def set_host_name(name: str) -> None:
    """Set the host name of this UTS namespace. Raises ``OSError``."""
    data = name.encode()
    check(LIBC.sethostname(foreign.c_char_p(data), foreign.c_size_t(len(data))), "sethostname", name)


def close_from(first: int) -> None:
    """Close every descriptor from ``first`` on."""
    try:
        syscall("close_range", first, 2**32 - 1, 0)
    except OSError:
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def mark_close_on_exec(first: int) -> None:
    """Mark every descriptor from ``first`` on to be closed by execve(2)."""
    try:
        syscall("close_range", first, 2**32 - 1, 4)
    except OSError:
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                try:
                    os.set_inheritable(int(name), False)
                except OSError:
                    continue


class creating_as:  # noqa: N801
    """In the block this thread makes files as ``uid`` and ``gid``, with the capabilities that it has.

    A file system that was mounted in a user namespace refuses new files of ids that are not its own, whoever asks:
    EOVERFLOW. Changing the id would take capabilities away, unless a securebit says otherwise. Sources: setfsuid(2),
    capabilities(7). Raises ``OSError``.
    """

    __slots__ = ("_bits", "_ids")

    def __init__(self, uid: int, gid: int) -> None:
        self._ids = (uid, gid)
        self._bits = -1

    def __enter__(self) -> None:
        zero = foreign.c_ulong(0)
        self._bits = check(LIBC.prctl(PR_GET_SECUREBITS, zero, zero, zero, zero), "prctl(PR_GET_SECUREBITS)")
        _prctl(PR_SET_SECUREBITS, self._bits | SECBIT_NO_SETUID_FIXUP, "prctl(PR_SET_SECUREBITS)")
        self._set(*self._ids)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._set(os.geteuid(), os.getegid())
        _prctl(PR_SET_SECUREBITS, self._bits, "prctl(PR_SET_SECUREBITS)")

    @staticmethod
    def _set(uid: int, gid: int) -> None:
        for call, number in ((LIBC.setfsgid, gid), (LIBC.setfsuid, uid)):
            call(foreign.c_int(number))
            if call(foreign.c_int(-1)) != number:  # the way to ask: these calls report no failure
                raise OSError(errno.EPERM, f"files cannot be made as {number}")
