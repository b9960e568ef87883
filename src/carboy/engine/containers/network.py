"""Which network a container has, and what is handed to whoever keeps it."""

from __future__ import annotations

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.base.home import Home
    from carboy.containers.keeper import NetworkKeeper
    from carboy.containers.record import ContainerConfig

# What Docker's users write for it.
_OTHER_NAMES = {"bridge": "private", "default": "private"}


def normal_network(name: str) -> str:
    """Return carboy's name of a network."""
    return _OTHER_NAMES.get(name, name)


def is_own(network: str) -> bool:
    """Return whether this is the name of a network that somebody made, on which containers find each other by name."""
    return network not in {"none", "host", "private"}


def check_network(config: ContainerConfig, *, home: Home, tier: str) -> None:
    """Raise ``CarboyError`` (125) for networks that there are not, and ports that cannot be read."""
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
    if is_own(config.network):
        _check_own(config, home=home, tier=tier)
    elif config.network_aliases or config.more_networks:
        raise CarboyError(
            f"a container on the network {config.network} has neither further names nor further networks",
            hint="make a network and name it by --network",
            code=125,
        )


def _check_own(config: ContainerConfig, *, home: Home, tier: str) -> None:
    from carboy.network.networks import check_tier, read_network

    check_tier(tier)
    for name, *_ in ((config.network,), *config.more_networks):
        if not is_own(name):
            raise CarboyError(f"a container cannot be on {name} and on {config.network}", hint="name one", code=125)
        read_network(home, name)
    if config.dns:
        raise CarboyError(
            f"a container on the network {config.network} has the name servers of the machine",
            details="its resolver asks them for what is no name on its network",
            hint="leave --dns out, or use --network private",
            code=125,
        )


def describe_network(config: ContainerConfig, *, name: str, home: Home, tier: str) -> dict[str, Any] | None:
    """Return what ``Connect`` is made from, as plain values; None when nothing is to be connected.

    ``name`` is the container's, which it answers to on networks that somebody made.
    """
    if config.network in {"none", "host"} and not config.publish:
        return None
    own: list[list[Any]] = []
    if is_own(config.network):
        for network, *aliases in ((config.network, *config.network_aliases), *config.more_networks):
            own.append([network, [*([name] if name else []), *aliases]])
    return {
        "container_id": config.id,
        "tier": tier,
        "home": home.path,
        "private": config.network == "private",
        "own": own,
        "publish": list(config.publish),
    }


def open_network(config: ContainerConfig, *, name: str, home: Home, tier: str) -> NetworkKeeper | None:
    """Return the keeper of a container's network, its ports bound; None when nothing is to be connected.

    Raises ``CarboyError`` (125) for a port that is taken.
    """
    values = describe_network(config, name=name, home=home, tier=tier)
    if values is None:
        return None
    from carboy.containers.connect import Connect

    return Connect(values)


def find_name_servers(config: ContainerConfig) -> tuple[str, ...]:
    """Return the name servers for a container's resolv.conf: those that were asked for, else what its network leads to."""
    if config.network in {"none", "host"}:
        return config.dns
    from carboy.network import attachment

    if is_own(config.network):
        return (attachment.RESOLVER_IP,)
    return config.dns or attachment.find_name_servers()
