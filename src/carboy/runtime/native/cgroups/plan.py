"""From limits to the files of control groups, and what cannot be limited on a machine: pure.

Sources: admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/, and the conversions of opencontainers/cgroups (the OCI runtime
specification gives limits in v1's units).
"""

from __future__ import annotations

from carboy.errors import CarboyError
from carboy.runtime.native.cgroups.hierarchy import FOLDER, INHERITED, KERNEL_NAMES
from carboy.runtime.native.plan import OWN_PROCESSES
from carboy.runtime.spec import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.native.cgroups.hierarchy import Hierarchy
    from carboy.runtime.spec import Limits

PERIOD_US = 100_000
# What `stats`, `pause` and the report of an OOM kill need.
ACCOUNTED = ("blkio", "cpuacct", "freezer", "memory", "pids")


class Group(Value):
    """One directory to make: ``folder`` (carboy's own, below which it is named by the container's id) and its files.

    ``enable`` are v2's controllers to switch on for it, ``evacuate`` whether processes must move out of the way for that;
    ``inherit`` are files of ``folder`` that start empty and take their parent's value (v1's cpuset); ``settings`` are
    (controller, file, value), in the order to write them.
    """

    __slots__ = ("enable", "evacuate", "folder", "inherit", "settings")
    folder: str
    enable: tuple[str, ...]
    evacuate: bool
    inherit: tuple[str, ...]
    settings: tuple[tuple[str, str, str], ...]

    def __init__(
        self,
        *,
        folder: str,
        settings: tuple[tuple[str, str, str], ...] = (),
        enable: tuple[str, ...] = (),
        evacuate: bool = False,
        inherit: tuple[str, ...] = (),
    ) -> None:
        self._set(folder=folder, settings=settings, enable=enable, evacuate=evacuate, inherit=inherit)


def needs_groups(limits: Limits) -> bool:
    """Return whether a limit is asked for that nothing but a control group can hold."""
    return bool(
        limits.cpus or limits.cpu_shares or limits.cpuset_cpus or limits.cpuset_mems or limits.memory_bytes
        or limits.memory_reservation_bytes or limits.blkio_weight
    )  # fmt: skip


def list_controllers(limits: Limits) -> tuple[str, ...]:
    """Return the controllers (by their v1 names) that the limits need."""
    wanted = {
        "blkio": limits.blkio_weight,
        "cpu": limits.cpus or limits.cpu_shares,
        "cpuset": limits.cpuset_cpus or limits.cpuset_mems,
        "memory": limits.memory_bytes or limits.memory_reservation_bytes,
        "pids": limits.pids,
    }
    return tuple(name for name, value in wanted.items() if value)


def plan_cgroup(limits: Limits, hierarchy: Hierarchy, *, accounting: bool = False) -> tuple[Group, ...]:
    """Return the groups to make for a container: only those of controllers that are needed.

    Each costs a start a quarter of a millisecond. What the hierarchy does not have is left out: :func:`check_limits`
    says before that nothing asked for is.
    """
    names = dict.fromkeys(list_controllers(limits))
    if accounting:
        names |= dict.fromkeys(ACCOUNTED)
    groups: dict[str, Group] = {}
    for name in names:
        directory = hierarchy.find_v1(name)
        if directory:
            folder = f"{directory}/{FOLDER}"
            # Controllers that are mounted together are one directory.
            before = groups[folder].settings if folder in groups else ()
            inherit = INHERITED if name == "cpuset" else groups[folder].inherit if folder in groups else ()
            settings = (*before, *plan_v1(name, limits, hierarchy))
            groups[folder] = Group(folder=folder, settings=settings, inherit=inherit)
    # Freezing and counting need no controller in v2: every group has cgroup.freeze and cpu.stat.
    unified = [name for name in names if name in hierarchy.v2]
    if unified:
        settings = tuple(item for name in unified for item in plan_v2(name, limits, hierarchy))
        enable = tuple(sorted({KERNEL_NAMES[name] for name in unified}))
        folder = f"{hierarchy.unified}/{FOLDER}"
        groups[folder] = Group(folder=folder, settings=settings, enable=enable, evacuate=hierarchy.evacuate)
    return tuple(groups.values())


def plan_v2(name: str, limits: Limits, hierarchy: Hierarchy) -> tuple[tuple[str, str, str], ...]:
    """Return (controller, file, value) for one controller in the unified hierarchy; the controller by its v1 name."""
    settings: list[tuple[str, str]] = []
    if name == "memory":
        if limits.memory_bytes:
            settings.append(("memory.max", str(limits.memory_bytes)))
            swap = find_swap_bytes(limits)
            if limits.memory_swap_bytes or "memory.swap.max" in hierarchy.files:
                settings.append(("memory.swap.max", "max" if swap < 0 else str(swap - limits.memory_bytes)))
        if limits.memory_reservation_bytes:
            settings.append(("memory.low", str(limits.memory_reservation_bytes)))
    elif name == "cpu":
        if limits.cpus:
            settings.append(("cpu.max", f"{_quota_us(limits)} {PERIOD_US}"))
        if limits.cpu_shares:
            settings.append(("cpu.weight", str(1 + (limits.cpu_shares - 2) * 9999 // 262_142)))
    elif name == "blkio" and limits.blkio_weight:
        if "io.bfq.weight" in hierarchy.files:
            settings.append(("io.bfq.weight", str(limits.blkio_weight)))
        else:
            settings.append(("io.weight", f"default {1 + (limits.blkio_weight - 10) * 9999 // 990}"))
    else:
        settings = _plan_common(name, limits)
    return tuple((name, file, value) for file, value in settings)


def plan_v1(name: str, limits: Limits, hierarchy: Hierarchy) -> tuple[tuple[str, str, str], ...]:
    """Return (controller, file, value) for one controller of version 1."""
    settings: list[tuple[str, str]] = []
    if name == "memory":
        if limits.memory_bytes:
            settings.append(("memory.limit_in_bytes", str(limits.memory_bytes)))
            # A kernel without accounting of swap has no such file; `check_limits` refuses a limit asked for by name.
            if limits.memory_swap_bytes or "memory.memsw.limit_in_bytes" in hierarchy.files:
                settings.append(("memory.memsw.limit_in_bytes", str(find_swap_bytes(limits))))
        if limits.memory_reservation_bytes:
            settings.append(("memory.soft_limit_in_bytes", str(limits.memory_reservation_bytes)))
    elif name == "cpu":
        if limits.cpus:
            settings += [("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(_quota_us(limits)))]
        if limits.cpu_shares:
            settings.append(("cpu.shares", str(limits.cpu_shares)))
    elif name == "cpuset":
        # Both must be set before a process can join.
        cpus, mems = limits.cpuset_cpus or hierarchy.cpus, limits.cpuset_mems or hierarchy.mems
        settings += [("cpuset.cpus", cpus), ("cpuset.mems", mems)]
    elif name == "blkio" and limits.blkio_weight:
        file = "blkio.bfq.weight" if "blkio.bfq.weight" in hierarchy.files else "blkio.weight"
        settings.append((file, str(limits.blkio_weight)))
    else:
        settings = _plan_common(name, limits)
    return tuple((name, file, value) for file, value in settings)


def _plan_common(name: str, limits: Limits) -> list[tuple[str, str]]:
    if name == "pids" and limits.pids:
        return [("pids.max", str(limits.pids + OWN_PROCESSES))]
    if name == "cpuset":
        wanted = (("cpuset.cpus", limits.cpuset_cpus), ("cpuset.mems", limits.cpuset_mems))
        return [(file, value) for file, value in wanted if value]
    return []


def _quota_us(limits: Limits) -> int:
    return round(limits.cpus * PERIOD_US)


def find_swap_bytes(limits: Limits) -> int:
    """Return memory and swap together as Docker counts: -1 for unlimited swap, twice the memory when nothing was said."""
    return limits.memory_swap_bytes or 2 * limits.memory_bytes


def find_obstacles(limits: Limits, hierarchy: Hierarchy) -> list[str]:
    """Return which of the limits cannot be set on this machine, one sentence each; the pids limit always can.

    ``hierarchy`` is one with details. Without a group, the number of processes is limited by RLIMIT_NPROC, which the
    kernel counts per user namespace (since Linux 5.14) and per user of it.
    """
    obstacles = []
    options = {
        "blkio": ("--blkio-weight",), "cpu": ("--cpus", "--cpu-shares"), "cpuset": ("--cpuset-cpus", "--cpuset-mems"),
        "memory": ("--memory", "--memory-reservation"),
    }  # fmt: skip
    for name in list_controllers(limits):
        if name != "pids" and not hierarchy.has(name):
            kernel = name if hierarchy.version != "v2" else KERNEL_NAMES[name]
            obstacles.append(f"{' and '.join(options[name])} cannot be set: there is no {kernel!r} controller to use")
    if obstacles:
        return obstacles
    for _, file, _ in (item for group in plan_cgroup(limits, hierarchy) for item in group.settings):
        if hierarchy.files and file not in hierarchy.files:
            obstacles.append(f"{_OPTIONS.get(file, file)} cannot be set: this kernel's groups have no {file}")
    return obstacles + _find_missing_cpus(limits, hierarchy)


_OPTIONS = {
    "memory.memsw.limit_in_bytes": "--memory-swap", "memory.swap.max": "--memory-swap", "blkio.weight": "--blkio-weight",
    "io.weight": "--blkio-weight", "cpu.cfs_quota_us": "--cpus", "cpu.max": "--cpus",
}  # fmt: skip


def _find_missing_cpus(limits: Limits, hierarchy: Hierarchy) -> list[str]:
    from carboy.runtime.limits import parse_list

    obstacles = []
    for option, asked, there in (
        ("--cpuset-cpus", limits.cpuset_cpus, hierarchy.cpus),
        ("--cpuset-mems", limits.cpuset_mems, hierarchy.mems),
    ):
        if asked and there and not set(parse_list(asked)) <= set(parse_list(there)):
            obstacles.append(f"{option} is {asked}: this machine has {there}")
    count = len(parse_list(hierarchy.cpus)) if hierarchy.cpus else 0
    if count and limits.cpus > count:
        obstacles.append(f"--cpus is {limits.cpus:g}: this machine has {count}")
    return obstacles


def check_limits(limits: Limits, hierarchy: Hierarchy) -> None:
    """Raise ``CarboyError`` (125) that names every limit which cannot be set on this machine, and what to do."""
    obstacles = find_obstacles(limits, hierarchy)
    if not obstacles:
        return
    hint = "leave the limit out, or use a machine that has it"
    if "delegated" in hierarchy.reason:
        hint = "start it as: systemd-run --user --scope -p Delegate=yes carboy run ..., or as root"
    elif "handed out" in hierarchy.reason:
        hint = "run it as root, or leave the limit out"
    raise CarboyError(
        obstacles[0], details="\n".join([*obstacles[1:], *([hierarchy.reason] if hierarchy.reason else [])]), hint=hint,
        code=125,
    )  # fmt: skip


# What stands in each file when nothing is limited.
_UNLIMITED = {
    "memory.max": "max", "memory.swap.max": "max", "memory.low": "0", "cpu.max": f"max {PERIOD_US}", "cpu.weight": "100",
    "io.weight": "default 100", "io.bfq.weight": "100", "pids.max": "max", "memory.limit_in_bytes": "-1",
    "memory.memsw.limit_in_bytes": "-1", "memory.soft_limit_in_bytes": "-1", "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": str(PERIOD_US), "cpu.shares": "1024", "blkio.weight": "500", "blkio.bfq.weight": "100",
}  # fmt: skip


def plan_update(
    before: Limits, after: Limits, hierarchy: Hierarchy, *, unified: bool
) -> tuple[tuple[str, str, str], ...]:
    """Return (controller, file, value) that take a running container from ``before`` to ``after``, in an order that the
    kernel accepts at each step.

    ``unified`` is v2. A limit that is gone becomes the kernel's value for none; lists of CPUs and nodes become all of them.
    """
    plan = plan_v2 if unified else plan_v1
    names = [name for name in KERNEL_NAMES if name != "cpuacct"]
    old = {(name, file): value for name in names for name, file, value in plan(name, before, hierarchy)}
    new = {(name, file): value for name in names for name, file, value in plan(name, after, hierarchy)}
    everything = {"cpuset.cpus": hierarchy.cpus, "cpuset.mems": hierarchy.mems}
    gone = {key: _UNLIMITED.get(key[1]) or everything.get(key[1], "") for key in old if key not in new}
    changed = [(name, file, value) for (name, file), value in (gone | new).items() if old.get((name, file)) != value]
    grows = 0 < before.memory_bytes < after.memory_bytes or not after.memory_bytes
    # Memory can never be more than memory and swap together: the sum grows first and shrinks last (cgroup-v1/memory.rst).
    first = "memory.memsw.limit_in_bytes" if grows else "memory.limit_in_bytes"
    return tuple(sorted(changed, key=lambda item: (item[0] == "memory", item[1] != first)))
