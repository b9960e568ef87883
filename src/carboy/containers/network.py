"""The seam between a container's keeper and its network, and other networks for a container that runs."""

from __future__ import annotations

import os
import select

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

RESOLV_CONF = "/etc/resolv.conf"


class NetworkKeeper:
    """Connects a container's network namespace while it runs. The engine hands one in; without one nothing is connected."""

    def attach(self, netns: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Connect the namespace; returns (published ports, addresses) as texts.

        Raises ``CarboyError`` or ``OSError``.
        """
        raise NotImplementedError

    @property
    def joined(self) -> tuple[bool, Sequence[tuple[str, Sequence[str], str]]]:
        """What :meth:`change` was last asked for: whether it is on ``private``, and its other networks."""
        raise NotImplementedError

    def change(self, netns: int, private: bool, own: Sequence[tuple[str, Sequence[str], str]]) -> tuple[str, ...]:
        """Put the namespace on other networks, now and at every later start; returns its addresses. All of it or nothing.

        Raises ``CarboyError`` or ``OSError``.
        """
        raise NotImplementedError

    def detach(self) -> None:
        """Undo it; idempotent."""
        raise NotImplementedError


def reconnect(
    plan: dict[str, Any],
    network: NetworkKeeper | None,
    wanted: tuple[bool, Sequence[tuple[str, Sequence[str], str]]],
    *,
    pid: int,
    pidfd: int,
    folder: str,
) -> tuple[str, ...]:
    """Put the container of ``plan`` on the networks that are wanted, and return its addresses there. All of it or nothing.

    ``wanted``: whether it is on ``private``, and its other networks, as :class:`~carboy.containers.connect.Connect` has them.
    ``pid`` is its first process, of which ``pidfd`` is a descriptor; ``folder`` the container's. Raises ``CarboyError`` (125).
    """
    from carboy.network.attachment import RESOLVER_IP
    from carboy.runtime.native.cover import cover_file

    names = _find_name_servers(plan)
    if network is None or names is None or plan["network"] == "host" or not plan["announce_network"]:
        raise CarboyError(
            "a container that was started without a network cannot be put on one while it runs",
            hint="stop it, connect it, and start it again",
            code=125,
        )
    if plan.get("runtime") == "runsc":
        raise CarboyError(
            "gVisor takes its networks at the start only", hint="stop it, connect it, and start it again", code=125
        )
    try:
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CarboyError("the container has just ended", details=str(error), code=125) from error
    try:
        if select.select([pidfd], [], [], 0)[0]:  # the number may be another process's by now
            raise CarboyError("the container has just ended", code=125)
        before = network.joined
        addresses = network.change(netns, *wanted)
        _, own = wanted
        resolved = f"nameserver {RESOLVER_IP}\n".encode()
        if own and names["content"] != resolved:
            try:
                cover_file(pidfd, RESOLV_CONF, resolved, staging=folder)
            except OSError as error:
                network.change(netns, *before)
                raise CarboyError(
                    "the container's name servers cannot be changed",
                    details=str(error),
                    hint="stop it, connect it, and start it again",
                    code=125,
                ) from error
            names["content"] = resolved  # for the next start, too
        return addresses
    finally:
        os.close(netns)


def _find_name_servers(plan: dict[str, Any]) -> dict[str, Any] | None:
    """Return the operation that gives the container its resolv.conf, None when there is none."""
    operations: list[dict[str, Any]] = plan["operations"]
    return next((item for item in operations if item["op"] == "file" and item["target"] == RESOLV_CONF), None)
