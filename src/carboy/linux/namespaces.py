"""Namespaces and the id maps of user namespaces. Sources: namespaces(7), user_namespaces(7), unshare(2), setns(2)."""

from __future__ import annotations

import os

from carboy.linux.libc import syscall

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def unshare(flags: int) -> None:
    """Move this process into new namespaces (a new pid namespace: its next children). Raises ``OSError``."""
    syscall("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Move this process into the namespace ``fd`` of the given kind. Raises ``OSError``."""
    syscall("setns", fd, kind)


def encode_id_map(extents: list[tuple[int, int, int]]) -> bytes:
    """Return the text of an id map: (id inside, id outside, count) per line.

    Raises ``ValueError`` for what the kernel would refuse or misread: no extent, over 340, overlaps, ids past 2^32-2.
    """
    if not 1 <= len(extents) <= 340:
        raise ValueError(f"an id map has 1 to 340 extents, not {len(extents)}")
    for side in (0, 1):
        taken = sorted((extent[side], extent[side] + extent[2]) for extent in extents)
        for first, end in taken:
            if first < 0 or end <= first or end > 2**32 - 1:
                raise ValueError(f"the ids {first} to {end - 1} are not ids")
        if any(a[1] > b[0] for a, b in zip(taken, taken[1:], strict=False)):  # noqa: RUF007
            raise ValueError("the extents of an id map overlap")
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in extents).encode()


def read_identity_map(path: str) -> list[tuple[int, int, int]]:
    """Return the map that gives a child namespace the ids of this one under the same numbers.

    An extent of a map must lie within one extent of the parent's, so the parent's are kept apart. Raises ``OSError``.
    """
    with open(path, "rb") as file:
        rows = [line.split() for line in file.read().splitlines()]
    return [(int(row[0]), int(row[0]), int(row[2])) for row in rows]


def write_id_maps(
    pid: int, uids: list[tuple[int, int, int]], gids: list[tuple[int, int, int]], *, deny_setgroups: bool
) -> None:
    """Write the maps of the user namespace of ``pid`` and read them back. Raises ``OSError`` or ``ValueError``.

    ``deny_setgroups`` is for a writer without privilege over its groups: the kernel then asks for it (CVE-2014-8989).
    """
    if deny_setgroups:
        _write(f"/proc/{pid}/setgroups", b"deny")
    for name, extents in (("gid_map", gids), ("uid_map", uids)):
        path = f"/proc/{pid}/{name}"
        _write(path, encode_id_map(extents))
        with open(path, "rb") as file:
            seen = [tuple(map(int, line.split())) for line in file.read().splitlines()]
        if sorted(seen) != sorted(extents):
            raise ValueError(f"the kernel took {seen} for the {name} {extents}")


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
