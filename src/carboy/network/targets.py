"""Where inside a container a published port leads, and under which address its clients are seen there.

A client of the machine itself is seen as 127.0.0.1. One from elsewhere keeps its address (hardening row 102: a service
that trusts 127.0.0.1 must not trust the world, CVE-2021-20199): its connection is opened *from* that address, and what is
answered from 127.0.0.0/8 is led back to this namespace whatever address it is for.
"""

from __future__ import annotations

import _socket
import errno
import time

from carboy.network import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.network.streams import Address

TABLE = 202
_FRESH_S = 5.0
_LOOPBACK_INDEX = 1


class Targets:
    """The addresses inside for one port: the loopback ones first, then the container's own."""

    def __init__(self, port: int, own: Sequence[str | None]) -> None:
        self._port = port
        self._given = [address for address in own if address]
        self._own: list[str] = []
        self._read_s = -_FRESH_S
        self._local: list[Address] = [
            (_socket.AF_INET, ("127.0.0.1", port), None),
            (_socket.AF_INET6, ("::1", port), None),
        ]

    def find(self, client: tuple[str, int]) -> Sequence[Address]:
        """Return what to try for a client, in order. One from elsewhere is never shown as a loopback address."""
        host = client[0]
        own: list[Address] = [
            (_socket.AF_INET6 if ":" in address else _socket.AF_INET, (address, self._port), None)
            for address in self._find_own()
        ]
        if host.startswith("127.") or host == "::1":
            return self._local + own
        if ":" in host:
            return [(_socket.AF_INET6, ("::1", self._port), (host.partition("%")[0], 0)), *own]
        return [(_socket.AF_INET, ("127.0.0.1", self._port), (host, 0)), *own]

    def _find_own(self) -> list[str]:
        now_s = time.monotonic()
        if now_s - self._read_s >= _FRESH_S:
            self._read_s = now_s
            self._own = self._given or _list_own()
        return self._own


def _list_own() -> list[str]:
    try:
        with netlink.Netlink() as here:
            found = [prefix.address for prefix in netlink.list_addresses(here)]
    except OSError:
        return []
    return [address for address in found if not address.startswith(("127.", "fe80:")) and address != "::1"]


def lead_answers_back() -> None:
    """Deliver what this namespace sends from its loopback addresses to itself, whatever the destination. Needs NET_ADMIN.

    Two rules and two tables of one route: `ip rule add from 127.0.0.0/8 iif lo lookup 202` and
    `ip route add local default dev lo table 202`, for both families. Raises ``OSError``.
    """
    with netlink.Netlink() as here:
        for family, source, length in ((_socket.AF_INET, "127.0.0.0", 8), (_socket.AF_INET6, "::1", 128)):
            try:
                here.send([netlink.add_local_table(_LOOPBACK_INDEX, family, TABLE)])
                here.send([netlink.add_source_rule(source, length, device="lo", table=TABLE)])
            except OSError as error:
                # There before (a second relay into the namespace), or no IPv6 on this machine.
                if error.errno not in {errno.EEXIST, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENODEV, errno.EACCES}:
                    raise


def raise_loopback() -> None:
    """Bring the loopback device of this namespace up; one that is up is fine. Raises ``OSError``."""
    with netlink.Netlink() as here:
        here.send([netlink.set_link(_LOOPBACK_INDEX, up=True)])
