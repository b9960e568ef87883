"""From what is wanted to the ``config.json`` of an OCI bundle, for runtimes that are not ours: pure.

The configuration asks for what the native sandbox does, in the specification's words. What depends on the image's files
(which number a user's name is) and on the moment (which ids a user's namespace has) is put in by :func:`complete` just
before the runtime reads it. Mounts of the host's files and of our own are staged below one folder, opened, id-mapped and
restricted by the native sandbox's code, so that a runtime need know neither id-mapped mounts nor our checks.

Source: github.com/opencontainers/runtime-spec 1.0.2 (config.md, config-linux.md).
"""

from __future__ import annotations

from carboy.linux import mounts
from carboy.runtime.native.plan import plan_mounts
from carboy.runtime.oci.filter import plan_seccomp
from carboy.runtime.spec import MASKED_PATHS, READ_ONLY_PATHS, ROOT_TIER_COUNT, ROOT_TIER_FIRST_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from carboy.linux.seccomp import Profile
    from carboy.runtime.spec import Limits, SandboxSpec

VERSION = "1.0.2"
PERIOD_US = 100_000
# Names by number, as native plans have them: asm-generic/resource.h.
_RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "LOCKS", "SIGPENDING", "MSGQUEUE",
    "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
_CORE, _NPROC = 4, 6
_UNLIMITED = 2**64 - 1
_FLAGS = {
    mounts.MOUNT_ATTR_NOSUID: "nosuid",
    mounts.MOUNT_ATTR_NODEV: "nodev",
    mounts.MOUNT_ATTR_NOEXEC: "noexec",
    mounts.MOUNT_ATTR_RDONLY: "ro",
}
_SAFE = ("nosuid", "nodev", "noexec")


def plan_bundle(
    spec: SandboxSpec,
    *,
    rootfs: str,
    staged: str,
    process: Mapping[str, Any],
    profile: Profile | None,
    arch: str,
    gvisor: bool,
) -> dict[str, Any]:
    """Return the configuration of the bundle for ``spec``: dicts, lists, strings and numbers only.

    ``rootfs`` is where the root will be mounted, ``staged`` the folder below which the sources of its mounts will lie
    (``binds/<n>``, ``devices/<n>``, ``files/<name>``); ``process`` is the native plan's part of that name; ``profile``
    becomes the filter for machine ``arch`` (None: no filter). ``gvisor`` leaves out what its kernel does not know.
    """
    kinds = ["user", "mount", "pid", "ipc", "uts", "cgroup", *(() if spec.network == "host" else ("network",))]
    maps = [{"containerID": 0, "hostID": ROOT_TIER_FIRST_ID, "size": ROOT_TIER_COUNT}] if spec.tier == "root" else []
    return {
        "ociVersion": VERSION,
        "process": plan_process(process, uid=0, gid=0, groups=(), deny_setgroups=spec.tier == "single"),
        "root": {"path": rootfs, "readonly": spec.read_only_root},
        "hostname": spec.hostname,
        "mounts": [*_plan_own_mounts(spec, gvisor=gvisor), *_plan_wanted_mounts(spec, staged, gvisor=gvisor)],
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "uidMappings": maps,
            "gidMappings": maps,
            **({"cgroupsPath": f"/carboy/{spec.id}"} if spec.tier == "root" else {}),
            "resources": plan_limits(spec.limits, own=spec.tier == "root"),
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READ_ONLY_PATHS),
            **({"sysctl": dict(spec.sysctls)} if spec.sysctls else {}),
            **({} if profile is None else {"seccomp": _plan_filter(spec, profile, arch=arch, gvisor=gvisor)}),
        },
    }


def _plan_filter(spec: SandboxSpec, profile: Profile, *, arch: str, gvisor: bool) -> dict[str, Any]:
    return plan_seccomp(profile, caps=spec.capabilities, emulate_root=spec.tier == "single", arch=arch, gvisor=gvisor)


def plan_process(
    process: Mapping[str, Any], *, uid: int, gid: int, groups: Sequence[int], deny_setgroups: bool
) -> dict[str, Any]:
    """Return the specification's ``process`` for one of ours: the first one, or one of ``exec``.

    As in the native sandbox another user than root has no capability; what the bounding set has, it could get from nothing,
    as new privileges are forbidden.
    """
    names = [f"CAP_{name}" for name in process["capabilities"]]
    user: dict[str, Any] = {"uid": uid, "gid": gid, "umask": 0o022}
    if groups and not deny_setgroups:
        user["additionalGids"] = list(groups)
    result = {
        "terminal": process["terminal"],
        "user": user,
        "args": list(process["args"]),
        "env": list(process["env"]),
        "cwd": process["cwd"],
        "capabilities": {
            "bounding": names,
            "effective": names if uid == 0 else [],
            "permitted": names if uid == 0 else [],
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": _plan_rlimits(process),
        "noNewPrivileges": True,
    }
    if process["apparmor"]:
        result["apparmorProfile"] = process["apparmor"]
    if process["oom_score_adj"] is not None:
        result["oomScoreAdj"] = process["oom_score_adj"]
    return result


def _plan_rlimits(process: Mapping[str, Any]) -> list[dict[str, Any]]:
    limits = {number: (soft, hard) for number, soft, hard in process["rlimits"]}
    limits.setdefault(_CORE, (0, 0))
    if process["pids_limit"]:
        limits.setdefault(_NPROC, (process["pids_limit"], process["pids_limit"]))
    return [
        {
            "type": f"RLIMIT_{_RLIMITS[number]}",
            "soft": _UNLIMITED if soft < 0 else soft,
            "hard": _UNLIMITED if hard < 0 else hard,
        }
        for number, (soft, hard) in sorted(limits.items())
    ]


def plan_limits(limits: Limits, *, own: bool) -> dict[str, Any]:
    """Return ``linux.resources``; without a control group of its ``own`` a container has none."""
    if not own:
        return {}
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if limits.pids:
        resources["pids"] = {"limit": limits.pids}
    cpu: dict[str, Any] = {}
    if limits.cpus:
        cpu |= {"quota": round(limits.cpus * PERIOD_US), "period": PERIOD_US}
    if limits.cpu_shares:
        cpu["shares"] = limits.cpu_shares
    if limits.cpuset_cpus:
        cpu["cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        cpu["mems"] = limits.cpuset_mems
    memory: dict[str, Any] = {}
    if limits.memory_bytes:
        # Docker's and ours: without a word about swap there may be as much of it as of memory.
        memory |= {"limit": limits.memory_bytes, "swap": limits.memory_swap_bytes or 2 * limits.memory_bytes}
    if limits.memory_reservation_bytes:
        memory["reservation"] = limits.memory_reservation_bytes
    if cpu:
        resources["cpu"] = cpu
    if memory:
        resources["memory"] = memory
    if limits.blkio_weight:
        resources["blockIO"] = {"weight": limits.blkio_weight}
    return resources


# --- mounts -------------------------------------------------------------------------------------------------------


def _plan_own_mounts(spec: SandboxSpec, *, gvisor: bool) -> list[dict[str, Any]]:
    pts = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        *(() if spec.tier == "single" else ("gid=5",)),
    ]
    shm = [*_SAFE, "mode=1777", f"size={spec.limits.shm_bytes}"]
    own = [
        _mount("/proc", "proc", "proc", _SAFE),
        _mount("/dev", "tmpfs", "tmpfs", ("nosuid", "noexec", "mode=755", "size=64k")),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", shm),  # noqa: S108
    ]
    if not gvisor:
        own.append(_mount("/dev/mqueue", "mqueue", "mqueue", _SAFE))
    if spec.network == "host" and not gvisor:  # the kernel shows a new one to the owner of the network only
        own.append(_mount("/sys", "none", "/sys", ("rbind", *_SAFE, "ro", "rro")))
    else:
        own.append(_mount("/sys", "sysfs", "sysfs", (*_SAFE, "ro")))
    return own


def _plan_wanted_mounts(spec: SandboxSpec, staged: str, *, gvisor: bool) -> list[dict[str, Any]]:
    binds, operations = plan_mounts(spec.mounts)
    result = []
    for operation in operations:
        if operation["op"] == "bind":
            bind = binds[operation["index"]]
            options = ["rbind" if bind["recursive"] else "bind", *_write_flags(bind["attributes"])]
            result.append(_mount(bind["target"], "bind", f"{staged}/binds/{operation['index']}", options))
        elif operation["op"] == "file":
            source = f"{staged}/files/{operation['name']}"
            result.append(_mount(operation["target"], "bind", source, ("bind", "ro", *_SAFE)))
        else:
            settings = [
                f"{name}={value}" for name, value in operation["options"] if not (gvisor and name == "nr_inodes")
            ]
            options = [*_write_flags(operation["attributes"]), *settings]
            result.append(_mount(operation["target"], operation["kind"], operation["kind"], options))
    return result


def _write_flags(attributes: int) -> list[str]:
    flags = [word for bit, word in _FLAGS.items() if attributes & bit]
    return flags if "ro" in flags else [*flags, "rw"]


def _mount(target: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


# --- what is known at the last moment only ------------------------------------------------------------------------


def complete(
    config: dict[str, Any],
    *,
    process: dict[str, Any],
    uid_map: Sequence[tuple[int, int, int]],
    gid_map: Sequence[tuple[int, int, int]],
    devices: Sequence[tuple[str, str, int, int, str]] = (),
    left_out: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return the configuration with its process (from :func:`plan_process`) and the id maps that hold here.

    ``devices`` are (staged source, target, major, minor, permissions); ``left_out`` the sources of mounts that are not to
    be made after all.
    """
    linux = config["linux"]
    rules = [
        {"allow": True, "type": "a", "major": major, "minor": minor, "access": access}
        for _, _, major, minor, access in devices
    ]
    resources = linux["resources"]
    if rules and resources:
        resources = {**resources, "devices": [*resources["devices"], *rules]}
    placed = [_mount(target, "bind", source, ("bind", "nosuid", "noexec", "rw")) for source, target, *_ in devices]
    return {
        **config,
        "process": process,
        "mounts": [mount for mount in config["mounts"] if mount["source"] not in left_out] + placed,
        "linux": {
            **linux, "resources": resources, "uidMappings": _write_map(uid_map), "gidMappings": _write_map(gid_map),
        },
    }  # fmt: skip


def _write_map(extents: Sequence[tuple[int, int, int]]) -> list[dict[str, int]]:
    return [{"containerID": inner, "hostID": outer, "size": count} for inner, outer, count in extents]
