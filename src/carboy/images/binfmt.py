"""Programs of other processors: which the kernel runs itself, and which through an interpreter (binfmt_misc).

Source: Linux, Documentation/admin-guide/binfmt-misc.rst. Nothing is registered here: that is the machine's business.
"""

from __future__ import annotations

import os
import struct

FOLDER = "/proc/sys/fs/binfmt_misc"
_MAX_BYTES = 16_384
_MAX_ENTRIES = 200
# Class, byte order and e_machine of the ELF header of each architecture, by Go's names (elf.h).
_HEADERS = {
    "386": (1, 1, 3),
    "amd64": (2, 1, 62),
    "arm": (1, 1, 40),
    "arm64": (2, 1, 183),
    "ppc64le": (2, 1, 21),
    "riscv64": (2, 1, 243),
    "s390x": (2, 2, 22),
}
# What a processor runs besides its own, where the kernel was built so.
_NATIVE = {"amd64": ("386",), "arm64": ("arm",)}
QEMU = {"386": "i386", "amd64": "x86_64", "arm": "arm", "arm64": "aarch64"}
PACKAGE = "qemu-user-static"


class Interpreter:
    """What binfmt_misc starts for a kind of program: ``path``, and ``fixed``: opened when it was registered (flag F).

    One that is not fixed is looked for inside of the container, where it is not.
    """

    __slots__ = ("fixed", "path")

    def __init__(self, *, path: str, fixed: bool) -> None:
        self.path = path
        self.fixed = fixed


def make_header(architecture: str) -> bytes:
    """Return the first bytes of a program of an architecture (ELF, e_type ET_EXEC); b"" for one that is not known."""
    found = _HEADERS.get(architecture)
    if found is None:
        return b""
    width, order, machine = found
    return b"\x7fELF" + bytes((width, order, 1)) + bytes(9) + struct.pack("<HH" if order == 1 else ">HH", 2, machine)


def parse_entry(text: str, header: bytes) -> Interpreter | None:
    """Return the interpreter of an entry's file, None unless it is enabled and for programs that begin with ``header``. Pure."""
    lines = text.splitlines()
    fields = dict(line.partition(" ")[::2] for line in lines[1:])
    if lines[:1] != ["enabled"] or "magic" not in fields:
        return None
    try:
        magic = bytes.fromhex(fields["magic"])
        mask = bytes.fromhex(fields["mask"]) if fields.get("mask") else b"\xff" * len(magic)
        offset = int(fields.get("offset", "0"))
    except ValueError:
        return None
    part = header[offset : offset + len(magic)]
    if len(part) < len(magic) or len(mask) != len(magic):
        return None
    if any((have ^ want) & bit for have, want, bit in zip(part, magic, mask, strict=True)):
        return None
    return Interpreter(path=fields.get("interpreter", ""), fixed="F" in fields.get("flags:", ""))


def find_interpreter(architecture: str, *, folder: str = FOLDER) -> Interpreter | None:
    """Return what this machine starts programs of an architecture with, a fixed one before others; None for nothing."""
    header = make_header(architecture)
    try:
        names = sorted(os.listdir(folder))[:_MAX_ENTRIES] if header else []
        with open(f"{folder}/status", encoding="ascii") as file:
            if file.read(20).strip() != "enabled":
                return None
    except OSError:
        return None
    found = None
    for name in names:
        if name in {"register", "status"}:
            continue
        try:
            with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
                entry = parse_entry(file.read(_MAX_BYTES), header)
        except OSError:
            continue
        if entry is not None and entry.fixed:
            return entry
        found = found or entry
    return found


def explain_missing(architecture: str, *, machine: str, folder: str = FOLDER) -> tuple[str, str]:
    """Return why programs of an architecture do not run on a ``machine`` of another, and what to do; ("", "") when they do."""
    if architecture == machine or architecture in _NATIVE.get(machine, ()):
        return "", ""
    found = find_interpreter(architecture, folder=folder)
    if found is not None and found.fixed:
        return "", ""
    emulator = f"qemu-{QEMU.get(architecture, architecture)}"
    if found is not None:
        return (
            f"{found.path} would run them, but is looked for inside of the container (binfmt_misc without the flag F)",
            f"install Debian's {PACKAGE}, which registers {emulator}-static so that containers have it",
        )
    if not os.path.exists(f"{folder}/status"):
        return (
            f"binfmt_misc is not mounted at {folder}",
            f"install {PACKAGE} (Debian, Ubuntu), and `mount -t binfmt_misc binfmt_misc {folder}`",
        )
    return (
        "no emulator is registered with binfmt_misc",
        f"install {PACKAGE} (Debian, Ubuntu), which registers {emulator}-static with the flag F",
    )
