"""User-defined networks: each a bridge of its own whose containers find each other by name, and nobody else's.

    networks/<name>.json                  the record: subnet, internal, IPv6; written once, durable
    networks/<name>/members/<id>          a container that is on it now: addresses and names
    networks/.lock                        held while records are made or removed, and while a container joins

A network that nobody is on is its record alone: bridge, addresses and rules exist while it has members. In the user tiers
there is no bridge to be had, and the functions that would need one refuse.
"""

from __future__ import annotations

import os

from carboy.base.fs import make_dir, translate_os_errors, write_durable
from carboy.base.locks import FileLock
from carboy.errors import CarboyError
from carboy.network import addresses, bridges, netlink
from carboy.network.attachment import RESOLVER_IP, Attachment
from carboy.network.dns.members import encode_member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.base.home import Home

RESERVED = frozenset({"none", "host", "private", "bridge", "default", "container"})
MAX_NAME = 63
SUBNET_LENGTH = 24
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class Network:
    """The record of a user-defined network. ``subnet`` is IPv4 in the form 10.5.0.0/24; ``labels`` are (key, value)."""

    __slots__ = ("bridge", "created_s", "has_ipv6", "is_internal", "labels", "name", "subnet")

    def __init__(
        self, *, name: str, bridge: str, subnet: str, is_internal: bool, has_ipv6: bool, created_s: int,
        labels: Sequence[tuple[str, str]] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self.bridge = bridge
        self.subnet = subnet
        self.is_internal = is_internal
        self.has_ipv6 = has_ipv6
        self.created_s = created_s
        self.labels = tuple(labels)

    @property
    def identity(self) -> str:
        """64 hexadecimal digits for those who expect an id: the name's, so that they stay the same."""
        return identify(self.name)

    @property
    def gateway(self) -> str:
        """The bridge's address, which is the first of the subnet."""
        return addresses.encode_ipv4(addresses.parse_subnet(self.subnet)[0] + 1)

    def _as_bridge(self) -> bridges.Bridge:
        subnet = addresses.parse_subnet(self.subnet)
        return bridges.Bridge(
            self.bridge,
            label=f"carboy network {self.name}",
            subnet=subnet,
            length=subnet[1],
            has_ipv6=self.has_ipv6,
            is_internal=self.is_internal,
        )


class Member:
    """A container on a network: its id, addresses and names."""

    __slots__ = ("addresses", "container_id", "names")

    def __init__(self, *, container_id: str, addresses: Sequence[str], names: Sequence[str]) -> None:
        self.container_id = container_id
        self.addresses = tuple(addresses)
        self.names = tuple(names)


def identify(name: str) -> str:
    """Return the id of a network of that name: 64 hexadecimal digits."""
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()


def networks_folder(home: Home) -> str:
    """Return the folder of the records, which a relay's ``resolve_for`` names too."""
    return f"{home.path}/networks"


def check_name(name: str) -> None:
    """Raise ``CarboyError`` (125) for a name that no network of a user can have."""
    letters = frozenset(name)
    if name in RESERVED:
        raise CarboyError(f"the name {name} is taken by carboy itself", hint="choose another one", code=125)
    if not name or len(name) > MAX_NAME or not letters <= _NAME_LETTERS or name[0] in "_-":
        hint = f"letters, digits, _ and -, beginning with a letter or digit, at most {MAX_NAME}"
        raise CarboyError(f"{name!r} is not a name for a network", hint=hint, code=125)


def check_tier(tier: str) -> None:
    """Raise ``CarboyError`` (125) where user-defined networks cannot be made."""
    if tier != "root":
        raise CarboyError(
            "user-defined networks need root on this machine",
            details="a bridge between containers can only be made by root",
            hint="run as root; a single container's ports can be published with --publish in every mode",
            code=125,
        )


def create_network(
    home: Home,
    name: str,
    *,
    subnet: str | None = None,
    is_internal: bool = False,
    has_ipv6: bool = False,
    labels: Sequence[tuple[str, str]] = (),
    tier: str = "root",
) -> Network:
    """Write the record of a new network, with a subnet that nothing on this machine uses, and return it.

    Raises ``CarboyError`` (125): a bad name or one in use, a subnet that cannot be read or is in use.
    """
    import time
    import zlib

    check_tier(tier)
    check_name(name)
    folder = networks_folder(home)
    with translate_os_errors("make the network"):
        make_dir(folder)
        with FileLock(f"{folder}/.lock"):
            known = list_networks(home)
            if any(network.name == name for network in known):
                raise CarboyError(f"there is a network {name} already", hint="choose another name, or use it", code=125)
            used = [addresses.parse_subnet(network.subnet) for network in known]
            chosen = _choose_subnet(subnet, used, key=f"{home.path}/{name}")
            kind = "carboyi" if is_internal else "carboy-"
            network = Network(
                name=name,
                bridge=f"{kind}{zlib.crc32(f'{home.path}/{name}'.encode()):08x}",
                subnet=addresses.format_subnet(chosen),
                is_internal=is_internal,
                has_ipv6=has_ipv6,
                created_s=int(time.time()),
                labels=labels,
            )
            make_dir(f"{folder}/{name}/members")
            write_durable(f"{folder}/{name}.json", _encode(network))
    return network


def _choose_subnet(text: str | None, used: list[addresses.Network], *, key: str) -> addresses.Network:
    with netlink.Netlink() as here:
        taken = [network for network in bridges.find_taken(here) if network[1] >= addresses.SHORTEST_TAKEN] + used
    if text is None:
        return addresses.plan_subnet(taken, length=SUBNET_LENGTH, key=key)
    wanted = addresses.parse_subnet(text)
    for other in (*taken, (addresses.PRIVATE_RANGE[0], addresses.PRIVATE_LENGTH)):
        if addresses.is_overlapping(wanted, other):
            raise CarboyError(
                f"the subnet {text} is in use on this machine",
                details=f"{addresses.format_subnet(other)} overlaps with it",
                hint="name another one, or leave --subnet out",
                code=125,
            )
    return wanted


def _encode(network: Network) -> bytes:
    import json

    fields = {name: getattr(network, name) for name in Network.__slots__}
    return json.dumps(fields, indent=1, sort_keys=True).encode() + b"\n"


def list_networks(home: Home) -> list[Network]:
    """Return the user-defined networks by name."""
    folder = networks_folder(home)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    return [_read(f"{folder}/{name}") for name in names if name.endswith(".json")]


def _read(path: str) -> Network:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
        fields["labels"] = [(str(key), str(value)) for key, value in fields["labels"]]
        network = Network(**fields)
        addresses.parse_subnet(network.subnet)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CarboyError(
            f"the network's record {path} cannot be read", details=str(error), hint="remove it", code=125
        ) from error
    return network


def read_network(home: Home, name: str) -> Network:
    """Return the network of that name. Raises ``CarboyError`` (125) with the nearest name when there is none."""
    path = f"{networks_folder(home)}/{name}.json"
    if "/" not in name and os.path.exists(path):
        return _read(path)
    import difflib

    near = difflib.get_close_matches(name, [network.name for network in list_networks(home)], 1)
    hint = f"did you mean {near[0]}?" if near else f"make it: carboy network create {name}"
    raise CarboyError(f"there is no network {name}", hint=hint, code=125)


def list_members(home: Home, name: str) -> list[Member]:
    """Return the containers that are on a network now; those that died without a word are taken off the list."""
    network = read_network(home, name)
    folder = f"{networks_folder(home)}/{name}/members"
    found = []
    from carboy.network.dns.members import read_member

    _sweep(network, folder)
    for container_id in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        fields = read_member(f"{folder}/{container_id}")
        found.append(
            Member(container_id=container_id, addresses=fields.get("address", []), names=fields.get("name", []))
        )
    return found


def _sweep(network: Network, folder: str) -> None:
    """Remove the files of members whose device is no longer there: their namespace, and they with it, are gone."""
    names = [name for name in os.listdir(folder) if not name.endswith(".tmp")] if os.path.isdir(folder) else []
    if not names:
        return
    with netlink.Netlink() as here:
        devices = {link.name for link in netlink.list_links(here)}
    for name in names:
        if bridges.name_device(name, network.bridge) not in devices:
            _unlink(f"{folder}/{name}")


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def remove_network(home: Home, name: str, *, tier: str = "root") -> None:
    """Remove a network that nobody is on. Raises ``CarboyError`` (125) naming those who are."""
    from carboy.base.fs import remove_tree

    check_tier(tier)
    folder = networks_folder(home)
    read_network(home, name)
    with translate_os_errors("remove the network"), FileLock(f"{folder}/.lock"):
        members = list_members(home, name)
        if members:
            who = ", ".join(member.names[0] if member.names else member.container_id[:12] for member in members)
            hint = f"stop these first, or `carboy network disconnect {name} CONTAINER`"
            raise CarboyError(f"the network {name} is in use", details=f"by {who}", hint=hint, code=125)
        os.unlink(f"{folder}/{name}.json")
        remove_tree(f"{folder}/{name}")


def connect(
    home: Home,
    name: str,
    netns_fd: int,
    *,
    container_id: str,
    names: Sequence[str] = (),
    wanted: str = "",
    leads_out: bool = False,
    tier: str = "root",
) -> Attachment:
    """Put a container's namespace on a network, under the given names and the start of its id; a second call changes no device.

    ``wanted`` is the address to be had, "" for any. ``leads_out``: the container has another way out, so that an internal
    network does not keep its questions in. The container's resolver has to be served by its relay
    (``start_relay(..., resolve_for=...)``), which sees members come and go by itself. To be called in the machine's namespace by
    a process of one thread. Raises ``CarboyError`` (125).
    """
    check_tier(tier)
    read_network(home, name)
    folder = f"{networks_folder(home)}/{name}/members"
    own = tuple(dict.fromkeys([*names, container_id[:12]]))
    _check_member_names(own)
    # With the lock the network cannot be removed meanwhile.
    with translate_os_errors(f"join the network {name}"), FileLock(f"{networks_folder(home)}/.lock"):
        network = read_network(home, name)
        make_dir(folder)
        _sweep(network, folder)
        interface, has_route = bridges.find_place(netns_fd)
        plugged = bridges.plug(
            network._as_bridge(),
            netns_fd,
            container_id=container_id,
            interface=interface,
            has_route=has_route,
            wanted=wanted,
        )
        is_closed = network.is_internal and not leads_out
        record = encode_member(addresses=plugged.addresses, names=own, subnet=network.subnet, is_internal=is_closed)
        temporary = f"{networks_folder(home)}/{name}/{container_id}.tmp"
        with open(temporary, "wb") as file:
            file.write(record)
        os.rename(temporary, f"{folder}/{container_id}")
    return Attachment(
        addresses=plugged.addresses,
        gateway=plugged.gateway,
        dns=(RESOLVER_IP,),
        interface=_find_interface(netns_fd, plugged.addresses[0]),
    )


def _check_member_names(names: Sequence[str]) -> None:
    from carboy.network.dns.messages import encode_name

    for one in names:
        try:
            encode_name(one)
        except (ValueError, UnicodeError) as error:
            raise CarboyError(
                f"{one!r} is not a name that others could look up", details=str(error), code=125
            ) from error


def _find_interface(netns_fd: int, address: str) -> str:
    """Return the name that the device of an address has inside."""
    mac = addresses.encode_mac(addresses.INSIDE, addresses.decode_ipv4(address))
    with netlink.open_in_namespace(netns_fd) as there:
        return next((link.name for link in netlink.list_links(there) if link.mac == mac), "")


def disconnect(home: Home, name: str, *, container_id: str, tier: str = "root") -> None:
    """Take a container off a network; one that is not on it is fine. Raises ``CarboyError`` (125) for no such network."""
    check_tier(tier)
    network = read_network(home, name)
    with translate_os_errors(f"leave the network {name}"):
        _unlink(f"{networks_folder(home)}/{name}/members/{container_id}")
        bridges.unplug(container_id, bridge=network.bridge)


def forget_container(home: Home, container_id: str) -> None:
    """Take the names of a container that has ended off every network; ``private.detach`` removes its devices."""
    folder = networks_folder(home)
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        if os.path.isdir(f"{folder}/{name}"):
            _unlink(f"{folder}/{name}/members/{container_id}")
