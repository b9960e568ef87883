"""User-defined networks: records, names between containers, and walls between networks, with real namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from netspaces import Space, link_spaces, open_resolver, open_space, run_in_space

from carboy.base.home import Home
from carboy.errors import CarboyError
from carboy.network import networks

WEB, DB, SPY = "a1" * 32, "b2" * 32, "c3" * 32
LOOK = """
import socket, struct
def look(name, kind=1, tcp=False):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\\0"
    query = struct.pack(">HHHHHH", 77, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.11", 53))
        client.send((struct.pack(">H", len(query)) if tcp else b"") + query)
        answer = client.recv(4096)
        while tcp and len(answer) < 2 + int.from_bytes(answer[:2], "big"):
            answer += client.recv(4096)
        answer = answer[2:] if tcp else answer
    assert answer[:2] == query[:2] and answer[12:12 + len(query) - 12] == query[12:]
    code, count = answer[3] & 15, int.from_bytes(answer[6:8], "big")
    return socket.inet_ntoa(answer[-4:]) if count else f"code{code}"
def try_(host, port):
    try:
        with socket.create_connection((host, port), timeout=1) as client:
            return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__
"""
NAME_SERVER = """
import socket, struct, threading
def answer(query):
    head = query[:2] + b"\\x81\\x80" + query[4:6] + b"\\0\\1\\0\\0\\0\\0" + query[12:]
    return head + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4" + bytes([9, 9, 9, 9])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.53", 53))
tcp = socket.create_server(("127.0.0.53", 53))
def serve_tcp():
    while True:
        client, _ = tcp.accept()
        with client:
            size = int.from_bytes(client.recv(2, socket.MSG_WAITALL), "big")
            reply = answer(client.recv(size, socket.MSG_WAITALL))
            client.sendall(struct.pack(">H", len(reply)) + reply)
threading.Thread(target=serve_tcp, daemon=True).start()
def serve_udp():
    while True:
        query, client = udp.recvfrom(4096)
        udp.sendto(answer(query), client)
threading.Thread(target=serve_udp, daemon=True).start()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes bridges: needs root")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(str(tmp_path))


def test_names_that_are_refused(home: Home) -> None:
    for name in ("", "none", "host", "a/b", "..", "-a", "a b", "a" * 64, "ü", "a.b"):
        with pytest.raises(CarboyError):
            networks.create_network(home, name)


def test_records(home: Home) -> None:
    made = networks.create_network(home, "front", subnet="198.18.7.0/24", labels=[("a", "b")])
    assert made.subnet == "198.18.7.0/24"
    again = networks.read_network(home, "front")
    assert (again.bridge, again.labels, again.is_internal) == (made.bridge, (("a", "b"),), False)
    other = networks.create_network(home, "back", is_internal=True)
    assert other.bridge.startswith("carboyi")
    assert len({made.bridge, other.bridge}) == 2
    assert max(len(made.bridge), len(other.bridge)) <= 15
    assert [network.name for network in networks.list_networks(home)] == ["back", "front"]
    with pytest.raises(CarboyError, match="already"):
        networks.create_network(home, "front")
    with pytest.raises(CarboyError, match="in use"):
        networks.create_network(home, "third", subnet="198.18.0.0/16")
    with pytest.raises(CarboyError) as caught:
        networks.read_network(home, "frnt")
    assert caught.value.hint == "did you mean front?"
    networks.remove_network(home, "front")
    assert [network.name for network in networks.list_networks(home)] == ["back"]
    assert not (Path(home.path) / "networks" / "front").exists()
    with pytest.raises(CarboyError, match="no network"):
        networks.remove_network(home, "front")


def test_users_are_refused_with_what_works(home: Home) -> None:
    with pytest.raises(CarboyError, match="need root") as caught:
        networks.create_network(home, "front", tier="subuid")
    assert "--publish" in caught.value.hint


@pytest.fixture
def spaces() -> Iterator[list[Space]]:
    """Give the machine with a name server, web, db and spy."""
    with ExitStack() as stack:
        host = stack.enter_context(open_space(script=NAME_SERVER))
        world = stack.enter_context(open_space("0.0.0.0 80 who"))
        inside = [stack.enter_context(open_space("0.0.0.0 80 who")) for _ in range(3)]
        link_spaces(host, world, subnet="198.51.100")
        try:
            yield [host, *inside]
        finally:
            for container in (WEB, DB, SPY):
                run_in_space(host, f"from carboy.network.private import detach\ndetach({container!r})")


def connect(home: Home, host: Space, space: Space, network: str, container: str, *names: str) -> list[str]:
    script = f"""
    from carboy.base.home import Home
    from carboy.network.networks import connect
    for _ in range(2):
        found = connect(Home({home.path!r}), {network!r}, FDS[0], container_id={container!r}, names={names!r})
    print(*found.addresses, found.interface)
    """
    return run_in_space(host, script, space).split()


def look(space: Space, *calls: str) -> list[str]:
    return run_in_space(space, LOOK + "".join(f"print({call})\n" for call in calls)).split()


@pytest.mark.slow
@pytest.mark.root
@needs_root
def test_two_find_each_other_by_name_and_a_third_on_another_network_cannot(
    home: Home, spaces: list[Space], tmp_path: Path
) -> None:
    host, web, db, spy = spaces
    make = "from carboy.base.home import Home\nfrom carboy.network.networks import create_network as c\n"
    run_in_space(host, make + f"c(Home({home.path!r}), 'front')\nc(Home({home.path!r}), 'back')")
    web_ip, interface = connect(home, host, web, "front", WEB, "web")
    db_ip, _ = connect(home, host, db, "front", DB, "db", "postgres")
    connect(home, host, spy, "back", SPY, "spy")
    assert interface == "eth0"
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    folder = networks.networks_folder(home)
    with ExitStack() as stack:
        for space, container in ((web, WEB), (spy, SPY)):
            stack.enter_context(open_resolver(space, folder, container, host=host, resolv_conf=str(resolv_conf)))
        assert look(web, "look('db')", "look('postgres.front')", "look('web')", "look('db', tcp=True)") == [
            db_ip, db_ip, web_ip, db_ip,
        ]  # fmt: skip
        assert look(web, f"try_({db_ip!r}, 80)", "look('db', 28)") == [web_ip, "code0"]
        # Another network: no name (the machine's server is asked, and knows none of ours), no way.
        assert look(spy, "look('db')", f"try_({db_ip!r}, 80)") in (["9.9.9.9", "TimeoutError"], ["9.9.9.9", "OSError"])
        # Out: the world's names and addresses, many times over TCP too (the sockets of the machine's side are used again).
        assert look(web, *["look('example.org', tcp=True)"] * 6, "look('example.org')") == ["9.9.9.9"] * 7
        assert look(web, "try_('198.51.100.2', 80)") == ["198.51.100.1"]
        # Both networks: a second device, and the names of both.
        assert connect(home, host, web, "back", WEB, "web")[1] == "eth1"
        assert look(web, "look('spy')")[0] != "9.9.9.9"
        leave = f"from carboy.base.home import Home\nfrom carboy.network.networks import *\nh = Home({home.path!r})\n"
        run_in_space(host, leave + f"disconnect(h, 'back', container_id={WEB!r})")
        assert look(web, "look('spy')", f"try_({db_ip!r}, 80)") == ["9.9.9.9", web_ip]
        in_use = (
            leave + "try:\n    remove_network(h, 'front')\nexcept Exception as error:\n    print(error, error.details)"
        )
        assert run_in_space(host, in_use) == "the network front is in use by web, db\n"
        gone = leave + f"from carboy.network.private import detach\nfor c in ({WEB!r}, {DB!r}, {SPY!r}):\n"
        gone += "    forget_container(h, c)\n    detach(c)\nremove_network(h, 'front')\nremove_network(h, 'back')"
        run_in_space(host, gone)
    left = "from carboy.network import netlink as n\nprint(sorted(l.name for l in n.list_links(n.Netlink())))"
    assert "carboy" not in run_in_space(host, left)


@pytest.mark.slow
@pytest.mark.root
@needs_root
def test_row_103_an_internal_network_leaks_neither_packets_nor_questions(
    home: Home, spaces: list[Space], tmp_path: Path
) -> None:
    host, web, db, _ = spaces
    make = "from carboy.base.home import Home\nfrom carboy.network.networks import create_network as c\n"
    run_in_space(host, make + f"c(Home({home.path!r}), 'vault', is_internal=True)")
    connect(home, host, web, "vault", WEB, "web")
    db_ip, _ = connect(home, host, db, "vault", DB, "db")
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    with open_resolver(web, networks.networks_folder(home), WEB, host=host, resolv_conf=str(resolv_conf)):
        assert look(web, "look('db')", f"try_({db_ip!r}, 80)", "look('canary.example.org')", "look('canary.org', tcp=True)") == [
            db_ip, run_in_space(web, LOOK + f"print(try_({db_ip!r}, 80))").strip(), "code3", "code3",
        ]  # fmt: skip
        assert not look(web, "try_('198.51.100.2', 80)")[0][0].isdigit()
        # With a route made by hand as well: the packet filter says no.
        forced = f"""
        from carboy.network import netlink as n
        with n.Netlink() as here:
            here.send([n.add_route(n.find_link(here, "eth0").index, gateway={db_ip.rpartition(".")[0] + ".1"!r})])
        """
        run_in_space(web, forced)
        assert not look(web, "try_('198.51.100.2', 80)")[0][0].isdigit()
