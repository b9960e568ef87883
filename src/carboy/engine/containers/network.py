"""Which network a container has, and what is handed to whoever keeps it."""

from __future__ import annotations

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.containers.keeper import NetworkKeeper
    from carboy.containers.record import ContainerConfig

# What Docker's users write for it.
_OTHER_NAMES = {"bridge": "private", "default": "private"}


def normal_network(name: str) -> str:
    """Return carboy's name of a network."""
    return _OTHER_NAMES.get(name, name)


def check_network(config: ContainerConfig) -> None:
    """Raise ``CarboyError`` (125) for a network that there is not, and ports that cannot be read."""
    if config.publish:
        if config.network == "host":
            raise CarboyError(
                "a container on the host's network has no ports to publish",
                hint="leave -p out: what it listens on is the host's already",
                code=125,
            )
        from carboy.network.ports import parse_publish

        for text in config.publish:
            parse_publish(text)
    if config.network not in {"none", "host", "private"}:
        raise CarboyError(
            f"there is no network {config.network}",
            hint="use none, host or private",
            code=125,
        )


def describe_network(config: ContainerConfig, tier: str) -> dict[str, Any] | None:
    """Return what ``Connect`` is made from, as plain values; None when nothing is to be connected."""
    if config.network in {"none", "host"} and not config.publish:
        return None
    return {"container_id": config.id, "tier": tier, "network": config.network, "publish": list(config.publish)}


def open_network(config: ContainerConfig, tier: str) -> NetworkKeeper | None:
    """Return the keeper of a container's network, its ports bound; None when nothing is to be connected.

    Raises ``CarboyError`` (125) for a port that is taken.
    """
    values = describe_network(config, tier)
    if values is None:
        return None
    from carboy.containers.connect import Connect

    return Connect(values)


def find_name_servers(config: ContainerConfig) -> tuple[str, ...]:
    """Return the name servers for a container's resolv.conf: those that were asked for, else what its network leads to."""
    if config.network in {"none", "host"}:
        return config.dns
    from carboy.network import attachment

    return config.dns or attachment.find_name_servers()
