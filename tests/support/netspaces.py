"""Network namespaces that a test makes and throws away, with servers inside, and relays into them.

Everything that forks or changes namespaces is a process of its own: the test's own process may have threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_HOLDER = """
import fcntl, os, socket, struct, sys, threading
from carboy.linux.namespaces import CLONE_NEWNET, unshare
unshare(CLONE_NEWNET)
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: UP, RUNNING

def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)

def count(connection):
    total = 0
    while data := connection.recv(1 << 20):
        total += len(data)
    connection.sendall(str(total).encode())
    connection.close()

def pour(connection):
    try:
        while True:
            connection.sendall(bytes(1 << 16))
    except OSError:
        pass

def who(connection):
    connection.sendall(connection.getpeername()[0].encode())
    connection.close()

def reset(connection):
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

def accept(listener, handle):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()

def answer(sock):
    while True:
        data, address = sock.recvfrom(65536)
        sock.sendto(address[0].encode() if data == b"who" else data, address)

def serve(address, port, handle):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if handle is answer:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, port))
        threading.Thread(target=answer, args=(sock,), daemon=True).start()
    else:
        listener = socket.create_server((address, port), family=family, backlog=1024)
        threading.Thread(target=accept, args=(listener, handle), daemon=True).start()
"""

_RELAY = """
import os, sys
from carboy.network.ports import parse_publish
from carboy.network.relay import open_listeners, start_relay
mappings = [mapping for text in sys.argv[2:] for mapping in parse_publish(text)]
with open_listeners(mappings) as listeners:
    pid = start_relay(listeners, int(sys.argv[1]))
    print(pid, *(mapping.host_port for mapping in listeners.mappings), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Space:
    """A network namespace: the process that keeps it, and a descriptor of it."""

    pid: int
    fd: int


@dataclass(frozen=True, slots=True)
class Relay:
    """A running relay, its parent, and the ports of the host that were bound."""

    pid: int
    parent: subprocess.Popen[str]
    ports: tuple[int, ...]


@contextmanager
def open_space(*servers: str, script: str = "") -> Iterator[Space]:
    """Give a namespace with a loopback device and servers: "127.0.0.1 80 echo" (also count, pour, who, reset, answer).

    ``script`` is further Python code to run in the process that keeps it.
    """
    script = f"{_HOLDER}\n{script}\n" + "".join(
        f"serve({address!r}, {port}, {handle})\n" for address, port, handle in map(str.split, servers)
    )
    script += "print('ready', flush=True)\nsys.stdin.read()\n"
    with _start(script) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        fd = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield Space(holder.pid, fd)
        finally:
            os.close(fd)


@contextmanager
def open_relay(space: Space, *publish: str, host: Space | None = None) -> Iterator[Relay]:
    """Give a relay that carries the published ports into the namespace, from the test's own or the namespace ``host``."""
    enter = f"from carboy.linux.namespaces import *\nsetns({host.fd}, CLONE_NEWNET)\n" if host else ""
    pass_fds = (space.fd, host.fd) if host else (space.fd,)
    with _start(enter + _RELAY, str(space.fd), *publish, pass_fds=pass_fds) as parent:
        assert parent.stdout
        pid, *ports = map(int, parent.stdout.readline().split())
        yield Relay(pid, parent, tuple(ports))


@contextmanager
def open_resolver(
    space: Space, folder: str, container_id: str, *, host: Space, resolv_conf: str
) -> Iterator[subprocess.Popen[str]]:
    """Give a relay without ports that serves the resolver of a container whose machine is ``host``."""
    script = f"""
import os, sys
from carboy.linux.namespaces import CLONE_NEWNET, setns
from carboy.network import relay
from carboy.network.dns import resolver
setns({host.fd}, CLONE_NEWNET)
resolver.Outside.__init__.__defaults__ = ({resolv_conf!r},)
with relay.open_listeners([]) as listeners:
    print(relay.start_relay(listeners, {space.fd}, resolve_for=({folder!r}, {container_id!r})), flush=True)
sys.stdin.read()
"""
    with _start(script, pass_fds=(space.fd, host.fd)) as parent:
        assert parent.stdout
        assert parent.stdout.readline().strip().isdigit()
        yield parent


def run_in_space(space: Space, script: str, *others: Space) -> str:
    """Run Python code inside the namespace and return what it printed; ``FDS`` has descriptors of the others."""
    fds = [other.fd for other in others]
    enter = f"from carboy.linux.namespaces import CLONE_NEWNET, setns\nsetns({space.fd}, CLONE_NEWNET)\nFDS = {fds}\n"
    command = [sys.executable, "-c", enter + textwrap.dedent(script)]
    pass_fds = (space.fd, *fds)
    done = subprocess.run(command, pass_fds=pass_fds, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def link_spaces(here: Space, there: Space, *, subnet: str) -> None:
    """Connect two namespaces by a cable: ``subnet``.1 is here, ``subnet``.2 there and the way out. IPv6: fd00:5::1 and 2."""
    run_in_space(
        here,
        f"""
        from carboy.network import netlink as n
        with n.Netlink() as here, n.open_in_namespace(FDS[0]) as there:
            here.send([n.create_veth("up0", mac=b"\\x02\\0\\0\\0\\0\\1", peer_name="down0",
                                     peer_mac=b"\\x02\\0\\0\\0\\0\\2", peer_netns_fd=FDS[0])])
            for side, name, last in ((here, "up0", 1), (there, "down0", 2)):
                link = n.find_link(side, name)
                side.send([n.set_link(link.index, up=True), n.add_address(link.index, "{subnet}." + str(last), 24),
                           n.add_address(link.index, "fd00:5::" + str(last), 64)])
            link = n.find_link(here, "up0")
            here.send([n.add_route(link.index, gateway="{subnet}.2"), n.add_route(link.index, gateway="fd00:5::2")])
        """,
        there,
    )


@contextmanager
def _start(script: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds
    ) as process:
        try:
            yield process
        finally:
            process.kill()
