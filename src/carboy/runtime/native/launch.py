"""The launcher: starts the stage program, stands between its process and the caller, and returns the exit status."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import marshal
import os
import select
import sys

from carboy.base.proc import spawn, wait
from carboy.linux.seccomp import compile_profile
from carboy.runtime.errors import SandboxError
from carboy.runtime.native.files import read_own
from carboy.runtime.native.passing import Passing, Terminal
from carboy.runtime.native.plan import plan_stage
from carboy.runtime.passwd import resolve_user
from carboy.runtime.spec import DirectoryRoot
from carboy.runtime.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.base.home import Home
    from carboy.runtime.spec import SandboxSpec

__all__ = ["NativeRuntime", "Stdio"]

MAX_REPORT_BYTES = 65_536
MFD_EXEC = 0x10
MAX_FORK_BYTES = 48 * 2**20
FORWARDED = (1, 2, 3, 10, 12, 15)  # HUP INT QUIT USR1 USR2 TERM
_HINTS = {
    "make a user namespace": "this machine may forbid user namespaces; `carboy doctor` says what to change",
    "mount /proc": "an outer container hides parts of /proc; start it with an unmasked /proc, or use another machine",
    "make the root file system": "`carboy doctor` says whether overlay mounts work here",
}


class NativeRuntime:
    """Runs sandboxes by carboy's own stage program. Holds no state between runs; safe to use from one thread."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def run(self, spec: SandboxSpec, stdio: Stdio) -> int:
        """Run the sandbox to its end and return the exit status of its process (128 + n when signal n ended it).

        Signals that reach this process meanwhile are passed on. When this process dies, the sandbox dies. Raises
        ``SandboxError``: 125 when the sandbox cannot be made as asked, 126 or 127 for its command.
        """
        folder = f"{self._home.containers}/{spec.id}"
        staging = f"{folder}/mnt"
        os.makedirs(staging, mode=0o700, exist_ok=True)
        plan = plan_stage(
            spec,
            staging=staging,
            seccomp=compile_profile(caps=spec.capabilities, emulate_root=spec.tier == "single"),
            user_ids=_find_ids(spec) if spec.tier == "single" else (0, 0),
        )
        for bind in plan["binds"]:
            bind["directory"] = os.path.isdir(bind["source"])
        try:
            return _Launch(plan, stdio).run()
        except SandboxError:
            # The stage program removes its own group, unless it was killed itself.
            from carboy.runtime.native.cgroup import remove_cgroup

            remove_cgroup(spec.id)
            raise


def _find_ids(spec: SandboxSpec) -> tuple[int, int]:
    """Return the ids that the one id of the single tier is shown as: the image's user, so that its files fit."""
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


def _can_fork() -> bool:
    """Return whether a copy of this process is worth making: of one thread, since others may hold locks, and small."""
    with open("/proc/self/statm", "rb") as file:
        resident_bytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident_bytes < MAX_FORK_BYTES and len(os.listdir("/proc/self/task")) == 1


def _fork(fds: dict[int, int]) -> int:
    """Start the stage program in a copy of this process, which saves the start of an interpreter.

    For the root tier only: what the container's process is started from belongs to ids that the container does not have.
    """
    from carboy.runtime.native import stage

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
        stage.main()
    finally:
        os._exit(125)


def _start(fds: dict[int, int], plan: dict[str, Any]) -> int:
    """Start the stage program in an interpreter of its own."""
    command = "import sys; sys.path.insert(0, sys.argv[1]); from carboy.runtime.native import stage; stage.main()"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    sealed = -1 if plan["idmap"] else _seal_interpreter(sys.executable)
    try:
        return spawn(
            [sys.executable, "-I", "-S", "-c", command, root],
            fds=fds,
            new_session=True,
            program=None if sealed < 0 else f"/proc/self/fd/{sealed}",
        )
    finally:
        if sealed >= 0:
            os.close(sealed)


class _Launch:
    """One run of the stage program."""

    def __init__(self, plan: dict[str, Any], stdio: Stdio) -> None:
        self._plan = plan
        self._stdio = stdio
        self._error: SandboxError | None = None
        self._status: int | None = None
        self._pid: int | None = None
        self._pending: list[int] = []

    def run(self) -> int:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        plan_read, plan_write = os.pipe2(os.O_CLOEXEC)
        with Passing(self._stdio, terminal=self._plan["process"]["terminal"]) as passing:
            signals, restore = _catch_signals()
            try:
                child_fds = {**passing.child_fds, 3: plan_read, 4: theirs.fileno()}
                stage = _fork(child_fds) if self._plan["idmap"] and _can_fork() else _start(child_fds, self._plan)
                os.close(plan_read)
                theirs.close()
                passing.close_child_ends()
                with open(plan_write, "wb") as file:
                    file.write(marshal.dumps(self._plan))
                self._loop(ours, passing, signals)
                status = wait(stage)
            finally:
                restore()
            passing.drain()
        if self._error is not None:
            raise self._error
        if self._status is None:
            raise SandboxError("run the sandbox", f"the stage program ended with status {status}")
        return self._status

    def _loop(self, ours: _socket.socket, passing: Passing, signals: int) -> None:
        poll = select.poll()
        poll.register(ours.fileno(), select.POLLIN)
        poll.register(signals, select.POLLIN)
        passing.register(poll)
        while True:
            for fd, _ in poll.poll():
                if fd == signals:
                    self._forward(os.read(signals, 64), passing)
                elif fd != ours.fileno():
                    passing.move(fd, poll)
                elif not self._receive(ours, passing, poll):
                    return

    def _receive(self, ours: _socket.socket, passing: Passing, poll: select.poll) -> bool:
        data, ancillary, _, _ = ours.recvmsg(MAX_REPORT_BYTES, 64, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        message = marshal.loads(data)  # noqa: S302
        match message[0]:
            case "pid":
                self._pid = message[1]
                for signal in self._pending:
                    self._kill(signal)
            case "console":
                terminal = Terminal(int.from_bytes(ancillary[0][2][:4], sys.byteorder), self._stdio)
                passing.attach(terminal, poll)
            case "exit":
                self._status = message[1]
            case "error":
                _, operation, code, reason = message
                text = reason if not code or os.strerror(code) in reason else f"{reason}: {os.strerror(code)}"
                self._error = self._error or SandboxError(operation, text, hint=_HINTS.get(operation, ""))
            case "command":
                _, code, name, reason = message
                self._error = self._error or SandboxError(f"run {name!r}", reason, code=code)
        return True

    def _forward(self, numbers: bytes, passing: Passing) -> None:
        for signal in numbers:
            if signal == 28:  # WINCH: the terminal's size, not the process's business
                passing.resize()
            elif self._pid is None:
                self._pending.append(signal)
            else:
                self._kill(signal)

    def _kill(self, signal: int) -> None:
        try:
            if self._pid is not None:
                os.kill(self._pid, signal)
        except ProcessLookupError:
            pass


def _catch_signals() -> tuple[int, Callable[[], None]]:
    """Turn the signals to pass on into bytes on a pipe; returns the pipe and a function that undoes it all."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before_fd = _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    before = {number: _signal.signal(number, lambda *_: None) for number in (*FORWARDED, 28)}

    def restore() -> None:
        for number, handler in before.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        _signal.set_wakeup_fd(before_fd)
        os.close(read)
        os.close(write)

    return read, restore
