"""Publishing ports: the sockets on the host's side, and the process that carries what arrives on them into a container.

It works in every mode, in a network namespace without any device too, because connections are opened *inside*: the
process stands with its listening sockets in the host's namespace and with its feet in the container's. Nothing is
published by the packet filter, so that reloading a firewall neither opens nor closes a port (hardening row 102).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import os

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.network.loop import Loop
    from carboy.network.ports import PortMapping

NAME = "carboy-ports"
BACKLOG = 4096
_IPV6_V6ONLY = 26
_LISTEN = "0A"  # in /proc/net/tcp: proc(5)


class Listeners:
    """Bound sockets, one per mapping. ``mappings`` has the ports that were really bound. Close it, or use it as a context."""

    __slots__ = ("mappings", "sockets")

    def __init__(self, mappings: Sequence[PortMapping], sockets: Sequence[_socket.socket]) -> None:
        self.mappings = tuple(mappings)
        self.sockets = tuple(sockets)

    def close(self) -> None:
        """Let go of the sockets in this process; a relay that was started keeps its own."""
        for sock in self.sockets:
            sock.close()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_listeners(mappings: Sequence[PortMapping]) -> Listeners:
    """Bind and listen for every mapping, in the network namespace of this process: all or none.

    Raises ``CarboyError`` (125) for a port that is taken (naming what holds it where that can be seen), may not be bound
    or has no such address here.
    """
    bound: list[PortMapping] = []
    sockets: list[_socket.socket] = []
    try:
        for mapping in mappings:
            sock = _open_one(mapping)
            sockets.append(sock)
            bound.append(mapping.with_host_port(sock.getsockname()[1]))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return Listeners(bound, sockets)


def _open_one(mapping: PortMapping) -> _socket.socket:
    ports = range(mapping.host_port, mapping.host_last + 1)
    for port in ports:
        try:
            return _bind(mapping, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port != ports[-1]:
                continue
            raise _explain(mapping, error) from error
    raise AssertionError("a range has at least one port")


def _bind(mapping: PortMapping, port: int) -> _socket.socket:
    family = _socket.AF_INET6 if ":" in mapping.host_ip else _socket.AF_INET
    kind = _socket.SOCK_DGRAM if mapping.protocol == "udp" else _socket.SOCK_STREAM
    sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, 0)
    try:
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _IPV6_V6ONLY, 1)
        if kind == _socket.SOCK_STREAM:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((mapping.host_ip, port))
        if kind == _socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(mapping: PortMapping, error: OSError) -> CarboyError:
    name = f"{mapping.host_ip} port {mapping.host_port}/{mapping.protocol}"
    if mapping.host_last > mapping.host_port:
        name = f"{mapping.host_ip} ports {mapping.host_port}-{mapping.host_last}/{mapping.protocol}"
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(mapping.protocol, mapping.host_port)
        hint = f"stop it, or publish another port; `-p {mapping.container_port}` takes a free one"
        verb = "are all taken" if mapping.host_last > mapping.host_port else "is taken"
        return CarboyError(f"{name} {verb}", details=f"held by {holder}" if holder else "", hint=hint, code=125)
    if error.errno == errno.EACCES:
        hint = "publish a port from 1024 on, or have root lower net.ipv4.ip_unprivileged_port_start"
        return CarboyError(f"{name} may not be bound by this user", details=str(error), hint=hint, code=125)
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "name an address of this machine, such as 127.0.0.1; 0.0.0.0 is every interface"
        return CarboyError(f"this machine has no address {mapping.host_ip}", details=str(error), hint=hint, code=125)
    return CarboyError(f"{name} cannot be opened", details=str(error), hint="", code=125)


def find_holder(protocol: str, port: int) -> str:
    """Return the program and pid that hold the port ("nginx (process 812)"), "" when that cannot be seen from here.

    Other users' processes show their sockets to root only. Source: proc(5), /proc/net/tcp.
    """
    inodes = {
        inode for table in (protocol, f"{protocol}6") for inode in _read_inodes(f"/proc/net/{table}", port, protocol)
    }
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in os.listdir("/proc"):
        if pid.isdigit() and _holds(f"/proc/{pid}/fd", wanted):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (process {pid})"
            except OSError:
                continue
    return ""


def _read_inodes(path: str, port: int, protocol: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except OSError:
        return []
    suffix = f":{port:04X}"
    return [row[9] for row in rows if row[1].endswith(suffix) and (protocol == "udp" or row[3] == _LISTEN)]


def _holds(folder: str, wanted: set[str]) -> bool:
    try:
        return any(_read_link(f"{folder}/{fd}") in wanted for fd in os.listdir(folder))
    except OSError:
        return False


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def start_relay(
    listeners: Listeners,
    netns_fd: int,
    *,
    container_ip: str | None = None,
    container_ip6: str | None = None,
    resolve_for: tuple[str, str] | None = None,
) -> int:
    """Start the process that carries the listeners' connections into the namespace ``netns_fd``, and return its pid.

    With ``resolve_for`` (the folder of the networks' records, the container's id) it also serves the container's
    resolver on 127.0.0.11; there may then be no listener at all.

    To be called by a process of one thread that is privileged in the user namespace that owns the network namespace or in
    one above. Connections go to 127.0.0.1, else ::1, else the container's own addresses. The process dies with the
    caller, ends with SIGTERM, and is the caller's to reap (:func:`stop_relay`). Raises ``CarboyError`` (125).
    """
    answer, say = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(answer)
            _be_relay(listeners, netns_fd, say, parent, own=(container_ip, container_ip6), resolve_for=resolve_for)
            status = 0
        finally:
            os._exit(status)
    os.close(say)
    try:
        text = os.read(answer, 4096)
    finally:
        os.close(answer)
    if text != b"ok":
        os.waitpid(pid, 0)
        details = text.decode(errors="replace") or "it died"
        raise CarboyError("the process for the published ports cannot be started", details=details, code=125)
    return pid


def stop_relay(pid: int) -> None:
    """End a relay of this process and reap it; one that has ended by itself is fine."""
    try:
        os.kill(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _be_relay(
    listeners: Listeners,
    netns_fd: int,
    say: int,
    parent: int,
    *,
    own: tuple[str | None, str | None],
    resolve_for: tuple[str, str] | None,
) -> None:
    """Serve, in the child. Everything is imported and every privilege used before the first byte is read."""
    from carboy.linux.namespaces import CLONE_NEWNET, setns
    from carboy.network.loop import Loop, count_free_descriptors

    try:
        sockets, netns_fd, say = _settle(listeners.sockets, netns_fd, say, parent)
        outside = None
        if resolve_for is not None:
            from carboy.network.dns.resolver import Outside

            outside = Outside()
        setns(netns_fd, CLONE_NEWNET)
        os.close(netns_fd)
        loop = Loop(free=count_free_descriptors() - 64)
        _serve_ports(loop, listeners.mappings, sockets, own)
        if outside is not None and resolve_for is not None:
            from carboy.network.dns.members import Names
            from carboy.network.dns.resolver import Resolver

            Resolver(loop, Names(*resolve_for), outside)
        _drop_privileges()
    except BaseException as error:  # noqa: BLE001 - said to the parent, which raises it
        os.write(say, f"{type(error).__name__}: {error}".encode()[:4096])
        return
    os.write(say, b"ok")
    os.close(say)
    loop.run()


def _settle(
    sockets: Sequence[_socket.socket], netns_fd: int, say: int, parent: int
) -> tuple[list[_socket.socket], int, int]:
    """Leave behind all that the fork brought along: signals, terminal, descriptors. Returns what is kept, renumbered."""
    import gc

    from carboy.linux.process import close_from, set_name, set_parent_death_signal

    gc.freeze()  # a collection would copy the parent's pages
    _signal.set_wakeup_fd(-1)
    for number in (1, 2, 3, 10, 12, 15, 17, 28):  # HUP INT QUIT USR1 USR2 TERM CHLD WINCH
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    set_parent_death_signal(_signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    set_name(NAME)
    # Above what follows, then down to 3 and on in order: no descriptor is overwritten before it is moved.
    import fcntl

    kept = [sock.fileno() for sock in sockets] + [netns_fd, say]
    above = 3 + len(kept)
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in kept]
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    for target, source in enumerate(moved, start=3):
        os.dup2(source, target, inheritable=False)
    close_from(above)
    fresh = [_socket.socket(sock.family, sock.type, sock.proto, fileno=3 + index) for index, sock in enumerate(sockets)]
    for sock in sockets:
        sock.detach()
    return fresh, above - 2, above - 1


def _serve_ports(
    loop: Loop,
    mappings: Sequence[PortMapping],
    sockets: Sequence[_socket.socket],
    own: tuple[str | None, str | None],
) -> None:
    from carboy.network.streams import Pipes, Service
    from carboy.network.targets import Targets, lead_answers_back, raise_loopback

    raise_loopback()
    if any(not is_loopback(mapping.host_ip) for mapping in mappings):
        lead_answers_back()
    pipes = Pipes()
    for mapping, sock in zip(mappings, sockets, strict=True):
        find = Targets(mapping.container_port, own).find
        if mapping.protocol == "udp":
            from carboy.network.datagrams import DatagramService

            DatagramService(loop, sock, find)
        else:
            Service(loop, pipes, sock, find)


def is_loopback(address: str) -> bool:
    """Return whether a numeric address is this machine's loopback."""
    return address.startswith("127.") or address == "::1"


def _drop_privileges() -> None:
    """Give up every capability but the one to answer under a client's address, and all ways back: ip(7), IP_TRANSPARENT."""
    from carboy.linux.capabilities import set_process
    from carboy.linux.process import set_dumpable, set_no_new_privileges

    set_no_new_privileges()
    set_process(frozenset({"NET_RAW"}))
    set_dumpable(False)
