"""The stage program, outer half: from a fresh interpreter to the first process of a new sandbox.

Runs with the plan on descriptor 3 and a socket to the launcher on descriptor 4, in a fork of the launcher or as
``python -I -S`` (see ``launch``), as uid 0 of the *outer* user namespace (the machine's, or the caller's own in the user
tiers). The order is the kernel's:

1. a private mount namespace, so that nothing below is seen by, or left to, the host;
2. a child that only makes the *inner* user namespace, whose id maps are written from here, where the privilege is;
3. the layers, their ids mapped by that namespace: only the outer namespace may do this;
4. into the inner namespace, and from there into all others, so that they belong to it and to nobody else;
5. the overlay, with the privilege of the inner namespace and no more, so that what the container makes overlayfs do on its
   behalf is done with the container's rights;
6. a fork, because a pid namespace begins with a child: see ``inside``.

All imports happen before anything of an image is in sight, and they are few: they are paid at every start. ``signal`` and
``socket`` import ``enum``, slower than all of the above together; their C halves have all that is needed. The plan travels as
``marshal`` for the same reason: both ends are this program, on one private pipe.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import marshal
import os
import select

from carboy.linux import mounts, namespaces, process
from carboy.runtime.native import cgroup, inside, start
from carboy.runtime.native.report import Reporter, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Plan = dict[str, Any]
    Extents = list[tuple[int, int, int]]

PLAN_FD = 3
REPORT_FD = 4
SIGKILL = 9
ALL_SIGNALS = _signal.valid_signals()


def main() -> NoReturn:
    """Make the sandbox of the plan on descriptor 3, wait for its process, report, and exit."""
    report = Reporter(REPORT_FD)
    status = 125
    # The launcher's own descriptors are closed on exec; what its caller left open is not.
    process.close_from(REPORT_FD + 1)
    try:
        plan = _read_plan()
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ALL_SIGNALS)
        watcher = os.getpid()
        # Made by the process that removes it, so that a launcher killed at any moment leaves none behind.
        Step.name = "set the limits"
        group = cgroup.open_cgroup(plan["id"], plan["cgroup"]["groups"], required=plan["cgroup"]["required"])
        joined, say = os.pipe2(os.O_CLOEXEC)
        builder = os.fork()
        if builder:
            os.close(joined)
            _watch(builder, group, say, report)
        os.close(say)
        _die_with_parent(watcher)
        Step.name = "join the control group"
        group.join()
        status = _run(plan, joined, report, parent=watcher)
        report.send("exit", status)
    except OSError as error:
        report.send("error", Step.name, error.errno or 0, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001
        report.send("error", Step.name, 0, f"{type(error).__name__}: {error}")
    os._exit(status)


def _read_plan() -> Plan:
    with open(PLAN_FD, "rb") as file:
        plan: Plan = marshal.loads(file.read())  # noqa: S302
    return plan


def _watch(builder: int, group: cgroup.Cgroup, say: int, report: Reporter) -> NoReturn:
    """Stay outside, and leave nothing behind: not when the sandbox ends, and not when the launcher is killed.

    First of all ``builder`` is moved into the control group, unless it can do so itself: the kernel needs some ten
    milliseconds for that, in which the builder makes its mounts. It is told ("y", or the error's number) before it starts
    a process of the container.

    The launcher's death is seen on the socket; the sandbox then has no reason to live, and its control group none to stay.
    """
    process.set_name("carboy-watch")
    os.write(say, _join(builder, group))
    os.close(say)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    ended = os.pidfd_open(builder)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(REPORT_FD, 0)
    if not any(fd == ended for fd, _ in poll.poll()):
        os.kill(builder, SIGKILL)
        group.thaw()
    _, status = os.waitpid(builder, 0)
    killed = group.read_oom_kills()
    if killed:
        if os.WIFSIGNALED(status):  # the builder itself was chosen, so it could not say so
            report.send("exit", 128 + os.WTERMSIG(status))
        report.send("oom", killed)
    group.remove()
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _join(pid: int, group: cgroup.Cgroup) -> bytes:
    try:
        for path in group.procs:
            with open(path, "wb", buffering=0) as file:
                file.write(b"%d" % pid)
    except OSError as error:
        return (error.errno or 0).to_bytes(1, "little")
    return b"y"


def _die_with_parent(parent: int) -> None:
    process.set_parent_death_signal(SIGKILL)
    if os.getppid() != parent:
        os._exit(125)


def _run(plan: Plan, joined: int, report: Reporter, *, parent: int) -> int:
    process.set_name("carboy-outer")
    Step.name = "set the limits of the process"
    start.set_privileged(plan["process"])
    Step.name = "make a mount namespace"
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    user_namespace = make_user_namespace(plan)
    Step.name = "open the layers"
    root = stage_root(plan, user_namespace)
    binds = [
        *(open_binds(plan, user_namespace) if plan["binds"] else ()),
        *(open_devices(plan) if plan["devices"] else ()),
    ]
    Step.name = "enter the user namespace"
    namespaces.setns(user_namespace, namespaces.CLONE_NEWUSER)
    os.close(user_namespace)
    if not plan["deny_setgroups"]:
        os.setgroups([])
    os.setresgid(*[plan["root_gid"]] * 3)
    os.setresuid(*[plan["root_uid"]] * 3)
    _die_with_parent(parent)
    process.set_dumpable(False)
    if plan["devices"]:
        check_devices(plan, binds[len(plan["binds"]) :])
    Step.name = "make the namespaces"
    network = 0 if plan["network"] == "host" else namespaces.CLONE_NEWNET
    namespaces.unshare(
        namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID | namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWUTS | network
    )
    if plan["announce_network"]:
        Step.name = "connect the network"
        space = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        report.ask(("netns", os.getpid()), space)
        os.close(space)
    if root is None:
        Step.name = "make the root file system"
        root = mount_overlay(plan)
    Step.name = "join the control group"
    answer = os.read(joined, 1)
    if answer != b"y":
        raise OSError(answer[0] if answer else 0, "the process cannot be moved there")
    os.close(joined)
    namespaces.unshare(namespaces.CLONE_NEWCGROUP)  # its root is the group that this process is in
    lifeline, held = os.pipe2(os.O_CLOEXEC)
    first = os.fork()
    if first == 0:
        os.close(held)
        inside.main(plan, root=root, binds=binds, lifeline=lifeline, report=report, step=Step)
    report.send("pid", first)
    os.write(held, b"y")
    for fd in (root, *binds, lifeline):
        os.close(fd)
    # The terminal or pipes must end with the container, not with this process.
    for fd in (0, 1, 2):
        os.close(fd)
    _, status = os.waitpid(first, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def open_devices(plan: Plan) -> list[int]:
    """Return a detached mount for each of the plan's devices, as ``devices.open_devices``."""
    # Few containers have devices; nothing of the image is in sight yet.
    from carboy.runtime.native import devices

    return devices.open_devices(plan["devices"])


def check_devices(plan: Plan, fds: list[int]) -> None:
    """Raise ``OSError`` when the ids that this process has by now may not open a device that is bound."""
    from carboy.runtime.native import devices  # imported before

    devices.check_access(plan["devices"], fds)


def make_user_namespace(plan: Plan) -> int:
    """Return a descriptor of a new user namespace with the plan's id maps."""
    Step.name = "make a user namespace"
    ready, made = os.pipe2(os.O_CLOEXEC)
    hold, release = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(release)
            namespaces.unshare(namespaces.CLONE_NEWUSER)
            os.write(made, b"y")
            os.read(hold, 1)
        except OSError as error:
            os.write(made, (error.errno or 0).to_bytes(1, "little"))
        os._exit(0)
    os.close(made)
    answer = os.read(ready, 1)
    if answer != b"y":
        code = answer[0] if answer else 0
        raise OSError(code, f"unshare(CLONE_NEWUSER): {os.strerror(code)}")
    uids = plan["uid_map"] or namespaces.read_identity_map("/proc/self/uid_map")
    gids = plan["gid_map"] or namespaces.read_identity_map("/proc/self/gid_map")
    namespaces.write_id_maps(pid, uids, gids, deny_setgroups=plan["deny_setgroups"])
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    os.close(release)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(hold)
    return fd


def stage_root(plan: Plan, user_namespace: int) -> int | None:
    """Lay out what the root is made of in the staging directory; returns the root itself when it is one directory."""
    staging, root = plan["staging"], plan["root"]
    mounts.mount("carboy", staging, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755,size=1m")
    os.chdir(staging)
    os.mkdir("root", 0o755)
    os.mkdir("files", 0o755)
    if root["kind"] == "directory":
        fd = _clone(root["path"], user_namespace if plan["idmap"] else None)
        mounts.mount_setattr(fd, attr_set=mounts.MOUNT_ATTR_NODEV)
        return fd
    lower = root["lower"]
    for index, path in enumerate((*lower, root["rw"])):
        name = "rw" if index == len(lower) else f"l{index}"
        if plan["idmap"]:
            os.mkdir(name, 0o755)
            clone = _clone(path, user_namespace)
            mounts.move_mount(clone, name)
            os.close(clone)
        else:
            # A link keeps the option string short and free of the characters that overlayfs gives a meaning.
            os.symlink(path, name)
    return None


def mount_overlay(plan: Plan, *, attributes: int = mounts.MOUNT_ATTR_NODEV) -> int:
    """Return the detached overlay mount over the staged layers."""
    count = len(plan["root"]["lower"])
    options = (
        ("lowerdir", ":".join(f"l{i}" for i in reversed(range(count)))),
        ("upperdir", "rw/upper"),
        ("workdir", "rw/work"),
        ("volatile", None),
        ("userxattr", None),
    )
    return mounts.new_mount("overlay", options, attributes=attributes)


def _clone(path: str, user_namespace: int | None) -> int:
    fd = mounts.open_tree(path)
    if user_namespace is not None:
        mounts.mount_setattr(fd, attr_set=mounts.MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
    return fd


def open_binds(plan: Plan, user_namespace: int) -> list[int]:
    """Return a detached mount for each of the plan's binds, as ``binds.open_binds``."""
    # Before anything of the image is in sight; what is mounted is the launcher's business, not the image's.
    from carboy.runtime.native import binds

    def map_ids(uids: Extents, gids: Extents) -> int:
        return make_user_namespace({"uid_map": uids, "gid_map": gids, "deny_setgroups": False})

    return binds.open_binds(plan["binds"], user_namespace if plan["idmap"] else None, map_ids)
