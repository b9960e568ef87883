"""Which network an installing step has: one of its own where that reaches all that it needs, else the host's.

What is needed is known beforehand: proxies, indexes, and addresses in the requirements. A proxy or an index on the machine
itself (127.0.0.1, or an address that the machine has) is closed to a private network, and so are name servers there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ADDRESS = re.compile(r"(?:[a-z]+\+)?([a-z]+)://(?!/)([^\s\"',;<>]+)", re.IGNORECASE)
_NO_PROXY = ("no_proxy", "NO_PROXY")
OFFLINE = "UV_OFFLINE"
"""The variable by which uv is told to ask nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The step's network, "private", "host" or "none", and why, in words."""

    network: str
    reason: str


CLOSED = Reach(network="none", reason="what is built needs nothing but its source and its tools")


def find_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """Return the hosts of the proxies by the scheme that they are for ("all": any). Pure."""
    found = {}
    for name, value in env.items():
        scheme, _, kind = name.lower().partition("_")
        if kind == "proxy" and scheme in {"http", "https", "all"} and value:
            host = _host(value if "://" in value else f"http://{value}")
            if host:
                found[scheme] = host
    return found


def find_hosts(env: Mapping[str, str], requirements: str) -> list[str]:
    """Return the hosts that uv is told to connect to, in order: proxies, and what it reaches without one. Pure.

    The index that it has by itself is not among them: that one is out in the world.
    ``env`` is the step's: proxies and uv's settings. ``requirements`` may name addresses of packages and indexes.
    """
    proxies = find_proxies(env)
    bypassed = next((env[name] for name in _NO_PROXY if env.get(name)), "")
    settings = " ".join(value for name, value in env.items() if name.startswith("UV_"))
    asked = [(scheme.lower(), f"{scheme}://{rest}") for scheme, rest in _ADDRESS.findall(f"{settings}\n{requirements}")]
    hosts = list(proxies.values())
    for scheme, url in asked:
        host = _host(url)
        goes_direct = not ({scheme, "all"} & set(proxies)) or _is_bypassed(host, bypassed)
        if host and goes_direct:
            hosts.append(host)
    return list(dict.fromkeys(hosts))


def _is_bypassed(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY names a host: itself, a domain that it is in, or all."""
    names = [name.strip().lower().lstrip(".") for name in no_proxy.split(",")]
    return any(name and (name in {"*", host} or host.endswith(f".{name}")) for name in names)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def choose_network(
    hosts: Sequence[str],
    *,
    means: str | None,
    missing: Sequence[str] = (),
    name_servers: Sequence[str],
    resolve: Callable[[str], Sequence[str]],
    is_machines: Callable[[str], bool],
    is_reachable: Callable[[str], bool],
) -> Reach:
    """Return which network a step has that needs the hosts. ``resolve`` gives a host's addresses, none for one that is unknown.

    ``means`` is how a private network can be made here, None for not at all (``missing`` says why); ``name_servers`` those
    that it has: none when they are the machine's own.
    """
    if means is None:
        return Reach(network="host", reason=f"there is no private network here: {'; '.join(missing)}")
    if not name_servers:
        return Reach(network="host", reason="the name servers are on this machine")
    for host in hosts:
        found = resolve(host)
        own = next((address for address in found if is_machines(address)), "")
        if own:
            where = host if own == host else f"{host} ({own})"
            return Reach(network="host", reason=f"{where} is this machine, which a private network does not reach")
        if found and not any(is_reachable(address) for address in found):
            return Reach(network="host", reason=f"a private network does not lead to {host}")
    return Reach(network="private", reason="all that is needed can be reached from there")


def find_network(tier: str, env: Mapping[str, str], requirements: str) -> Reach:
    """Return which network the installing step has on this machine. Looks names up; changes nothing."""
    from carboy.network import attachment, private

    if env.get(OFFLINE):
        return Reach(network="none", reason="it is to work without one")
    means = private.find_private_means(tier)
    servers = attachment.find_name_servers() if means else ()
    return choose_network(
        find_hosts(env, requirements),
        means=means,
        missing=() if means else private.explain_private_means(tier),
        name_servers=[server for server in servers if server != attachment.RESOLVER_IP],
        resolve=_resolve,
        is_machines=attachment.is_machines,
        is_reachable=attachment.is_reachable,
    )


def _resolve(host: str) -> list[str]:
    import socket

    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []
