"""Devices of the host that a container is given (``--device``).

As root a container gets a node of its own with the host's numbers, whose mode is the permissions that were asked for. Its
owner is an id that the container does not have, so nobody in there may change the mode or override it. A user cannot make
nodes: the host's own is bound, and opened with the rights that the caller has, which is checked.

Sources: mknod(2), user_namespaces(7), open_tree(2).
"""

from __future__ import annotations

import errno
import os

from carboy.linux import mounts
from carboy.runtime.native.report import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHARACTER, BLOCK = 0o020000, 0o060000


def open_devices(devices: list[dict[str, Any]]) -> list[int]:
    """Return a detached mount of one file for each device; called in the staging directory. Raises ``OSError``."""
    if any(device["make"] for device in devices):
        os.mkdir("devices", 0o700)
        # A file system of its own: the staging directory's is nodev.
        fd = mounts.new_mount("tmpfs", (("mode", "0700"), ("size", "64k")), attributes=mounts.MOUNT_ATTR_NOSUID)
        mounts.move_mount(fd, "devices")
        os.close(fd)
    result = []
    for index, device in enumerate(devices):
        Step.name = f"open the device {device['source']}"
        fd = mounts.open_tree(device["source"])
        status = os.fstat(fd)
        if status.st_mode & 0o170000 not in {CHARACTER, BLOCK}:
            raise OSError(errno.ENOTBLK, f"{device['source']} is not a device")
        if device["make"]:
            os.close(fd)
            fd = _make(f"devices/{index}", status, device)
        mounts.mount_setattr(fd, attr_set=mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC)
        result.append(fd)
    return result


def _make(path: str, status: os.stat_result, device: dict[str, Any]) -> int:
    mode = (0o444 if device["read"] else 0) | (0o222 if device["write"] else 0)
    os.mknod(path, status.st_mode & 0o170000 | mode, status.st_rdev)
    os.chmod(path, mode)
    return mounts.open_tree(path)


def check_access(devices: list[dict[str, Any]], fds: list[int]) -> None:
    """Raise ``OSError`` when the ids that the container will have may not open a device that is bound.

    Supplementary groups are gone by now: what a user reaches through one of them, their container does not.
    """
    for device, fd in zip(devices, fds, strict=True):
        wanted = (os.R_OK if device["read"] else 0) | (os.W_OK if device["write"] else 0)
        if not device["make"] and not os.access(f"/proc/self/fd/{fd}", wanted):
            Step.name = f"open the device {device['source']}"
            reason = "you reach it through a group, which your containers do not have; run as root"
            raise OSError(errno.EACCES, reason)
