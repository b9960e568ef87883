"""The stage program, outer half: from a fresh interpreter to the first process of a new sandbox.

Runs as ``python -I -S`` with the plan on descriptor 3 and a socket to the launcher on descriptor 4, as uid 0 of the
*outer* user namespace (the machine's, or the caller's own in the user tiers). Three processes, each less privileged::

    keeper   stays outside: prepares what only the outer namespace may, waits, removes the control group at the end
    builder  enters the new user namespace and from there makes all others, and the root file system (overlayfs acts with
             the rights of who mounted it: so nothing that the container makes it do is done with more than its own)
    init     is the first process of the new pid namespace: see ``inside``

When the launcher dies, its end of the socket closes, and the keeper ends the sandbox; when the keeper or the builder is
killed, the kernel kills its child, and with init everything in the pid namespace.

All imports happen before anything of an image is in sight, and none can happen afterwards (:func:`_forbid_imports`). They
are few, for they are paid at every start: ``signal`` and ``socket`` import ``enum``, slower than all of the above
together, and their C halves have all that is needed. The plan travels as ``marshal`` for the same reason: both ends are
this program, on one private pipe.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import marshal
import os
import select
import sys

from carboy.linux import capabilities, mounts, namespaces, process
from carboy.runtime.native import inside
from carboy.runtime.native.cgroup import Cgroup, open_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Plan = dict[str, Any]

PLAN_FD = 3
REPORT_FD = 4
FAILED = 125
SIGKILL = 9
ALL_SIGNALS = _signal.valid_signals()
MAX_DESCRIPTORS = 253  # of one message: SCM_MAX_FD, unix(7)


class Reporter:
    """The way back to the launcher: one marshalled tuple per packet."""

    def __init__(self, fd: int) -> None:
        self.socket = _socket.socket(fileno=fd)
        os.set_inheritable(fd, False)

    def send(self, *message: object) -> None:
        """Send one message; a launcher that is gone is no reason to fail: its death ends us anyway."""
        try:
            self.socket.send(marshal.dumps(message))
        except OSError:
            pass

    def send_failure(self, operation: str, error: Exception) -> None:
        """Send ("error", operation, errno, text)."""
        if isinstance(error, OSError):
            self.send("error", operation, error.errno or 0, error.strerror or str(error))
        else:
            self.send("error", operation, 0, f"{type(error).__name__}: {error}")

    def send_descriptor(self, fd: int) -> None:
        """Send ("console",) together with a descriptor."""
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))
        self.socket.sendmsg([marshal.dumps(("console",))], [rights])


class Step:
    """Names the operation under way, for the report of its failure."""

    name = "read the plan"


def main() -> NoReturn:
    """Make the sandbox of the plan on descriptor 3, wait for its process, report, and exit."""
    report = Reporter(REPORT_FD)
    status = FAILED
    try:
        # A launcher that is killed cannot clean up; the keeper can, and is therefore not killed along with it.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ALL_SIGNALS)
        os.umask(0)
        plan = _read_plan()
        if plan is not None:
            status = _keep(plan, report)
            if status >= 0:
                report.send("exit", status)
    except Exception as error:  # noqa: BLE001  whatever it is, the launcher must hear of it
        report.send_failure(Step.name, error)
    os._exit(FAILED if status < 0 else status)


def _read_plan() -> Plan | None:
    with open(PLAN_FD, "rb") as file:
        data = file.read()
    _forbid_imports()
    # No plan: the launcher found out that there is nothing to start after it had started us.
    plan: Plan | None = marshal.loads(data) if data else None  # noqa: S302  from our own launcher, over a private pipe
    return plan


def _forbid_imports() -> None:
    """Make every import from now on fail: paths mean something else once a root is entered (CVE-2019-14271)."""
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.clear()


# --- keeper -------------------------------------------------------------------------------------------------------


def _keep(plan: Plan, report: Reporter) -> int:
    """Return the exit status of the sandbox; negative when it failed and the failure has been reported."""
    process.set_name("carboy-keeper")
    process.adopt_orphans()
    Step.name = "make a control group"
    cgroup = open_cgroup(plan["id"], pids_limit=plan["pids_limit"]) if plan["cgroup"] else Cgroup(None)
    try:
        Step.name = "make a mount namespace"
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
        _lay_out_staging(plan)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        keeper, builder = os.getpid(), os.fork()
        if builder == 0:
            ours.close()
            _build(plan, report=report, channel=theirs, keeper=keeper)
        theirs.close()
        try:
            if not _serve_builder(plan, builder, ours, cgroup):
                return -1
            return _wait_for(builder, report.socket.fileno())
        finally:
            _end(builder)
    finally:
        cgroup.remove()


def _lay_out_staging(plan: Plan) -> None:
    Step.name = "lay out the layers"
    mounts.mount("carboy", plan["staging"], "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755,size=1m")
    os.chdir(plan["staging"])
    for name in ("root", "files"):
        os.mkdir(name, 0o755)


def _serve_builder(plan: Plan, builder: int, channel: _socket.socket, cgroup: Cgroup) -> bool:
    """Do for the builder what only the outer namespace may; False when it failed, which it has reported itself."""
    if channel.recv(1) != b"n":
        return False
    Step.name = "map the ids of the user namespace"
    namespaces.write_id_maps(builder, plan["uid_map"], plan["gid_map"], deny_setgroups=plan["deny_setgroups"])
    user_namespace = os.open(f"/proc/{builder}/ns/user", os.O_RDONLY | os.O_CLOEXEC) if plan["idmap"] else None
    root = _stage_root(plan, user_namespace)
    binds = [_clone_bind(bind, user_namespace) for bind in plan["binds"]]
    Step.name = "join the control group"
    cgroup.add(builder)
    descriptors = ([] if root is None else [root]) + [fd for fd, _ in binds]
    about = marshal.dumps([(directory, later) for _, (directory, later) in binds])
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
    channel.sendmsg([about], ancillary)
    for fd in (*descriptors, *(() if user_namespace is None else (user_namespace,))):
        os.close(fd)
    return True


def _stage_root(plan: Plan, user_namespace: int | None) -> int | None:
    """Lay out what the root is made of in the staging directory; returns the root itself when it is one directory."""
    Step.name = "open the layers"
    root = plan["root"]
    if root["kind"] == "directory":
        return _clone(root["path"], user_namespace)
    for index, path in enumerate((*root["lower"], root["rw"])):
        name = "rw" if index == len(root["lower"]) else f"l{index}"
        if user_namespace is None:
            # A link keeps the option string short and free of the characters that overlayfs gives a meaning.
            os.symlink(path, name)
        else:
            os.mkdir(name, 0o755)
            clone = _clone(path, user_namespace)
            mounts.move_mount(clone, name)
            os.close(clone)
    return None


def _clone(path: str, user_namespace: int | None) -> int:
    fd = mounts.open_tree(path)
    if user_namespace is not None:
        mounts.mount_setattr(fd, attr_set=mounts.MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
    return fd


def _clone_bind(bind: dict[str, Any], user_namespace: int | None) -> tuple[int, tuple[bool, int]]:
    """Return a detached mount for a bind, and (whether it is a directory, attributes that are still to be set)."""
    Step.name = f"bind {bind['source']}"
    fd = mounts.open_tree(bind["source"], recursive=True)
    if user_namespace is not None:
        try:
            mounts.mount_setattr(fd, attr_set=mounts.MOUNT_ATTR_IDMAP, userns_fd=user_namespace, recursive=True)
        except OSError:
            # Some file systems have no such mounts. Read-only that costs no more than seeing "nobody" as the owner.
            if not bind["read_only"]:
                raise
    later = 0
    attributes = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
    attributes |= mounts.MOUNT_ATTR_RDONLY if bind["read_only"] else 0
    try:
        mounts.mount_setattr(fd, attr_set=attributes, recursive=True)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        # Without mount_setattr(2) only the topmost mount can be restricted, once it is attached: take that one alone.
        os.close(fd)
        fd = mounts.open_tree(bind["source"])
        later = attributes
    return fd, (os.fstat(fd).st_mode & 0o170000 == 0o040000, later)


def _wait_for(builder: int, launcher: int) -> int:
    """Return the exit status of the builder, or -1 when the launcher died before."""
    watch = os.pidfd_open(builder)
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(launcher, 0)  # hang-up is always reported
    ready = {fd for fd, _ in poll.poll()}
    if watch not in ready:
        return -1
    _, status = os.waitpid(builder, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _end(builder: int) -> None:
    """Kill what is left of the sandbox, and return when the last of its processes is gone."""
    try:
        os.kill(builder, SIGKILL)
    except ProcessLookupError:
        pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


# --- builder ------------------------------------------------------------------------------------------------------


def _build(plan: Plan, *, report: Reporter, channel: _socket.socket, keeper: int) -> NoReturn:
    """Enter the user namespace, make all others, start init, wait for it, and exit with its status."""
    status = FAILED
    try:
        process.set_name("carboy-builder")
        Step.name = "make a user namespace"
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        channel.send(b"n")
        root, binds = _receive_mounts(plan, channel)
        Step.name = "enter the user namespace"
        if not plan["deny_setgroups"]:
            os.setgroups([])
        os.setresgid(*[plan["root_gid"]] * 3)
        os.setresuid(*[plan["root_uid"]] * 3)
        # Changes of credentials make the kernel forget this; so it comes after them.
        process.set_parent_death_signal(SIGKILL)
        if os.getppid() != keeper:
            os._exit(FAILED)
        process.set_dumpable(False)
        status = _start_init(plan, root=root, binds=binds, report=report)
    except Exception as error:  # noqa: BLE001  whatever it is, the launcher must hear of it
        report.send_failure(Step.name, error)
    os._exit(status)


def _receive_mounts(plan: Plan, channel: _socket.socket) -> tuple[int | None, list[tuple[int, bool, int]]]:
    """Return the root (None: an overlay is still to be mounted) and the binds that the keeper opened."""
    data, ancillary, _, _ = channel.recvmsg(65_536, _socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), _socket.MSG_CMSG_CLOEXEC)
    channel.close()
    if not data:
        os._exit(FAILED)  # the keeper failed, and has said so
    rights = ancillary[0][2] if ancillary else b""
    fds = [int.from_bytes(rights[at : at + 4], sys.byteorder) for at in range(0, len(rights), 4)]
    root = fds.pop(0) if plan["root"]["kind"] == "directory" else None
    about = marshal.loads(data)  # noqa: S302  from our own keeper, over a private socket
    return root, [(fd, directory, later) for fd, (directory, later) in zip(fds, about, strict=True)]


def _start_init(plan: Plan, *, root: int | None, binds: list[tuple[int, bool, int]], report: Reporter) -> int:
    Step.name = "make the namespaces"
    network = namespaces.CLONE_NEWNET if plan["network"] == "none" else 0
    namespaces.unshare(
        namespaces.CLONE_NEWNS
        | namespaces.CLONE_NEWPID
        | namespaces.CLONE_NEWIPC
        | namespaces.CLONE_NEWUTS
        | namespaces.CLONE_NEWCGROUP
        | network
    )
    if root is None:
        Step.name = "make the root file system"
        root = _mount_overlay(plan)
    lifeline, held = os.pipe2(os.O_CLOEXEC)
    init = os.fork()
    if init == 0:
        os.close(held)
        inside.main(plan, root=root, binds=binds, lifeline=lifeline, report=report, step=Step)
    report.send("pid", init)
    # Pipes and terminal must end with the container, and nothing is left to do here that needs a privilege.
    for fd in (0, 1, 2, root, lifeline, *(fd for fd, _, _ in binds)):
        os.close(fd)
    capabilities.set_process(frozenset())
    _, status = os.waitpid(init, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _mount_overlay(plan: Plan) -> int:
    """Return the detached overlay mount over the staged layers."""
    count = len(plan["root"]["lower"])
    options = (
        ("source", "carboy"),
        ("lowerdir", ":".join(f"l{i}" for i in reversed(range(count)))),
        ("upperdir", "rw/upper"),
        ("workdir", "rw/work"),
        ("volatile", None),
        ("userxattr", None),
    )
    return mounts.new_mount("overlay", options, attributes=mounts.MOUNT_ATTR_NODEV)
