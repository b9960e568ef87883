"""The private network as root: bridge, addresses, packet filter, in namespaces that are thrown away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from netspaces import Space, link_spaces, open_relay, open_space, run_in_space

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes bridges: needs root"),
]

FIRST, SECOND = "a1" * 32, "b2" * 32
ATTACH = """
from carboy.network.private import attach
for fd, name in zip(FDS, {names}):
    print(*attach(fd, container_id=name).addresses)
"""
TRY = """
import socket
def try_(host, port):
    try:
        with socket.create_connection((host, port), timeout=1) as client:
            return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A machine ("host") with a cable to the world, and two containers' namespaces."""

    host: Space
    world: Space
    first: Space
    second: Space


@pytest.fixture
def site() -> Iterator[Site]:
    with (
        open_space("0.0.0.0 70 who") as host,
        open_space("0.0.0.0 80 who", ":: 81 who") as world,
        open_space("0.0.0.0 80 who", "127.0.0.1 90 who", "127.0.0.1 91 answer") as first,
        open_space() as second,
    ):
        run_in_space(host, "open('/proc/sys/net/ipv4/ip_forward', 'w').write('0')")
        link_spaces(host, world, subnet="198.51.100")
        try:
            yield Site(host, world, first, second)
        finally:
            run_in_space(host, f"from carboy.network.private import *\ndetach({FIRST!r})\ndetach({SECOND!r})")


def attach(site: Site) -> list[list[str]]:
    script = ATTACH.format(names=(FIRST, SECOND))
    return [line.split() for line in run_in_space(site.host, script, site.first, site.second).splitlines()]


def try_from(space: Space, *targets: tuple[str, int]) -> list[str]:
    return run_in_space(space, TRY + "".join(f"print(try_({h!r}, {p}))\n" for h, p in targets)).split()


def read_state(host: Space) -> str:
    """Return the bridges, devices, tables and settings of the host's namespace."""
    return run_in_space(
        host,
        """
        from carboy.network import netlink as n, nftables as f
        with n.Netlink() as here:
            print(sorted(link.name for link in n.list_links(here)))
        with f.open_netfilter() as filter_:
            print([n.iter_attributes(d[4:]) for d in filter_.ask(0xA01, b"\\1\\0\\0\\0", dump=True)])
        for name in ("ipv4/ip_forward", "ipv4/conf/up0/forwarding", "ipv6/conf/all/forwarding"):
            print(open("/proc/sys/net/" + name).read().strip())
        """,
    )


def test_the_world_is_reached_under_the_hosts_address_in_both_families(site: Site) -> None:
    first, _ = attach(site)
    assert try_from(site.first, ("198.51.100.2", 80)) == ["198.51.100.1"]
    if len(first) == 2:  # from Linux 6.17 on, or where the machine forwards IPv6 already
        assert try_from(site.first, ("fd00:5::2", 81)) == ["fd00:5::1"]


def test_h8_host_other_containers_and_metadata_are_closed(site: Site) -> None:
    (first, *_), _ = attach(site)
    gateway = ".".join([*first.split(".")[:2], "0", "1"])
    closed = try_from(
        site.second, (first, 80), (gateway, 70), ("198.51.100.1", 70), ("127.0.0.1", 70), ("169.254.169.254", 80)
    )
    assert not [answer for answer in closed if answer[0].isdigit()]


def test_row_102_the_world_reaches_no_container_and_is_not_routed(site: Site) -> None:
    (first, *_), _ = attach(site)
    script = f"""
    from carboy.network import netlink as n
    with n.Netlink() as here:
        link = n.find_link(here, "down0")
        here.send([n.add_route(link.index, gateway="198.51.100.1", destination="10.0.0.0", length=8)])
    {TRY.replace(chr(10), chr(10) + "    ")}
    print(try_({first!r}, 80))
    """
    assert not run_in_space(site.world, script)[0].isdigit()


def test_row_103_ipv6_off_means_off_and_routers_are_not_believed(site: Site) -> None:
    run_in_space(
        site.host,
        """
        from carboy.network.bridges import Bridge, plug
        plug(Bridge("carboy0", label="test", has_ipv6=False), FDS[0], container_id="a1" * 32)
        """,
        site.first,
    )
    script = """
    from carboy.network import netlink as n
    with n.Netlink() as here:
        print([p.address for p in n.list_addresses(here) if ":" in p.address])
    print(open("/proc/sys/net/ipv6/conf/eth0/accept_ra").read().strip())
    """
    assert run_in_space(site.first, script).split("\n")[:2] == ["['::1']", "0"]


def test_nothing_is_left_after_the_last_and_each_step_may_be_repeated(site: Site) -> None:
    before = read_state(site.host)
    once = attach(site)
    assert attach(site) == once
    assert len({line[0] for line in once}) == 2
    detach = "from carboy.network.private import detach\n"
    run_in_space(site.host, f"{detach}detach({FIRST!r})\ndetach({FIRST!r})")
    assert try_from(site.second, ("198.51.100.2", 80)) == ["198.51.100.1"]
    run_in_space(site.host, f"{detach}detach({SECOND!r})\ndetach({SECOND!r})")
    assert read_state(site.host) == before


def test_what_a_killed_container_left_is_cleaned_by_the_next_call(site: Site) -> None:
    before = read_state(site.host)
    with open_space() as doomed:
        run_in_space(site.host, ATTACH.format(names=("c3" * 32,)), doomed)
    # Its device goes with its namespace, by the kernel, a moment later.
    script = """
    import select
    from carboy.network import netlink as n
    from carboy.network.private import sweep
    with n.Netlink() as here:
        for _ in range(500):
            if not any(link.name.startswith("cbv") for link in n.list_links(here)):
                break
            select.select([], [], [], 0.01)
    sweep()
    """
    run_in_space(site.host, script)
    assert read_state(site.host) == before


def test_a_process_that_attached_leaves_nothing_when_it_detaches_without_waiting(site: Site) -> None:
    before = read_state(site.host)
    script = f"""
    import os, select
    from carboy.network.private import attach, detach
    attach(FDS[0], container_id={FIRST!r})
    record = f"/run/carboy/forwarding-{{os.stat('/proc/self/ns/net').st_ino}}"
    assert os.path.exists(record)
    detach({FIRST!r}, wait=False)
    for _ in range(500):
        if not os.path.exists(record):
            break
        select.select([], [], [], 0.01)
    """
    run_in_space(site.host, script, site.first)
    assert read_state(site.host) == before


def test_a_setting_that_goes_while_it_is_written_stops_nothing(site: Site) -> None:
    # The kernel's answer for a device that goes between open(2) and write(2), had from a setting that always gives it.
    script = """
    import os
    from carboy.network import bridges
    path = "/proc/sys/net/ipv4/tcp_congestion_control"
    before = open(path).read()
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, b"no-such-control")
    except FileNotFoundError:
        print("gone")
    bridges._write(path, "no-such-control")
    print(open(path).read() == before)
    """
    assert run_in_space(site.host, script).split() == ["gone", "True"]


def test_devices_of_containers_lead_nowhere_and_are_not_opened(site: Site) -> None:
    attach(site)
    attach(site)  # the first one's device has the kernel's own route for IPv6 now
    script = """
    import os
    print(open(f"/run/carboy/forwarding-{os.stat('/proc/self/ns/net').st_ino}").read())
    """
    assert run_in_space(site.host, script).split() == ["up0"]


def test_row_102_rules_lost_in_a_firewall_reload_come_back(site: Site) -> None:
    attach(site)
    run_in_space(
        site.host,
        """
        from carboy.network import nftables as f
        with f.open_netfilter() as filter_:
            f.remove(filter_)
            assert not f.is_installed(filter_)
        """,
    )
    attach(site)
    assert try_from(site.first, ("198.51.100.2", 80), ("198.51.100.1", 70))[0] == "198.51.100.1"
    assert not try_from(site.first, ("198.51.100.1", 70))[0][0].isdigit()


def test_row_102_a_client_from_elsewhere_keeps_its_address(site: Site) -> None:
    publish = ("0.0.0.0:8080:90", "0.0.0.0:8091:91/udp", "127.0.0.1:8081:90")
    with open_relay(site.first, *publish, host=site.host):
        assert try_from(site.world, ("198.51.100.1", 8080)) == ["198.51.100.2"]
        assert try_from(site.host, ("127.0.0.1", 8081)) == ["127.0.0.1"]
        assert try_from(site.world, ("198.51.100.1", 8081)) == ["ConnectionRefusedError"]
        datagram = """
        import socket
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(5)
        client.connect(("198.51.100.1", 8091))
        client.send(b"who")
        print(client.recv(100).decode())
        """
        assert run_in_space(site.world, datagram) == "198.51.100.2\n"


def test_a_full_network_is_said(site: Site) -> None:
    script = """
    from carboy.errors import CarboyError
    from carboy.network.bridges import Bridge, plug
    try:
        for number, fd in enumerate(FDS):
            plug(Bridge("carboy0", label="test", subnet=(0x0A050000, 30)), fd, container_id=f"{number}" * 64)
    except CarboyError as error:
        print(error.brief, error.code)
    """
    assert (
        run_in_space(site.host, script, site.first, site.second) == "the network 10.5.0.0/30 has no free address 125\n"
    )


def test_another_firewall_that_drops_what_is_forwarded_is_an_obstacle(site: Site) -> None:
    probe = """
    import subprocess
    from carboy.network.private import explain_private_means, find_private_means
    def rule(text):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    rule("table ip other { chain in { type filter hook input priority 0; policy drop; }; chain plain { drop; }; }")
    print(find_private_means("root"))
    rule("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")
    print(find_private_means("root"), *explain_private_means("root"))
    rule('add rule ip filter FORWARD iifname "carboy*" accept')
    print(find_private_means("root"))
    """
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed (Debian: nftables)")
    first, second, third = run_in_space(site.host, probe).splitlines()
    assert (first, third) == ("bridge", "bridge")
    assert second.startswith("None the packet filter's chain FORWARD of the table filter lets nothing through")


def test_settings_that_cannot_be_written_are_an_obstacle(site: Site) -> None:
    script = """
    from carboy.linux import mounts, namespaces
    from carboy.network.private import explain_private_means, find_private_means
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    print(find_private_means("root"))
    settings = mounts.open_tree("/proc/sys")
    mounts.mount_setattr(settings, attr_set=mounts.MOUNT_ATTR_RDONLY)
    mounts.move_mount(settings, "/proc/sys")
    print(find_private_means("root"), *explain_private_means("root"))
    """
    assert run_in_space(site.host, script) == "bridge\nNone /proc/sys/net/ipv4/ip_forward cannot be written\n"
