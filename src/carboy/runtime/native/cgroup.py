"""The control groups of one container: made, joined and removed as ``cgroups.plan`` says.

Part of the stage program, so small. A plan travels as plain tuples: (folder, enable, evacuate, inherit, settings) for each
directory, as :class:`carboy.runtime.native.cgroups.plan.Group` explains them.

Source: cgroups(7).
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    GroupTuple = tuple[str, tuple[str, ...], bool, tuple[str, ...], tuple[tuple[str, str, str], ...]]

ROOT = "/sys/fs/cgroup"
FOLDER = "carboy"
# Where groups may have been added while the container ran: for `pause` and `update`, on a machine with v1.
ADDED_LATER = ("blkio", "cpu", "cpuacct", "cpuset", "freezer", "memory", "pids")
# Where processes go that are in the way of a delegated group's controllers: see prepare_folder.
EVACUATED = "carboy-callers"


class LimitError(OSError):
    """A setting that the kernel refused; ``strerror`` names it."""


class Cgroup:
    """The groups of one container; none when none were made. ``v1`` and ``v2`` are their directories.

    There are two ways into them. A thread moves itself by ``tasks`` (v1) in no time. A process is moved by ``procs`` (v2)
    when no process of the machine is in the middle of a fork or an exit, which the kernel waits for: some ten milliseconds.
    Source: cgroup_procs_write_start() in kernel/cgroup/cgroup.c, which takes no such lock for a thread alone since 5.5.
    """

    __slots__ = ("_id", "_paths", "procs", "tasks")

    def __init__(self, container_id: str, *, v1: Sequence[str] = (), v2: Sequence[str] = ()) -> None:
        self._id = container_id
        self._paths = (*v1, *v2)
        self.procs: tuple[str, ...] = tuple(f"{path}/cgroup.procs" for path in v2)
        self.tasks: tuple[str, ...] = tuple(f"{path}/tasks" for path in v1)

    def join(self) -> None:
        """Move the calling thread, the only one of its process, where that is possible. Raises ``OSError``."""
        for path in self.tasks:
            write(path, "0")

    def read_oom_kills(self) -> int:
        """Return how many processes the kernel killed because the group's memory was used up."""
        return sum(read_oom_kills(path) for path in self._paths)

    def thaw(self) -> None:
        """Let the processes of a paused group run: what version 1 has frozen cannot be killed."""
        try:
            write(f"{ROOT}/freezer/{FOLDER}/{self._id}/freezer.state", "THAWED")
        except OSError:
            return  # it was not frozen by version 1

    def remove(self) -> None:
        """Remove the groups; the kernel may need a moment after their last process was reaped."""
        if not self._paths:
            return
        for path in self._paths:
            _remove(path)
        for name in ADDED_LATER:
            _remove(f"{ROOT}/{name}/{FOLDER}/{self._id}")


def find_default_groups(pids_limit: int, root: str = ROOT) -> list[GroupTuple]:
    """Return what ``cgroups.plan`` returns for root and a limit on processes alone, without that room's imports.

    ``pids_limit`` is what stands in pids.max.
    """
    settings = (("pids", "pids.max", str(pids_limit)),)
    if os.path.isdir(f"{root}/pids"):
        return [(f"{root}/pids/{FOLDER}", (), False, (), settings)]
    for unified in (root, f"{root}/unified"):
        if "pids" in _read(f"{unified}/cgroup.controllers").split():
            return [(f"{unified}/{FOLDER}", ("pids",), False, (), settings)]
    return []


def open_cgroup(container_id: str, groups: Sequence[GroupTuple], *, required: bool) -> Cgroup:
    """Make the groups of a container with their limits set.

    Where that fails and no limit depends on it (not ``required``: RLIMIT_NPROC holds the one on processes), returns an
    empty one; else raises ``OSError``, and nothing is left behind.
    """
    v1: list[str] = []
    v2: list[str] = []
    try:
        for folder, enable, evacuate, inherit, settings in groups:
            path = f"{folder}/{container_id}"
            if inherit or enable or not os.path.isdir(folder):
                prepare_folder(folder, enable, evacuate=evacuate, inherit=inherit)
            os.mkdir(path, 0o755)
            (v2 if enable else v1).append(path)
            apply_settings(path, settings)
    except OSError:
        for path in (*v1, *v2):
            _remove(path)
        if required:
            raise
        return Cgroup(container_id)
    return Cgroup(container_id, v1=v1, v2=v2)


def prepare_folder(folder: str, enable: Sequence[str], *, evacuate: bool = False, inherit: Sequence[str] = ()) -> None:
    """Make carboy's own folder of a hierarchy, so that groups in it have the controllers ``enable`` (v2).

    ``evacuate`` is for a delegated group that holds processes itself: the kernel lets it enable nothing for its children
    until they have moved, so they move into a child that limits nothing. Raises ``OSError``.
    """
    os.makedirs(folder, mode=0o755, exist_ok=True)
    parent = os.path.dirname(folder)
    for file in inherit:
        if not _read(f"{folder}/{file}").strip():
            write(f"{folder}/{file}", _read(f"{parent}/{file}").strip())
    for path in (parent, folder):
        if not enable:
            continue
        missing = set(enable) - set(_read(f"{path}/cgroup.subtree_control").split())
        if missing:
            if evacuate and path == parent:
                _evacuate(parent)
            write(f"{path}/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))


def _evacuate(path: str) -> None:
    target = f"{path}/{EVACUATED}"
    os.makedirs(target, mode=0o755, exist_ok=True)
    for _ in range(10):  # a process may fork while the others move
        pids = _read(f"{path}/cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            try:
                write(f"{target}/cgroup.procs", pid)
            except ProcessLookupError:
                continue


def apply_settings(path: str, settings: Sequence[tuple[str, str, str]]) -> None:
    """Write the limits of one group. Raises ``LimitError`` that names the one which the kernel refused."""
    for _, file, value in settings:
        try:
            write(f"{path}/{file}", value)
        except OSError as error:
            reason = {
                errno.ENOENT: "this kernel's groups have no such file",
                errno.EBUSY: "more than that is in use",
            }.get(error.errno or 0, os.strerror(error.errno or 0))
            raise LimitError(error.errno, f"{file} cannot be set to {value}: {reason}") from None


def read_oom_kills(path: str) -> int:
    """Return the count of OOM kills of one group, of either version; 0 for a group without the memory controller."""
    text = _read(f"{path}/memory.events") or _read(f"{path}/memory.oom_control")
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdigit():
            return int(count)
    return 0


def remove_cgroup(container_id: str, root: str = ROOT) -> None:
    """Remove the groups of a container whose stage program could not; ones that are not there are as good.

    For a user these are looked for below every group from the top of v2 down to the process's own.
    """
    for name in ADDED_LATER:
        _remove(f"{root}/{name}/{FOLDER}/{container_id}")
    for unified in (root, f"{root}/unified"):
        if not os.path.exists(f"{unified}/cgroup.controllers"):
            continue
        own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
        path = unified
        for part in ("", *own.strip("/").split("/")):
            path = f"{path}/{part}" if part else path
            _remove(f"{path}/{FOLDER}/{container_id}")


def join(container_id: str, pidfd: int) -> None:
    """Move this process, which has one thread, into the groups of a container, whose first process ``pidfd`` is.

    Without groups nothing is to be done. Raises ``OSError`` when there is one that cannot be joined.
    """
    pid = next(
        (line[4:].strip() for line in _read(f"/proc/self/fdinfo/{pidfd}").splitlines() if line[:4] == "Pid:"), ""
    )
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        names, _, group = line.partition(":")[2].partition(":")
        if not group.endswith(f"/{FOLDER}/{container_id}"):
            continue
        if names:
            # "0" to `tasks` moves this thread alone, for which the kernel need not stop every fork of the machine.
            write(f"{ROOT}/{names.partition(',')[0]}{group}/tasks", "0")
        else:
            mount = ROOT if os.path.exists(f"{ROOT}/cgroup.controllers") else f"{ROOT}/unified"
            write(f"{mount}{group}/cgroup.procs", "0")


def _remove(path: str) -> None:
    for _ in range(300):  # what was killed may take seconds to be gone on a busy machine
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
            time.sleep(0.01)
        else:
            return


def write(path: str, text: str) -> None:
    """Write to a control file, in one call. Raises ``OSError``."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65_536)
    except OSError:
        return ""
