"""What a container gets from a network, and the name servers that it can reach there."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RESOLVER_IP = "127.0.0.11"
_RESOLV_CONF = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


class Attachment:
    """What a container has got: ``addresses`` (IPv4, then IPv6), its ``gateway``, and the name servers for its resolv.conf.

    ``needs_resolver``: the name servers are the container's own 127.0.0.11, to be served by its relay, because those of
    the machine cannot be reached from inside. ``helper`` is the pid of the program that carries the packets, 0 for none.
    """

    __slots__ = ("addresses", "dns", "gateway", "helper", "interface", "needs_resolver")

    def __init__(
        self, *, addresses: Sequence[str], gateway: str, dns: Sequence[str], interface: str = "eth0", helper: int = 0
    ) -> None:
        self.addresses = tuple(addresses)
        self.gateway = gateway
        self.dns = tuple(dns)
        self.interface = interface
        self.helper = helper
        self.needs_resolver = RESOLVER_IP in self.dns


def find_name_servers() -> tuple[str, ...]:
    """Return the machine's name servers that a container can reach, else the resolver that its relay serves."""
    for path in _RESOLV_CONF:
        found = [address for address in read_name_servers(path) if is_reachable(address)]
        if found:
            return tuple(found[:3])
    return (RESOLVER_IP,)


def read_name_servers(path: str = "/etc/resolv.conf") -> list[str]:
    """Return the name servers that a resolv.conf names, in order; none when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        return []
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def is_reachable(address: str) -> bool:
    """Return whether a container in a private network can reach the numeric address, as far as the address tells."""
    return not is_machines(address) and (":" not in address or is_leading_out6())


def is_machines(address: str) -> bool:
    """Return whether only the machine itself reaches the numeric address: loopback, link-local, or one that it has.

    In a container a loopback address is the container's; link-local ones and the machine's services are closed to it.
    """
    plain = address.partition("%")[0].lower().removeprefix("::ffff:")
    if plain in {"::", "::1"} or plain.startswith(("127.", "169.254.", "fe80:", "0.")):
        return True
    from carboy.network import netlink

    with netlink.Netlink() as here:
        return any(prefix.address == plain for prefix in netlink.list_addresses(here))


def is_leading_out6() -> bool:
    """Return whether IPv6 can lead out of a container on this machine."""
    from carboy.network import netlink
    from carboy.network.bridges import can_forward_ipv6

    with netlink.Netlink() as here:
        return can_forward_ipv6(here)
