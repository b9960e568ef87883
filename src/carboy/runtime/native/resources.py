"""The parts of the stage program's plan that depend on what this machine and this caller may limit and give.

Everything that cannot be had is found out here, before anything is started: a limit is never set weaker than asked.
"""

from __future__ import annotations

import os

from carboy.errors import CarboyError
from carboy.runtime.native.cgroups.hierarchy import (
    ROOT,
    V1_NAMES,
    Hierarchy,
    owns_machine,
    read_details,
    read_hierarchy,
)
from carboy.runtime.native.cgroups.plan import check_limits, list_controllers, needs_groups, plan_cgroup
from carboy.runtime.native.plan import OWN_PROCESSES
from carboy.runtime.spec import NO_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from carboy.runtime.spec import Device, Limits, SandboxSpec

CAP_SYS_RESOURCE = 24
MAX_DEVICES = 256


def read_resources(spec: SandboxSpec) -> dict[str, Any]:
    """Return the keys "cgroup" and "devices" of the stage program's plan, "pids_limit" of its process and what to "show".

    Raises ``CarboyError`` (125) that says which limit or device cannot be had, and what to do.
    """
    limits = spec.limits
    if limits != NO_LIMITS:
        from carboy.runtime.limits import check_values

        check_values(limits)
        check_privileges(limits)
    required = needs_groups(limits)
    hierarchy = None
    # A user's limit of processes is RLIMIT_NPROC: looking for a delegated group would cost more than it gives.
    if required or spec.accounting or (spec.tier == "root" and limits.pids):
        names = V1_NAMES if required or spec.accounting else ("pids",)
        hierarchy = read_hierarchy(as_root=spec.tier == "root", names=names)
        if required:
            hierarchy = _check_groups(limits, hierarchy)
    groups = () if hierarchy is None else plan_cgroup(limits, hierarchy, accounting=spec.accounting)
    # `update` can raise the limit of a group, but not RLIMIT_NPROC: then the group alone must hold it.
    held = spec.accounting and hierarchy is not None and hierarchy.has("pids")
    required = required or held
    return {
        "pids_limit": 0 if held else limits.pids and limits.pids + OWN_PROCESSES,
        "show": list_shown(limits, hierarchy) if needs_groups(limits) and hierarchy is not None else [],
        "cgroup": {
            "required": required,
            "groups": [(group.folder, group.enable, group.evacuate, group.inherit, group.settings) for group in groups],
        },
        "devices": [_plan_device(device, spec.tier) for device in read_devices(spec.devices, spec.tier)],
    }


def list_shown(limits: Limits, hierarchy: Hierarchy, *, root: str = ROOT) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (name, kind, controllers) for each hierarchy that a container with limits sees at /sys/fs/cgroup.

    An empty name is /sys/fs/cgroup itself. Controllers that are mounted together must be named together.
    """
    wanted = list_controllers(limits)
    unified = any(name in hierarchy.v2 for name in wanted)
    if unified and not hierarchy.v1:
        return [("", "cgroup2", ())]
    shown = [("unified", "cgroup2", ())] if unified else []
    names = {os.path.basename(os.path.realpath(f"{root}/{name}")) for name in wanted if hierarchy.find_v1(name)}
    return [*shown, *((name, "cgroup", tuple(name.split(","))) for name in sorted(names))]


def _check_groups(limits: Limits, hierarchy: Hierarchy) -> Hierarchy:
    """Return the hierarchy with its details. Raises ``CarboyError``."""
    check_limits(limits, hierarchy)
    try:
        detailed = read_details(hierarchy)
    except OSError as error:
        raise CarboyError(
            "the limits cannot be set: no control group can be made",
            details=f"{error.strerror}: {error.filename}" if error.filename else str(error),
            hint="`carboy doctor` says what this machine's control groups allow",
            code=125,
        ) from error
    check_limits(limits, detailed)
    return detailed


def check_privileges(
    limits: Limits, *, hard_limits: Mapping[str, int] | None = None, oom_score_adj: int | None = None,
    privileged: bool | None = None,
) -> None:  # fmt: skip
    """Raise ``CarboyError`` (125) when a ulimit or the OOM score needs CAP_SYS_RESOURCE that this process lacks.

    ``hard_limits`` by name (-1: unlimited), ``oom_score_adj`` and ``privileged`` are this process's unless given.
    """
    if not limits.ulimits and limits.oom_score_adj is None:
        return
    if has_resource_capability() if privileged is None else privileged:
        return
    issues = []
    for name, _, hard in limits.ulimits:
        current = _read_hard_limit(name) if hard_limits is None else hard_limits[name]
        if current >= 0 and not 0 <= hard <= current:
            wanted = "unlimited" if hard < 0 else hard
            issues.append(f"--ulimit {name}: its hard limit here is {current}, which cannot be raised to {wanted}")
    if limits.oom_score_adj is not None:
        current = _read_oom_score_adj() if oom_score_adj is None else oom_score_adj
        if limits.oom_score_adj < current:
            issues.append(
                f"--oom-score-adj is {limits.oom_score_adj}: less than carboy's own {current} is not permitted"
            )
    if issues:
        raise CarboyError(
            issues[0],
            details="\n".join([*issues[1:], "this process has no CAP_SYS_RESOURCE over the machine"]),
            hint="ask for no more than that, or raise it where carboy is started from (limits.conf, LimitNOFILE=)",
            code=125,
        )


def has_resource_capability() -> bool:
    """Return whether this process may raise limits: CAP_SYS_RESOURCE counts in the machine's own user namespace only."""
    if not owns_machine():
        return False
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return False


def _read_hard_limit(name: str) -> int:
    import resource

    from carboy.runtime.limits import RLIMITS

    return resource.getrlimit(RLIMITS[name])[1]


def _read_oom_score_adj() -> int:
    with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
        return int(file.read())


def read_devices(devices: tuple[Device, ...], tier: str) -> tuple[Device, ...]:
    """Return the devices, each folder replaced by those in it. Raises ``CarboyError`` (125).

    A user must be able to open what is given; only root can give a device for reading (or writing) alone, because a
    user has no way to make a node of another mode.
    """
    found: list[Device] = []
    for device in devices:
        try:
            is_folder = os.path.isdir(device.source)
            mode = os.stat(device.source).st_mode & 0o170000
        except OSError as error:
            raise CarboyError(
                f"there is no device {device.source} on this machine",
                details=error.strerror or "",
                hint="`ls -l /dev` shows what there is; a driver may have to be loaded first",
                code=125,
            ) from error
        if is_folder:
            found += _read_folder(device)
        elif mode in {0o020000, 0o060000}:
            found.append(device)
        else:
            raise CarboyError(
                f"{device.source} is not a device", hint=f"to give a file or folder: -v {device.source}", code=125
            )
    if tier != "root":
        for device in found:
            _check_user(device)
    return tuple(found)


def _read_folder(device: Device) -> list[Device]:
    found = []
    for folder, _, names in os.walk(device.source):
        for name in sorted(names):
            path = f"{folder}/{name}"
            if os.lstat(path).st_mode & 0o170000 in {0o020000, 0o060000}:
                target = device.target.rstrip("/") + path[len(device.source.rstrip("/")) :]
                found.append(device.replace(source=path, target=target))
    if not 0 < len(found) <= MAX_DEVICES:
        raise CarboyError(
            f"the folder {device.source} holds {'no device' if not found else 'too many devices'}",
            hint="name the devices one by one",
            code=125,
        )
    return found


def _check_user(device: Device) -> None:
    wanted = {"r": os.R_OK, "w": os.W_OK}
    for letter, mask in wanted.items():
        may = os.access(device.source, mask)
        if letter in device.permissions and not may:
            raise CarboyError(
                f"you may not {'read' if letter == 'r' else 'write'} the device {device.source}, so a container of yours "
                "may not either",
                hint=f"ask for access to it (`ls -l {device.source}` shows the group), or run as root",
                code=125,
            )
        if letter not in device.permissions and may:
            raise CarboyError(
                f"the device {device.source} cannot be given with {device.permissions!r} only: a container of yours may do "
                "with it what you may",
                hint=f"give it with rw: --device {device.source}:{device.target}:rw, or run as root",
                code=125,
            )


def _plan_device(device: Device, tier: str) -> dict[str, Any]:
    return {
        "source": device.source,
        "target": device.target,
        "read": "r" in device.permissions,
        "write": "w" in device.permissions,
        "make": tier == "root",
    }
