"""The short forms of ports and volumes, made long: pure. Source: Compose specification, "ports" and "volumes"."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from carboy.compose.document.paths import is_path

MAX_PORT = 65535
_PORT = re.compile(
    r"(?:(?P<ip>\[[^\]]*\]|[^:\[\]]*):)?(?:(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)(?:/(?P<protocol>[a-zA-Z]+))?",
    re.ASCII,
)
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
# Words that say how files reach a virtual machine, or labels of a security module: no meaning where there is one kernel.
_IGNORED_MODES = {"cached", "delegated", "consistent", "rw", "z", "Z"}


class ShortFormError(ValueError):
    """A text that is none of the short forms; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortPort:
    """One published port; ``published`` is empty for any free one, or a range of which one is taken."""

    target: int
    published: str
    host_ip: str
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortVolume:
    """``source:target:mode``; ``kind`` is bind or volume, ``source`` empty for an anonymous volume."""

    kind: str
    source: str
    target: str
    read_only: bool = False
    nocopy: bool = False
    propagation: str = ""


def parse_range(text: str) -> tuple[int, int]:
    """Return the first and last port of ``text``. Raises ``ShortFormError``."""
    match = _RANGE.fullmatch(text)
    if not match:
        raise ShortFormError(f"{text!r} is not a port or a range of ports")
    first = int(match.group(1))
    last = int(match.group(2) or first)
    if not 1 <= first <= last <= MAX_PORT:
        raise ShortFormError(f"{text!r} is not a range of ports between 1 and {MAX_PORT}")
    return first, last


def parse_port(text: str) -> list[ShortPort]:
    """Return the ports of ``[[IP:]PUBLISHED:]TARGET[/PROTOCOL]``, one for each port of a range. Raises ``ShortFormError``."""
    # One colon only: what stands before it is the published port, not an address.
    padded = ":" + text if text.count(":") == 1 and not text.startswith("[") else text
    match = _PORT.fullmatch(padded)
    if not match:
        raise ShortFormError(f"{text!r} is not [[IP:]PUBLISHED:]TARGET[/PROTOCOL]")
    host_ip = check_address((match["ip"] or "").strip("[]"))
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in {"tcp", "udp"}:
        raise ShortFormError(f"the protocol {protocol!r} is neither tcp nor udp")
    first, last = parse_range(match["target"])
    count = last - first + 1
    published = match["published"] or ""
    if not published:
        return [
            ShortPort(target=port, published="", host_ip=host_ip, protocol=protocol) for port in range(first, last + 1)
        ]
    low, high = parse_range(published)
    if count == 1:
        return [
            ShortPort(
                target=first, published=published if low != high else str(low), host_ip=host_ip, protocol=protocol
            )
        ]
    if high - low + 1 != count:
        raise ShortFormError(f"{text!r} publishes {high - low + 1} ports for {count}")
    return [
        ShortPort(target=first + offset, published=str(low + offset), host_ip=host_ip, protocol=protocol)
        for offset in range(count)
    ]


def check_address(text: str) -> str:
    """Return an IP address in its usual form, or nothing for nothing. Raises ``ShortFormError``."""
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ShortFormError(f"{text!r} is not an IP address") from error


def parse_volume(text: str) -> ShortVolume:
    """Return ``[SOURCE:]TARGET[:MODE]`` in parts. Raises ``ShortFormError``."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise ShortFormError(f"{text!r} is not [SOURCE:]TARGET[:MODE]")
    if len(parts) == 2 and not parts[1].startswith("/") and parts[0].startswith("/"):
        parts = ["", *parts]
    if len(parts) == 1:
        parts = ["", *parts]
    source, target, *modes = parts
    if not target.startswith("/"):
        raise ShortFormError(f"the target {target!r} of {text!r} is not an absolute path")
    words = modes[0].split(",") if modes else []
    unknown = [word for word in words if word not in {"ro", "nocopy", *PROPAGATIONS, *_IGNORED_MODES}]
    if unknown:
        raise ShortFormError(
            f"{unknown[0]!r} is not a mode of a volume: it knows ro, rw, nocopy, z, Z and propagations"
        )
    kind = "bind" if is_path(source) else "volume"
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    return ShortVolume(
        kind=kind,
        source=source,
        target=target,
        read_only="ro" in words,
        nocopy="nocopy" in words,
        propagation=propagation,
    )
