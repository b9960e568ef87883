"""Which controllers this process may make groups of, and where: read, never assumed.

====================  ==================================================================================================
who                   where groups are made
====================  ==================================================================================================
root, v2              ``/sys/fs/cgroup/carboy``, as Docker's cgroupfs driver does beside systemd's slices
root, v1 or hybrid    ``/sys/fs/cgroup/<controller>/carboy``; in a hybrid what v1 does not hold is looked for in v2
a user, v2            ``carboy`` in the topmost group above the process that the user may write: the subtree that systemd
                      delegates is ``user@UID.service``, that of ``systemd-run --scope -p Delegate=yes`` the scope itself
a user, v1            the same in each controller; hardly any machine hands them out
====================  ==================================================================================================

A process may be moved only within a common ancestor that its mover may write (cgroup-v2.rst, "Delegation Containment"), so
a user's session that lies outside of the delegated subtree has no groups; why not stands in ``reason``.
"""

from __future__ import annotations

import os

from carboy.runtime.spec import Value

ROOT = "/sys/fs/cgroup"
FOLDER = "carboy"
V1_NAMES = ("blkio", "cpu", "cpuacct", "cpuset", "freezer", "memory", "pids")
# Of v1's cpuset: empty in a new group, which no process can join before they are set.
INHERITED = ("cpuset.cpus", "cpuset.mems")
# What v2 calls v1's controllers, and the other way round.
KERNEL_NAMES = {"blkio": "io", "cpu": "cpu", "cpuacct": "cpu", "cpuset": "cpuset", "memory": "memory", "pids": "pids"}
V2_NAMES = {
    "cpu": ("cpu", "cpuacct"),
    "cpuset": ("cpuset",),
    "io": ("blkio",),
    "memory": ("memory",),
    "pids": ("pids",),
}


class Hierarchy(Value):
    """The controllers that groups can be made of here.

    ``version`` is "v2", "v1", "hybrid" or "none"; ``v1`` holds (controller, directory) pairs; ``unified`` is the v2
    directory that groups are made below ("" when none) and ``v2`` the v1 names of the controllers it offers. ``evacuate``
    says that ``unified`` holds processes that must move down before it can offer any. ``files`` are the names of the
    files that groups here have (empty when they were not looked at); ``cpus`` and ``mems`` are the lists of CPUs and memory
    nodes, "" when unknown. ``reason`` says why there is less than a machine could have.
    """

    __slots__ = ("cpus", "evacuate", "files", "mems", "reason", "unified", "v1", "v2", "version")
    version: str
    v1: tuple[tuple[str, str], ...]
    unified: str
    v2: tuple[str, ...]
    evacuate: bool
    files: frozenset[str]
    cpus: str
    mems: str
    reason: str

    def __init__(
        self,
        *,
        version: str,
        v1: tuple[tuple[str, str], ...] = (),
        unified: str = "",
        v2: tuple[str, ...] = (),
        evacuate: bool = False,
        files: frozenset[str] = frozenset(),
        cpus: str = "",
        mems: str = "",
        reason: str = "",
    ) -> None:
        self._set(
            version=version, v1=v1, unified=unified, v2=v2, evacuate=evacuate, files=files, cpus=cpus, mems=mems,
            reason=reason,
        )  # fmt: skip

    def find_v1(self, controller: str) -> str:
        """Return the v1 directory of a controller, "" when v1 does not hold it."""
        for name, directory in self.v1:
            if name == controller:
                return directory
        return ""

    def has(self, controller: str) -> bool:
        """Return whether groups of a controller (by its v1 name) can be made."""
        return controller in self.v2 or bool(self.find_v1(controller))


def read_hierarchy(
    *, as_root: bool, names: tuple[str, ...] = V1_NAMES, root: str = ROOT, own: str = "/proc/self/cgroup"
) -> Hierarchy:
    """Return what groups of the controllers ``names`` this process may make; reads a few files and makes nothing.

    ``as_root`` is the root tier; ``own`` is the list of the groups that the process is in.
    """
    v1_names = [name for name in names if os.path.isdir(f"{root}/{name}")]
    unified = next((path for path in (root, f"{root}/unified") if os.path.exists(f"{path}/cgroup.controllers")), "")
    version = "hybrid" if unified and v1_names else "v2" if unified else "v1" if v1_names else "none"
    groups = {} if as_root else _read_own(own)
    v1 = [(name, _find_base(f"{root}/{name}", groups.get(name, "/"))) for name in v1_names]
    found = tuple((name, directory) for name, directory in v1 if directory)
    base = _find_base(unified, groups.get("", "/")) if unified and len(v1_names) < len(names) else ""
    offered, evacuate = _read_offered(base) if base else ((), False)
    in_v2 = {name for kernel in offered for name in V2_NAMES.get(kernel, ())}
    v2 = tuple(name for name in names if name in in_v2 and name not in v1_names)
    reason = "" if found or v2 else _explain(version, as_root=as_root)
    return Hierarchy(
        version=version, v1=found, unified=base if v2 else "", v2=v2, evacuate=evacuate and bool(v2), reason=reason
    )


def owns_machine() -> bool:
    """Return whether this process is root of the machine, and not of a user namespace that has a part of its ids."""
    return os.geteuid() == 0 and _read("/proc/self/uid_map").split() == ["0", "0", "4294967295"]


def read_details(hierarchy: Hierarchy, *, cpu_list: str = "/sys/devices/system/cpu/online") -> Hierarchy:
    """Return the hierarchy with the files that its groups have, and the CPUs and nodes that they may be given.

    Files are listed in carboy's own folder, which is made: only a group that is not the root has them all.
    Raises ``OSError``.
    """
    from carboy.runtime.native.cgroup import prepare_folder

    files: set[str] = set()
    for name, directory in hierarchy.v1:
        prepare_folder(f"{directory}/{FOLDER}", (), inherit=INHERITED if name == "cpuset" else ())
        files |= set(os.listdir(f"{directory}/{FOLDER}"))
    if hierarchy.unified:
        enable = tuple(sorted({KERNEL_NAMES[name] for name in hierarchy.v2}))
        prepare_folder(f"{hierarchy.unified}/{FOLDER}", enable, evacuate=hierarchy.evacuate)
        files |= set(os.listdir(f"{hierarchy.unified}/{FOLDER}"))
    base = hierarchy.find_v1("cpuset") or hierarchy.unified
    cpus = _read(f"{base}/cpuset.effective_cpus") or _read(f"{base}/cpuset.cpus.effective") or _read(cpu_list)
    mems = _read(f"{base}/cpuset.effective_mems") or _read(f"{base}/cpuset.mems.effective")
    return hierarchy.replace(files=frozenset(files), cpus=cpus.strip(), mems=mems.strip())


def _read_own(path: str) -> dict[str, str]:
    """Return controller -> path of the group; the empty name is v2's: proc(5), cgroups(7)."""
    groups: dict[str, str] = {}
    for line in _read(path).splitlines():
        _, _, rest = line.partition(":")
        names, _, group = rest.partition(":")
        if ".." not in group.split("/"):  # a group outside of this process's cgroup namespace
            groups |= dict.fromkeys(names.split(","), group)
    return groups


def _find_base(mount: str, group: str) -> str:
    """Return the topmost directory from ``mount`` down to ``group`` that this process may make groups in, or ""."""
    path = mount
    for part in ("", *[item for item in group.split("/") if item]):
        path = f"{path}/{part}" if part else path
        if os.access(path, os.W_OK | os.X_OK) and os.access(f"{path}/cgroup.procs", os.W_OK):
            return path
    return ""


def _read_offered(base: str) -> tuple[tuple[str, ...], bool]:
    """Return the v2 controllers that groups below ``base`` can have, and whether its processes must move down first.

    A group other than the machine's root enables controllers for its children only while it holds no process itself.
    """
    available = _read(f"{base}/cgroup.controllers").split()
    enabled = _read(f"{base}/cgroup.subtree_control").split()
    may_enable = os.access(f"{base}/cgroup.subtree_control", os.W_OK)
    is_root = not os.path.exists(f"{base}/cgroup.type")
    if is_root or set(available) <= set(enabled):
        return tuple(available if may_enable else enabled), False
    pids = _read(f"{base}/cgroup.procs").split()
    if not pids:
        return tuple(available if may_enable else enabled), False
    if may_enable and all(_is_own(pid) for pid in pids):
        return tuple(available), True
    return tuple(enabled), False


def _is_own(pid: str) -> bool:
    """Return whether a process is this user's; pid 0 is one of another pid namespace."""
    try:
        return pid != "0" and os.stat(f"/proc/{pid}").st_uid == os.geteuid() != 65534
    except OSError:
        return True  # it has ended


def _explain(version: str, *, as_root: bool) -> str:
    if version == "none":
        return "no control groups are mounted at /sys/fs/cgroup"
    if as_root:
        return "the control groups of this machine cannot be written (an outer container mounts them read-only)"
    if version == "v2":
        return "this session's control group is not delegated to you"
    return "control groups of version 1 are not handed out to users here"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65_536)
    except OSError:
        return ""
