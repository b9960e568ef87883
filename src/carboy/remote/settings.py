"""Where registries are: the hosts behind their names, their mirrors and certificates.

``[registries."NAME"]`` of config.toml: ``mirrors``, asked first when images are read; ``insecure``, for one without
certificates that can be trusted, or without TLS; ``ca``, a file of certificates. The folders that Docker and podman read
(``certs.d``) count as well.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.config import FILE, read_table
from carboy.errors import CarboyError
from carboy.oci.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TABLE = "registries"
HUB_HOST = "registry-1.docker.io"
CERTIFICATES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]+")
_MIRROR = re.compile(r"(?:(https?)://)?([A-Za-z0-9.\-\[\]:]+)((?:/[a-z0-9._-]+)*)/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What is set for one registry; ``mirrors`` as they are written."""

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A place that speaks the API: ``host`` with its port, and who it answers for.

    ``registry`` is the name by which people know it and have a login there; ``prefix`` ("team/" or "") stands before the
    names of repositories. ``insecure``: certificates are not checked, and without TLS it goes on without.
    """

    registry: str
    host: str
    prefix: str = ""
    insecure: bool = False
    ca: str | None = None
    is_mirror: bool = False


def read_registries(home: str) -> dict[str, RegistrySettings]:
    """Return the settings of a home's config.toml by registry. Raises ``CarboyError`` (125) as :func:`parse_registries`."""
    return parse_registries(read_table(TABLE, home=home), path=f"{home}/{FILE}")


def parse_registries(table: Mapping[str, Any], *, path: str) -> dict[str, RegistrySettings]:
    """Return the settings by registry. Pure. Raises ``CarboyError`` (125) that names what is wrong, and where."""
    found = {}
    for name, value in table.items():
        where = f'{path}: [registries."{name}"]'
        if not _HOST.fullmatch(name):
            hint = 'write its host, with a port where it has one: [registries."registry.example.com:5000"]'
            raise CarboyError(f"{where} is not the name of a registry", hint=hint, code=125)
        if not isinstance(value, dict):
            raise CarboyError(f"{where} must be a table", hint=f'write [registries."{name}"]', code=125)
        unknown = sorted(value.keys() - {"mirrors", "insecure", "ca"})
        if unknown:
            raise CarboyError(f"{where} has no {unknown[0]!r}", hint="it has mirrors, insecure and ca", code=125)
        mirrors = value.get("mirrors", [])
        if not isinstance(mirrors, list) or not all(isinstance(m, str) and _MIRROR.fullmatch(m) for m in mirrors):
            hint = 'write mirrors = ["mirror.example.com/prefix"]'
            raise CarboyError(f"{where}: mirrors must be a list of addresses", hint=hint, code=125)
        if not isinstance(value.get("insecure", False), bool) or not isinstance(value.get("ca", ""), str):
            raise CarboyError(f"{where}: insecure is true or false, ca the path of a file", code=125)
        found["docker.io" if name == "index.docker.io" else name] = RegistrySettings(
            mirrors=tuple(mirrors), insecure=value.get("insecure", False), ca=value.get("ca") or None
        )
    return found


def plan_endpoints(registry: str, settings: Mapping[str, RegistrySettings]) -> tuple[Endpoint, ...]:
    """Return where a registry is asked: at its mirrors in their order, then at itself. Pure."""
    own = settings.get(registry, RegistrySettings())
    return (*(_plan_mirror(mirror, settings) for mirror in own.mirrors), plan_endpoint(registry, own))


def plan_endpoint(registry: str, own: RegistrySettings) -> Endpoint:
    """Return where the registry itself is."""
    return Endpoint(
        registry=registry,
        host=HUB_HOST if registry == DEFAULT_REGISTRY else registry,
        # With certificates of its own even this machine is asked for one of them.
        insecure=own.insecure or (is_loopback(registry) and own.ca is None),
        ca=own.ca,
    )


def _plan_mirror(text: str, settings: Mapping[str, RegistrySettings]) -> Endpoint:
    found = _MIRROR.fullmatch(text)
    assert found is not None, text
    scheme, host, path = found.groups()
    own = settings.get(host, RegistrySettings())
    return Endpoint(
        registry=host,
        host=host,
        prefix=f"{path.strip('/')}/" if path else "",
        insecure=own.insecure or scheme == "http" or (is_loopback(host) and own.ca is None),
        ca=own.ca,
        is_mirror=True,
    )


def is_loopback(host: str) -> bool:
    """Return whether a host, perhaps with a port, is this machine: as with Docker, nothing is lost there without TLS."""
    import ipaddress

    name = split_port(host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_inside(host: str) -> bool:
    """Return whether a host is written as an address that only machines near this one reach.

    A registry elsewhere that sends its clients there has something in mind with them (CWE-918).
    """
    import ipaddress

    name = split_port(host).rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    with suppress(OSError, ValueError):
        # The resolver reads 2130706433, 0x7f000001 and 127.1 as addresses, too (inet_aton(3)).
        name = socket.inet_ntoa(socket.inet_aton(name))
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (inner or address).is_global


def split_port(host: str) -> str:
    """Return a host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files for one registry: ``authorities`` to trust beside the host's own, and what the client shows, (certificate, key)."""

    authorities: tuple[str, ...] = ()
    own: tuple[str, str] | None = None


NO_CERTIFICATES = Certificates()


def read_certificates(endpoint: Endpoint, folders: tuple[str, ...] = CERTIFICATES) -> Certificates:
    """Return what is set, and what ``certs.d/HOST`` has: \\*.crt to trust, NAME.cert with NAME.key to show.

    Source: Docker, "Verify repository client with certificates". Raises ``CarboyError`` for a ``ca`` that is not there.
    """
    authorities = [endpoint.ca] if endpoint.ca else []
    own: tuple[str, str] | None = None
    for folder in (f"{folder}/{host}" for folder in folders for host in {endpoint.registry, endpoint.host}):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        authorities += [f"{folder}/{name}" for name in names if name.endswith(".crt")]
        for name in names:
            key = f"{name.removesuffix('.cert')}.key"
            if name.endswith(".cert") and key in names and own is None:
                own = f"{folder}/{name}", f"{folder}/{key}"
    if endpoint.ca and not os.path.isfile(endpoint.ca):
        raise CarboyError(
            f"there is no file {endpoint.ca}", hint=f'correct ca of [registries."{endpoint.registry}"]', code=125
        )
    return Certificates(authorities=tuple(authorities), own=own)
