"""How a kept container is connected while it runs: its published ports, and its network."""

from __future__ import annotations

from carboy.base.home import Home
from carboy.containers.keeper import NetworkKeeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.network.relay import Listeners


class Connect(NetworkKeeper):
    """Gives a container its network and carries its published ports in.

    The host's ends of the ports are bound at once, so that a taken port stops the start (``CarboyError``, 125). ``values``:
    "container_id", "tier", "home", "private" (whether it is on that network), "own" (networks that somebody made, each with
    the names that the container answers to there) and "publish", as the engine describes them.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._id: str = values["container_id"]
        self._tier: str = values["tier"]
        self._home: str = values["home"]
        self._private: bool = values["private"]
        self._own: list[tuple[str, list[str]]] = values["own"]
        self._publish: tuple[str, ...] = tuple(values["publish"])
        self._relay = 0
        self._attached = False
        self._listeners: Listeners | None = None
        self.open()

    def open(self) -> None:
        """Bind the host's ends of the published ports. Raises ``CarboyError`` (125) for one that is taken."""
        if not self._publish or self._listeners is not None:
            return
        from carboy.network.ports import parse_publish
        from carboy.network.relay import open_listeners

        self._listeners = open_listeners([mapping for text in self._publish for mapping in parse_publish(text)])

    def attach(self, netns: int, *, pid: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Connect the namespace, in which the process ``pid`` stands; returns its (ports, addresses) as texts."""
        self.open()
        addresses, needs_resolver = self._join(netns, pid)
        if self._listeners is None and not needs_resolver:
            return (), addresses
        from carboy.network.networks import networks_folder
        from carboy.network.relay import Listeners, start_relay

        listeners = self._listeners or Listeners((), ())
        self._relay = start_relay(
            listeners,
            netns,
            container_ip=next((address for address in addresses if ":" not in address), None),
            container_ip6=next((address for address in addresses if ":" in address), None),
            resolve_for=(networks_folder(Home(self._home)), self._id) if needs_resolver else None,
        )
        return tuple(str(mapping) for mapping in listeners.mappings), addresses

    def _join(self, netns: int, pid: int) -> tuple[tuple[str, ...], bool]:
        """Put the namespace on its networks; returns its addresses, and whether its resolver is to be served."""
        if self._private:
            from carboy.network import private

            self._attached = True
            attachment = private.attach(netns, container_id=self._id, tier=self._tier, pid=pid)
            return attachment.addresses, attachment.needs_resolver
        addresses: tuple[str, ...] = ()
        for network, names in self._own:
            from carboy.network import networks

            self._attached = True
            attachment = networks.connect(
                Home(self._home), network, netns, container_id=self._id, names=names, tier=self._tier
            )
            addresses += attachment.addresses
        return addresses, bool(self._own)

    def detach(self) -> None:
        """End the relay, let the ports go, and leave the network; idempotent."""
        if self._relay:
            from carboy.network.relay import stop_relay

            stop_relay(self._relay)
            self._relay = 0
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
