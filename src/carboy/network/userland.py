"""Private networks of users without privilege: pasta or slirp4netns, which carry packets between a tap device and sockets."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import os
import select

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.network.attachment import Attachment

TUN = "/dev/net/tun"
READY_TIMEOUT_S = 5.0
SIGKILL = 9
_SIGNALS = (1, 2, 3, 10, 12, 15, 17, 28)  # HUP INT QUIT USR1 USR2 TERM CHLD WINCH
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)
_MAX_BYTES = 4096
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# slirp4netns(1)
_SLIRP_GATEWAY = "10.0.2.2"


# By container: the process that holds the program which this one has started, and the socket whose end is the program's.
_held: dict[str, tuple[int, _socket.socket]] = {}


def find_program(name: str, *, path: str = _PATH) -> str:
    """Return where the program lies in the system's folders, "" when it does not."""
    for folder in path.split(":"):
        candidate = f"{folder}/{name}"
        if os.access(candidate, os.X_OK):
            return candidate
    return ""


def probe_userland(*, tun: str = TUN, path: str = _PATH) -> tuple[str | None, list[str]]:
    """Return "pasta", "slirp4netns" or None, and what is missing."""
    missing = []
    means = next((name for name in ("pasta", "slirp4netns") if find_program(name, path=path)), None)
    if means is None:
        missing.append("neither pasta nor slirp4netns is installed (Debian's packages passt and slirp4netns)")
    try:
        os.close(os.open(tun, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        missing.append(
            f"{tun} cannot be opened: {os.strerror(error.errno or 0)} (root can open it to all: chmod 666 {tun})"
        )
    return (None, missing) if missing else (means, [])


def plan_command(means: str, program: str, *, pid: int) -> list[str]:
    """Return the command line. The machine's loopback is closed to the container in both (assertion H8)."""
    if means == "pasta":
        return [
            program, "--config-net", "--quiet", "--foreground", "--no-map-gw", "-t", "none", "-u", "none",
            "-T", "none", "-U", "none", "--ns-ifname", "eth0",
            "--userns", f"/proc/{pid}/ns/user", "--netns", f"/proc/{pid}/ns/net",
        ]  # fmt: skip
    return [
        program, "--configure", "--mtu=65520", "--disable-host-loopback",
        f"--userns-path=/proc/{pid}/ns/user", "--netns-type=path", f"/proc/{pid}/ns/net", "eth0",
    ]  # fmt: skip


def attach_userland(means: str, netns_fd: int, *, container_id: str) -> Attachment:
    """Start the program, wait until the device is there, and return what the container has got. Raises ``CarboyError`` (125).

    The program ends with this process, or by :func:`detach_userland`. To be called by a process of one thread that is
    privileged in the user namespace above the container's.
    """
    from carboy.network.attachment import Attachment, find_name_servers

    detach_userland(container_id)
    talk, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    holder = os.fork()
    if holder == 0:
        try:
            _hold(means, find_program(means), netns_fd, other)
        finally:
            os._exit(1)
    other.close()
    word, *found = talk.recv(_MAX_BYTES).decode(errors="replace").split(" ") or [""]
    if word != "ok":
        talk.close()
        os.waitpid(holder, 0)
        details = " ".join(found) or "the process that starts it has ended"
        raise CarboyError(
            f"{means} cannot make the private network", details=details, hint=f"try {means} by itself", code=125
        )
    _held[container_id] = (holder, talk)
    gateway = _SLIRP_GATEWAY if means == "slirp4netns" else ""
    return Attachment(addresses=found, gateway=gateway, dns=find_name_servers(), helper=holder)


def detach_userland(container_id: str) -> None:
    """End the program that this process has started for the container; idempotent."""
    holder, talk = _held.pop(container_id, (0, None))
    if talk is not None:
        talk.close()
        os.waitpid(holder, 0)


def _hold(means: str, program: str, netns_fd: int, talk: _socket.socket) -> None:
    """Start the program, tell what it gave, and end it when the other end of ``talk`` goes, however that ends.

    It finds the namespaces by a process that stands in them: the stage program is none, because it is not dumpable.
    """
    import fcntl

    from carboy.base.proc import spawn
    from carboy.linux import process
    from carboy.linux.namespaces import CLONE_NEWPID, unshare

    for target, source in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (netns_fd, talk.fileno())]):
        os.dup2(source, 3 + target, inheritable=False)
    talk.detach()
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    process.close_from(5)
    os.setsid()
    process.set_name("carboy-tap")
    for number in _SIGNALS:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    talk = _socket.socket(fileno=4)
    children = []
    try:
        # The first child is the init process of a pid namespace: it dies with this process, and all others with it.
        unshare(CLONE_NEWPID)
        inside, hears = _stand_inside(3)
        children.append(inside)
        children.append(spawn(plan_command(means, program, pid=inside), new_session=True))
        found = _wait_until_up(hears, children[1])
        talk.send(f"ok {found}".encode())
        poll = select.poll()
        for fd in (4, os.pidfd_open(children[1])):
            poll.register(fd, select.POLLIN)
        poll.poll()
    except (OSError, CarboyError) as error:
        talk.send(f"no {error}".encode()[:_MAX_BYTES])
    finally:
        for child in children[:1]:
            os.kill(child, SIGKILL)
        for child in reversed(children):  # the init process ends when all others have been reaped
            os.waitpid(child, 0)
        os._exit(0)


def _stand_inside(netns_fd: int) -> tuple[int, int]:
    """Start a process in the namespaces; returns its pid, and a pipe: it tells the addresses there when there is a way out."""
    import fcntl

    from carboy.linux import process
    from carboy.linux.namespaces import CLONE_NEWNET, CLONE_NEWUSER, setns
    from carboy.network import netlink

    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            process.set_parent_death_signal(SIGKILL)
            setns(fcntl.ioctl(netns_fd, _NS_GET_USERNS), CLONE_NEWUSER)
            setns(netns_fd, CLONE_NEWNET)
            process.set_dumpable(True)
            process.set_parent_death_signal(SIGKILL)  # entering a user namespace has taken it back
            os.write(write, b"y")
            with netlink.Netlink() as here:
                while not any(route.length == 0 for route in netlink.list_routes(here)):
                    select.select([], [], [], 0.005)
                found = [prefix.address for prefix in netlink.list_addresses(here)]
            own = [address for address in found if not address.startswith(("127.", "fe80:")) and address != "::1"]
            os.write(write, " ".join(own).encode())
            select.select([], [], [])
        finally:
            os._exit(0)
    os.close(write)
    if not os.read(read, 1):
        raise CarboyError("its namespaces cannot be entered")
    return child, read


def _wait_until_up(hears: int, helper: int) -> str:
    """Return what the process inside tells. Raises ``CarboyError`` when the program ends, or takes too long."""
    ended = os.pidfd_open(helper)
    ready, _, _ = select.select([hears, ended], [], [], READY_TIMEOUT_S)
    if ended in ready:
        raise CarboyError("it ended at once")
    if not ready:
        raise CarboyError("it did not get ready in time")
    found = os.read(hears, _MAX_BYTES).decode()
    if not found:
        raise CarboyError("its namespaces cannot be looked into")
    return found
