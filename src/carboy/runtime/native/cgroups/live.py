"""A container that runs: paused, counted, killed, limited anew.

A container is named by its id and by the pid of its first process as the caller sees it. Its groups are read from
/proc/<pid>/cgroup and believed only where they end in that id, so a pid that was used again touches nobody else. A caller
holds the container's lock, or is the parent of the process, as everywhere.

What a container without groups (most users' ones) gets instead is in ``processes``. A user's container belongs to a user
namespace, so its processes are signalled by a process of that tier: its supervisor.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass

from carboy.errors import CarboyError
from carboy.runtime.native import cgroup
from carboy.runtime.native.cgroups import processes
from carboy.runtime.native.cgroups.hierarchy import (
    FOLDER,
    INHERITED,
    ROOT,
    V1_NAMES,
    owns_machine,
    read_details,
    read_hierarchy,
)
from carboy.runtime.native.cgroups.plan import check_limits, needs_groups, plan_update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.native.cgroups.processes import Process
    from carboy.runtime.spec import Limits

FREEZE_TIMEOUT_S = 10.0
NO_LIMIT_BYTES = 2**62  # v1 says "no limit" by a number near 2^63


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a container uses at one moment; processes of carboy's own in its groups (two) are counted in.

    ``memory_bytes`` is without the page cache that the kernel can drop at once (inactive files), as `docker stats` counts;
    ``memory_limit_bytes`` is 0 without a limit; ``pids`` counts threads too. ``from_groups`` names the figures ("cpu",
    "memory", "pids", "blkio") that a group counted; the others are sums over /proc.
    """

    cpu_ns: int
    memory_bytes: int
    memory_limit_bytes: int
    pids: int
    read_bytes: int
    write_bytes: int
    oom_kills: int
    from_groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The directories of a container's groups: of v1 by controller, and the one in the unified hierarchy ("" if none)."""

    v1: tuple[tuple[str, str], ...] = ()
    unified: str = ""

    def find(self, controller: str, file: str) -> str:
        """Return the path of ``file`` in v1's group of the controller or in v2's, "" where it is not."""
        for directory in (*(path for name, path in self.v1 if name == controller), self.unified):
            if directory and os.path.exists(f"{directory}/{file}"):
                return f"{directory}/{file}"
        return ""

    def find_v1(self, controller: str) -> str:
        """Return v1's group of a controller, "" when the container is in none."""
        return next((path for name, path in self.v1 if name == controller), "")


def find_groups(container_id: str, *, pid: int, root: str = ROOT, proc: str = "/proc") -> Groups:
    """Return the groups of a container whose first process is ``pid``. Raises ``ProcessLookupError`` when it has ended."""
    try:
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise ProcessLookupError(f"the process {pid} has ended") from None
    v1, unified = [], ""
    for line in lines:
        names, _, group = line.partition(":")[2].partition(":")
        if not group.endswith(f"/{FOLDER}/{container_id}") or ".." in group.split("/"):
            continue
        if names:
            v1 += [(name, f"{root}/{name}{group}") for name in names.split(",")]
        else:
            mount = root if os.path.exists(f"{root}/cgroup.controllers") else f"{root}/unified"
            unified = f"{mount}{group}"
    return Groups(v1=tuple(v1), unified=unified)


# --- pause and unpause --------------------------------------------------------------------------------------------


def freeze(container_id: str, *, pid: int) -> None:
    """Pause a container; returns when nothing of it runs any more. A paused one stays paused.

    By v2's cgroup.freeze, v1's freezer (whose group is made now when the container has none), or else SIGSTOP to every
    process. Raises ``CarboyError`` when that is not permitted or takes longer than ten seconds.
    """
    groups = find_groups(container_id, pid=pid)
    try:
        if groups.unified and os.path.exists(f"{groups.unified}/cgroup.freeze"):
            cgroup.write(f"{groups.unified}/cgroup.freeze", "1")
            _wait_frozen_v2(groups.unified)
            return
        freezer = groups.find_v1("freezer")
        # Only who has a group already has a watcher that removes one more.
        if not freezer and groups.v1:
            freezer = add_group(container_id, "freezer", pid=pid)
        if freezer:
            _freeze_v1(freezer)
        else:
            processes.stop_processes(pid)
    except TimeoutError as error:
        thaw(container_id, pid=pid)
        raise CarboyError(
            "the container cannot be paused",
            details=str(error),
            hint="a process may be waiting for a disk or a network file system; try again",
        ) from error
    except PermissionError as error:
        raise CarboyError(
            "the container cannot be paused: its processes belong to another user",
            hint="pause it as the user, or by the supervisor, that started it",
        ) from error


def _wait_frozen_v2(path: str) -> None:
    end = time.monotonic() + FREEZE_TIMEOUT_S
    with open(f"{path}/cgroup.events", "rb", buffering=0) as file:
        poll = select.poll()
        poll.register(file.fileno(), select.POLLPRI)  # raised at each change: cgroup-v2.rst, "cgroup.events"
        while b"frozen 1" not in os.pread(file.fileno(), 4096, 0):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("not all processes are frozen")
            poll.poll(left * 1000)


def _freeze_v1(path: str) -> None:
    end = time.monotonic() + FREEZE_TIMEOUT_S
    while True:
        # Written again and again: a process that was being made is missed by the first (freezer-subsystem.rst).
        cgroup.write(f"{path}/freezer.state", "FROZEN")
        if _read(f"{path}/freezer.state").strip() == "FROZEN":
            return
        if time.monotonic() > end:
            raise TimeoutError("not all processes are frozen")
        time.sleep(0.001)


def thaw(container_id: str, *, pid: int) -> None:
    """Let a paused container go on; one that runs is fine. Raises ``CarboyError`` when that is not permitted."""
    groups = find_groups(container_id, pid=pid)
    try:
        if groups.unified and os.path.exists(f"{groups.unified}/cgroup.freeze"):
            cgroup.write(f"{groups.unified}/cgroup.freeze", "0")
        elif groups.find_v1("freezer"):
            cgroup.write(f"{groups.find_v1('freezer')}/freezer.state", "THAWED")
        else:
            processes.continue_processes(pid)
    except PermissionError as error:
        raise CarboyError(
            "the container cannot be unpaused: its processes belong to another user",
            hint="unpause it as the user, or by the supervisor, that started it",
        ) from error


def is_frozen(container_id: str, *, pid: int) -> bool:
    """Return whether a container is paused."""
    groups = find_groups(container_id, pid=pid)
    if groups.unified and os.path.exists(f"{groups.unified}/cgroup.freeze"):
        return "frozen 1" in _read(f"{groups.unified}/cgroup.events")
    if groups.find_v1("freezer"):
        return _read(f"{groups.find_v1('freezer')}/freezer.state").strip() == "FROZEN"
    return processes.has_stopped(pid)


def add_group(container_id: str, controller: str, *, pid: int) -> str:
    """Move a running container into a new group of a v1 controller and return it; "" where none can be made.

    Its processes are moved one by one until none is left outside: a child starts in the group of its parent. The
    container's watcher removes the group with the others.
    """
    folder = f"{ROOT}/{controller}/{FOLDER}"
    if not os.access(f"{ROOT}/{controller}", os.W_OK):
        return ""
    cgroup.prepare_folder(folder, (), inherit=INHERITED if controller == "cpuset" else ())
    path = f"{folder}/{container_id}"
    if not os.path.isdir(path):
        os.mkdir(path, 0o755)
    if controller == "cpuset":
        for file in INHERITED:
            cgroup.write(f"{path}/{file}", _read(f"{folder}/{file}").strip())
    for _ in range(processes.MAX_ROUNDS):
        outside = set(processes.list_pids(pid)) - {int(item) for item in _read(f"{path}/cgroup.procs").split()}
        outside = {item for item in outside if processes.is_alive(item)}
        if not outside:
            return path
        for current in outside:
            try:
                cgroup.write(f"{path}/cgroup.procs", str(current))
            except ProcessLookupError:
                continue
    raise TimeoutError(f"new processes appear faster than they can be moved to {path}")


# --- stats and top ------------------------------------------------------------------------------------------------


def read_stats(container_id: str, *, pid: int) -> Stats:
    """Return what a container uses now. Raises ``ProcessLookupError`` when it has ended."""
    groups = find_groups(container_id, pid=pid)
    counted: dict[str, int] = {}
    sources: set[str] = set()
    for name, reader in (("cpu", _read_cpu), ("memory", _read_memory), ("pids", _read_pids), ("blkio", _read_blkio)):
        found = reader(groups)
        if found:
            sources.add(name)
            counted |= found
    usage = None if len(sources) == 4 else processes.count_usage(pid)
    return Stats(
        cpu_ns=counted.get("cpu_ns", usage.cpu_ns if usage else 0),
        memory_bytes=counted.get("memory_bytes", usage.memory_bytes if usage else 0),
        memory_limit_bytes=counted.get("memory_limit_bytes", 0),
        pids=counted.get("pids", usage.pids if usage else 0),
        read_bytes=counted.get("read_bytes", usage.read_bytes if usage else 0),
        write_bytes=counted.get("write_bytes", usage.write_bytes if usage else 0),
        oom_kills=count_oom_kills(groups),
        from_groups=frozenset(sources),
    )


def _read_cpu(groups: Groups) -> dict[str, int]:
    path = groups.find_v1("cpuacct")
    if path:
        return {"cpu_ns": _number(f"{path}/cpuacct.usage")}
    usage = _table(f"{groups.unified}/cpu.stat").get("usage_usec") if groups.unified else None
    return {} if usage is None else {"cpu_ns": usage * 1000}


def _read_memory(groups: Groups) -> dict[str, int]:
    path = groups.find_v1("memory")
    if path:
        used = _number(f"{path}/memory.usage_in_bytes")
        cache = _table(f"{path}/memory.stat").get("total_inactive_file", 0)
        limit = _number(f"{path}/memory.limit_in_bytes")
    elif groups.find("memory", "memory.current"):
        path = groups.unified
        used, cache = _number(f"{path}/memory.current"), _table(f"{path}/memory.stat").get("inactive_file", 0)
        limit = _number(f"{path}/memory.max")
    else:
        return {}
    return {
        "memory_bytes": used - cache if cache < used else used,
        "memory_limit_bytes": limit if limit < NO_LIMIT_BYTES else 0,
    }


def _read_pids(groups: Groups) -> dict[str, int]:
    path = groups.find("pids", "pids.current")
    return {"pids": _number(path)} if path else {}


def _read_blkio(groups: Groups) -> dict[str, int]:
    path = groups.find_v1("blkio")
    if path:
        file = f"{path}/blkio.throttle.io_service_bytes_recursive"
        rows = [line.split() for line in _read(file).splitlines()]
        items = [(row[1].lower(), int(row[2])) for row in rows if len(row) == 3]
        found = {"read": 0, "write": 0}
    elif groups.find("blkio", "io.stat"):
        words = _read(f"{groups.unified}/io.stat").split()
        items = [(name, int(count)) for name, _, count in (word.partition("=") for word in words) if count.isdigit()]
        found = {"rbytes": 0, "wbytes": 0}
    else:
        return {}
    for name, count in items:
        if name in found:
            found[name] += count
    read, write = found.values()
    return {"read_bytes": read, "write_bytes": write}


def read_processes(container_id: str, *, pid: int) -> tuple[Process, ...]:
    """Return the processes of a container, by pid, without carboy's own init.

    Raises ``ProcessLookupError`` when it has ended.
    """
    del container_id  # its namespace is what counts: a group holds processes of carboy's as well
    own = pid if processes.is_own_init(pid) else 0
    found = (processes.read_process(current) for current in processes.list_pids(pid) if current != own)
    return tuple(item for item in found if item is not None)


def count_oom_kills(groups: Groups) -> int:
    """Return how many processes of a container the kernel killed for want of memory, 0 without a group that knows."""
    paths = {path for name, path in groups.v1 if name == "memory"} | ({groups.unified} if groups.unified else set())
    return sum(cgroup.read_oom_kills(path) for path in paths)


def oom_killed(container_id: str, *, pid: int) -> bool:
    """Return whether the kernel has killed a process of a running container for want of memory.

    For one that ended, its stage program has reported ("oom", count).
    """
    return count_oom_kills(find_groups(container_id, pid=pid)) > 0


# --- kill and update ----------------------------------------------------------------------------------------------


def kill_all(container_id: str, number: int, *, pid: int) -> None:
    """Send a signal to every process of a container; SIGKILL also ends one that is paused.

    Any other signal reaches a paused container when it goes on. One that has ended is fine.
    """
    try:
        if number != signal.SIGKILL:
            processes.send_signal(pid, number)
            return
        # The end of the first process is the end of all: pid_namespaces(7). What v1 or SIGSTOP holds must go on to die.
        freezer = find_groups(container_id, pid=pid).find_v1("freezer")
        os.kill(pid, signal.SIGKILL)
        if freezer:
            cgroup.write(f"{freezer}/freezer.state", "THAWED")
    except (ProcessLookupError, FileNotFoundError):
        return


def update(container_id: str, before: Limits, after: Limits, *, pid: int) -> None:
    """Change the limits of a running container from ``before`` to ``after``; what does not change is not touched.

    Either all of it is set, or ``CarboyError`` (1) is raised, with what was set put back. Only what groups hold can
    change while a container runs.
    """
    for name, option in (("shm_bytes", "shm-size"), ("ulimits", "ulimit"), ("oom_score_adj", "oom-score-adj")):
        if getattr(before, name) != getattr(after, name):
            raise CarboyError(
                f"--{option} cannot be changed while the container runs",
                hint="make a new container with it",
            )
    groups = find_groups(container_id, pid=pid)
    hierarchy = read_hierarchy(as_root=owns_machine())
    if needs_groups(before) or needs_groups(after):
        hierarchy = read_details(hierarchy)
        check_limits(after, hierarchy)
    done: list[tuple[str, str]] = []
    controller = file = value = ""
    try:
        for controller, file, value in plan_update(before, after, hierarchy, unified=not groups.v1):
            path = groups.find(controller, file) or _add_file(container_id, controller, file, pid=pid)
            done.append((path, _read(path).strip()))
            cgroup.write(path, value)
    except OSError as error:
        for path, value in reversed(done):
            try:
                cgroup.write(path, value)
            except OSError:
                continue
        raise CarboyError(
            f"{file} cannot be set to {value}",
            details=error.strerror or str(error),
            hint="more than that may be in use" if file.startswith("memory") else "",
        ) from error


def _add_file(container_id: str, controller: str, file: str, *, pid: int) -> str:
    """Return a control file in a group that is made now. Raises ``CarboyError`` where that would limit nothing."""
    added = ""
    if controller != "memory" and controller in V1_NAMES:
        added = add_group(container_id, controller, pid=pid)
    if not added or not os.path.exists(f"{added}/{file}"):
        raise CarboyError(
            f"the container was started without a control group for {controller}, so it cannot be limited now",
            details="memory counts from the moment on that a group is joined" if controller == "memory" else "",
            hint="start a new one with the limit",
        )
    return f"{added}/{file}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def _number(path: str) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else NO_LIMIT_BYTES if text == "max" else 0


def _table(path: str) -> dict[str, int]:
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
