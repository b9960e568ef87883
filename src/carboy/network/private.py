"""The network ``private``: a namespace of the container's own, with a way out.

As root a bridge ``carboy0`` on which containers do not see each other, masquerading, no way to the machine's own
services. As a user pasta or slirp4netns, where the machine has one of them and lets its users open /dev/net/tun.
"""

from __future__ import annotations

import os

from carboy.errors import CarboyError
from carboy.network.attachment import Attachment, find_name_servers, is_leading_out6

_WRITTEN = ("/proc/sys/net/ipv4/ip_forward", "/run")
_ELSE = "`--network none` (published ports work there too) and `--network host` need nothing"


def find_private_means(tier: str) -> str | None:
    """Return how a private network can be made in the tier: "bridge", "pasta", "slirp4netns", or None.

    Changes nothing, and takes less than a millisecond: every start without a network of its own choice asks.
    """
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

    # Root of an outer container may have the privilege, and none of the settings.
    missing = [f"{path} cannot be written" for path in _WRITTEN if not os.access(path, os.W_OK)]
    try:
        with netlink.Netlink() as here:
            for kind in ("bridge", "veth"):
                try:
                    here.send([netlink.probe_kind(kind)])
                except OSError as error:
                    if error.errno in {errno.EOPNOTSUPP, errno.EPERM}:
                        missing.append(f"links of kind {kind}: {error.strerror}")
        with nftables.open_netfilter() as filter_:
            obstacle = nftables.find_obstacle(filter_)
        if obstacle:
            missing.append(f"{obstacle} (let {nftables.BRIDGE_PREFIX}* through, as input and as output device)")
    except OSError as error:
        missing.append(f"the packet filter nf_tables: {error.strerror}")
    return (None, missing) if missing else ("bridge", [])


def attach(netns_fd: int, *, container_id: str, tier: str = "root", interface: str = "eth0") -> Attachment:
    """Give the network namespace a way out, and return its addresses and name servers. A second call changes nothing.

    ``interface`` is the device's name inside, "" for the first that is free.

    To be called in the machine's network namespace by a process of one thread, with whose end a user's network ends. Raises
    ``CarboyError`` (125).
    """
    if tier != "root":
        from carboy.network.userland import attach_userland

        means, missing = _probe(tier)
        if means is None:
            raise CarboyError("there is no private network here", details="; ".join(missing), hint=_ELSE, code=125)
        return attach_userland(means, netns_fd, container_id=container_id)
    from carboy.network.bridges import PRIVATE, Bridge, find_place, plug

    try:
        plugged = plug(
            Bridge(PRIVATE, label="carboy private network", has_ipv6=is_leading_out6(), is_isolated=True),
            netns_fd,
            container_id=container_id,
            interface=interface or find_place(netns_fd)[0],
        )
    except OSError as error:
        means, missing = _probe(tier)
        details = "; ".join(missing) or error.strerror or str(error)
        raise CarboyError("the private network cannot be set up", details=details, hint=_ELSE, code=125) from error
    return Attachment(addresses=plugged.addresses, gateway=plugged.gateway, dns=find_name_servers())


def detach(*container_ids: str, tier: str = "root", wait: bool = True) -> None:
    """Remove what :func:`attach` made, user-defined networks of the containers included; idempotent.

    The kernel takes some 20 ms for a device and 50 ms for a bridge: with ``wait`` false a process of its own does it.
    """
    if tier != "root":
        from carboy.network.userland import detach_userland

        for container_id in container_ids:
            detach_userland(container_id)
        return
    from carboy.network.bridges import close_filter, unplug

    if wait:
        unplug(*container_ids)
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
            close_filter()
            close_from(3)
            unplug(*container_ids)
    finally:
        os._exit(0)


def leave(container_id: str) -> None:
    """Take a running container off the private network, and off no other; idempotent. For root. Raises ``OSError``."""
    from carboy.network.bridges import PRIVATE, unplug

    unplug(container_id, bridge=PRIVATE)


def sweep() -> None:
    """Remove bridges, rules and settings that killed containers have left. For root."""
    from carboy.network.bridges import unplug

    unplug()
