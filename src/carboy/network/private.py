"""The network ``private``: a namespace of the container's own, with a way out.

As root a bridge ``carboy0`` on which containers do not see each other, masquerading, no way to the machine's own
services. As a user pasta or slirp4netns, where the machine has one of them and lets its users open /dev/net/tun.
"""

from __future__ import annotations

import os

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BRIDGE = "carboy0"
RESOLVER_IP = "127.0.0.11"
_RESOLV_CONF = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_ELSE = "`--network none` (published ports work there too) and `--network host` need nothing"


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


def find_private_means(tier: str) -> str | None:
    """Return how a private network can be made in the tier: "bridge", "pasta", "slirp4netns", or None. Changes nothing."""
    return _probe(tier)[0]


def explain_private_means(tier: str) -> list[str]:
    """Return what is missing for a private network, one sentence each; empty when there is one."""
    means, missing = _probe(tier)
    return [] if means else missing


def _probe(tier: str) -> tuple[str | None, list[str]]:
    if tier == "root":
        return _probe_bridge()
    from carboy.network.userland import probe_userland

    return probe_userland()


def _probe_bridge() -> tuple[str | None, list[str]]:
    import errno

    from carboy.network import netlink, nftables

    missing = []
    try:
        with netlink.Netlink() as here:
            for kind in ("bridge", "veth"):
                try:
                    here.send([netlink.probe_kind(kind)])
                except OSError as error:
                    if error.errno in {errno.EOPNOTSUPP, errno.EPERM}:
                        missing.append(f"links of kind {kind}: {error.strerror}")
        with nftables.open_netfilter() as filter_:
            nftables.is_installed(filter_)
    except OSError as error:
        missing.append(f"the packet filter nf_tables: {error.strerror}")
    return (None, missing) if missing else ("bridge", [])


def attach(netns_fd: int, *, container_id: str, tier: str = "root", pid: int = 0) -> Attachment:
    """Give the network namespace a way out, and return its addresses and name servers. A second call changes nothing.

    To be called in the machine's network namespace by a process of one thread. In the user tiers ``pid`` is a process that
    stands in the namespaces (pasta and slirp4netns take no descriptor). Raises ``CarboyError`` (125).
    """
    if tier != "root":
        from carboy.network.userland import attach_userland

        means, missing = _probe(tier)
        if means is None:
            raise CarboyError("there is no private network here", details="; ".join(missing), hint=_ELSE, code=125)
        return attach_userland(means, netns_fd, pid=pid)
    from carboy.network.bridges import Bridge, plug

    try:
        plugged = plug(
            Bridge(BRIDGE, label="carboy private network", has_ipv6=_leads_out6(), is_isolated=True),
            netns_fd,
            container_id=container_id,
        )
    except OSError as error:
        means, missing = _probe(tier)
        details = "; ".join(missing) or error.strerror or str(error)
        raise CarboyError("the private network cannot be set up", details=details, hint=_ELSE, code=125) from error
    return Attachment(addresses=plugged.addresses, gateway=plugged.gateway, dns=find_name_servers())


def _leads_out6() -> bool:
    from carboy.network import netlink
    from carboy.network.bridges import can_forward_ipv6

    with netlink.Netlink() as here:
        return can_forward_ipv6(here)


def detach(container_id: str, *, tier: str = "root", wait: bool = True) -> None:
    """Remove what :func:`attach` made, user-defined networks of the container included; idempotent.

    The kernel takes some 20 ms for a device and 50 ms for a bridge: with ``wait`` false a process of its own does it.
    """
    if tier != "root":
        return  # pasta and slirp4netns end with the namespace
    from carboy.network.bridges import unplug

    if wait:
        unplug(container_id)
        return
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        # A grandchild, so that nobody has to reap it; nothing of the caller's stays open in it.
        if os.fork() == 0:
            os.setsid()
            from carboy.linux.process import close_from

            null = os.open(os.devnull, os.O_RDWR)
            for target in (0, 1, 2):
                os.dup2(null, target)
            close_from(3)
            unplug(container_id)
    finally:
        os._exit(0)


def sweep() -> None:
    """Remove bridges, rules and settings that killed containers have left. For root."""
    from carboy.network.bridges import unplug

    unplug()


def find_name_servers() -> tuple[str, ...]:
    """Return the machine's name servers that a container can reach, else the resolver that its relay serves.

    Loopback addresses are another machine's inside, and link-local ones are closed to containers.
    """
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
    """Return whether a container behind a bridge can reach the name server."""
    return not address.startswith(("127.", "169.254.", "fe80:", "::1", "0.")) and (":" not in address or _leads_out6())
