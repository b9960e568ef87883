"""Bridges of the machine and the devices that plug containers into them. For root.

The kernel's own tables are the only record: a bridge of ours is called ``carboy...``, a container's device on it ``cbv``
and the start of the container's id, and the device's hardware address is its address. A container's device goes with its
namespace, however that ends; what is left of a bridge, its rules and the forwarding it needed goes with the last
device, or with the next call.

    /run/carboy/network.lock             held while any of this changes
    /run/carboy/forwarding-<namespace>   the devices through which packets are forwarded for us only
"""

from __future__ import annotations

import errno
import fcntl
import os
import zlib

from carboy.errors import CarboyError
from carboy.network import addresses, netlink, nftables
from carboy.network.addresses import INSIDE, OUTSIDE, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.network.netlink import Link, Netlink, Request

PRIVATE = "carboy0"
DEVICE_PREFIX = "cbv"
_RUN = "/run/carboy"
_IPV4 = "/proc/sys/net/ipv4"
_IPV6 = "/proc/sys/net/ipv6/conf"
_ULA_BITS = 64
# Devices of ours lead to no other machine; containers' have routes all the same, the kernel's own for IPv6.
_OURS = (nftables.BRIDGE_PREFIX, DEVICE_PREFIX)


class Bridge:
    """What a bridge is to be: ``subnet`` None lets it be chosen; ports of an ``is_isolated`` one do not see each other."""

    __slots__ = ("has_ipv6", "is_internal", "is_isolated", "label", "length", "name", "subnet")

    def __init__(
        self,
        name: str,
        *,
        label: str,
        subnet: Network | None = None,
        length: int = addresses.PRIVATE_LENGTH,
        has_ipv6: bool = False,
        is_internal: bool = False,
        is_isolated: bool = False,
    ) -> None:
        self.name = name
        self.label = label
        self.subnet = subnet
        self.length = length
        self.has_ipv6 = has_ipv6
        self.is_internal = is_internal
        self.is_isolated = is_isolated


class Plugged:
    """How a container stands in a bridge: its addresses (IPv4, then IPv6 where there is one) and the way out, "" for none."""

    __slots__ = ("addresses", "gateway", "interface")

    def __init__(self, *, addresses: Sequence[str], gateway: str, interface: str) -> None:
        self.addresses = tuple(addresses)
        self.gateway = gateway
        self.interface = interface


class Lock:
    """The lock on the bridges of this machine. ``forwarding`` is the file that remembers whose forwarding was off."""

    def __init__(self) -> None:
        self.forwarding = f"{_RUN}/forwarding-{os.stat('/proc/self/ns/net').st_ino}"
        self._fd = -1

    def __enter__(self) -> Lock:
        os.makedirs(_RUN, mode=0o700, exist_ok=True)
        self._fd = os.open(f"{_RUN}/network.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def name_device(container_id: str, bridge: str) -> str:
    """Return the name of a container's device on the machine's side: at most 15 bytes."""
    return f"{_device_prefix(container_id)}{zlib.crc32(bridge.encode()) & 0xFFFF:04x}"


def _device_prefix(container_id: str) -> str:
    return DEVICE_PREFIX + container_id[:8]


def plug(
    bridge: Bridge,
    netns_fd: int,
    *,
    container_id: str,
    interface: str = "eth0",
    has_route: bool = True,
    wanted: str = "",
) -> Plugged:
    """Give the namespace a device in the bridge, which is made when it is missing; a second call changes nothing.

    ``has_route``: its way out leads through the bridge; ``wanted`` is the address to be had, "" for any. Raises ``OSError``
    in the kernel's words, ``CarboyError`` (125) when the address is taken, or none is free.
    """
    with Lock() as lock, netlink.Netlink() as here:
        link, network = _ensure(here, bridge, lock)
        ports = netlink.list_links(here, master=link.index)
        device = name_device(container_id, bridge.name)
        standing = next((port for port in ports if port.name == device), None)
        address = addresses.decode_mac(standing.mac) if standing else None
        if address is None:
            taken = [number for port in ports if (number := addresses.decode_mac(port.mac)) is not None]
            address = _choose_address(network, taken, key=container_id, wanted=wanted)
            _connect(
                here, bridge, link=link, network=network, address=address, netns_fd=netns_fd,
                names=(device, interface), has_route=has_route,
            )  # fmt: skip
        elif has_route and not bridge.is_internal:
            _lead_out(here, bridge, network=network, address=address, netns_fd=netns_fd)
    given = [addresses.encode_ipv4(address)]
    if bridge.has_ipv6:
        given.append(addresses.encode_ipv6(_prefix6(network), address & addresses.host_mask(network[1])))
    gateway = "" if bridge.is_internal else addresses.encode_ipv4(network[0] + 1)
    return Plugged(addresses=given, gateway=gateway, interface=interface)


def find_place(netns_fd: int) -> tuple[str, bool]:
    """Return the first free name for a device inside, and whether the namespace still lacks a way out."""
    with netlink.open_in_namespace(netns_fd) as there:
        names = {link.name for link in netlink.list_links(there)}
        has_route = any(route.length == 0 and ":" not in route.address for route in netlink.list_routes(there))
    number = next(number for number in range(len(names) + 1) if f"eth{number}" not in names)
    return f"eth{number}", not has_route


def _choose_address(network: Network, taken: Sequence[int], *, key: str, wanted: str) -> int:
    if not wanted:
        return addresses.plan_address(network, taken, key=key)
    address = addresses.parse_host(wanted, network)
    if address in taken:
        raise CarboyError(
            f"the address {wanted} is another container's", hint="name another one, or leave it out", code=125
        )
    return address


def _prefix6(network: Network) -> bytes:
    return addresses.plan_prefix6(network, _read("/etc/machine-id").encode() or b"carboy")


def _connect(
    here: Netlink,
    bridge: Bridge,
    *,
    link: Link,
    network: Network,
    address: int,
    netns_fd: int,
    names: tuple[str, str],
    has_route: bool,
) -> None:
    device, interface = names
    with _enter(netns_fd, has_ipv6=bridge.has_ipv6) as there:
        pair = netlink.create_veth(
            device,
            mac=addresses.encode_mac(OUTSIDE, address),
            peer_name=interface,
            peer_mac=addresses.encode_mac(INSIDE, address),
            peer_netns_fd=netns_fd,
            master=link.index,
            mtu=link.mtu,
        )
        here.send([pair])
        try:
            outside, inside = netlink.find_link(here, device), netlink.find_link(there, interface)
            if outside is None or inside is None:
                raise OSError(errno.ENODEV, f"the devices {device} and {interface} have gone")
            if bridge.is_isolated:
                here.send([netlink.isolate_port(outside.index)])
            requests = [
                netlink.set_link(1, up=True),
                netlink.add_address(inside.index, addresses.encode_ipv4(address), network[1]),
                netlink.set_link(inside.index, up=True),
            ]
            if bridge.has_ipv6:
                host = address & addresses.host_mask(network[1])
                inner = addresses.encode_ipv6(_prefix6(network), host)
                requests.insert(2, netlink.add_address(inside.index, inner, _ULA_BITS))
            if has_route and not bridge.is_internal:
                requests += _plan_routes(here, bridge, network=network, index=inside.index)
            there.send(requests)
        except BaseException:
            here.send([netlink.delete_link(device)])
            raise


def _plan_routes(here: Netlink, bridge: Bridge, *, network: Network, index: int) -> list[Request]:
    """Return what leads out of a container by its device ``index`` in the bridge."""
    routes = [netlink.add_route(index, gateway=addresses.encode_ipv4(network[0] + 1))]
    # A route that leads nowhere would make every connection wait for IPv6 first.
    if bridge.has_ipv6 and can_forward_ipv6(here):
        routes.append(netlink.add_route(index, gateway=addresses.encode_ipv6(_prefix6(network), 1)))
    return routes


def _lead_out(here: Netlink, bridge: Bridge, *, network: Network, address: int, netns_fd: int) -> None:
    """Lead the way out of a namespace through a bridge that it is in already."""
    mac = addresses.encode_mac(INSIDE, address)
    with netlink.open_in_namespace(netns_fd) as there:
        inside = next((link for link in netlink.list_links(there) if link.mac == mac), None)
        if inside is not None:
            there.send(_plan_routes(here, bridge, network=network, index=inside.index))


def _enter(netns_fd: int, *, has_ipv6: bool) -> Netlink:
    """Open a socket inside, after closing the namespace to what IPv6 does by itself (CVE-2020-13401).

    New devices take over the defaults: no router is believed, and without IPv6 there is not even a link-local address.
    """

    def close_ipv6() -> None:
        _write(f"{_IPV6}/default/accept_ra", "0")
        _write(f"{_IPV6}/default/disable_ipv6", "0" if has_ipv6 else "1")

    return netlink.open_in_namespace(netns_fd, first=close_ipv6)


# --- the bridge itself --------------------------------------------------------------------------------------------


def _ensure(here: Netlink, bridge: Bridge, lock: Lock) -> tuple[Link, Network]:
    """Return the bridge and its network, with the rules and the forwarding that it needs."""
    link = netlink.find_link(here, bridge.name)
    network = None
    if link is not None:
        network = _find_network(here, link.index)
        if network is None or (bridge.subnet not in {None, network}):
            here.send([netlink.delete_link(bridge.name)])  # half made, or an earlier network's of that name
            link = None
    # Outside before inside: a bridge is never up without its rules.
    guarded = _read(lock.forwarding).split() if bridge.is_internal else _ensure_forwarding(here, lock)
    open_bridges = _find_open_bridges(here, bridge)
    with _Filter() as filter_:
        if not nftables.is_installed(filter_, open_bridges, guarded):
            nftables.install(filter_, open_bridges, guarded)
    if link is None or network is None:
        link, network = _create(here, bridge)
    return link, network


class _Filter:
    """A socket to the packet filter that is closed at the next use, or by the process's end.

    Closed right after a change it would wait for the kernel to free the old rules, 15 ms; a little later it does not.
    """

    _late: list[Netlink] = []  # noqa: RUF012 - of the process

    def __enter__(self) -> Netlink:
        self.close_late()
        self._late[:] = [nftables.open_netfilter()]
        return self._late[0]

    def __exit__(self, *_: object) -> None:
        return

    @classmethod
    def close_late(cls) -> None:
        """Close what is still open."""
        for old in cls._late:
            old.close()
        cls._late.clear()


def close_filter() -> None:
    """Close what this process still holds open of the packet filter; for a fork, before it closes its descriptors by number."""
    _Filter.close_late()


def _find_open_bridges(here: Netlink, bridge: Bridge) -> list[str]:
    """Return the names of the bridges whose ports see each other, with the one that is about to be used."""
    names = {link.name for link in netlink.list_links(here) if is_ours(link) and link.name != PRIVATE}
    if not bridge.is_isolated:
        names.add(bridge.name)
    return sorted(names)


def is_ours(link: Link) -> bool:
    """Return whether a device is a bridge of carboy's."""
    return link.kind == "bridge" and link.name.startswith(nftables.BRIDGE_PREFIX)


def _find_network(here: Netlink, index: int) -> Network | None:
    for prefix in netlink.list_addresses(here):
        if prefix.index == index and ":" not in prefix.address:
            number = addresses.decode_ipv4(prefix.address)
            return number & ~addresses.host_mask(prefix.length), prefix.length
    return None


def find_taken(here: Netlink) -> list[Network]:
    """Return the IPv4 networks that the machine has addresses in or routes to."""
    return [
        (addresses.decode_ipv4(prefix.address), prefix.length)
        for prefix in [*netlink.list_routes(here), *netlink.list_addresses(here)]
        if ":" not in prefix.address
    ]


def _create(here: Netlink, bridge: Bridge) -> tuple[Link, Network]:
    taken = find_taken(here)
    if bridge.subnet is not None and any(
        addresses.is_overlapping(bridge.subnet, other) for other in taken if other[1] >= addresses.SHORTEST_TAKEN
    ):
        raise CarboyError(
            f"the subnet {addresses.format_subnet(bridge.subnet)} of {bridge.label} is in use on this machine",
            details="another network or a route of the machine overlaps with it",
            hint="make the network with another --subnet",
            code=125,
        )
    network = bridge.subnet or addresses.plan_subnet(taken, length=bridge.length)
    mac = addresses.encode_mac(OUTSIDE, network[0] + 1)
    here.send([netlink.create_bridge(bridge.name, mac=mac, mtu=_find_mtu(here))])
    try:
        link = netlink.find_link(here, bridge.name)
        if link is None:
            raise OSError(errno.ENODEV, f"the bridge {bridge.name} has gone")
        requests = [netlink.add_address(link.index, addresses.encode_ipv4(network[0] + 1), network[1])]
        if bridge.has_ipv6:
            requests.append(netlink.add_address(link.index, addresses.encode_ipv6(_prefix6(network), 1), _ULA_BITS))
        # A container must not be able to tell the machine where its routers are (CVE-2020-13401).
        _write(f"{_IPV6}/{bridge.name}/accept_ra", "0")
        if not bridge.has_ipv6:
            _write(f"{_IPV6}/{bridge.name}/disable_ipv6", "1")
        if not bridge.is_internal:
            _write(f"{_IPV4}/conf/{bridge.name}/forwarding", "1")
            if bridge.has_ipv6:
                _write(f"{_IPV6}/{bridge.name}/force_forwarding", "1")
        here.send([*requests, netlink.set_link(link.index, up=True, alias=bridge.label[:255])])
    except BaseException:
        here.send([netlink.delete_link(bridge.name)])
        raise
    return link, network


def _find_mtu(here: Netlink) -> int:
    """Return the smallest frame size of the devices that default routes leave through, 0 for the kernel's own."""
    outward = {route.index for route in netlink.list_routes(here) if route.length == 0}
    return min((link.mtu for link in netlink.list_links(here) if link.index in outward and link.mtu), default=0)


# --- forwarding ---------------------------------------------------------------------------------------------------


def _ensure_forwarding(here: Netlink, lock: Lock) -> list[str]:
    """Let answers in through the devices that lead out, and return those that were closed before (to be guarded).

    Only where the machine forwards nothing so far; the whole machine is never made a router.
    """
    is_router = _read(f"{_IPV4}/ip_forward") == "1"
    remembered = _read(lock.forwarding).split()
    if is_router:
        return []
    outward = {route.index for route in netlink.list_routes(here)}
    names = [
        link.name
        for link in netlink.list_links(here)
        if link.index in outward and not link.name.startswith(_OURS) and link.name != "lo"
    ]
    opened = [name for name in names if _read(f"{_IPV4}/conf/{name}/forwarding") == "0"]
    guarded = sorted({*(name for name in remembered if name in names), *opened})
    if guarded != remembered:
        with open(lock.forwarding, "w", encoding="utf-8") as file:
            file.write(" ".join(guarded))
    for name in opened:
        _write(f"{_IPV4}/conf/{name}/forwarding", "1")
        _write(f"{_IPV6}/{name}/force_forwarding", "1")
    return guarded


def _restore_forwarding(lock: Lock) -> None:
    names = _read(lock.forwarding).split()
    if names and _read(f"{_IPV4}/ip_forward") != "1":
        for name in names:
            _write(f"{_IPV4}/conf/{name}/forwarding", "0")
            _write(f"{_IPV6}/{name}/force_forwarding", "0")
    if os.path.exists(lock.forwarding):
        os.unlink(lock.forwarding)


def can_forward_ipv6(here: Netlink) -> bool:
    """Return whether IPv6 leads out of this machine and could lead out of a container without making it a router."""
    if not any(":" in route.address and route.length == 0 for route in netlink.list_routes(here)):
        return False
    return _read(f"{_IPV6}/all/forwarding") == "1" or os.path.exists(f"{_IPV6}/all/force_forwarding")  # Linux 6.17


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, value: str) -> None:
    """Set a kernel setting; one that is not there is fine: IPv6 off, an older Linux, a device that goes at this moment."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except FileNotFoundError:  # of a device that goes it is write(2) that says so
        return


# --- the end ------------------------------------------------------------------------------------------------------


def unplug(*container_ids: str, bridge: str = "") -> None:
    """Remove containers' devices (those in one bridge, with ``bridge``), and every bridge of ours that has none left.

    Without a container it cleans up only. Idempotent. Raises ``OSError``.
    """
    with Lock() as lock, netlink.Netlink() as here:
        links = netlink.list_links(here)
        ours = [link for link in links if is_ours(link)]
        wanted = {name_device(each, bridge) for each in container_ids if bridge}
        prefixes = tuple(map(_device_prefix, container_ids))
        gone = [
            link
            for link in links
            if link.kind == "veth" and (link.name in wanted if bridge else link.name.startswith(prefixes))
        ]
        names = {link.name for link in gone}
        used = {link.master for link in links if link.master and link.name not in names}
        for link in [*(link for link in ours if link.index not in used), *gone]:
            try:
                here.send([netlink.delete_link(link.name)])
            except OSError as error:
                if error.errno != errno.ENODEV:  # its namespace went meanwhile
                    raise
        if all(link.index not in used for link in ours):
            with _Filter() as filter_:
                nftables.remove(filter_)
            _restore_forwarding(lock)
