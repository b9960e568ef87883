"""Capabilities of a process, by name and without the prefix. Source: capabilities(7), capset(2), prctl(2)."""

from __future__ import annotations

import errno

from carboy.linux import foreign
from carboy.linux.libc import LIBC, check, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(NAMES)}
ALL = frozenset(NAMES)

PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522
_WORD = 0xFFFFFFFF


class _Header(foreign.Structure):
    _fields_ = (("version", foreign.c_uint32), ("pid", foreign.c_int))


class _Data(foreign.Structure):
    _fields_ = (("effective", foreign.c_uint32), ("permitted", foreign.c_uint32), ("inheritable", foreign.c_uint32))


# --- names --------------------------------------------------------------------------------------------------------


def parse_capability(text: str) -> str:
    """Return the name without its prefix, in capitals. Raises ``ValueError`` for one that Linux does not have."""
    name = text.upper().removeprefix("CAP_")
    if name not in NUMBERS:
        raise ValueError(f"there is no capability {text!r}")
    return name


def parse(names: Iterable[str]) -> frozenset[str]:
    """Return the set of these capabilities; "ALL" stands for every one. Raises ``ValueError``."""
    found: set[str] = set()
    for text in names:
        found |= ALL if text.upper() == "ALL" else {parse_capability(text)}
    return frozenset(found)


def mask(names: frozenset[str]) -> int:
    """Return the capabilities as the bits that /proc/PID/status shows."""
    return sum(1 << NUMBERS[name] for name in names)


def from_mask(bits: int) -> frozenset[str]:
    """Return the names of the bits; bits that are newer than this table are left out."""
    return frozenset(name for name, number in NUMBERS.items() if bits >> number & 1)


def read_sets(pid: int | str = "self") -> dict[str, int]:
    """Return the five sets of a process as bits: inheritable, permitted, effective, bounding, ambient."""
    keys = {
        "CapInh": "inheritable",
        "CapPrm": "permitted",
        "CapEff": "effective",
        "CapBnd": "bounding",
        "CapAmb": "ambient",
    }
    sets = {}
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key in keys:
                sets[keys[key]] = int(value.strip(), 16)
    return sets


# --- this process -------------------------------------------------------------------------------------------------


def _prctl(option: int, first: int, second: int = 0) -> int:
    # The kernel refuses some of these when the arguments not in use are anything but zero at register width.
    zero = foreign.c_ulong(0)
    result: int = LIBC.prctl(option, foreign.c_ulong(first), foreign.c_ulong(second), zero, zero)
    return result


def drop_bounding(keep: frozenset[str]) -> None:
    """Take everything but ``keep`` from the bounding set, for good; needs SETPCAP. Raises ``OSError``.

    The kernel is asked, not a table, up to which number there are capabilities: newer ones go as well.
    """
    bits = mask(keep)
    option, value, zero = foreign.c_int(PR_CAPBSET_DROP), foreign.c_ulong(0), foreign.c_ulong(0)
    prctl = LIBC.prctl
    for number in range(64):  # the width of the sets
        if bits >> number & 1:
            continue
        value.value = number
        if prctl(option, value, zero, zero, zero) < 0:
            if foreign.get_errno() == errno.EINVAL and _prctl(PR_CAPBSET_READ, number) < 0:
                return  # there is no such capability, and none behind it
            check(-1, "prctl(PR_CAPBSET_DROP)", number)


def clear_ambient() -> None:
    """Empty the ambient set. Raises ``OSError``; a kernel without ambient capabilities (before 4.3) is fine."""
    if _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL) < 0 and foreign.get_errno() != errno.EINVAL:
        check(-1, "prctl(PR_CAP_AMBIENT)")


def keep_across_setuid(value: bool) -> None:
    """Keep, or no longer keep, the permitted set when this process changes from uid 0 to another."""
    check(_prctl(PR_SET_KEEPCAPS, int(value)), "prctl(PR_SET_KEEPCAPS)")


def set_process(names: frozenset[str]) -> None:
    """Make ``names`` this thread's permitted and effective sets, and empty the inheritable and ambient ones."""
    clear_ambient()
    bits = mask(names)
    header = _Header(_VERSION_3, 0)
    data = (_Data * 2)(_Data(bits & _WORD, bits & _WORD, 0), _Data(bits >> 32, bits >> 32, 0))
    syscall("capset", foreign.byref(header), foreign.byref(data))
