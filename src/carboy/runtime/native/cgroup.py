"""A control group for one container, where this process may make one: the limit on processes, as root.

::

    /sys/fs/cgroup/[pids/]carboy-<container id>/    locked (flock) by the stage program; free: its container is dead

v1 and v2 name the files of the same controller alike; only where the hierarchy lies differs. Where no group can be made,
RLIMIT_NPROC holds the limit alone, counted per user namespace since Linux 5.14. Source: cgroups(7).
"""

from __future__ import annotations

import fcntl
import os

ROOT = "/sys/fs/cgroup"
PREFIX = "carboy-"
_ATTEMPTS = 5


class Cgroup:
    """The group of one container; an empty one when none could be made."""

    __slots__ = ("_lock", "_path")

    def __init__(self, path: str | None, lock: int = -1) -> None:
        self._path = path
        self._lock = lock

    def add(self, pid: int) -> None:
        """Move a process into the group; what it forks from now on is in it too. Raises ``OSError``."""
        if self._path is not None:
            _write(f"{self._path}/cgroup.procs", str(pid))

    def remove(self) -> None:
        """Remove the group; its processes must have been reaped."""
        if self._path is not None:
            _remove(self._path)
            os.close(self._lock)
            self._path = None


def find_hierarchy(root: str = ROOT) -> str | None:
    """Return the directory below which groups with the pids controller can be made, or None."""
    if os.path.isdir(f"{root}/pids"):
        return f"{root}/pids"
    try:
        with open(f"{root}/cgroup.controllers", encoding="utf-8") as file:
            return root if "pids" in file.read().split() else None
    except OSError:
        return None


def open_cgroup(container_id: str, *, pids_limit: int, root: str = ROOT) -> Cgroup:
    """Make the group of a container with its limit set, or return an empty one where that is not allowed.

    Groups that dead containers left are removed first.
    """
    hierarchy = find_hierarchy(root)
    if hierarchy is None or not pids_limit:
        return Cgroup(None)
    remove_stale(hierarchy)
    path = f"{hierarchy}/{PREFIX}{container_id}"
    try:
        if hierarchy == root:
            _enable_controller(root)
        for _ in range(_ATTEMPTS):
            lock = _make(path)
            if lock is not None:
                break
        else:
            return Cgroup(None)
    except OSError:
        return Cgroup(None)
    try:
        _write(f"{path}/pids.max", str(pids_limit))
    except OSError:
        Cgroup(path, lock).remove()
        return Cgroup(None)
    return Cgroup(path, lock)


def _enable_controller(root: str) -> None:
    with open(f"{root}/cgroup.subtree_control", encoding="utf-8") as file:
        if "pids" in file.read().split():
            return
    _write(f"{root}/cgroup.subtree_control", "+pids")


def _make(path: str) -> int | None:
    """Make and lock a group; None when somebody's clean-up was faster between the two."""
    os.mkdir(path, 0o755)
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(path)
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        _remove(path)
        return None
    return lock


def remove_stale(hierarchy: str) -> None:
    """Remove the groups whose container died without removing them; one that still holds processes stays."""
    try:
        names = [name for name in os.listdir(hierarchy) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        path = f"{hierarchy}/{name}"
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _remove(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        return


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
