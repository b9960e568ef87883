"""From what is wanted to the list of operations that makes it: pure, so that it can be shown and tested."""

from __future__ import annotations

from carboy.linux import mounts
from carboy.runtime.spec import (
    MASKED_PATHS,
    READ_ONLY_PATHS,
    ROOT_TIER_COUNT,
    ROOT_TIER_FIRST_ID,
    BindMount,
    DirectoryRoot,
    FileMount,
    SandboxSpec,
    TmpfsMount,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from carboy.runtime.spec import Limits

_SAFE = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC
_NO_DEVICES = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
# The processes of carboy's own in each user namespace, which the limit that was asked for does not count.
OWN_PROCESSES = 2
MIN_INODES = 1024


def plan_stage(spec: SandboxSpec, *, staging: str, seccomp: bytes | None, user_ids: tuple[int, int]) -> dict[str, Any]:
    """Return the stage program's plan for ``spec``.

    ``staging`` is an empty directory that the plan may cover with a mount of its own; ``seccomp`` the compiled filter (None: no
    filter); ``user_ids`` the (uid, gid) that the single tier's one id is shown as. Values are lists, dicts, strings, bytes,
    integers and None only.
    """
    single = spec.tier == "single"
    uid, gid = user_ids if single else (0, 0)
    if spec.tier == "root":
        extents = [(0, ROOT_TIER_FIRST_ID, ROOT_TIER_COUNT)]
        uid_map, gid_map = extents, extents
    elif single:
        uid_map, gid_map = [(uid, 0, 1)], [(gid, 0, 1)]
    else:
        # The ids that the caller's namespace has, under the same numbers: the stage program reads which they are.
        uid_map, gid_map = [], []
    binds, operations = _plan_mounts(spec, has_tty_group=not single)
    return {
        "staging": staging,
        "uid_map": uid_map,
        "gid_map": gid_map,
        "deny_setgroups": single,
        "idmap": spec.tier == "root",
        "root_uid": uid,
        "root_gid": gid,
        "root": _plan_root(spec),
        "network": spec.network,
        "announce_network": spec.announce_network,
        "hostname": spec.hostname,
        "id": spec.id,
        # The launcher adds groups and devices, which depend on the machine. A user's processes are limited by RLIMIT_NPROC.
        "cgroup": {"required": False, "groups": []},
        "devices": [],
        "binds": binds,
        "operations": operations,
        "read_only_root": spec.read_only_root,
        "process": {
            "args": list(spec.args),
            "env": list(spec.env),
            "cwd": spec.cwd,
            "user": spec.user,
            "groups": list(spec.groups),
            "apparmor": spec.apparmor,
            "terminal": spec.terminal,
            "oom_score_adj": spec.limits.oom_score_adj,
            "rlimits": plan_rlimits(spec.limits),
            "pids_limit": spec.limits.pids and spec.limits.pids + OWN_PROCESSES,
            "deny_setgroups": single,
            "capabilities": sorted(spec.capabilities),
            "seccomp": seccomp,
        },
    }


def plan_rlimits(limits: Limits) -> list[tuple[int, int, int]]:
    """Return (number, soft, hard) of the limits that a process has by itself; -1 is unlimited."""
    if not limits.ulimits:
        return []
    from carboy.runtime.limits import RLIMITS

    return [(RLIMITS[name], soft, hard) for name, soft, hard in limits.ulimits]


def _plan_root(spec: SandboxSpec) -> dict[str, Any]:
    root = spec.root
    if isinstance(root, DirectoryRoot):
        return {"kind": "directory", "path": root.path}
    return {
        "kind": "overlay",
        "lower": list(root.lower),
        "rw": root.upper.rpartition("/")[0],
        "userxattr": root.userxattr,
    }


def _plan_mounts(spec: SandboxSpec, *, has_tty_group: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    pts: tuple[tuple[str, str | None], ...] = (("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620"))
    if has_tty_group:
        pts = (*pts, ("gid", "5"))
    shm = _tmpfs_options(0o1777, spec.limits.shm_bytes)
    operations: list[dict[str, Any]] = [
        _mount("proc", "/proc", (), _SAFE, follow=False),
        {"op": "sys", "own": spec.network != "host", "describe": "mount /sys"},
        # The launcher fills in which: that depends on the machine.
        {"op": "cgroups", "show": [], "hide": spec.network == "host", "describe": "mount /sys/fs/cgroup"},
        _mount(
            "tmpfs",
            "/dev",
            _tmpfs_options(0o755, 64 * 1024),
            mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC,
            follow=False,
        ),
        {"op": "devices", "describe": "make /dev"},
        _mount("devpts", "/dev/pts", pts, mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC, follow=False),
        _mount("tmpfs", "/dev/shm", shm, _SAFE, follow=False),  # noqa: S108
        _mount("mqueue", "/dev/mqueue", (), _SAFE, follow=False),
        {"op": "mask", "paths": list(MASKED_PATHS), "describe": "mask the host's details"},
        *_plan_sysctls(spec),
        {"op": "protect", "paths": list(READ_ONLY_PATHS), "describe": "make kernel settings read-only"},
    ]
    binds, placed = plan_mounts(spec.mounts, user=spec.user, has_owners=spec.tier != "single")
    return binds, operations + placed


def _plan_sysctls(spec: SandboxSpec) -> list[dict[str, Any]]:
    if not spec.sysctls:
        return []
    from carboy.runtime.sysctls import find_path

    return [
        {"op": "sysctl", "path": find_path(name), "value": value, "describe": f"set {name}"}
        for name, value in spec.sysctls
    ]


def plan_mounts(
    wanted: Sequence[BindMount | TmpfsMount | FileMount], *, user: str = "", has_owners: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what to bind, and the operations that place all mounts: those nearer to the root first, else as given.

    ``user`` gets the private files, unless they name another one; without ``has_owners`` one id owns everything anyway.
    """
    binds: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    for index, mount in enumerate(sorted(wanted, key=lambda mount: len(_parts(mount.target)))):
        target = mount.target
        if isinstance(mount, TmpfsMount):
            options = _tmpfs_options(mount.mode, mount.size_bytes)
            operations.append(_mount("tmpfs", target, options, _find_attributes(mount), follow=True))
        elif isinstance(mount, FileMount):
            covered = any(_parts(target)[: len(above)] == above for above in (_parts(bind["target"]) for bind in binds))
            operations.append(
                {
                    "op": "file",
                    "name": str(index),
                    "target": target,
                    "content": mount.content,
                    "mode": mount.mode,
                    "user": (mount.user or user) if mount.private and has_owners else "",
                    "make": not (mount.optional and covered),
                    "describe": f"place {target}",
                }
            )
        else:
            operations.append({"op": "bind", "index": len(binds), "describe": f"mount {target}"})
            binds.append(_bind(mount))
    return binds, operations


def _parts(target: str) -> list[str]:
    return [part for part in target.split("/") if part not in {"", "."}]


def _find_attributes(mount: BindMount | TmpfsMount) -> int:
    read_only = mounts.MOUNT_ATTR_RDONLY if mount.read_only else 0
    return _NO_DEVICES | read_only | (mounts.MOUNT_ATTR_NOEXEC if mount.noexec else 0)


def _tmpfs_options(mode: int, size_bytes: int) -> tuple[tuple[str, str | None], ...]:
    """Return the options of a tmpfs: an empty file costs the kernel memory that ``size`` does not count, so they are bounded.

    The kernel's own bound is one inode for each page of half of the machine's memory, whatever the size.
    """
    inodes = max(MIN_INODES, size_bytes // 4096)
    return (("mode", f"{mode:o}"), ("size", str(size_bytes)), ("nr_inodes", str(inodes)))


def _mount(
    kind: str, target: str, options: tuple[tuple[str, str | None], ...], attributes: int, *, follow: bool
) -> dict[str, Any]:
    return {
        "op": "mount", "kind": kind, "target": target, "options": options, "attributes": attributes, "follow": follow,
        "describe": f"mount {target}",
    }  # fmt: skip


def _bind(mount: BindMount) -> dict[str, Any]:
    # Whether the source is a directory is found out where it is opened. The launcher fills in the user's ids for "owner".
    return {
        "source": mount.source, "target": mount.target, "attributes": _find_attributes(mount), "recursive": mount.recursive,
        "idmap": mount.idmap, "outside": mount.outside, "user": (0, 0),
    }  # fmt: skip
