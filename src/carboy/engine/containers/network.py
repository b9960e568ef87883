"""Which network a container has, and what is handed to whoever keeps it."""

from __future__ import annotations

import os

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from carboy.base.home import Home
    from carboy.containers.network import NetworkKeeper
    from carboy.containers.record import ContainerConfig
    from carboy.engine.context import Engine

# What Docker's users write for it.
_OTHER_NAMES = {"bridge": "private", "default": "private"}


def normal_network(name: str) -> str:
    """Return carboy's name of a network."""
    return _OTHER_NAMES.get(name, name)


def plan_networks(first: tuple[str, ...], more: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    """Return the networks of a container, each with the further names that it has there, in the order in which it joins them.

    ``private`` comes first: the way out leads through the first that has one. Pure.
    """
    asked = [(normal_network(name), *names) for name, *names in (first, *more)]
    return sorted(asked, key=lambda item: item[0] != "private") if more else asked


def find_default(engine: Engine, key: str) -> str:
    """Return what the home's owner wants for ``key`` of every container that asks for nothing, "" for nothing."""
    if f"CARBOY_{key.upper()}" not in engine.environ and not os.path.exists(f"{engine.home.path}/config.toml"):
        return ""  # nearly always: nothing is imported for it
    from carboy.base.config import read_default

    return read_default(key, home=engine.home.path, environ=engine.environ)


def find_default_network(engine: Engine, *, runtime: str = "") -> str:
    """Return the network of a container that asks for none: ``private`` where it can be had, else ``none``.

    Less than a millisecond, and nothing is changed. Raises ``CarboyError`` (125) for a wrong word of the home's owner.
    """
    asked = normal_network(find_default(engine, "network"))
    if asked:
        if asked not in {"none", "host", "private"}:
            raise CarboyError(
                f"the network {asked} cannot be the default",
                details="it is set by CARBOY_NETWORK, or config.toml of the home",
                hint="use none, host or private",
                code=125,
            )
        return asked
    if runtime == "runsc":
        return "none"  # gVisor does not take the network namespaces of newer kernels
    from carboy.network.private import find_private_means

    return "private" if find_private_means(engine.tier.name) else "none"


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
    if is_own(config.network) or config.more_networks:
        _check_several(config, home=home, tier=tier)
    elif config.network_aliases or config.network_ips:
        raise CarboyError(
            f"a container on the network {config.network} has neither further names nor an address of its choice",
            hint="make a network and name it: carboy network create NAME, --network NAME",
            code=125,
        )


def _check_several(config: ContainerConfig, *, home: Home, tier: str) -> None:
    """Check the networks of a container that is on one that somebody made, or on several."""
    from carboy.network.networks import check_tier, read_network

    names = [name for name, *_ in config.networks]
    check_networks(names)
    check_tier(tier)
    for name, *aliases in config.networks:
        if is_own(name):
            read_network(home, name)
        elif aliases:
            raise CarboyError(
                f"a container has no further names on the network {name}", hint="leave them out", code=125
            )
    for name, address in config.network_ips:
        check_address(address, network=name, names=names, home=home)
    if config.dns:
        raise CarboyError(
            f"a container on the network {names[-1]} has the name servers of the machine",
            details="its resolver asks them for what is no name on its network",
            hint="leave --dns out, or use --network private",
            code=125,
        )


def check_networks(names: Sequence[str]) -> None:
    """Raise ``CarboyError`` (125) for networks on which one container cannot be at once. Pure."""
    for name in names:
        if name.startswith("container:"):
            raise CarboyError(
                "containers do not share each other's network namespace",
                hint="put both on a network: carboy network create NAME, --network NAME",
                code=125,
            )
        if names.count(name) > 1:
            raise CarboyError(f"the network {name} is named twice", hint="name it once", code=125)
        if name in {"none", "host"} and len(names) > 1:
            other = next(other for other in names if other != name)
            raise CarboyError(f"a container cannot be on {name} and on {other}", hint="name one", code=125)


def check_address(address: str, *, network: str, names: Sequence[str], home: Home) -> None:
    """Raise ``CarboyError`` (125) for an address that a container cannot have on the network."""
    from carboy.network.addresses import parse_host, parse_subnet
    from carboy.network.networks import read_network

    if network not in names or not is_own(network):
        raise CarboyError(
            f"the network {network} gives addresses of its own choice",
            hint="make a network and name it: carboy network create --subnet 10.5.0.0/24 NAME",
            code=125,
        )
    parse_host(address, parse_subnet(read_network(home, network).subnet))


def describe_network(config: ContainerConfig, *, name: str, home: Home, tier: str) -> dict[str, Any] | None:
    """Return what ``Connect`` is made from, as plain values; None when nothing is to be connected.

    ``name`` is the container's, which it answers to on networks that somebody made.
    """
    if config.network in {"none", "host"} and not config.publish:
        return None
    ips = dict(config.network_ips)
    own = [
        (network, [*([name] if name else []), *aliases], ips.get(network, ""))
        for network, *aliases in config.networks
        if is_own(network)
    ]
    return {
        "container_id": config.id,
        "tier": tier,
        "home": home.path,
        "private": any(network == "private" for network, *_ in config.networks),
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

    if is_own(config.network) or config.more_networks:
        return (attachment.RESOLVER_IP,)
    return config.dns or attachment.find_name_servers()
