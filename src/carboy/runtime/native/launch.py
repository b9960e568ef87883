"""The launcher: starts the stage program, stands between its process and the caller, and returns the exit status."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import marshal
import os
import sys

from carboy.base.proc import spawn_own, wait
from carboy.linux.seccomp import compile_profile
from carboy.runtime.attend import FORWARDED, attend
from carboy.runtime.errors import SandboxError
from carboy.runtime.native.files import read_own
from carboy.runtime.native.plan import plan_stage
from carboy.runtime.native.targets import find_names, make_targets
from carboy.runtime.passing import Passing, let_reopen
from carboy.runtime.passwd import resolve_user
from carboy.runtime.spec import NO_LIMITS, DirectoryRoot
from carboy.runtime.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.base.home import Home
    from carboy.runtime.attend import Watcher
    from carboy.runtime.sandbox import Event
    from carboy.runtime.spec import SandboxSpec

__all__ = ["NativeRuntime", "Stdio"]

MAX_REPORT_BYTES = 65_536
MFD_EXEC = 0x10
MAX_FORK_BYTES = 48 * 2**20


class NativeRuntime:
    """Runs sandboxes by carboy's own stage program. Holds no state between runs; safe to use from one thread."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def run(self, spec: SandboxSpec, stdio: Stdio, *, watcher: Watcher | None = None) -> int:
        """Run the sandbox to its end and return the exit status of its process (128 + n when signal n ended it).

        ``watcher`` sees its events, and answers that its network is ready where the sandbox asks.
        Signals that reach this process meanwhile are passed on. When this process dies, the sandbox dies. Raises
        ``SandboxError``: 125 when the sandbox cannot be made as asked, 126 or 127 for its command.
        """
        with Passing(stdio, terminal=spec.terminal) as passing:
            return attend(lambda: self.launch(self.plan(spec), passing.child_fds), passing, watcher=watcher)

    def plan(self, spec: SandboxSpec) -> dict[str, Any]:
        """Return the stage program's plan for ``spec``: data that another process of the same interpreter may launch.

        Raises ``SandboxError`` when the image's user is unknown.
        """
        # The same for all: what is mounted there is seen by the one sandbox only.
        staging = f"{self._home.run}/mnt"
        os.makedirs(staging, mode=0o700, exist_ok=True)
        plan = plan_stage(
            spec,
            staging=staging,
            seccomp=_compile_filter(spec),
            user_ids=_find_ids(spec) if spec.tier == "single" else (0, 0),
        )
        if plan["root"]["kind"] == "overlay":
            plan["root"]["lower"].insert(0, make_targets(self._home, find_names(plan["operations"])))
        _add_owners(plan, spec)
        _add_resources(plan, spec)
        return plan

    @staticmethod
    def launch(plan: dict[str, Any], child_fds: dict[int, int]) -> NativeSandbox:
        """Start the stage program for ``plan`` with the descriptors (0, 1, 2) that its process shall have."""
        return launch(plan, child_fds)


def _compile_filter(spec: SandboxSpec) -> bytes | None:
    """Return the system call filter of a container; None where none was asked for. Raises ``CarboyError`` (125)."""
    emulate_root = spec.tier == "single"
    if not spec.seccomp:
        return compile_profile(caps=spec.capabilities, emulate_root=emulate_root)
    from carboy.linux.profiles import make_open_profile, parse_docker_profile

    if spec.seccomp == "unconfined":
        return compile_profile(make_open_profile(), emulate_root=True) if emulate_root else None
    profile = parse_docker_profile(spec.seccomp.encode(), caps=spec.capabilities, emulate_root=emulate_root)
    return compile_profile(profile, caps=spec.capabilities, emulate_root=emulate_root)


def _add_resources(plan: dict[str, Any], spec: SandboxSpec) -> None:
    """Add to the plan what this machine must be asked about: control groups and devices. Raises ``CarboyError`` (125)."""
    if spec.limits != NO_LIMITS or spec.devices or spec.accounting:
        from carboy.runtime.native.resources import read_resources

        resources = read_resources(spec)
        plan["process"]["pids_limit"] = resources.pop("pids_limit")
        next(item for item in plan["operations"] if item["op"] == "cgroups")["show"] = resources.pop("show")
        plan |= resources
    elif spec.tier == "root":
        from carboy.runtime.native.cgroup import find_default_groups

        plan["cgroup"]["groups"] = find_default_groups(plan["process"]["pids_limit"])


def _add_owners(plan: dict[str, Any], spec: SandboxSpec) -> None:
    """Add the ids of the process to the binds whose owner it shall be. Raises ``SandboxError`` where that is impossible."""
    for bind in plan["binds"]:
        if bind["idmap"] != "owner":
            continue
        user = _find_ids(spec)
        if spec.tier == "subuid" and user != (0, 0):
            reason = f"only root can map the container's user {user[0]} to another one"
            hint = "leave out idmap=owner and run as the image's root (--user 0): its files are yours"
            raise SandboxError(f"bind {bind['source']}", reason, hint=hint)
        bind["user"] = user


def _find_ids(spec: SandboxSpec) -> tuple[int, int]:
    """Return the image's user: what the one id of the single tier is shown as, and who shall own a bind mount's files."""
    if spec.user in {"", "0", "root", "0:0"} or isinstance(spec.root, DirectoryRoot):
        return 0, 0
    trees = tuple(spec.root.lower)
    try:
        uid, gid, _, _ = resolve_user(spec.user, _read_own(trees, "passwd"), _read_own(trees, "group"))
    except (ValueError, OSError) as error:
        raise SandboxError("find the user", str(error), hint="name a user of the image, or a number") from error
    return uid, gid


def _read_own(trees: tuple[str, ...], name: str) -> bytes:
    """Return a file of the image's /etc from the topmost layer that has it."""
    for tree in reversed(trees):
        try:
            rootfd = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            return read_own(rootfd, f"/etc/{name}")
        except FileNotFoundError:
            continue
        finally:
            os.close(rootfd)
    return b""


def _seal_interpreter(path: str) -> int:
    """Return a sealed copy of the interpreter in memory when the caller could change it; -1 when it could not.

    An image whose command is a link to /proc/self/exe runs the stage program's own interpreter, and may then change its mode
    or open it for writing, which in the user tiers its owner may do (CVE-2019-5736). A sealed copy cannot be written by
    anybody.
    """
    if os.stat(path).st_uid != os.getuid() and not os.access(path, os.W_OK):
        return -1
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            copy = os.memfd_create("carboy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | MFD_EXEC)
        except OSError:  # before Linux 6.3
            copy = os.memfd_create("carboy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        left = os.fstat(source).st_size
        while left > 0:
            left -= os.sendfile(copy, source, None, left)
        fcntl.fcntl(
            copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        # Above the numbers that the child's own descriptors get.
        high = fcntl.fcntl(copy, fcntl.F_DUPFD_CLOEXEC, 200)
    finally:
        os.close(source)
    os.close(copy)
    return high


def launch(plan: dict[str, Any], child_fds: dict[int, int]) -> NativeSandbox:
    """Start the stage program for ``plan`` with the descriptors (0, 1, 2) that its process shall have.

    It dies with this process. Raises ``CarboyError`` when it cannot be started.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        stage = _start("stage", plan, {**child_fds, 4: theirs.fileno()})
    finally:
        theirs.close()
    return NativeSandbox(ours, stage, plan["id"])


def enter(plan: dict[str, Any], fds: dict[int, int]) -> int:
    """Start one more process in a running sandbox, and return the pid of the program that stands between.

    ``fds``: 0, 1 and 2 for the process (/dev/null unless named), 4 the socket to report on, 5 a pidfd of the sandbox's
    first process. Raises ``CarboyError`` when it cannot be started.
    """
    return _start("enter", plan, fds)


def _start(program: str, plan: dict[str, Any], fds: dict[int, int]) -> int:
    """Start one of the two programs, in a fork where that is safe, else in an interpreter of its own."""
    let_reopen(fds)
    plan_read, plan_write = os.pipe2(os.O_CLOEXEC)
    try:
        fds = {**fds, 3: plan_read}
        pid = _fork(program, fds) if plan["idmap"] and _can_fork() else _spawn(program, fds, sealed=not plan["idmap"])
    finally:
        os.close(plan_read)
    with open(plan_write, "wb") as file:
        file.write(marshal.dumps(plan))
    return pid


def _can_fork() -> bool:
    """Return whether a copy of this process is worth making: of one thread, since others may hold locks, and small."""
    with open("/proc/self/statm", "rb") as file:
        resident_bytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident_bytes < MAX_FORK_BYTES and len(os.listdir("/proc/self/task")) == 1


def _fork(program: str, fds: dict[int, int]) -> int:
    """Start a program in a copy of this process, which saves the start of an interpreter.

    For the root tier only: what the container's process is started from belongs to ids that the container does not have.
    """
    if program == "stage":
        from carboy.runtime.native.stage import main
    else:
        from carboy.runtime.native.enter import main
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _signal.set_wakeup_fd(-1)
        for number in (*FORWARDED, 28):
            _signal.signal(number, _signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        # Sources are moved above all targets first, so that no dup2 overwrites a descriptor still to be used.
        targets = sorted({0, 1, 2} | set(fds))
        sources = [fcntl.fcntl(fds.get(target, null), fcntl.F_DUPFD_CLOEXEC, 64) for target in targets]
        for source, target in zip(sources, targets, strict=True):
            os.dup2(source, target)
        main()
    finally:
        os._exit(125)


def _spawn(program: str, fds: dict[int, int], *, sealed: bool) -> int:
    """Start a program in an interpreter of its own, ``sealed`` where its owner could change it."""
    copy = _seal_interpreter(sys.executable) if sealed else -1
    try:
        path = None if copy < 0 else f"/proc/self/fd/{copy}"
        return spawn_own(f"carboy.runtime.native.{program}", fds=fds, program=path)
    finally:
        if copy >= 0:
            os.close(copy)


class NativeSandbox:
    """One sandbox under way: the launcher's end of the talk with its stage program."""

    __slots__ = ("_id", "_socket", "_stage", "pid")

    def __init__(self, socket: _socket.socket, stage: int, container_id: str) -> None:
        self._socket = socket
        self._stage = stage
        self._id = container_id
        self.pid: int | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable when :meth:`receive` has something to return."""
        return self._socket.fileno()

    def receive(self) -> Event | None:
        """Return the next thing that the stage program says; None when it has said all. See ``runtime.sandbox``."""
        data, ancillary, _, _ = self._socket.recvmsg(MAX_REPORT_BYTES, 64, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            return None
        message: Event = marshal.loads(data)  # noqa: S302
        if ancillary:
            return (*message, int.from_bytes(ancillary[0][2][:4], sys.byteorder))
        if message[0] == "pid":
            self.pid = message[1]
        return message

    def proceed(self, problem: str = "") -> None:
        """Answer ("netns", pid, fd): the network is ready, or the start fails with ``problem``."""
        try:
            self._socket.send(problem.encode() or b"y")
        except OSError as error:
            raise SandboxError("run the sandbox", "the stage program ended") from error

    def signal(self, number: int) -> None:
        """Send a signal to the sandbox's process; one that is gone is fine."""
        try:
            if self.pid is not None:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def wait(self) -> int:
        """Close the talk, reap the stage program, and return its exit status."""
        self._socket.close()
        status = wait(self._stage)
        if status:
            # The stage program removes its own group, unless it failed or was killed itself.
            from carboy.runtime.native.cgroup import remove_cgroup

            remove_cgroup(self._id)
        return status
