"""Published ports as people write them, read into values. Pure.

The form is Docker's: ``[ip:][host]:container[/tcp|udp]``, with ranges on both sides and IPv6 addresses in brackets. Two
things differ: without an address the port is bound on 127.0.0.1, not on every interface (hardening row 102), and an
address must be one, not a name.
"""

from __future__ import annotations

from carboy.errors import CarboyError

DEFAULT_HOST_IP = "127.0.0.1"
PROTOCOLS = ("tcp", "udp")
MAX_PORT = 65_535
_FORMS = "write [ip:][host port:]container port[/tcp|udp], such as 8080:80, 127.0.0.1::80, 8000-8010:80-90 or [::1]:80:80/udp"


class PortMapping:
    """One published port, a frozen value.

    ``host_port`` 0 means any free port; with ``host_last`` above it, the first free one of that range. ``host_ip`` is a
    numeric address of either family.
    """

    __slots__ = ("container_port", "host_ip", "host_last", "host_port", "protocol")
    container_port: int
    host_ip: str
    host_last: int
    host_port: int
    protocol: str

    def __init__(
        self,
        *,
        container_port: int,
        host_port: int = 0,
        host_ip: str = DEFAULT_HOST_IP,
        protocol: str = "tcp",
        host_last: int = 0,
    ) -> None:
        for name, value in (
            ("container_port", container_port), ("host_ip", host_ip), ("host_last", host_last or host_port),
            ("host_port", host_port), ("protocol", protocol),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("PortMapping is frozen")

    def _fields(self) -> tuple[object, ...]:
        return self.host_ip, self.host_port, self.host_last, self.container_port, self.protocol

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PortMapping) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"PortMapping({self})"

    def __str__(self) -> str:
        """Return the mapping as :func:`parse_publish` reads it."""
        address = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        ports = str(self.host_port or "")
        if self.host_last > self.host_port:
            ports = f"{self.host_port}-{self.host_last}"
        return f"{address}:{ports}:{self.container_port}/{self.protocol}"

    def with_host_port(self, port: int) -> PortMapping:
        """Return the mapping with the port that was really bound."""
        return PortMapping(
            host_ip=self.host_ip, host_port=port, container_port=self.container_port, protocol=self.protocol
        )


def parse_publish(text: str, *, default_host_ip: str = DEFAULT_HOST_IP) -> tuple[PortMapping, ...]:
    """Return the mappings that one ``-p`` asks for: one, or one per port of a range.

    ``8000-8010:80-90`` pairs the ports of two equal ranges; ``8000-8010:80`` takes the first free of the range for one
    container port; an empty host port (``127.0.0.1::80``, or ``80`` alone) is any free port. Raises ``CarboyError`` (125).
    """
    body, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise _wrong(text, f"{protocol or 'nothing'} is not a protocol that can be published")
    address, host, container = _split(text, body)
    host_ip = parse_address(text, address) if address else default_host_ip
    first, last = _parse_range(text, container)
    if first == 0:
        raise _wrong(text, "a container's port is a number from 1 to 65535")
    host_first, host_last = _parse_range(text, host) if host else (0, 0)
    count = last - first + 1
    if count == 1:
        return (
            PortMapping(
                host_ip=host_ip, host_port=host_first, host_last=host_last, container_port=first, protocol=protocol
            ),
        )
    if host_first and host_last - host_first + 1 != count:
        raise _wrong(
            text, f"the ranges differ: {host_last - host_first + 1} ports of the host, {count} of the container"
        )
    return tuple(
        PortMapping(
            host_ip=host_ip,
            host_port=host_first + step if host_first else 0,
            container_port=first + step,
            protocol=protocol,
        )
        for step in range(count)
    )


def find_conflicts(mappings: tuple[PortMapping, ...]) -> list[str]:
    """Return a sentence for each port of the host that two mappings ask for."""
    seen: dict[tuple[str, int, str], PortMapping] = {}
    issues = []
    for mapping in mappings:
        if not mapping.host_port or mapping.host_last > mapping.host_port:
            continue
        key = (mapping.host_ip, mapping.host_port, mapping.protocol)
        other = seen.setdefault(key, mapping)
        if other is not mapping and other != mapping:
            issues.append(f"{mapping.host_ip} port {mapping.host_port}/{mapping.protocol} is published twice")
    return issues


def parse_address(text: str, address: str) -> str:
    """Return a numeric address of either family in its usual form, brackets taken off. Raises ``CarboyError`` (125)."""
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    parts = bare.split(".")
    if ":" not in bare:
        if len(parts) != 4 or not all(_is_octet(part) for part in parts):
            raise _wrong(
                text,
                f"{address!r} is not an address",
                "name an address such as 127.0.0.1, 0.0.0.0 or [::1], not a host",
            )
        return bare
    import _socket

    try:
        return _socket.inet_ntop(_socket.AF_INET6, _socket.inet_pton(_socket.AF_INET6, bare))
    except (OSError, ValueError) as error:
        raise _wrong(text, f"{address!r} is not an address") from error


def _is_octet(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 and str(int(part)) == part


def _split(text: str, body: str) -> tuple[str, str, str]:
    """Return (address, host port, container port) of the part before the protocol."""
    if body.startswith("["):
        address, bracket, rest = body.partition("]")
        if not bracket or not rest.startswith(":"):
            raise _wrong(text, "after the address in brackets comes a colon and the ports")
        host, _, container = rest[1:].rpartition(":")
        if ":" in host:
            raise _wrong(text, "there are too many colons")
        return address + "]", host, container
    fields = body.split(":")
    if len(fields) > 3:
        raise _wrong(text, "there are too many colons", "write an IPv6 address in brackets: [::1]:8080:80")
    if len(fields) == 3 and not fields[0]:
        raise _wrong(text, "the address before the first colon is missing")
    address, host, container = ["", "", *fields][-3:]
    return address, host, container


def _parse_range(text: str, ports: str) -> tuple[int, int]:
    first, dash, last = ports.partition("-")
    numbers = []
    for part in (first, last) if dash else (first, first):
        if not (part.isascii() and part.isdigit() and len(part) <= 5 and int(part) <= MAX_PORT):
            raise _wrong(text, f"{part or 'nothing'!r} is not a port: ports are numbers from 1 to {MAX_PORT}")
        numbers.append(int(part))
    if numbers[1] < numbers[0] or (dash and not numbers[0]):
        raise _wrong(text, f"the range {ports} has no port in it")
    return numbers[0], numbers[1]


def _wrong(text: str, why: str, hint: str = _FORMS) -> CarboyError:
    return CarboyError(f"the port {text!r} cannot be read", details=why, hint=hint, code=125)
