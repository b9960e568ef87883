"""Networks by name: list, inspect, make, remove, and who is on them. Those that are built in come first.

``none``, ``host`` and ``private`` are always there; all others somebody made (``network.networks``), and only root can.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.base.fs import make_dir
from carboy.base.locks import FileLock
from carboy.containers import client
from carboy.containers.events import write_event
from carboy.containers.record import write_record
from carboy.engine.containers.describe import describe_networks, render_time
from carboy.engine.containers.manage import ContainerView, list_containers, lock_ended, view_container
from carboy.engine.containers.network import check_network, describe_network, normal_network, plan_networks
from carboy.errors import CarboyError
from carboy.network import addresses, networks, private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.base.home import Home
    from carboy.containers.record import ContainerConfig
    from carboy.engine.context import Engine
    from carboy.network.networks import Network

BUILT_IN = {"none": "null", "host": "host", "private": "bridge"}
MIN_ID = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """A network to be made; the names are those of Docker's options. ``gateway`` may only be the subnet's first address."""

    name: str
    driver: str = "bridge"
    subnet: str | None = None
    gateway: str = ""
    internal: bool = False
    ipv6: bool = False
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """A network as it is listed. ``record`` is None for one that is built in."""

    name: str
    id: str
    driver: str
    record: Network | None = None

    @property
    def labels(self) -> dict[str, str]:
        """What was noted about it."""
        return dict(self.record.labels) if self.record else {}


def list_views(home: Home) -> list[NetworkView]:
    """Return all networks: the built-in ones, then those that were made, by name."""
    built_in = [NetworkView(name=name, id=networks.identify(name), driver=driver) for name, driver in BUILT_IN.items()]
    return built_in + [
        NetworkView(name=record.name, id=record.identity, driver="bridge", record=record)
        for record in networks.list_networks(home)
    ]


def find_view(home: Home, name: str) -> NetworkView:
    """Return the network of that name, or of that id or its beginning. Raises ``CarboyError`` with the nearest name."""
    views = list_views(home)
    wanted = normal_network(name)
    for view in views:
        if view.name == wanted:
            return view
    found = [view for view in views if len(name) >= MIN_ID and view.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    networks.read_network(home, name)  # raises, with the nearest name
    raise AssertionError("unreachable")


def describe_view(view: NetworkView, containers: Sequence[ContainerView]) -> dict[str, Any]:
    """Return what ``network inspect`` shows: Docker's shape. ``containers`` are those that run."""
    record = view.record
    length = addresses.parse_subnet(record.subnet)[1] if record else addresses.PRIVATE_LENGTH
    return {
        "Name": view.name,
        "Id": view.id,
        "Created": render_time(record.created_s if record else 0),
        "Scope": "local",
        "Driver": view.driver,
        "EnableIPv6": bool(record and record.has_ipv6),
        "IPAM": {
            "Driver": "default",
            "Config": [{"Subnet": record.subnet, "Gateway": record.gateway}] if record else [],
        },
        "Internal": bool(record and record.is_internal),
        "Attachable": False,
        "Containers": {
            container.id: _describe_member(container, view.name, length)
            for container in containers
            if view.name in _network_names(container.config)
        },
        "Options": {},
        "Labels": view.labels,
    }


def _network_names(config: ContainerConfig) -> list[str]:
    return [name for name, *_ in config.networks]


def _describe_member(container: ContainerView, network: str, length: int) -> dict[str, str]:
    place = describe_networks(container.config, container.state)[network]
    address, address6 = place["IPAddress"], place["GlobalIPv6Address"]
    mac = addresses.encode_mac(addresses.INSIDE, addresses.decode_ipv4(address)).hex(":") if address else ""
    return {
        "Name": container.name,
        "MacAddress": mac,
        "IPv4Address": f"{address}/{length}" if address else "",
        "IPv6Address": f"{address6}/64" if address6 else "",
    }


# --- make and remove ----------------------------------------------------------------------------------------------


def create(engine: Engine, request: NetworkRequest) -> NetworkView:
    """Make a network and return it. Raises ``CarboyError`` (125)."""
    if request.driver != "bridge":
        raise CarboyError(
            f"there is no network driver {request.driver}", hint="leave --driver out: there is bridge only", code=125
        )
    if request.gateway:
        _check_gateway(request)
    record = networks.create_network(
        engine.home,
        request.name,
        subnet=request.subnet,
        is_internal=request.internal,
        has_ipv6=request.ipv6,
        labels=request.labels,
        tier=engine.tier.name,
    )
    _note(engine.home, "create", record.name)
    return find_view(engine.home, record.name)


def _check_gateway(request: NetworkRequest) -> None:
    if request.subnet is None:
        raise CarboyError("--gateway needs --subnet", hint="name both, or neither", code=125)
    first = addresses.encode_ipv4(addresses.parse_subnet(request.subnet)[0] + 1)
    if request.gateway != first:
        raise CarboyError(
            f"the gateway of {request.subnet} is its first address, not {request.gateway}",
            hint=f"leave --gateway out: it is {first}",
            code=125,
        )


def remove(engine: Engine, name: str) -> None:
    """Remove a network that no running container is on. Raises ``CarboyError`` that names those who are."""
    view = find_view(engine.home, name)
    if view.record is None:
        raise CarboyError(f"the network {view.name} is built in", hint="it cannot be removed", code=125)
    _remove(engine, view.name)


def _remove(engine: Engine, name: str) -> None:
    networks.remove_network(engine.home, name, tier=engine.tier.name)
    private.sweep()  # a bridge that killed containers have left
    _note(engine.home, "destroy", name)


def prune(engine: Engine, *, keep: Callable[[NetworkView], bool] = lambda _: False) -> list[str]:
    """Remove the networks that no container names, running or not, and that ``keep`` does not want; returns their names."""
    named = {name for view in list_containers(engine.home, everything=True) for name in _network_names(view.config)}
    removed = []
    for view in list_views(engine.home):
        if view.record is None or view.name in named or keep(view):
            continue
        _remove(engine, view.name)
        removed.append(view.name)
    return removed


def _note(home: Home, action: str, name: str, **attributes: str) -> None:
    write_event(home.path, "network", action, id=networks.identify(name), name=name, **attributes)


# --- containers come and go ---------------------------------------------------------------------------------------


def plan_connect(
    config: ContainerConfig, network: str, *, aliases: Sequence[str] = (), ip: str = "", who: str
) -> ContainerConfig:
    """Return the container with one more network; ``who`` is its name. Pure. Raises ``CarboyError`` (125)."""
    if network in _network_names(config):
        raise CarboyError(f"the container {who} is on the network {network} already", code=125)
    if config.network == "host" or network in {"none", "host"}:
        wrong = "host" if config.network == "host" else network
        raise CarboyError(
            f"a container cannot be connected to another network beside {wrong}",
            hint=f"make it anew: carboy run --network {network if wrong == 'host' else wrong}",
            code=125,
        )
    first, *more = [*(item for item in config.networks if item[0] != "none"), (network, *aliases)]
    return _with_networks(
        config, plan_networks(first, tuple(more)), ips=(*config.network_ips, *(((network, ip),) if ip else ()))
    )


def plan_disconnect(config: ContainerConfig, network: str, *, who: str) -> ContainerConfig:
    """Return the container without a network; without the last one it is on ``none``. Pure. Raises ``CarboyError`` (125)."""
    if network not in _network_names(config):
        hint = f"it is on {', '.join(_network_names(config))}"
        raise CarboyError(f"the container {who} is not on the network {network}", hint=hint, code=125)
    if network in {"none", "host"}:
        hint = f"make it anew: carboy run --network {'private' if network == 'none' else 'none'}"
        raise CarboyError(f"a container cannot be taken off the network {network}", hint=hint, code=125)
    left = [item for item in config.networks if item[0] != network] or [("none",)]
    return _with_networks(config, left, ips=tuple(item for item in config.network_ips if item[0] != network))


def _with_networks(
    config: ContainerConfig, asked: Sequence[tuple[str, ...]], *, ips: tuple[tuple[str, str], ...]
) -> ContainerConfig:
    (first, *aliases), *more = asked
    return config.replace(network=first, network_aliases=tuple(aliases), more_networks=tuple(more), network_ips=ips)


def connect(engine: Engine, name: str, view: ContainerView, *, aliases: Sequence[str] = (), ip: str = "") -> None:
    """Put a container on one more network: now when it runs, and at every later start. Raises ``CarboyError`` (125)."""
    network = find_view(engine.home, name).name

    def plan(config: ContainerConfig) -> ContainerConfig:
        after = plan_connect(config, network, aliases=aliases, ip=ip, who=view.name or view.id[:12])
        check_network(after, home=engine.home, tier=engine.tier.name)
        return after

    _change(engine, view, plan)
    _note(engine.home, "connect", network, container=view.id)


def disconnect(engine: Engine, name: str, view: ContainerView) -> None:
    """Take a container off a network: now when it runs, and at every later start. Raises ``CarboyError`` (125)."""
    try:
        network = find_view(engine.home, name).name
    except CarboyError:
        if name not in _network_names(view.config):
            raise
        network = name  # it was removed, and the container still names it
    _change(engine, view, lambda config: plan_disconnect(config, network, who=view.name or view.id[:12]))
    _note(engine.home, "disconnect", network, container=view.id)


def _change(engine: Engine, view: ContainerView, plan: Callable[[ContainerConfig], ContainerConfig]) -> None:
    """Change a container's networks; of two who change the same container the second sees what the first has done."""
    home = engine.home
    folder = networks.networks_folder(home)
    make_dir(folder)
    with FileLock(f"{folder}/.change"):
        view = view_container(home, view.id) or view
        after = plan(view.config)
        if view.running:
            values = describe_network(after, name=view.name, home=home, tier=engine.tier.name)
            private, own = (values["private"], values["own"]) if values else (False, [])
            client.request(view.folder, ("network", private, own))
            write_record(view.folder, "config", after)
            return
        container = lock_ended(home, view.id)
        if container is None:
            raise CarboyError(f"the container {view.name} has just been started or removed", hint="try again", code=125)
        try:
            write_record(view.folder, "config", after)
        finally:
            os.close(container.lock)
