"""``--kernel-without CALL``: all tests of the run see a kernel that answers ENOSYS to a system call.

A filter is put upon pytest itself before anything is started, so that whatever descends from it is under it, programs with a
cleared environment and setuid ones as well. That takes root, who need not forbid new privileges for it (seccomp(2)).
"""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from carboy.linux import seccomp

VARIABLE = "CARBOY_TEST_KERNEL_WITHOUT"
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ENOSYS, ALLOW = 0x0005_0000 | 38, 0x7FFF_0000


def has(call: str) -> bool:
    """Return whether the kernel that this run sees has a call."""
    return call not in os.environ.get(VARIABLE, "").split(",")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel-without", metavar="CALL", default="", help="answer ENOSYS to a system call, everywhere")


def pytest_configure(config: pytest.Config) -> None:
    call = config.getoption("--kernel-without")
    if not call or not has(call):
        return
    if os.getuid() != 0:
        raise pytest.UsageError("--kernel-without needs root")
    number = seccomp.find_numbers(os.uname().machine)[call]
    steps = [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, ENOSYS), (RETURN, 0, 0, ALLOW)]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(steps), program)), 0, 0):
        raise pytest.UsageError(f"--kernel-without: {os.strerror(ctypes.get_errno())}")
    os.environ[VARIABLE] = call
