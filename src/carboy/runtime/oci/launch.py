"""The launcher's side of other runtimes: plans, starts of the stage program, and its end of the talk."""

from __future__ import annotations

import _socket
import marshal
import os

from carboy.base.proc import spawn, spawn_own, wait
from carboy.errors import CarboyError
from carboy.linux.seccomp import read_profile
from carboy.runtime.attend import attend
from carboy.runtime.native.launch import NativeRuntime, NativeSandbox
from carboy.runtime.oci.bundle import plan_bundle
from carboy.runtime.oci.life import find_cover
from carboy.runtime.oci.program import find_program, plan_flags
from carboy.runtime.passing import Passing, let_reopen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.base.home import Home
    from carboy.linux.seccomp import Profile
    from carboy.runtime.spec import SandboxSpec
    from carboy.runtime.stdio import Stdio

__all__ = ["OciRuntime", "OciSandbox", "enter", "launch"]


class OciRuntime:
    """Runs sandboxes by the program of another runtime: ``kind`` is runc, crun or runsc.

    As :class:`NativeRuntime` otherwise, whose plan it extends. Raises ``CarboyError`` (125) when the program is not here.
    """

    def __init__(self, home: Home, kind: str, *, program: str | None = None) -> None:
        self._home = home
        self._kind = kind
        self._program = program or find_program(kind)

    def run(self, spec: SandboxSpec, stdio: Stdio) -> int:
        """Run the sandbox to its end and return the exit status of its process. Raises ``SandboxError``."""
        with Passing(stdio, terminal=spec.terminal) as passing:
            return attend(lambda: self.launch(self.plan(spec), passing.child_fds), passing)

    def plan(self, spec: SandboxSpec) -> dict[str, Any]:
        """Return the stage program's plan for ``spec``: data that another process of the same interpreter may launch.

        Raises ``CarboyError`` (125): what the runtime cannot give is refused before anything is started.
        """
        _check(spec, self._kind)
        self._remove_stale()
        plan = NativeRuntime(self._home).plan(spec)
        if spec.tier == "root":
            # The group holds the limit; a runtime's own threads would count against the container's RLIMIT_NPROC.
            plan["process"]["pids_limit"] = 0
        plan["process"]["seccomp"] = b""  # it is in the bundle
        state = f"{self._home.run}/oci/{spec.id}"
        staging = find_cover(state, self._program)
        plan |= {"runtime": self._kind, "staging": staging}
        plan["oci"] = {
            "kind": self._kind,
            "path": self._program,
            "state": state,
            "network": _find_network(spec),
            "net_raw": "NET_RAW" in spec.capabilities,
            "own": spec.tier == "root",
            "config": plan_bundle(
                spec,
                rootfs=f"{staging}/root",
                staged=staging,
                process=plan["process"],
                profile=_find_profile(spec),
                arch=os.uname().machine,
                gvisor=self._kind == "runsc",
            ),
        }
        return plan

    def _remove_stale(self) -> None:
        """Remove containers whose stage program and launcher were both killed: whose folder is gone."""
        try:
            names = os.listdir(f"{self._home.run}/oci")
        except FileNotFoundError:
            return
        for name in names:
            if not os.path.exists(f"{self._home.containers}/{name}"):
                own = {"kind": self._kind, "path": self._program, "state": f"{self._home.run}/oci/{name}"}
                _remove({"id": name, "oci": {**own, "network": "none", "net_raw": False, "own": True}})

    @staticmethod
    def launch(plan: dict[str, Any], child_fds: dict[int, int]) -> OciSandbox:
        """Start the stage program for ``plan`` with the descriptors (0, 1, 2) that its process shall have."""
        return launch(plan, child_fds)


def _find_network(spec: SandboxSpec) -> str:
    """Return gVisor's word for the network: its own stack is connected to a namespace that has more than a loopback."""
    if spec.network == "host":
        return "host"
    return "sandbox" if spec.announce_network else "none"


def _find_profile(spec: SandboxSpec) -> Profile | None:
    """Return the rules of a container's filter; None where none was asked for. Raises ``CarboyError`` (125)."""
    emulate_root = spec.tier == "single"
    if not spec.seccomp:
        return read_profile()
    from carboy.linux.profiles import make_open_profile, parse_docker_profile

    if spec.seccomp == "unconfined":
        return make_open_profile() if emulate_root else None
    return parse_docker_profile(spec.seccomp.encode(), caps=spec.capabilities, emulate_root=emulate_root)


def _check(spec: SandboxSpec, kind: str) -> None:
    from carboy.runtime.native.cgroups.plan import needs_groups

    if kind == "runsc":
        _check_gvisor(spec)
    if spec.tier != "root" and needs_groups(spec.limits):
        raise CarboyError(
            f"{kind} sets limits as root only",
            hint="use --runtime native, which uses the groups that are delegated to you",
            code=125,
        )


def _check_gvisor(spec: SandboxSpec) -> None:
    """Raise ``CarboyError`` for what gVisor would leave out without a word."""
    impossible = [
        (bool(spec.devices), "--device: it gives a container no devices of the host"),
        (bool(spec.sysctls), "--sysctl: its kernel has settings of its own"),
        (bool(spec.apparmor), "--security-opt apparmor: its processes are not the host's"),
    ]
    issues = [text for asked, text in impossible if asked]
    if issues:
        raise CarboyError(
            "gVisor cannot do everything that is asked for",
            details="\n".join(issues),
            hint="leave that out, or use --runtime native",
            code=125,
        )


def launch(plan: dict[str, Any], child_fds: dict[int, int]) -> OciSandbox:
    """Start the stage program for ``plan`` with the descriptors (0, 1, 2) that its process shall have.

    The container dies with this process. Raises ``CarboyError`` when it cannot be started.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        stage = _start("stage", plan, {**child_fds, 4: theirs.fileno()})
    finally:
        theirs.close()
    return OciSandbox(ours, stage, plan)


def enter(plan: dict[str, Any], fds: dict[int, int]) -> int:
    """Start one more process in a running container, and return the pid of the program that stands between.

    As ``native.launch.enter``; ``plan`` also has the container's "runtime", "oci", "staging" and "root".
    """
    return _start("enter", plan, fds)


def _start(program: str, plan: dict[str, Any], fds: dict[int, int]) -> int:
    let_reopen(fds)
    plan_read, plan_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = spawn_own(f"carboy.runtime.oci.{program}", fds={**fds, 3: plan_read})
    finally:
        os.close(plan_read)
    with open(plan_write, "wb") as file:
        file.write(marshal.dumps(plan))
    return pid


class OciSandbox(NativeSandbox):
    """One container under way: the launcher's end of the talk with its stage program."""

    __slots__ = ("_plan",)

    def __init__(self, socket: _socket.socket, stage: int, plan: dict[str, Any]) -> None:
        super().__init__(socket, stage, plan["id"])
        self._plan = plan

    def signal(self, number: int) -> None:
        """Send a signal to the container's process, which the stage program knows; one that is gone is fine."""
        try:  # noqa: SIM105
            self._socket.send(b"%d" % number)
        except OSError:
            pass

    def wait(self) -> int:
        """Close the talk, reap the stage program, remove what it could not if it was killed, and return its status."""
        self._socket.close()
        status = wait(self._stage)
        if os.path.isdir(self._plan["oci"]["state"]):
            _remove(self._plan)
        return status


def _remove(plan: dict[str, Any]) -> None:
    from carboy.runtime.oci.stage import remove_state

    wait(spawn([*plan_flags(plan["oci"], log=os.devnull), "delete", "--force", plan["id"]]))
    remove_state(plan)
