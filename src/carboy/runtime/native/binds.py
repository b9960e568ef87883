"""The host's files and folders that a container is given: opened once, mapped, restricted, and read back.

A source is looked up by its path exactly once. From then on it is its descriptor, so that exchanging a part of the path for
a link changes nothing (CVE-2021-30465), and what is checked is what is mounted. Sources: open_tree(2), mount_setattr(2).
"""

from __future__ import annotations

import errno
import os

from carboy.linux import mounts
from carboy.runtime.native.report import Step
from carboy.runtime.spec import ROOT_TIER_COUNT, ROOT_TIER_FIRST_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Extents = list[tuple[int, int, int]]

_TYPE, _FOLDER, _FILE = 0o170000, 0o040000, 0o100000
_DEVICES = (0o020000, 0o060000)
_PATH = os.O_PATH | os.O_CLOEXEC


def open_binds(
    binds: list[dict[str, Any]], user_namespace: int | None, map_ids: Callable[[Extents, Extents], int]
) -> list[int]:
    """Return a detached mount for each bind, in their order, mapped and restricted as asked.

    ``user_namespace`` (None: ids are not mapped in this tier) has the container's map; ``map_ids`` makes one with other maps.
    Says of each bind whether it is a "directory". Raises ``OSError``: also when a restriction did not take effect.
    """
    result = []
    for bind in binds:
        Step.name = f"bind {bind['source']}"
        source = os.open(bind["source"], _PATH)
        try:
            status = os.fstat(source)
            if status.st_mode & _TYPE in _DEVICES:
                raise OSError(errno.ENODEV, "a device cannot be used through a bind mount; --device gives one")
            bind["directory"] = status.st_mode & _TYPE == _FOLDER
            if bind["outside"]:
                check_outside(source, bind["outside"])
            fd = _clone(source, recursive=bind["recursive"])
        finally:
            os.close(source)
        if user_namespace is not None:
            _map(fd, bind, status, user_namespace, map_ids)
        mounts.mount_setattr(fd, attr_set=bind["attributes"], recursive=bind["recursive"])
        # The flags of statvfs(3) have the numbers of mount_setattr(2)'s. What is mounted below is read back when attached.
        missing = bind["attributes"] & ~os.fstatvfs(fd).f_flag & mounts.ATTRIBUTE_MASK
        if missing:
            raise OSError(0, f"the mount did not take the restrictions {missing:#x}")
        result.append(fd)
    return result


def _clone(source: int, *, recursive: bool) -> int:
    try:
        return mounts.open_tree("", dirfd=source, recursive=recursive)
    except OSError as error:
        if error.errno == errno.EINVAL and not recursive:
            reason = "what is mounted below it cannot be left out here: it would show what it hides"
            raise OSError(errno.EINVAL, reason) from error
        raise


def _map(
    fd: int, bind: dict[str, Any], status: os.stat_result, namespace: int, map_ids: Callable[[Extents, Extents], int]
) -> None:
    if bind["idmap"] == "none":
        return
    own = -1
    if bind["idmap"] == "owner":
        uid, gid = bind["user"]
        own = namespace = map_ids(plan_exchange(status.st_uid, uid), plan_exchange(status.st_gid, gid))
    try:
        mounts.mount_setattr(fd, attr_set=mounts.MOUNT_ATTR_IDMAP, userns_fd=namespace, recursive=bind["recursive"])
    except OSError as error:
        # Unmapped, the host's files are nobody's in the container: less to see than asked for, and nothing to write.
        if error.errno == errno.EINVAL and bind["idmap"] == "ids" and bind["attributes"] & mounts.MOUNT_ATTR_RDONLY:
            return
        if error.errno == errno.EINVAL:
            reason = (
                "its file system, or one mounted below it, cannot map owners; mount it read-only, or with idmap=none"
            )
            raise OSError(errno.EINVAL, reason) from error
        raise
    finally:
        if own >= 0:
            os.close(own)


def plan_exchange(owner: int, user: int) -> Extents:
    """Return an id map (disk, host, count): the container's ids are the disk's, but ``owner`` and ``user`` trade places.

    An ``owner`` beyond what a container has is ``user`` in there, and ``user``'s own files are nobody's. Pure.
    """
    extents: Extents = []
    edges = {0, owner, owner + 1, user, user + 1, ROOT_TIER_COUNT}
    points = sorted(edge for edge in edges if edge <= ROOT_TIER_COUNT)
    for first, end in zip(points, points[1:], strict=False):  # noqa: RUF007
        if first == user != owner:
            if owner < ROOT_TIER_COUNT:
                extents.append((first, ROOT_TIER_FIRST_ID + owner, 1))
        elif first == owner:
            extents.append((first, ROOT_TIER_FIRST_ID + user, 1))
        else:
            extents.append((first, ROOT_TIER_FIRST_ID + first, end - first))
    if owner >= ROOT_TIER_COUNT:
        extents.append((owner, ROOT_TIER_FIRST_ID + user, 1))
    return extents


def check_outside(source: int, folder: str) -> None:
    """Raise ``OSError`` EPERM when the open ``source`` lies in ``folder`` or contains it: by identity, not by name.

    By name "/data" is a part of "/database", and a link or a second mount has any name (CVE-2026-48785).
    """
    try:
        own = os.open(folder, _PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        for inner, outer in ((source, own), (own, source)):
            if _is_within(inner, outer):
                reason = f"it is a part of {folder}, or contains it: a container must not see what carboy keeps there"
                raise OSError(errno.EPERM, reason)
    finally:
        os.close(own)


def _is_within(inner: int, outer: int) -> bool:
    """Return whether the walk from ``inner`` up to / passes ``outer``."""
    wanted = _identity(outer)
    if _identity(inner) == wanted:
        return True
    if os.fstat(inner).st_mode & _TYPE != _FOLDER:
        # A file has no "..": the folder that it was found in is the one that the kernel names.
        path = os.readlink(f"/proc/self/fd/{inner}")
        if not path.startswith("/"):
            return False
        fd = os.open(os.path.dirname(path), _PATH | os.O_DIRECTORY)
    else:
        fd = os.dup(inner)
    try:
        while (here := _identity(fd)) != wanted:
            above = os.open("..", _PATH | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = above
            if here == _identity(fd):  # the root is its own parent
                return False
        return True
    finally:
        os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
