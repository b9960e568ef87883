"""Another file over one of a container that runs: what its resolv.conf says when its network changes. For root.

The new file is a mount of its own over the place, so nothing that the container could have put there is written to: the
place is looked up inside the container's root, where its links lead (hardening: no path of a container is followed outside).
"""

from __future__ import annotations

import os

from carboy.linux import mounts, namespaces, process
from carboy.runtime.native.files import open_below, write_file
from carboy.runtime.spec import ROOT_TIER_FIRST_ID

TYPE_CHECKING = False

SIGKILL = 9
_READ_ONLY = (
    mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC | mounts.MOUNT_ATTR_RDONLY
)  # fmt: skip


def cover_file(pidfd: int, path: str, content: bytes, *, staging: str) -> None:
    """Put a read-only file that lives in memory over ``path`` of the container in whose namespaces the process stands.

    ``staging`` is a folder of the caller's, over which the file lies for a moment in a mount namespace of this call's own.
    To be called by a process of one thread. Raises ``OSError``; then nothing has changed.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            process.set_parent_death_signal(SIGKILL)
            _cover(pidfd, path, content, staging)
            os.write(write, b"0 done")
        except OSError as error:
            os.write(write, f"{error.errno or 0} {error.strerror}".encode()[:4096])
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        code, _, reason = file.read().decode(errors="replace").partition(" ")
    os.waitpid(child, 0)
    if code != "0" or reason != "done":
        raise OSError(int(code or 0), reason or "it ended half-way")


def _cover(pidfd: int, path: str, content: bytes, staging: str) -> None:
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    tmpfs = mounts.new_mount("tmpfs", (("mode", "0755"), ("size", "64k"), ("nr_inodes", "8")))
    mounts.move_mount(tmpfs, staging)
    name = f"{staging}/file"
    write_file(name, content, 0o644)
    os.chown(name, ROOT_TIER_FIRST_ID, ROOT_TIER_FIRST_ID)  # root's, as the container sees it
    file = mounts.open_tree(name)
    mounts.mount_setattr(file, attr_set=_READ_ONLY)
    namespaces.setns(pidfd, namespaces.CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    target = open_below(root, path)
    mounts.move_mount(file, "", target_fd=target)
