"""The stage program of other runtimes: mounts what the bundle refers to, has the runtime run it, and cleans up.

``python -I -S`` with the plan on descriptor 3 and a socket to the launcher on descriptor 4. It is the parent of the container's
first process, as the subreaper of the runtime that made it, so it sees the end by itself; and it ends the container when
the launcher goes away. All mounts are in a private mount namespace, and end with it::

    <cover>/root            the container's root: an overlay whose layers are id-mapped, made with the rights of a user
                            namespace with the container's ids, like the native sandbox's
    <cover>/binds, devices  the host's files and devices, opened once, mapped, restricted
    <cover>/files           files of our own, in memory
    <cover>/bundle          config.json, and what the runtime writes: log, pid

runc and crun are told ``create`` and ``start``, with the network in between. gVisor loses the exit status of a process that ends
before it is asked for, unless it is told ``run``; so it is, and a network that is to be connected is made before.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import json
import marshal
import os
import select

from carboy.base.fs import remove_tree
from carboy.linux import mounts, namespaces, process
from carboy.runtime.native import cgroup, stage, start
from carboy.runtime.native.files import make_directory, open_below, read_own, write_file
from carboy.runtime.native.report import Reporter, Step
from carboy.runtime.oci.bundle import complete, plan_process
from carboy.runtime.oci.life import (
    SIGKILL,
    Commands,
    LauncherGoneError,
    RuntimeFailedError,
    hide_streams,
    make_private,
    report_failure,
    reset_signals,
)
from carboy.runtime.passwd import UnknownUserError, resolve_groups, resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Plan = dict[str, Any]

PLAN_FD, REPORT_FD = 3, 4
STATE_POLL_MS = 5
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def main() -> NoReturn:
    """Run the container of the plan on descriptor 3 to its end, report, and exit with its status."""
    report = Reporter(REPORT_FD)
    status = 125
    process.close_from(REPORT_FD + 1)
    try:
        with open(PLAN_FD, "rb") as file:
            plan: Plan = marshal.loads(file.read())  # noqa: S302
        process.set_name("carboy-stage")
        process.set_command_line(f"carboy-stage {plan['id'][:12]}")
        process.set_child_subreaper()
        reset_signals()
        status, killed = _run(plan, report)
        report.send("exit", status)
        if killed:
            report.send("oom", killed)
    except RuntimeFailedError as failure:
        status = report_failure(report, failure, kind=plan["runtime"], name=plan["process"]["args"][0])
    except LauncherGoneError:
        pass
    except UnknownUserError as error:
        report.send("error", "find the user", 0, str(error))
    except OSError as error:
        report.send("error", Step.name, error.errno or 0, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001
        report.send("error", Step.name, 0, f"{type(error).__name__}: {error}")
    os._exit(status)


def _run(plan: Plan, report: Reporter) -> tuple[int, int]:
    """Return the exit status, and how many processes were killed because the container's memory was used up."""
    program = plan["oci"]
    if os.path.isdir(program["state"]):  # of an earlier run of this container, both of whose keepers were killed
        Commands(program, report, program["state"]).try_run("delete", "--force", plan["id"])
        remove_state(plan)
    os.makedirs(program["state"], mode=0o700)
    try:
        rootfd = _mount_all(plan)
        config = _complete(plan, rootfd)
        os.close(rootfd)
        life = _Life(plan, config, report)
        try:
            status = life.run()
            return status, _read_oom_kills(plan["id"])
        finally:
            life.end()
    finally:
        remove_state(plan)


def remove_state(plan: Plan) -> None:
    """Remove what a container of which nothing runs any more left: its groups and the runtime's notes. Idempotent."""
    cgroup.remove_cgroup(plan["id"])
    for name in ("devices", "net_cls", "net_prio", "hugetlb", "perf_event", "rdma", "misc", "systemd"):
        try:
            os.rmdir(f"{cgroup.ROOT}/{name}/{cgroup.FOLDER}/{plan['id']}")
        except OSError:
            continue
    remove_tree(plan["oci"]["state"])


def _read_oom_kills(container_id: str) -> int:
    folders = [f"{cgroup.ROOT}/{name}{cgroup.FOLDER}/{container_id}" for name in ("memory/", "unified/", "")]
    return sum(cgroup.read_oom_kills(folder) for folder in folders)


# --- mounts -------------------------------------------------------------------------------------------------------


def _mount_all(plan: Plan) -> int:
    """Mount everything that the bundle refers to, and return a descriptor of the container's root."""
    Step.name = "make a mount namespace"
    make_private(plan["staging"])
    user_namespace = stage.make_user_namespace(plan)
    Step.name = "open the layers"
    root = stage.stage_root(plan, user_namespace)
    opened = stage.open_binds(plan, user_namespace) if plan["binds"] else []
    made = stage.open_devices(plan) if plan["devices"] else []
    _attach_all("binds", opened, [bind["directory"] for bind in plan["binds"]])
    _attach_all("nodes", made, [False] * len(made))
    Step.name = "make the root file system"
    root = _open_root(plan, root, user_namespace, made)
    os.close(user_namespace)
    mounts.move_mount(root, "root")
    os.close(root)
    for fd in (*opened, *made):
        os.close(fd)
    _write_files(plan)
    os.mkdir("bundle", 0o700)
    return os.open("root", _PATH)


def _attach_all(folder: str, fds: list[int], are_directories: list[bool]) -> None:
    os.mkdir(folder, 0o755)
    for index, (fd, is_directory) in enumerate(zip(fds, are_directories, strict=True)):
        path = f"{folder}/{index}"
        if is_directory:
            os.mkdir(path, 0o755)
        else:
            write_file(path, b"", 0o644)
        mounts.move_mount(fd, path)


def _open_root(plan: Plan, root: int | None, user_namespace: int, nodes: list[int]) -> int:
    """Return the detached mount of the root, with the process's directory in it.

    Made by a child in the user namespace, so that what overlayfs does for the container is done with the container's rights,
    and files that are made for it are its own.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        ours.close()
        _make_root(plan, root, user_namespace, nodes, Reporter(theirs.detach()))
    theirs.close()
    try:
        data, ancillary, _, _ = ours.recvmsg(65_536, 64, _socket.MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        os.waitpid(child, 0)
    if not ancillary:
        message = marshal.loads(data) if data else ("error", Step.name, 0, "the process that makes it died")  # noqa: S302
        Step.name = message[1]
        raise OSError(message[2], message[3])
    return int.from_bytes(ancillary[0][2][:4], "little")


def _make_root(plan: Plan, root: int | None, user_namespace: int, nodes: list[int], report: Reporter) -> NoReturn:
    try:
        namespaces.setns(user_namespace, namespaces.CLONE_NEWUSER)
        if not plan["deny_setgroups"]:
            os.setgroups([])
        os.setresgid(*[plan["root_gid"]] * 3)
        os.setresuid(*[plan["root_uid"]] * 3)
        process.set_dumpable(False)
        if nodes:
            stage.check_devices(plan, nodes)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        if root is None:
            # gVisor makes it read-only by a mount(2) that forgets nodev, which is then refused; a file system that was made
            # in a user namespace has no devices anyway.
            root = stage.mount_overlay(plan, attributes=0 if plan["runtime"] == "runsc" else mounts.MOUNT_ATTR_NODEV)
        parts = [part for part in plan["process"]["cwd"].split("/") if part not in {"", "."}]
        Step.name = f"make the directory {plan['process']['cwd']}"
        for count in range(1, len(parts) + 1):
            make_directory(root, "/".join(parts[:count]))
        report.send_descriptor(("root",), root)
    except OSError as error:
        report.send("error", Step.name, error.errno or 0, error.strerror or str(error))
    os._exit(0)


def _write_files(plan: Plan) -> None:
    Step.name = "write the files of its own"
    mounts.mount("carboy", "files", "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755,size=4m")
    owner = plan["uid_map"][0][1] if plan["idmap"] else 0
    for operation in plan["operations"]:
        if operation["op"] == "file":
            write_file(f"files/{operation['name']}", operation["content"], operation["mode"])
            os.chown(f"files/{operation['name']}", owner, owner)


# --- the bundle ---------------------------------------------------------------------------------------------------


def _complete(plan: Plan, rootfd: int) -> dict[str, Any]:
    """Return the configuration with what only this moment and the image's files say."""
    Step.name = "find the user"
    passwd, group = _read(rootfd, "/etc/passwd"), _read(rootfd, "/etc/group")
    document = complete_process(plan["process"], passwd, group, deny_setgroups=plan["deny_setgroups"])
    _give_files(plan, passwd, group)
    return complete(
        plan["oci"]["config"],
        process=document,
        uid_map=plan["uid_map"] or namespaces.read_identity_map("/proc/self/uid_map"),
        gid_map=plan["gid_map"] or namespaces.read_identity_map("/proc/self/gid_map"),
        devices=_find_devices(plan),
        left_out=frozenset(_find_left_out(plan)),
    )


def complete_process(own: dict[str, Any], passwd: bytes, group: bytes, *, deny_setgroups: bool) -> dict[str, Any]:
    """Return the specification's ``process``, its user looked up in the image's files. Raises ``UnknownUserError``."""
    uid, gid, groups, home = resolve_user(own["user"], passwd, group)
    if own["groups"]:
        groups = sorted({*groups, *resolve_groups(own["groups"], group)})
    if "\n" not in home and not any(item.startswith("HOME=") for item in own["env"]):
        own = {**own, "env": [*own["env"], f"HOME={home}"]}
    return plan_process(own, uid=uid, gid=gid, groups=groups, deny_setgroups=deny_setgroups)


def _give_files(plan: Plan, passwd: bytes, group: bytes) -> None:
    """Make the files that are for the container's user alone that user's. Raises ``OSError``, ``UnknownUserError``."""
    first = plan["uid_map"][0][1] if plan["idmap"] else 0
    for operation in plan["operations"]:
        if operation["op"] == "file" and operation["user"]:
            uid, gid, _, _ = resolve_user(operation["user"], passwd, group)
            os.chown(f"files/{operation['name']}", first + uid, first + gid)


def _read(rootfd: int, path: str) -> bytes:
    try:
        return read_own(rootfd, path)
    except FileNotFoundError:
        return b""


def _find_devices(plan: Plan) -> list[tuple[str, str, int, int, str]]:
    found = []
    for index, device in enumerate(plan["devices"]):
        path = f"{plan['staging']}/nodes/{index}"
        number = os.stat(path).st_rdev
        access = ("r" if device["read"] else "") + ("w" if device["write"] else "")
        found.append((path, device["target"], os.major(number), os.minor(number), access))
    return found


def _find_left_out(plan: Plan) -> list[str]:
    """Return the optional files whose place a bind mount covers that has no such file: it would be made on the host."""
    found = []
    for operation in plan["operations"]:
        if operation["op"] != "file" or operation["make"]:
            continue
        path = operation["target"]
        covers = [
            (len(bind["target"]), index, bind["target"].rstrip("/"))
            for index, bind in enumerate(plan["binds"])
            if f"{path}/".startswith(bind["target"].rstrip("/") + "/")
        ]
        _, index, above = max(covers)
        fd = os.open(f"binds/{index}", os.O_PATH | os.O_CLOEXEC)
        try:
            os.close(open_below(fd, path[len(above) :] or "/"))
        except OSError:
            found.append(f"{plan['staging']}/files/{operation['name']}")
        finally:
            os.close(fd)
    return found


# --- its life -----------------------------------------------------------------------------------------------------


class _Life:
    """One container: made by the runtime, waited for, removed."""

    def __init__(self, plan: Plan, config: dict[str, Any], report: Reporter) -> None:
        self._plan = plan
        self._config = config
        self._report = report
        self._id = plan["id"]
        self._folder = f"{plan['staging']}/bundle"
        self._pid_file = f"{self._folder}/pid"
        self._commands = Commands(plan["oci"], report, self._folder)

    def run(self) -> int:
        """Run the container to its end, and return its exit status. Raises as :class:`Commands` does, and ``OSError``."""
        Step.name = f"run {self._plan['runtime']}"
        if self._plan["runtime"] == "runsc":
            return self._run_gvisor()
        self._write()
        self._commands.run("create", *self._plan_options(), self._id, fds=self._find_streams())
        pid = self._read_pid()
        hide_streams()
        if self._plan["announce_network"]:
            Step.name = "connect the network"
            self._announce(pid)
        self._report.send("pid", pid)
        if self._plan["process"]["terminal"]:
            Step.name = "make a terminal"
            self._commands.pass_console()
        Step.name = f"run {self._plan['runtime']}"

        def deliver(number: int) -> None:
            os.kill(pid, number)  # a child of this process, not yet waited for: the number is still its own

        # Its command may run, and be sent signals, before the runtime's has ended.
        self._commands.run("start", self._id, deliver=deliver)
        self._report.send("started", pid)
        return self._commands.wait(pid, deliver)

    def end(self) -> None:
        """Remove the container, whatever state it is in."""
        self._commands.try_run("delete", "--force", self._id)

    def _write(self) -> None:
        with open(f"{self._folder}/config.json", "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(self._config, file, ensure_ascii=False)

    def _plan_options(self) -> list[str]:
        console = self._commands.open_console() if self._plan["process"]["terminal"] else []
        return ["--bundle", self._folder, "--pid-file", self._pid_file, *console]

    def _find_streams(self) -> dict[int, int]:
        return {} if self._plan["process"]["terminal"] else {0: 0, 1: 1, 2: 2}

    def _read_pid(self) -> int:
        with open(self._pid_file, encoding="ascii") as file:
            return int(file.read())

    def _announce(self, pid: int) -> None:
        """Show the network namespace that ``pid`` stands in, and wait until it is connected. Raises ``OSError``."""
        space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._report.ask(("netns", pid), space)
        finally:
            os.close(space)

    # gVisor

    def _run_gvisor(self) -> int:
        if self._plan["announce_network"]:
            self._make_network()
        self._write()
        run = self._commands.start("run", *self._plan_options(), self._id, fds=self._find_streams())
        hide_streams()
        started = self._await_running(run)
        status = self._commands.wait(run, lambda number: self._commands.try_run("kill", self._id, str(number)))
        if status and not started:
            self._fail_unless_it_ran(status)
        if not started:
            self._report.send("started", run)
        return status

    def _fail_unless_it_ran(self, status: int) -> None:
        try:
            self._commands.fail("run")
        except RuntimeFailedError as failure:
            if status == 128 or failure.status != 125:
                raise

    def _await_running(self, run: int) -> bool:
        """Wait until the command runs, or ``run`` has ended; gVisor tells nobody, but writes it down."""
        ended = os.pidfd_open(run)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self._report.socket.fileno(), 0)
        pid = None
        try:
            while not poll.poll(STATE_POLL_MS):
                if pid is None and os.path.exists(self._pid_file):
                    pid = self._try_pid()
                    if pid is not None:
                        self._report.send("pid", pid)
                if pid is not None and self._is_running():
                    if self._plan["process"]["terminal"]:
                        self._commands.pass_console()
                    self._report.send("started", pid)
                    return True
        finally:
            os.close(ended)
        if pid is None:
            self._report.send("pid", run)  # ended and not waited for: nobody else has the number yet
        return False

    def _try_pid(self) -> int | None:
        try:
            return self._read_pid()
        except ValueError:  # it is being written
            return None

    def _is_running(self) -> bool:
        path = f"{self._plan['oci']['state']}/{self._id}_sandbox:{self._id}.state"
        try:
            with open(path, encoding="utf-8") as file:
                return bool(json.load(file).get("status") == "running")
        except (OSError, ValueError):  # it is being written
            return False

    def _make_network(self) -> None:
        """Make the network namespace before there is a container, show it, and have the runtime use it."""
        Step.name = "connect the network"
        ready, made = os.pipe2(os.O_CLOEXEC)
        holder = os.fork()
        if holder == 0:
            _hold_network(made)
        os.close(made)
        problem = os.read(ready, 4096).decode()
        os.close(ready)
        if problem != "y":
            raise OSError(0, problem or "the process that holds it died")
        self._announce(holder)
        spaces = self._config["linux"]["namespaces"]
        own = {"type": "network", "path": f"/proc/{holder}/ns/net"}
        self._config["linux"]["namespaces"] = [own if space["type"] == "network" else space for space in spaces]
        Step.name = "run runsc"


def _hold_network(made: int) -> NoReturn:
    """Stand in a new network namespace as long as the stage program lives."""
    try:
        process.set_parent_death_signal(SIGKILL)
        namespaces.unshare(namespaces.CLONE_NEWNET)
        start.raise_loopback()
        os.write(made, b"y")
    except OSError as error:
        os.write(made, str(error).encode())
        os._exit(1)
    os.close(made)
    hide_streams()
    while True:
        _signal.pause()
