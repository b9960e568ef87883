"""Capabilities of a process by name. Source: capabilities(7), capset(2)."""

from __future__ import annotations

import ctypes
import os

from carboy.linux.libc import LIBC, check, syscall

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE",
    "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(NAMES)}

PR_CAPBSET_DROP = 24
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def parse_capability(text: str) -> str:
    """Return the name without its prefix, in capitals. Raises ``ValueError`` for one that Linux does not have."""
    name = text.upper().removeprefix("CAP_")
    if name not in NUMBERS:
        raise ValueError(f"there is no capability {text!r}")
    return name


def mask(names: frozenset[str]) -> int:
    """Return the capabilities as the bits that /proc/PID/status shows."""
    return sum(1 << NUMBERS[name] for name in names)


def drop_bounding(keep: frozenset[str]) -> None:
    """Take everything but ``keep`` from the bounding set, for good. Raises ``OSError``."""
    zero = ctypes.c_ulong(0)
    with open("/proc/sys/kernel/cap_last_cap", "rb") if os.path.exists("/proc/sys/kernel/cap_last_cap") else open(os.devnull, "rb") as file:
        last = int(file.read().strip() or len(NAMES) - 1)
    kept = {NUMBERS[name] for name in keep}
    for number in range(last + 1):
        if number not in kept:
            check(LIBC.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), zero, zero, zero), "prctl(PR_CAPBSET_DROP)", number)


def keep_across_setuid(value: bool) -> None:  # noqa: FBT001
    """Keep, or no longer keep, the permitted set when this process changes from uid 0 to another."""
    zero = ctypes.c_ulong(0)
    check(LIBC.prctl(PR_SET_KEEPCAPS, ctypes.c_ulong(int(value)), zero, zero, zero), "prctl(PR_SET_KEEPCAPS)")


def set_process(names: frozenset[str]) -> None:
    """Make ``names`` this process's permitted and effective sets, and empty the inheritable and ambient ones."""
    bits = mask(names)
    header = _Header(_VERSION_3, 0)
    data = (_Data * 2)(_Data(bits & 0xFFFFFFFF, bits & 0xFFFFFFFF, 0), _Data(bits >> 32, bits >> 32, 0))
    zero = ctypes.c_ulong(0)
    LIBC.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), zero, zero, zero)
    syscall("capset", ctypes.byref(header), ctypes.byref(data))
