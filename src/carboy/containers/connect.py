"""How a kept container is connected while it runs: its published ports, and its network."""

from __future__ import annotations

from carboy.containers.keeper import NetworkKeeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.network.relay import Listeners


class Connect(NetworkKeeper):
    """Carries a container's published ports in; the host's ends are bound at once, so that a taken port stops the start."""

    def __init__(self, publish: tuple[str, ...]) -> None:
        self._publish = publish
        self._relay = 0
        self._listeners: Listeners | None = None
        self.open()

    def open(self) -> None:
        """Bind the host's ends of the published ports. Raises ``CarboyError`` (125) for one that is taken."""
        if not self._publish or self._listeners is not None:
            return
        from carboy.network.ports import parse_publish
        from carboy.network.relay import open_listeners

        self._listeners = open_listeners([mapping for text in self._publish for mapping in parse_publish(text)])

    def attach(self, netns: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Connect the namespace and return the ports and addresses that it has now, as texts."""
        self.open()
        if self._listeners is None:
            return (), ()
        from carboy.network.relay import start_relay

        self._relay = start_relay(self._listeners, netns)
        return tuple(str(mapping) for mapping in self._listeners.mappings), ()

    def detach(self) -> None:
        """End the relay and let the ports go."""
        if self._relay:
            from carboy.network.relay import stop_relay

            stop_relay(self._relay)
            self._relay = 0
        if self._listeners is not None:
            self._listeners.close()
            self._listeners = None
