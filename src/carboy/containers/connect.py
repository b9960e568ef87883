"""How a kept container is connected while it runs: its published ports, and its network."""

from __future__ import annotations

from carboy.base.home import Home
from carboy.containers.network import NetworkKeeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from carboy.network.relay import Listeners


class Connect(NetworkKeeper):
    """Gives a container its network and carries its published ports in.

    The host's ends of the ports are bound at once, so that a taken port stops the start (``CarboyError``, 125). ``values``:
    "container_id", "tier", "home", "private" (whether it is on that network), "own" (networks that somebody made, each with
    the names that the container answers to there and the address that it is to have, "" for any) and "publish", as the engine
    describes them.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._id: str = values["container_id"]
        self._tier: str = values["tier"]
        self._home: str = values["home"]
        self._private: bool = values["private"]
        self._own: list[tuple[str, Sequence[str], str]] = list(values["own"])
        self._publish: tuple[str, ...] = tuple(values["publish"])
        self._relay = 0  # carries the ports, and serves the resolver where there is one from the start
        self._resolver = 0  # serves a resolver that was not needed at the start
        self._attached = self._resolves = False
        self._listeners: Listeners | None = None
        self.open()

    @property
    def joined(self) -> tuple[bool, list[tuple[str, Sequence[str], str]]]:
        """Whether it is on ``private``, and its other networks."""
        return self._private, self._own

    def open(self) -> None:
        """Bind the host's ends of the published ports. Raises ``CarboyError`` (125) for one that is taken."""
        if not self._publish or self._listeners is not None:
            return
        from carboy.network.ports import parse_publish
        from carboy.network.relay import open_listeners

        self._listeners = open_listeners([mapping for text in self._publish for mapping in parse_publish(text)])

    def attach(self, netns: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Connect the namespace; returns its (ports, addresses) as texts."""
        self.open()
        addresses, self._resolves = self._join(netns, interface="eth0")
        if self._listeners is None and not self._resolves:
            return (), addresses
        from carboy.network.relay import Listeners, start_relay

        listeners = self._listeners or Listeners((), ())
        self._relay = start_relay(
            listeners,
            netns,
            container_ip=next((address for address in addresses if ":" not in address), None),
            container_ip6=next((address for address in addresses if ":" in address), None),
            resolve_for=self._resolve_for() if self._resolves else None,
        )
        return tuple(str(mapping) for mapping in listeners.mappings), addresses

    def _resolve_for(self) -> tuple[str, str]:
        from carboy.network.networks import networks_folder

        return networks_folder(Home(self._home)), self._id

    def change(self, netns: int, private: bool, own: Sequence[tuple[str, Sequence[str], str]]) -> tuple[str, ...]:
        """Leave the networks that are not wanted any more, join the others, and return all addresses.

        Published ports go on. When something fails the container is on those networks on which it was before. For root.
        Raises ``CarboyError`` (125).
        """
        before = self.joined
        try:
            addresses = self._move(netns, private, list(own))
            if self._own and not self._resolves:
                from carboy.network.relay import Listeners, start_relay

                self._resolver = start_relay(Listeners((), ()), netns, resolve_for=self._resolve_for())
                self._resolves = True
        except BaseException:
            self._move(netns, *before)
            raise
        return addresses

    def _move(self, netns: int, private: bool, own: list[tuple[str, Sequence[str], str]]) -> tuple[str, ...]:
        """Be on these networks, and on no others; what is so already stays as it is."""
        from carboy.network.networks import disconnect
        from carboy.network.private import leave

        kept = {network for network, *_ in own}
        for network, *_ in self._own:
            if network not in kept:
                disconnect(Home(self._home), network, container_id=self._id, tier=self._tier)
        if self._private and not private:
            leave(self._id)
        self._private, self._own = private, own
        return self._join(netns, interface="")[0]

    def _join(self, netns: int, *, interface: str) -> tuple[tuple[str, ...], bool]:
        """Put the namespace on its networks; returns its addresses, and whether its resolver is to be served."""
        addresses: tuple[str, ...] = ()
        needs_resolver = bool(self._own)
        if self._private:
            from carboy.network import private

            self._attached = True
            attachment = private.attach(netns, container_id=self._id, tier=self._tier, interface=interface)
            addresses += attachment.addresses
            needs_resolver = needs_resolver or attachment.needs_resolver
        for network, names, wanted in self._own:
            from carboy.network import networks

            self._attached = True
            attachment = networks.connect(
                Home(self._home), network, netns, container_id=self._id, names=names, wanted=wanted,
                leads_out=self._private, tier=self._tier,
            )  # fmt: skip
            addresses += attachment.addresses
        return addresses, needs_resolver

    def detach(self) -> None:
        """End the relay, let the ports go, and leave the network; idempotent."""
        for relay in (self._relay, self._resolver):
            if relay:
                from carboy.network.relay import stop_relay

                stop_relay(relay)
        self._relay = self._resolver = 0
        if self._listeners is not None:
            self._listeners.close()
            self._listeners = None
        if self._attached:
            from carboy.network import private

            if self._own:
                from carboy.network.networks import forget_container

                forget_container(Home(self._home), self._id)
            private.detach(self._id, tier=self._tier, wait=False)
            self._attached = False
