"""What a sandbox is: frozen values without behaviour.

Plain classes with slots and no ``dataclasses``: this module is on the way of every start, and importing ``dataclasses``
(which imports ``inspect``) costs more than making the sandbox's namespaces does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from carboy.snapshots.snapshot import OverlayMount

# The host ids that a container of the root tier is mapped to: above what distributions and systemd-nspawn hand out.
ROOT_TIER_FIRST_ID = 1_879_048_192
ROOT_TIER_COUNT = 65_536

RUN_CAPABILITIES = frozenset(
    {
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETFCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",
    }
)  # fmt: skip


def default_capabilities(purpose: str) -> frozenset[str]:
    """Return the capabilities of a container ("run") or a build step ("build"): Docker's without four (ADR 1)."""
    if purpose not in {"run", "build"}:
        raise ValueError(purpose)
    return RUN_CAPABILITIES


class Value:
    """A value: set once, equal when all fields are equal."""

    __slots__ = ()

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _names(self) -> tuple[str, ...]:
        return tuple(self.__slots__)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with these fields changed."""
        return type(self)(**{**{name: getattr(self, name) for name in self._names()}, **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, n) == getattr(other, n) for n in self._names())

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._names()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self._names())})"


class DirectoryRoot(Value):
    """A root that is one directory, changed in place; ``path`` is on the host."""

    __slots__ = ("path",)
    path: str

    def __init__(self, *, path: str) -> None:
        self._set(path=path)


class BindMount(Value):
    """The host's file or directory ``source`` at ``target``: always nosuid and nodev, and never propagated.

    ``recursive`` brings what is mounted below the source, with the same restrictions. ``idmap`` is for the root tier, where
    a container's ids are not the host's: "ids" gives each file the owner that it has on the host (uid N is uid N on both
    sides), "owner" also exchanges the process's user and the owner of the source, "none" maps nothing, and the default
    is "ids" for what is writable. ``outside`` is a folder that the source must neither lie in nor contain.
    """

    __slots__ = ("idmap", "noexec", "outside", "read_only", "recursive", "source", "target")
    source: str
    target: str
    read_only: bool
    noexec: bool
    recursive: bool
    idmap: str
    outside: str

    def __init__(
        self,
        *,
        source: str,
        target: str,
        read_only: bool = True,
        noexec: bool = False,
        recursive: bool = True,
        idmap: str = "",
        outside: str = "",
    ) -> None:
        self._set(
            source=source, target=target, read_only=read_only, noexec=noexec, recursive=recursive,
            idmap=idmap or ("none" if read_only else "ids"), outside=outside,
        )  # fmt: skip


class TmpfsMount(Value):
    """An empty file system in memory at ``target``: always nosuid and nodev."""

    __slots__ = ("mode", "noexec", "read_only", "size_bytes", "target")
    target: str
    size_bytes: int
    mode: int
    read_only: bool
    noexec: bool

    def __init__(
        self,
        *,
        target: str,
        size_bytes: int = 256 * 2**20,
        mode: int = 0o1777,
        read_only: bool = False,
        noexec: bool = False,
    ) -> None:
        self._set(target=target, size_bytes=size_bytes, mode=mode, read_only=read_only, noexec=noexec)


class FileMount(Value):
    """A read-only file at ``target`` that holds ``content`` and never touches the disk.

    An ``optional`` one is left out where a bind mount covers its place and has no such file: it would be made on the host.
    ``private`` gives it to ``user`` (Docker's form, "": the container's user); else it is root's.
    """

    __slots__ = ("content", "mode", "optional", "private", "target", "user")
    target: str
    content: bytes
    mode: int
    optional: bool
    private: bool
    user: str

    def __init__(
        self,
        *,
        target: str,
        content: bytes,
        mode: int = 0o644,
        optional: bool = False,
        private: bool = False,
        user: str = "",
    ) -> None:
        self._set(target=target, content=content, mode=mode, optional=optional, private=private, user=user)


class Device(Value):
    """The host's device node ``source`` as ``target``; ``permissions`` are some of "rwm", as Docker writes them.

    "m" (mknod) is accepted and grants nothing: in a user namespace the kernel lets nobody make device nodes.
    """

    __slots__ = ("permissions", "source", "target")
    source: str
    target: str
    permissions: str

    def __init__(self, *, source: str, target: str, permissions: str = "rwm") -> None:
        self._set(source=source, target=target, permissions=permissions)


DEFAULT_PIDS = 4096
DEFAULT_SHM_BYTES = 64 * 2**20


class Limits(Value):
    """What one container may use; a field at its default asks for nothing, except ``pids`` and ``shm_bytes``.

    ``cpus`` is a share of the machine's time (1.5: one and a half CPUs; 0: no limit); ``cpu_shares`` (2 to 262,144) and
    ``blkio_weight`` (10 to 1,000) count under contention only; ``cpuset_cpus`` and ``cpuset_mems`` are lists ("0-3,5");
    ``memory_reservation_bytes`` is what reclaim leaves alone; ``memory_swap_bytes`` is memory and swap together, as
    Docker counts (-1: unlimited swap; 0: twice the memory). ``pids`` counts processes and threads (0 or -1: no limit);
    ``oom_score_adj`` is None for the caller's own; ``ulimits`` are (name, soft, hard) with -1 for unlimited.
    """

    __slots__ = (
        "blkio_weight", "cpu_shares", "cpus", "cpuset_cpus", "cpuset_mems", "memory_bytes", "memory_reservation_bytes",
        "memory_swap_bytes", "oom_score_adj", "pids", "shm_bytes", "ulimits",
    )  # fmt: skip
    cpus: float
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    memory_bytes: int
    memory_reservation_bytes: int
    memory_swap_bytes: int
    pids: int
    shm_bytes: int
    oom_score_adj: int | None
    ulimits: tuple[tuple[str, int, int], ...]
    blkio_weight: int

    def __init__(
        self,
        *,
        cpus: float = 0,
        cpu_shares: int = 0,
        cpuset_cpus: str = "",
        cpuset_mems: str = "",
        memory_bytes: int = 0,
        memory_reservation_bytes: int = 0,
        memory_swap_bytes: int = 0,
        pids: int = DEFAULT_PIDS,
        shm_bytes: int = DEFAULT_SHM_BYTES,
        oom_score_adj: int | None = None,
        ulimits: tuple[tuple[str, int, int], ...] = (),
        blkio_weight: int = 0,
    ) -> None:
        self._set(
            cpus=cpus, cpu_shares=cpu_shares, cpuset_cpus=cpuset_cpus, cpuset_mems=cpuset_mems, memory_bytes=memory_bytes,
            memory_reservation_bytes=memory_reservation_bytes, memory_swap_bytes=memory_swap_bytes, pids=max(pids, 0),
            shm_bytes=shm_bytes, oom_score_adj=oom_score_adj, ulimits=ulimits, blkio_weight=blkio_weight,
        )  # fmt: skip


NO_LIMITS = Limits()


class SandboxSpec(Value):
    """One sandbox with one process.

    ``args`` and ``env`` ("NAME=VALUE") are the process's; ``cwd`` is made when it is missing; ``user`` is Docker's form
    ("", "name", "uid", "uid:gid") and ``groups`` are added to the user's own (names of the image, or numbers);
    ``seccomp`` is "" for carboy's filter, "unconfined", or a profile of Docker's form; ``apparmor`` a profile that the
    machine has; ``sysctls`` are (name, value), checked by ``runtime.sysctls``; ``network`` is "host" for the host's, else
    the sandbox has one of its own, shown to the launcher before anything of the image runs when ``announce_network``;
    ``mounts`` are made in the order of their targets' depth; ``limits`` is what it may use (``pids_limit`` is short for
    ``Limits(pids=...)``); ``accounting`` asks for what `stats`, `pause` and `update` need of the kernel while it runs, which
    costs a start about a millisecond; ``tier`` is the caller's ("root", "subuid", "single") and ``id_count`` how many ids
    its namespace has.
    """

    __slots__ = (
        "accounting", "announce_network", "apparmor", "args", "capabilities", "cwd", "devices", "env", "groups", "hostname",
        "id", "id_count", "limits", "mounts", "network", "read_only_root", "root", "seccomp", "sysctls", "terminal", "tier",
        "user",
    )  # fmt: skip
    accounting: bool
    announce_network: bool
    apparmor: str
    args: tuple[str, ...]
    capabilities: frozenset[str]
    cwd: str
    devices: tuple[Device, ...]
    env: tuple[str, ...]
    groups: tuple[str, ...]
    hostname: str
    id: str
    id_count: int
    limits: Limits
    mounts: tuple[BindMount | TmpfsMount | FileMount, ...]
    network: str
    read_only_root: bool
    root: OverlayMount | DirectoryRoot
    seccomp: str
    sysctls: tuple[tuple[str, str], ...]
    terminal: bool
    tier: str
    user: str

    def __init__(
        self,
        *,
        id: str,
        root: OverlayMount | DirectoryRoot,
        args: tuple[str, ...],
        tier: str,
        id_count: int = ROOT_TIER_COUNT,
        env: tuple[str, ...] = (),
        cwd: str = "/",
        user: str = "",
        hostname: str = "carboy",
        network: str = "none",
        announce_network: bool = False,
        mounts: tuple[BindMount | TmpfsMount | FileMount, ...] = (),
        terminal: bool = False,
        capabilities: frozenset[str] = RUN_CAPABILITIES,
        read_only_root: bool = False,
        limits: Limits = NO_LIMITS,
        pids_limit: int | None = None,
        devices: tuple[Device, ...] = (),
        accounting: bool = False,
        groups: tuple[str, ...] = (),
        seccomp: str = "",
        apparmor: str = "",
        sysctls: tuple[tuple[str, str], ...] = (),
    ) -> None:
        if pids_limit is not None:
            limits = limits.replace(pids=pids_limit)
        self._set(
            id=id, root=root, args=args, tier=tier, id_count=id_count, env=env, cwd=cwd, user=user, hostname=hostname,
            network=network, mounts=mounts, announce_network=announce_network,
            terminal=terminal, capabilities=capabilities, read_only_root=read_only_root,
            limits=limits, devices=devices, accounting=accounting,
            groups=groups, seccomp=seccomp, apparmor=apparmor, sysctls=sysctls,
        )  # fmt: skip


# What the kernel shows of the host below /proc and /sys that a container has no business with.
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/kallsyms",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/kmsg", "/proc/config.gz",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block", "/sys/kernel/debug",
)  # fmt: skip
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
