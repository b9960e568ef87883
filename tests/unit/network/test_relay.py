"""Published ports with real sockets and real network namespaces."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from netspaces import open_relay, open_space

from carboy.errors import CarboyError
from carboy.network.ports import parse_publish
from carboy.network.relay import open_listeners

root = pytest.mark.root
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")]


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=20)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while data := sock.recv(65_536):
        parts.append(data)
    return b"".join(parts)


def test_a_taken_port_names_its_holder_and_lets_go_of_the_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = socket.create_server(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
        free.close()
        with pytest.raises(CarboyError) as caught:
            open_listeners([*parse_publish(f"{free_port}:80"), *parse_publish(f"{port}:80")])
        assert f"127.0.0.1 port {port}/tcp is taken" in str(caught.value)
        assert f"(process {os.getpid()})" in caught.value.details
        assert caught.value.code == 125
        with socket.create_server(("127.0.0.1", free_port)):
            pass
        with open_listeners(parse_publish(f"{port}-{port + 5}:80")) as listeners:
            assert port < listeners.mappings[0].host_port <= port + 5


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CarboyError, match="no address"):
        open_listeners(parse_publish("198.51.100.1:0:80".replace(":0:", "::")))


@root
def test_bytes_ends_and_ephemeral_ports() -> None:
    with open_space("127.0.0.1 80 echo") as space, open_relay(space, "80") as relay:
        with connect(relay.ports[0]) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        assert Path(f"/proc/{relay.pid}/comm").read_text() == "carboy-ports\n"


@root
def test_half_close_is_carried_over_and_bulk_arrives_whole() -> None:
    with open_space("127.0.0.1 80 count", "127.0.0.1 81 echo") as space, open_relay(space, "80-81") as relay:
        with connect(relay.ports[0]) as client:
            for _ in range(200):
                client.sendall(bytes(100_000))
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"20000000"
        sent = os.urandom(5_000_000)
        with connect(relay.ports[1]) as client:
            feeder = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
            feeder.start()
            assert read_all(client) == sent
            feeder.join()


@root
def test_a_stalled_reader_stops_the_writer_and_costs_bounded_memory() -> None:
    with open_space("127.0.0.1 80 pour") as space, open_relay(space, "80") as relay:
        clients = [connect(relay.ports[0]) for _ in range(20)]
        before = _cpu_ticks(relay.pid)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.3)
            now = _cpu_ticks(relay.pid)
            if now == before:
                break
            before = now
        else:
            pytest.fail("the relay kept busy with readers that do not read")
        assert _rss_kb(relay.pid) < 40_000
        left = 1 << 23
        while left > 0:
            left -= len(clients[0].recv(1 << 20))
        for client in clients:
            client.close()


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _rss_kb(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


@root
def test_a_thousand_connections_leave_nothing_behind() -> None:
    with open_space("127.0.0.1 80 echo") as space, open_relay(space, "80") as relay:
        folder = Path(f"/proc/{relay.pid}/fd")
        before = len(list(folder.iterdir()))
        clients = [connect(relay.ports[0]) for _ in range(1000)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d" % number
        for client in clients:
            client.close()
        deadline = time.monotonic() + 20
        while len(list(folder.iterdir())) > before + 40 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(folder.iterdir())) <= before + 40


@root
def test_nobody_inside_and_a_reset_are_told_to_the_client() -> None:
    with open_space("127.0.0.1 81 reset") as space, open_relay(space, "80", "81") as relay:
        with pytest.raises(ConnectionResetError), connect(relay.ports[0]) as client:
            client.recv(1)
        with connect(relay.ports[1]) as client:
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                client.recv(1)


@root
def test_a_service_on_ipv6_only_is_found_from_both_families() -> None:
    with open_space("::1 80 echo") as space, open_relay(space, "80", "[::1]::80") as relay:
        for host, port in zip(("127.0.0.1", "::1"), relay.ports, strict=True):
            with connect(port, host) as client:
                client.sendall(b"six")
                assert client.recv(10) == b"six"


@root
def test_datagrams_go_to_and_fro_and_find_the_other_family() -> None:
    with open_space("127.0.0.1 53 answer", "::1 54 answer") as space, open_relay(space, "53/udp", "54/udp") as relay:
        for port in relay.ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", port))
                for payload in (b"a", b"b" * 40_000):
                    client.send(payload)
                    assert client.recv(65_536) == payload


@root
def test_the_relay_dies_with_its_parent_and_frees_the_port() -> None:
    with open_space("127.0.0.1 80 echo") as space, open_relay(space, "80") as relay:
        relay.parent.send_signal(signal.SIGKILL)
        relay.parent.wait()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_server(("127.0.0.1", relay.ports[0])).close()
                break
            except OSError:
                time.sleep(0.01)
        else:
            pytest.fail("the port is still held")


@root
def test_row_102_the_relay_has_no_privileges_and_no_descriptor_of_its_parent() -> None:
    with open_space() as space, open_relay(space, "80", "81") as relay:
        status = dict(line.split(":\t") for line in Path(f"/proc/{relay.pid}/status").read_text().splitlines())
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 13  # NET_RAW
        assert status["NoNewPrivs"] == "1"
        own = ("/dev/null", "socket:", "anon_inode:[eventpoll]")
        # The pipe on which it said that it serves is closed the moment after.
        deadline = time.monotonic() + 10
        while foreign := [link for link in _read_links(relay.pid) if not link.startswith(own)]:
            assert time.monotonic() < deadline, foreign
            time.sleep(0.01)


def _read_links(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return found
