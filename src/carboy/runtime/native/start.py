"""The last steps before the command: terminal, directory, user, privileges, and execve(2).

All of it happens in the container's root already; nothing of the image is read but its passwd and group files, by our own
parser. The order matters: keyring and limits while privilege is there, the bounding set before the user changes,
no_new_privs before the filter, the filter last.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import fcntl
import os
import resource

from carboy.linux import capabilities, libc, process, seccomp
from carboy.runtime.native.files import make_directory, open_below, read_own
from carboy.runtime.passwd import UnknownUserError, resolve_groups, resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from carboy.runtime.native.report import Reporter

TIOCSCTTY, TIOCSPTLCK, TIOCGPTPEER = 0x540E, 0x40045431, 0x5441
AF_INET, SOCK_DGRAM_CLOEXEC = 2, 2 | 0o2000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
SIGKILL, SIGSTOP = 9, 19


class UnmappedUserError(Exception):
    """The sandbox has no such id: in the single tier there is one."""


def raise_loopback() -> None:
    """Set the loopback interface of this network namespace up. Raises ``OSError``."""
    fd = libc.check(libc.LIBC.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket")
    try:
        request = b"lo".ljust(16, b"\0") + bytes(24)
        answer = fcntl.ioctl(fd, SIOCGIFFLAGS, request)
        flags = int.from_bytes(answer[16:18], "little") | IFF_UP
        fcntl.ioctl(fd, SIOCSIFFLAGS, request[:16] + flags.to_bytes(2, "little") + bytes(22))
    finally:
        os.close(fd)


def open_console(report: Reporter) -> int:
    """Make a terminal in the container's own devpts, send its master to the launcher and return the slave.

    The slave is opened from the master itself (TIOCGPTPEER), not by a name that could be swapped (CVE-2025-52565).
    """
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, TIOCSPTLCK, (0).to_bytes(4, "little"))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    report.send_descriptor(("console",), master)
    os.close(master)
    return slave


def execute(plan: dict[str, Any], *, console: int | None, report: Reporter) -> NoReturn:
    """Become the container's command, or report why not and exit with Docker's status for it."""
    status = 125
    try:
        _prepare(plan, console=console)
        status = _execute(plan, report)
    except UnknownUserError as error:
        report.send("error", "find the user", 0, str(error))
    except UnmappedUserError as error:
        report.send("error", f"become the user {error}", 0, "this container has no other ids than its own user's")
    except OSError as error:
        report.send("error", "prepare the command", error.errno or 0, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001
        report.send("error", "prepare the command", 0, f"{type(error).__name__}: {error}")
    os._exit(status)


def _prepare(plan: dict[str, Any], *, console: int | None) -> None:
    os.setsid()
    if console is not None:
        fcntl.ioctl(console, TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(console, fd)
        os.close(console)
    uid, gid, groups, home = resolve_user(plan["user"], _read_own("/etc/passwd"), _read_own("/etc/group"))
    if plan["groups"]:
        groups = sorted({*groups, *resolve_groups(plan["groups"], _read_own("/etc/group"))})
    if "\n" not in home and not any(item.startswith("HOME=") for item in plan["env"]):
        plan["env"].append(f"HOME={home}")
    process.join_new_session_keyring()
    _enter_directory(plan["cwd"])
    os.umask(0o022)
    if console is not None:
        os.fchown(0, uid, -1)
    _set_limits(plan)
    if plan["apparmor"]:
        set_apparmor(plan["apparmor"])
    _drop_privileges(plan, uid=uid, gid=gid, groups=groups)


def set_apparmor(profile: str, place: str = "/proc/self/attr") -> None:
    """Have the command confined by an AppArmor profile, and read back that it will be (row 51). Raises ``OSError``."""
    folder = f"{place}/apparmor" if os.path.isdir(f"{place}/apparmor") else place
    fd = os.open(f"{folder}/exec", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, f"exec {profile}".encode())
        found = os.pread(fd, 4096, 0).decode(errors="replace").strip("\0\n ")
    finally:
        os.close(fd)
    if found.partition(" (")[0] != profile:
        raise OSError(errno.EINVAL, f"AppArmor did not take the profile {profile}: it has {found!r}")


def _read_own(path: str) -> bytes:
    rootfd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read_own(rootfd, path)
    except FileNotFoundError:
        return b""
    finally:
        os.close(rootfd)


def _enter_directory(path: str) -> None:
    """Go to ``path``, made when it is missing as Docker does, and prove that it lies in the root (CVE-2024-21626)."""
    rootfd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parts = [part for part in path.split("/") if part not in {"", "."}]
        for count in range(1, len(parts) + 1):
            make_directory(rootfd, "/".join(parts[:count]))
        fd = open_below(rootfd, path)
    finally:
        os.close(rootfd)
    os.fchdir(fd)
    os.close(fd)
    if not os.getcwd().startswith("/"):
        raise OSError(errno.ENOENT, f"the directory {path} is outside of the container")


def set_privileged(plan: dict[str, Any]) -> None:
    """Set what the process could not set in its user namespace, where it has no CAP_SYS_RESOURCE that counts.

    That is the OOM score, and hard limits that are to be raised. Raises ``OSError``.
    """
    if plan["oom_score_adj"] is not None:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"%d" % plan["oom_score_adj"])
        os.close(fd)
    for number, _, hard in plan["rlimits"]:
        soft, current = resource.getrlimit(number)
        if current != resource.RLIM_INFINITY and not 0 <= hard <= current:
            resource.setrlimit(number, (soft, hard))


def _set_limits(plan: dict[str, Any]) -> None:
    asked = {number for number, _, _ in plan["rlimits"]}
    if resource.RLIMIT_CORE not in asked:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if plan["pids_limit"]:
        _limit_processes(plan["pids_limit"])
    for number, soft, hard in plan["rlimits"]:
        # The limit on processes that was just set holds as well: what is lower counts.
        current = resource.getrlimit(number)[1] if number == resource.RLIMIT_NPROC else hard
        resource.setrlimit(number, (_lower(soft, current), _lower(hard, current)))


def _lower(limit: int, other: int) -> int:
    return min((item for item in (limit, other) if item != resource.RLIM_INFINITY), default=resource.RLIM_INFINITY)


def _limit_processes(limit: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (allowed, allowed))


def _drop_privileges(plan: dict[str, Any], *, uid: int, gid: int, groups: list[int]) -> None:
    keep = frozenset(plan["capabilities"])
    capabilities.drop_bounding(keep)
    if not plan["deny_setgroups"]:
        os.setgroups(groups)
    capabilities.keep_across_setuid(True)
    try:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        if error.errno == errno.EINVAL:  # setresuid(2): the id is not mapped in this user namespace
            raise UnmappedUserError(f"{uid}:{gid}") from error
        raise
    capabilities.keep_across_setuid(False)
    capabilities.set_process(keep if uid == 0 else frozenset())
    # A change of user may have opened this process, which is still ours, to debuggers (fs.suid_dumpable).
    process.set_dumpable(False)
    # Python ignores two, the keeper of a container those of a terminal, and whoever started us (nohup) may ignore any:
    # execve(2) would hand that on, and a shell cannot trap what was ignored before it.
    for signal in _signal.valid_signals() - {SIGKILL, SIGSTOP}:
        _signal.signal(signal, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    process.set_no_new_privileges()
    process.mark_close_on_exec(3)
    if plan["seccomp"] is not None:  # None: asked for, and said (seccomp=unconfined)
        seccomp.load(plan["seccomp"])


def _execute(plan: dict[str, Any], report: Reporter) -> int:
    """Try the command's candidates on the container's PATH; returns Docker's exit status when none can be executed."""
    args, env = plan["args"], dict(item.split("=", 1) for item in plan["env"] if item.find("=") > 0)
    name = args[0]
    directories = [""] if "/" in name else env.get("PATH", os.defpath).split(":")
    denied: OSError | None = None
    for directory in directories:
        path = os.path.join(directory or "", name) if directory else name
        try:
            os.execve(path, args, env)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            denied = denied or error
    if denied is not None:
        report.send("command", 126, name, os.strerror(denied.errno or 0))
        return 126
    report.send("command", 127, name, "no such file in the container" if "/" in name else "not found on its PATH")
    return 127
