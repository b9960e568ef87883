"""A control group for one container, where this process may make one: the limit on processes, as root.

Source: cgroups(7). v1 and v2 name the same controller's files alike; only where the hierarchy lies differs. Without the
right, RLIMIT_NPROC holds the same limit, counted per user namespace since Linux 5.14.
"""

from __future__ import annotations

import os
import time

ROOT = "/sys/fs/cgroup"
FOLDER = "carboy"


class Cgroup:
    """The group of one container; empty when none could be made.

    There are two ways into it. A thread moves itself by ``tasks`` (v1) in no time. A process is moved by ``procs`` (v2) when
    no process of the machine is in the middle of a fork or an exit, which the kernel waits for: some ten milliseconds.
    Source: cgroup_procs_write_start() in kernel/cgroup/cgroup.c, which takes no such lock for a thread alone since 5.5.
    """

    __slots__ = ("_path", "procs", "tasks")

    def __init__(self, path: str | None, *, unified: bool = False) -> None:
        self._path = path
        self.procs: tuple[str, ...] = (f"{path}/cgroup.procs",) if path is not None and unified else ()
        self.tasks: tuple[str, ...] = () if path is None or unified else (f"{path}/tasks",)

    def join(self) -> None:
        """Move the calling thread, the only one of its process, where that is possible. Raises ``OSError``."""
        for path in self.tasks:
            _write(path, "0")

    def remove(self) -> None:
        """Remove the group; the kernel may need a moment after its last process was reaped."""
        if self._path is None:
            return
        for _ in range(50):
            try:
                os.rmdir(self._path)
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.01)
            else:
                return


def find_hierarchy(root: str = ROOT) -> str | None:
    """Return the directory below which groups with the pids controller can be made, or None."""
    if os.path.isdir(f"{root}/pids"):
        return f"{root}/pids"
    try:
        with open(f"{root}/cgroup.controllers", encoding="ascii") as file:
            return root if "pids" in file.read().split() else None
    except OSError:
        return None


def open_cgroup(container_id: str, *, pids_limit: int, root: str = ROOT) -> Cgroup:
    """Make the group of a container with its limit set, or return an empty one where that is not allowed."""
    hierarchy = find_hierarchy(root)
    if hierarchy is None or not pids_limit:
        return Cgroup(None)
    path = f"{hierarchy}/{FOLDER}/{container_id}"
    try:
        os.makedirs(f"{hierarchy}/{FOLDER}", mode=0o755, exist_ok=True)
        if hierarchy == root:
            _write(f"{root}/cgroup.subtree_control", "+pids")
            _write(f"{root}/{FOLDER}/cgroup.subtree_control", "+pids")
        os.mkdir(path, 0o755)
        _write(f"{path}/pids.max", str(pids_limit))
    except OSError:
        Cgroup(path).remove() if os.path.isdir(path) else None
        return Cgroup(None)
    return Cgroup(path, unified=hierarchy == root)


def remove_cgroup(container_id: str, root: str = ROOT) -> None:
    """Remove the group of a container whose stage program could not; one that is not there is as good."""
    hierarchy = find_hierarchy(root)
    if hierarchy is not None:
        Cgroup(f"{hierarchy}/{FOLDER}/{container_id}").remove()


def join(container_id: str, root: str = ROOT) -> None:
    """Move this process, which has one thread, into the group of a container; without a group nothing is to be done.

    Raises ``OSError`` when there is a group that cannot be joined.
    """
    hierarchy = find_hierarchy(root)
    path = f"{hierarchy}/{FOLDER}/{container_id}"
    if hierarchy is None or not os.path.isdir(path):
        return
    # "0" to `tasks` moves this thread alone, for which the kernel need not stop every fork of the machine for a moment.
    _write(f"{path}/cgroup.procs" if hierarchy == root else f"{path}/tasks", "0")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
