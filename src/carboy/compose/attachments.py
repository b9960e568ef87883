"""What a service is connected to: ports, mounts, networks, secrets and configs: pure."""

from __future__ import annotations

import re

from carboy.compose.document.short import PROPAGATIONS, ShortFormError, check_address, parse_range
from carboy.compose.fields import Fields
from carboy.compose.model import DEFAULT_NETWORK, Attachment, Grant, Mount, Port

NETWORK_MODES = ("none", "host", "bridge", "private")


def parse_ports(fields: Fields, network_mode: str) -> tuple[Port, ...]:
    """Return the published ports."""
    found = []
    for port in fields.maps("ports"):
        target, published = port.text("target"), port.text("published")
        protocol = port.text("protocol", "tcp").lower()
        if protocol not in {"tcp", "udp"}:
            port.error("protocol", f"{protocol!r} is neither tcp nor udp")
        port.choice("mode", ("host", "ingress"))
        for key in ("name", "app_protocol"):
            port.take(key)
        try:
            host_ip = check_address(port.text("host_ip"))
            first, last = parse_range(target)
            if first != last:
                raise ShortFormError(f"{target!r} is more than one port: write one entry for each")
            if published:
                parse_range(published)
        except ShortFormError as error:
            port.error("target" if target else "", str(error) if target else "it has no target")
            continue
        found.append(Port(target=first, published=published, host_ip=host_ip, protocol=protocol))
        port.finish()
    if found and network_mode == "host":
        fields.error(
            "ports", "a service on the machine's own network publishes nothing: take ports or network_mode away"
        )
    return tuple(found)


def parse_expose(fields: Fields) -> tuple[str, ...]:
    """Return the ports that are named without being published."""
    found = fields.strings("expose")
    for text in found:
        try:
            parse_range(re.sub(r"/(tcp|udp)$", "", text))
        except ShortFormError as error:
            fields.error("expose", str(error))
    return found


def parse_mounts(fields: Fields) -> tuple[Mount, ...]:
    """Return the mounts, the last one for each target."""
    found: dict[str, Mount] = {}
    for volume in fields.maps("volumes"):
        kind, target = volume.text("type"), volume.text("target")
        if kind not in {"bind", "volume", "tmpfs"}:
            volume.error("type", f"carboy does not support mounts of the type {kind!r}: it knows bind, volume, tmpfs")
            continue
        if not target.startswith("/"):
            volume.error("target", f"the target {target!r} is not an absolute path" if target else "it has no target")
            continue
        source = volume.text("source")
        if kind == "bind" and not source:
            volume.error("", "a bind mount needs a source")
        inner = {key: volume.fields(key) for key in ("bind", "volume", "tmpfs")}
        found[target] = Mount(
            kind=kind,
            target=target,
            source=source if kind != "tmpfs" else "",
            read_only=volume.switch("read_only"),
            propagation=inner["bind"].choice("propagation", PROPAGATIONS),
            create_host_path=inner["bind"].switch("create_host_path", default=True) and kind == "bind",
            nocopy=inner["volume"].switch("nocopy"),
            subpath=inner["volume"].text("subpath"),
            tmpfs_size_bytes=inner["tmpfs"].size("size"),
            tmpfs_mode=inner["tmpfs"].mode("mode"),
        )
        inner["bind"].finish(ignored={"selinux": "files get no labels", "recursive": "mounts below come along"})
        inner["volume"].finish(ignored={"labels": "write them under the project's volumes"})
        inner["tmpfs"].finish()
        volume.finish(ignored={"consistency": "there is no virtual machine in between"})
    return tuple(found.values())


def parse_network_mode(fields: Fields) -> str:
    """Return the network mode, empty where ``networks`` count; Docker's ``bridge`` is ``private``."""
    mode = fields.text("network_mode")
    if mode and mode not in NETWORK_MODES:
        kinds = ", ".join(NETWORK_MODES)
        fields.error(
            "network_mode", f"carboy does not support {mode!r}: it knows {kinds}; put both services on one network"
        )
        return ""
    if mode and "networks" in fields:
        fields.error("network_mode", "networks is given as well")
    return "private" if mode == "bridge" else mode


def parse_networks(fields: Fields, network_mode: str) -> tuple[Attachment, ...]:
    """Return the networks that a service is on; without any word about it, the project's default one."""
    if "networks" not in fields:
        fields.take("networks")
        return () if network_mode else (Attachment(network=DEFAULT_NETWORK),)
    found = []
    for name, network in fields.table("networks"):
        attachment = Attachment(
            network=name,
            aliases=network.strings("aliases"),
            ipv4_address=_address(network, "ipv4_address"),
            ipv6_address=_address(network, "ipv6_address"),
        )
        refused = dict.fromkeys(("interface_name", "link_local_ips", "mac_address"), "carboy chooses these")
        ignored = dict.fromkeys(("priority", "gw_priority", "driver_opts"), "networks are joined in order")
        network.finish(refused=refused, ignored=ignored)
        found.append(attachment)
    return tuple(found)


def _address(fields: Fields, key: str) -> str:
    try:
        return check_address(fields.text(key))
    except ShortFormError as error:
        fields.error(key, str(error))
        return ""


def parse_addresses(fields: Fields, key: str) -> tuple[str, ...]:
    """Return a list of IP addresses."""
    found = fields.strings(key)
    for text in found:
        try:
            check_address(text)
        except ShortFormError as error:
            fields.error(key, str(error))
    return found


def parse_grants(fields: Fields, key: str, *, folder: str) -> tuple[Grant, ...]:
    """Return the secrets or configs of a service; ``folder`` is where a relative target lies."""
    found = []
    for grant in fields.maps(key):
        source = grant.text("source")
        target = grant.text("target", source)
        if not source:
            grant.error("", "it has no source")
            continue
        found.append(
            Grant(
                source=source,
                target=target if target.startswith("/") else folder + target,
                uid=grant.integer("uid"),
                gid=grant.integer("gid"),
                mode=grant.mode("mode"),
            )
        )
        grant.finish()
    return tuple(found)
