"""The system call filter: a profile kept as data, assembled into a BPF program, loaded into a process.

The profile is an allow list. A call that is dangerous in a container ends with EPERM; one that the list does not know, newer
than it perhaps, ends with ENOSYS, so that C libraries fall back to what they used before. Arguments are compared at the width
that the kernel uses, 32 bits, so that junk in the upper half changes nothing (the mistake of other sandboxes).

Sources: seccomp(2), BPF in linux/filter.h and linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import os

from carboy.linux.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Instruction = tuple[int, int, int, int]

LD_ABS, AND, JEQ, JGE, JA, RET = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EPERM, ENOSYS = 1, 38
OFFSET_NUMBER, OFFSET_ARCH, OFFSET_ARGS = 0, 4, 16
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

NAMESPACE_FLAGS = 0x7E020000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
SAFE_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK = 16, 17, 38, 40
SOCK_TYPE_MASK, SOCK_RAW, SOCK_PACKET = 0xF, 3, 10

# Calls that need several ids, or devices, and that succeed without effect where there is only one id: package managers
# check that they succeed, and everything that they would have changed belongs to the caller anyway.
EMULATED_FOR_ROOT = (
    "chown", "fchown", "lchown", "fchownat", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
    "setfsuid", "setfsgid", "setgroups", "capset", "mknod", "mknodat",
)  # fmt: skip
S_IFMT, S_IFCHR, S_IFBLK = 0o170000, 0o020000, 0o060000


def _ret(value: int) -> list[Instruction]:
    return [(RET, 0, 0, value)]


def _argument(index: int) -> Instruction:
    """Load the lower half of an argument; both machines known here are little-endian."""
    return (LD_ABS, 0, 0, OFFSET_ARGS + 8 * index)


def _refuse_if_equal(values: tuple[int, ...]) -> list[Instruction]:
    """EPERM when the accumulator is one of the values, else go on."""
    return [step for value in values for step in ((JEQ, 0, 1, value), (RET, 0, 0, ERRNO | EPERM))]


def _special_blocks() -> dict[str, list[Instruction]]:
    """The calls whose arguments decide. Every block ends in a return on each path."""
    return {
        "clone": [_argument(0), (AND, 0, 0, NAMESPACE_FLAGS), (JEQ, 1, 0, 0), *_ret(ERRNO | EPERM), *_ret(ALLOW)],
        "ioctl": [_argument(1), *_refuse_if_equal((TIOCSTI, TIOCLINUX)), *_ret(ALLOW)],
        "personality": [
            _argument(0),
            *[step for value in SAFE_PERSONALITIES for step in ((JEQ, 0, 1, value), (RET, 0, 0, ALLOW))],
            *_ret(ERRNO | EPERM),
        ],
        "socket": [
            _argument(0),
            *_refuse_if_equal((AF_PACKET, AF_ALG, AF_VSOCK)),
            (JEQ, 0, 1, AF_NETLINK),  # netlink sockets are of the raw type, and harmless
            *_ret(ALLOW),
            _argument(1),
            (AND, 0, 0, SOCK_TYPE_MASK),
            *_refuse_if_equal((SOCK_RAW, SOCK_PACKET)),
            *_ret(ALLOW),
        ],
    }


def _emulated(name: str) -> list[Instruction]:
    """Success without effect; for mknod only for devices, for fifos and plain files are made for real."""
    if name not in {"mknod", "mknodat"}:
        return _ret(ERRNO | 0)
    mode = _argument(1 if name == "mknod" else 2)
    test = [(JEQ, 1, 0, S_IFCHR), (JEQ, 0, 1, S_IFBLK)]
    return [mode, (AND, 0, 0, S_IFMT), *test, *_ret(ERRNO | 0), *_ret(ALLOW)]


def _rules(profile: Mapping[str, list[str]], numbers: Mapping[str, int], *, emulate_root: bool) -> dict[int, list[Instruction]]:
    blocks: dict[str, list[Instruction]] = dict.fromkeys(profile["allow"], _ret(ALLOW))
    blocks |= dict.fromkeys(profile["deny_eperm"], _ret(ERRNO | EPERM))
    blocks |= _special_blocks()
    if emulate_root:
        blocks |= {name: _emulated(name) for name in EMULATED_FOR_ROOT}
    return {numbers[name]: block for name, block in blocks.items() if name in numbers}


def _segments(rules: Mapping[int, list[Instruction]]) -> list[tuple[int, list[Instruction]]]:
    """Runs of numbers with the same fate: (first number, block), from 0 on, without gaps."""
    unknown = _ret(ERRNO | ENOSYS)
    result: list[tuple[int, list[Instruction]]] = []
    for number in range(max(rules) + 2):
        block = rules.get(number, unknown)
        if not result or result[-1][1] != block:
            result.append((number, block))
    return result


def _search(segments: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search for the segment that the accumulator lies in."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    low, high = _search(segments[:middle]), _search(segments[middle:])
    # Conditional jumps reach 255 instructions only; the unconditional one reaches everywhere.
    return [(JGE, 0, 1, segments[middle][0]), (JA, 0, 0, len(low)), *low, *high]


def assemble(
    profile: Mapping[str, list[str]], numbers: Mapping[str, int], *, arch: str, emulate_root: bool
) -> bytes:
    """Return the BPF program for a profile and a table of system call numbers; ``arch`` is x86_64 or aarch64."""
    program: list[Instruction] = [(LD_ABS, 0, 0, OFFSET_ARCH), (JEQ, 1, 0, AUDIT_ARCH[arch]), *_ret(ERRNO | ENOSYS)]
    program.append((LD_ABS, 0, 0, OFFSET_NUMBER))
    if arch == "x86_64":
        program += [(JGE, 0, 1, X32_BIT), *_ret(ERRNO | ENOSYS)]
    program += _search(_segments(_rules(profile, numbers, emulate_root=emulate_root)))
    if len(program) > 4096:
        raise ValueError(f"the filter has {len(program)} instructions; the kernel takes 4096")
    return b"".join(
        code.to_bytes(2, "little") + bytes((jt, jf)) + k.to_bytes(4, "little") for code, jt, jf, k in program
    )


def compile_profile(*, emulate_root: bool, arch: str | None = None) -> bytes:
    """Return the program of carboy's own profile for this machine (or ``arch``).

    Raises ``ValueError`` for a machine whose calls are not known: an unfiltered sandbox is never started.
    """
    import json

    from carboy.linux import numbers

    machine = arch or os.uname().machine
    tables = {"x86_64": numbers.X86_64, "aarch64": numbers.AARCH64}
    if machine not in tables:
        raise ValueError(f"the system calls of {machine} are not known")
    with open(os.path.join(os.path.dirname(__file__), "seccomp_profile.json"), "rb") as file:
        profile = json.loads(file.read())
    return assemble(profile, tables[machine], arch=machine, emulate_root=emulate_root)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load(program: bytes) -> None:
    """Filter this process and all that it becomes, for good; no_new_privs must be set. Raises ``OSError``."""
    header = _Program(len(program) // 8, program)
    syscall("seccomp", 1, 0, ctypes.byref(header))
