"""The stage program, inner half: the first process of the sandbox, which makes its file systems and then waits.

It runs as pid 1 of the new pid namespace, reaps what is orphaned there, passes signals on to the one process that was asked
for, and ends with that process's status, which ends the namespace. It never looks at the image's files by path
before the root is pivoted: targets of mounts are found below a descriptor of the new root (``below``).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import os
import sys

from carboy.linux import mounts, process
from carboy.runtime.native import start
from carboy.runtime.native.files import below, open_below, read_own, write_file
from carboy.runtime.passwd import resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from carboy.runtime.native.report import Reporter, Step

    Plan = dict[str, Any]

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_SAFE = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC
SIGKILL, SIGCHLD = 9, 17


def main(plan: Plan, *, root: int, binds: list[int], lifeline: int, report: Reporter, step: type[Step]) -> NoReturn:
    """Be the first process of the sandbox. Never returns."""
    status = 125
    try:
        os.setsid()
        process.set_parent_death_signal(SIGKILL)
        told = _check_lifeline(lifeline)
        process.set_name("carboy-init")
        process.set_command_line("carboy-init")
        forbid_imports()
        console = _make_sandbox(plan, root=root, binds=binds, report=report, step=step)
        step.name = "start the command"
        if not told:
            _wait_told(lifeline)
        os.close(lifeline)
        executed, held = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            start.execute(plan["process"], console=console, report=report)
        for fd in (0, 1, 2, held, *(() if console is None else (console,))):
            os.close(fd)
        os.read(executed, 1)  # its end comes with execve(2), or after the report of why not
        os.close(executed)
        report.send("started", child)
        status = _wait(child)
    except OSError as error:
        report.send("error", step.name, error.errno or 0, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001
        report.send("error", step.name, 0, f"{type(error).__name__}: {error}")
    os._exit(status)


def forbid_imports() -> None:
    """From here on the interpreter's library is looked for in the image's root: nothing is imported (CVE-2019-14271)."""
    for finders in (sys.meta_path, sys.path, sys.path_hooks):
        finders.clear()


def _check_lifeline(fd: int) -> bool:
    """Return whether the outer half has told our number already; exit when it died before its death could be heard of."""
    os.set_blocking(fd, False)
    try:
        told = os.read(fd, 1)
    except BlockingIOError:
        return False
    if not told:
        os._exit(125)
    return True


def _wait_told(fd: int) -> None:
    """Wait until the outer half has told our number: nobody may hear of a command that runs in a sandbox without one."""
    os.set_blocking(fd, True)
    if not os.read(fd, 1):
        os._exit(125)


def _wait(child: int) -> int:
    """Reap, pass signals on, and return the exit status of ``child`` (128 + n when signal n ended it)."""
    everything = _signal.valid_signals()
    while True:
        signal = _signal.sigwaitinfo(everything).si_signo
        if signal != SIGCHLD:
            try:  # noqa: SIM105
                os.kill(child, signal)
            except ProcessLookupError:
                pass
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 125
            if pid == 0:
                break
            if pid == child:
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _make_sandbox(plan: Plan, *, root: int, binds: list[int], report: Reporter, step: type[Step]) -> int | None:
    """Carry out the plan's operations, enter the root, and return the terminal's descriptor when there is one."""
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    step.name = "attach the root file system"
    mounts.move_mount(root, "root")
    os.close(root)
    rootfd = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # Of this namespace's own making, unlike the directory it covers, so that it can be written here.
    mounts.mount("carboy", "files", "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755,size=4m")
    step.name = "set the host name"
    process.set_host_name(plan["hostname"])
    for operation in plan["operations"]:
        step.name = operation["describe"]
        if operation["op"] == "bind":
            bind, fd = plan["binds"][operation["index"]], binds[operation["index"]]
            attach(rootfd, fd, bind["target"], directory=bind["directory"])
            if bind["recursive"]:
                check_mounts(fd, bind["attributes"])
            os.close(fd)
        else:
            OPERATIONS[operation["op"]](rootfd, operation)
    for fd, device in zip(binds[len(plan["binds"]) :], plan["devices"], strict=True):
        step.name = f"mount {device['target']}"
        attach(rootfd, fd, device["target"], directory=False)
        os.close(fd)
    step.name = "enter the root file system"
    os.fchdir(rootfd)
    os.close(rootfd)
    if plan["read_only_root"]:
        mounts.mount(None, ".", None, mounts.MS_REMOUNT | mounts.MS_BIND | mounts.MS_RDONLY | mounts.MS_NODEV)
    mounts.pivot_root(".", ".")
    mounts.umount(".")
    os.chdir("/")
    if plan["network"] != "host":
        step.name = "bring the loopback interface up"
        start.raise_loopback()
    console = None
    if plan["process"]["terminal"]:
        step.name = "make a terminal"
        console = start.open_console(report)
    return console


def attach(rootfd: int, fd: int, path: str, *, directory: bool) -> None:
    """Attach the detached mount ``fd`` at ``path`` in the root, made when it is missing. Raises ``OSError``."""
    with below(rootfd, path, directory=directory) as target:
        mounts.move_mount(fd, "", target_fd=target)


def check_mounts(fd: int, attributes: int) -> None:
    """Raise ``OSError`` unless the attached mount ``fd``, and each mount below it, is restricted as it should be."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        top = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
    with open("/proc/self/mountinfo", "rb") as file:
        rows = [line.split() for line in file]
    wanted = {word for bit, word in mounts.ATTRIBUTE_WORDS.items() if attributes & bit}
    tree = {top}
    for row in rows:  # parents come before their children: proc_pid_mountinfo(5)
        if row[0] not in tree and row[1] not in tree:
            continue
        tree.add(row[0])
        missing = wanted - set(row[5].split(b","))
        if missing:
            raise OSError(0, f"{os.fsdecode(row[4])} did not become {b' '.join(sorted(missing)).decode()}")


def mount_new(rootfd: int, operation: dict[str, Any]) -> None:
    """Mount a new file system of a kind; the target must be a real directory of the root."""
    fd = mounts.new_mount(operation["kind"], operation["options"], attributes=operation["attributes"])
    with below(rootfd, operation["target"], directory=True, follow=operation["follow"]) as target:
        mounts.move_mount(fd, "", target_fd=target)
    os.close(fd)


def mount_sys(rootfd: int, operation: dict[str, Any]) -> None:
    """Mount /sys read-only: a new one when the network namespace is ours, else a copy of the host's."""
    attributes = _SAFE | mounts.MOUNT_ATTR_RDONLY
    try:
        if operation["own"]:
            fd = mounts.new_mount("sysfs", (), attributes=attributes)
        else:
            fd = mounts.open_tree("/sys", recursive=True)
            mounts.mount_setattr(fd, attr_set=attributes, recursive=True)
    except PermissionError:
        # An outer container hides parts of its /sys, and the kernel then refuses a complete one. None is safe.
        fd = mounts.new_mount("tmpfs", (("mode", "555"), ("size", "4k")), attributes=attributes)
    with below(rootfd, "/sys", directory=True, follow=False) as target:
        mounts.move_mount(fd, "", target_fd=target)
    os.close(fd)


def mount_cgroups(rootfd: int, operation: dict[str, Any]) -> None:
    """Show the container the limits it has, at their usual place and read-only: programs size themselves by them.

    A copy of the host's /sys would show all groups of the machine instead, so that is hidden. What the kernel refuses to show
    is left out: limits hold all the same.
    """
    attributes = _SAFE | mounts.MOUNT_ATTR_RDONLY
    if not operation["show"] and not operation["hide"]:
        return
    try:
        target = open_below(rootfd, "/sys/fs/cgroup", follow=False)
    except FileNotFoundError:
        return
    whole = next((kind for name, kind, _ in operation["show"] if not name), "tmpfs")
    options = (("mode", "755"), ("size", "4k"), ("nr_inodes", "64")) if whole == "tmpfs" else ()
    fd = mounts.new_mount(whole, options, attributes=_SAFE if whole == "tmpfs" else attributes)
    mounts.move_mount(fd, "", target_fd=target)
    os.close(target)
    for name, kind, controllers in operation["show"]:
        if name:
            _show_cgroup(
                fd, name, mounts.new_mount(kind, tuple((item, None) for item in controllers), attributes=attributes)
            )
            for link in controllers if len(controllers) > 1 else ():
                os.symlink(name, link, dir_fd=fd)
    mounts.mount_setattr(fd, attr_set=attributes)
    os.close(fd)


def _show_cgroup(folder: int, name: str, mounted: int) -> None:
    os.mkdir(name, 0o755, dir_fd=folder)
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    mounts.move_mount(mounted, "", target_fd=target)
    os.close(target)
    os.close(mounted)


def make_devices(rootfd: int, operation: dict[str, Any]) -> None:
    """Put the host's harmless devices into the new /dev, each checked to be what its name says."""
    del operation
    with below(rootfd, "/dev", directory=True, follow=False) as dev:
        for name, numbers in DEVICES.items():
            fd = mounts.open_tree(f"/dev/{name}")
            status = os.fstat(fd)
            if (os.major(status.st_rdev), os.minor(status.st_rdev)) != numbers or status.st_mode & 0o170000 != 0o020000:
                raise OSError(0, f"the host's /dev/{name} is not the device {numbers[0]}:{numbers[1]}")
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=dev))
            target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
            mounts.move_mount(fd, "", target_fd=target)
            os.close(target)
            os.close(fd)
        links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
        for name, link in links.items():
            os.symlink(link, name, dir_fd=dev)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=dev)


def mask(rootfd: int, operation: dict[str, Any]) -> None:
    """Hide paths: a directory below an empty one, a file below /dev/null. A path that is not there needs no hiding."""
    for path in operation["paths"]:
        try:
            target = open_below(rootfd, path, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if os.fstat(target).st_mode & 0o170000 == 0o040000:
            fd = mounts.new_mount(
                "tmpfs", (("mode", "555"), ("size", "4k")), attributes=_SAFE | mounts.MOUNT_ATTR_RDONLY
            )
        else:
            fd = mounts.open_tree("/dev/null")
            if os.fstat(fd).st_rdev != os.makedev(1, 3):
                raise OSError(0, "the host's /dev/null is not the null device")
        mounts.move_mount(fd, "", target_fd=target)
        os.close(fd)
        os.close(target)


def protect(rootfd: int, operation: dict[str, Any]) -> None:
    """Make paths read-only, with all that is mounted below them."""
    for path in operation["paths"]:
        try:
            target = open_below(rootfd, path, follow=False)
        except FileNotFoundError:
            continue
        fd = mounts.open_tree("", dirfd=target, recursive=True)
        mounts.mount_setattr(fd, attr_set=_SAFE | mounts.MOUNT_ATTR_RDONLY, recursive=True)
        mounts.move_mount(fd, "", target_fd=target)
        os.close(fd)
        os.close(target)


def mount_file(rootfd: int, operation: dict[str, Any]) -> None:
    """Put a read-only file in place that lives in memory only."""
    name = f"files/{operation['name']}"
    write_file(name, operation["content"], operation["mode"])
    if operation["user"]:
        try:
            uid, gid, _, _ = resolve_user(operation["user"], _read_own(rootfd, "passwd"), _read_own(rootfd, "group"))
        except ValueError:  # whoever becomes that user says so better
            uid = gid = 0
        os.chown(name, uid, gid, follow_symlinks=False)
    fd = mounts.open_tree(name)
    mounts.mount_setattr(fd, attr_set=_SAFE | mounts.MOUNT_ATTR_RDONLY)
    try:
        if operation["make"]:
            with below(rootfd, operation["target"], directory=False, through_links=True) as target:
                mounts.move_mount(fd, "", target_fd=target)
        else:
            target = open_below(rootfd, operation["target"])
            mounts.move_mount(fd, "", target_fd=target)
            os.close(target)
    except FileNotFoundError:
        if operation["make"]:
            raise
    os.close(fd)


def _read_own(rootfd: int, name: str) -> bytes:
    try:
        return read_own(rootfd, f"/etc/{name}")
    except FileNotFoundError:
        return b""


def set_sysctl(rootfd: int, operation: dict[str, Any]) -> None:
    """Set a kernel setting of the container's namespaces, and read it back. Raises ``OSError``."""
    found = open_below(rootfd, operation["path"], follow=False)
    try:
        if os.fstat(found).st_mode & 0o170000 != 0o100000:
            raise OSError(errno.ENOENT, "it is no setting")
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(found)
    try:
        os.write(fd, operation["value"].encode())
        value = os.pread(fd, 4096, 0).decode()
    finally:
        os.close(fd)
    if value.split() != operation["value"].split():
        raise OSError(errno.EINVAL, f"the kernel made {' '.join(value.split())!r} of it")


OPERATIONS = {
    "mount": mount_new,
    "sys": mount_sys,
    "cgroups": mount_cgroups,
    "devices": make_devices,
    "mask": mask,
    "protect": protect,
    "sysctl": set_sysctl,
    "file": mount_file,
}
