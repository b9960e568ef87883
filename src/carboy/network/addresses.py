"""Which addresses a network and its containers get. Pure: numbers in, numbers out.

IPv4 networks are (number, prefix length) pairs. A container's address also names its devices' hardware addresses, so that
the kernel's list of a bridge's ports says which addresses are taken: there is no file that could be wrong.
"""

from __future__ import annotations

import zlib

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Network = tuple[int, int]

INSIDE, OUTSIDE = b"\x0a\xca", b"\x0e\xca"  # locally administered, unicast: IEEE 802
# Shorter prefixes are default routes in disguise (0.0.0.0/1 and 128.0.0.0/1 of many VPNs).
SHORTEST_TAKEN = 5
PRIVATE_LENGTH = 16  # of the network `private`
NETWORK_RANGE = (0x0A480000, 13)  # 10.72.0.0 to 10.79.255.255, where networks that somebody made look first
PRIVATE_RANGE = (0x0A500000, 13)  # 10.80.0.0 to 10.87.255.255, where `private` looks first
_RESERVED_AT_START = 2  # the network's own number, and the gateway


def encode_ipv4(number: int) -> str:
    """Return the dotted form of an IPv4 address."""
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def decode_ipv4(text: str) -> int:
    """Return the number of a dotted IPv4 address."""
    number = 0
    for part in text.split("."):
        number = number << 8 | int(part)
    return number


def parse_subnet(text: str) -> Network:
    """Return the IPv4 network that ``--subnet`` names ("10.5.0.0/24"). Raises ``CarboyError`` (125)."""
    address, slash, length = text.partition("/")
    parts = address.split(".")
    good = slash and length.isascii() and length.isdigit() and 8 <= int(length) <= 29 and len(parts) == 4
    if not good or not all(part.isascii() and part.isdigit() and int(part) <= 255 for part in parts):
        raise CarboyError(
            f"the subnet {text!r} cannot be read", hint="write it as 10.5.0.0/24, with a length from 8 to 29", code=125
        )
    number, size = decode_ipv4(address), int(length)
    if number & host_mask(size):
        fixed = encode_ipv4(number & ~host_mask(size))
        raise CarboyError(f"{text} is an address inside a subnet", hint=f"name the subnet: {fixed}/{size}", code=125)
    return number, size


def format_subnet(network: Network) -> str:
    """Return the text that :func:`parse_subnet` reads."""
    return f"{encode_ipv4(network[0])}/{network[1]}"


def parse_host(text: str, network: Network) -> int:
    """Return the number of the address that ``--ip`` names. Raises ``CarboyError`` (125) unless a container can have it there."""
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and int(part) <= 255 for part in parts):
        raise CarboyError(f"{text!r} is not an IPv4 address", hint="write it as 10.5.0.7", code=125)
    number = decode_ipv4(text)
    first, last = network[0] + _RESERVED_AT_START, network[0] + host_mask(network[1]) - 1
    if not first <= number <= last:
        raise CarboyError(
            f"the address {text} cannot be a container's on {format_subnet(network)}",
            hint=f"name one from {encode_ipv4(first)} to {encode_ipv4(last)}, or leave it out",
            code=125,
        )
    return number


def host_mask(length: int) -> int:
    """Return the bits of an address that a prefix of the given length leaves to hosts."""
    return (1 << (32 - length)) - 1


def is_overlapping(first: Network, second: Network) -> bool:
    """Return whether two networks share an address."""
    shorter = min(first[1], second[1])
    return first[0] >> (32 - shorter) == second[0] >> (32 - shorter)


def _iter_candidates(length: int, key: str) -> Iterable[Network]:
    """Yield private networks, those first that fewest others use: RFC 1918, then RFC 2544's for benchmarks.

    Networks that somebody made and ``private`` look in places of their own: either may be without its bridge when the other
    chooses. ``key`` is where the search begins.
    """
    own = PRIVATE_RANGE if length == PRIVATE_LENGTH else NETWORK_RANGE
    for first, size in (
        own,
        (0xAC1C0000, 14),
        (0xC0A8C000, 18),
        (0x0A000000, 8),
        (0xAC100000, 12),
        (0xC6120000, 15),
    ):
        count = 1 << max(0, length - size)
        start = zlib.crc32(key.encode()) if key and (first, size) == own else 0
        for number in range(count):
            yield first + ((start + number) % count << (32 - length)), length


def plan_subnet(taken: Iterable[Network], *, length: int, key: str = "") -> Network:
    """Return a private network of the given length that overlaps with none that is taken: the same for a ``key`` where it can be.

    Raises ``CarboyError`` (125).
    """
    occupied = [network for network in taken if network[1] >= SHORTEST_TAKEN]
    for candidate in _iter_candidates(length, key):
        if not any(is_overlapping(candidate, other) for other in occupied):
            return candidate
    raise CarboyError(
        "no private addresses are left on this machine",
        details="its routes cover 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16",
        hint="`carboy network create --subnet` names addresses; `--network none` and `host` need none",
        code=125,
    )


def plan_address(network: Network, taken: Iterable[int], *, key: str) -> int:
    """Return a free address of the network for the container ``key``: the same one again when it is free.

    The first two and the last address are not handed out. Raises ``CarboyError`` (125) when all are taken.
    """
    occupied = set(taken)
    count = (1 << (32 - network[1])) - _RESERVED_AT_START - 1
    start = zlib.crc32(key.encode())
    for step in range(count):
        address = network[0] + _RESERVED_AT_START + (start + step) % count
        if address not in occupied:
            return address
    raise CarboyError(
        f"the network {format_subnet(network)} has no free address",
        hint="remove containers from it, or make a larger network",
        code=125,
    )


def encode_mac(side: bytes, address: int) -> bytes:
    """Return the hardware address of a device: which side of the pair it is (``INSIDE``, ``OUTSIDE``), and the address."""
    return side + address.to_bytes(4, "big")


def decode_mac(mac: bytes) -> int | None:
    """Return the address that a hardware address of ours stands for."""
    return int.from_bytes(mac[2:], "big") if len(mac) == 6 and mac[:2] in {INSIDE, OUTSIDE} else None


def plan_prefix6(network: Network, machine: bytes) -> bytes:
    """Return the IPv6 network (8 bytes, a /64) beside an IPv4 one: unique local, of this machine (RFC 4193)."""
    identity = zlib.crc32(machine).to_bytes(4, "big") + zlib.crc32(machine[::-1]).to_bytes(4, "big")[:1]
    return b"\xfd" + identity + (network[0] >> 8 & 0xFFFF).to_bytes(2, "big")


def encode_ipv6(prefix: bytes, number: int) -> str:
    """Return the address ``number`` (up to 32 bits) of a /64."""
    groups = [f"{int.from_bytes(prefix[start : start + 2], 'big'):x}" for start in (0, 2, 4, 6)]
    high, low = number >> 16, number & 0xFFFF
    return ":".join(groups) + "::" + (f"{high:x}:{low:x}" if high else f"{low:x}")
