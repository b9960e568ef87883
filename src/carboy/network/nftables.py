"""The packet filter's table ``carboy``, as one transaction over netlink: no ``nft`` program.

What it says (`nft list table inet carboy`):

    forward   what is neither from nor to a bridge of ours is none of our business, except where forwarding was off
              before us; what stays within a network passes (with br_netfilter, bridged frames come by here too); answers
              pass; between our bridges, into them and from internal networks nothing passes; link-local addresses (a
              cloud's metadata service among them) cannot be reached; the rest may leave.
    input     containers may answer the machine and ping it, nothing else.
    outward   what leaves our bridges takes the machine's address.

Published ports need no rules. Sources: linux/netfilter/nf_tables.h, nft(8).
"""

from __future__ import annotations

import errno
import struct
import zlib

from carboy.network.netlink import CREATE, NETFILTER, Netlink, Request, encode_attribute, encode_nested, iter_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = "carboy"
BRIDGE_PREFIX = "carboy"
INTERNAL_PREFIX = "carboyi"
VERSION = "1"

_INET = 1
_IPV4, _IPV6 = 2, 10
_BATCH_BEGIN, _BATCH_END, _SUBSYSTEM = 16, 17, 10
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = (_SUBSYSTEM << 8 | number for number in (0, 1, 2, 3, 6))
_GETCHAIN, _GETRULE = (_SUBSYSTEM << 8 | number for number in (4, 7))
_FIREWALLD = "firewalld"  # its chains accept by policy and refuse by their last rule
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16
_EQUAL, _DIFFERENT = 0, 1
_DROP, _ACCEPT, _RETURN = 0, 1, -5
_INPUT, _FORWARD, _POSTROUTING = 1, 2, 4
_PRIORITY_FILTER, _PRIORITY_SOURCE_NAT = 0, 100
_INVALID, _ESTABLISHED, _RELATED = 1, 2, 4
_APPEND = 0x800
_ICMP, _ICMPV6 = 1, 58


def _number(kind: int, value: int) -> bytes:
    return encode_attribute(kind, struct.pack(">i", value))


def _text(kind: int, text: str) -> bytes:
    return encode_attribute(kind, text.encode() + b"\0")


def _expression(name: str, *attributes: bytes) -> bytes:
    return encode_nested(1, _text(1, name), encode_nested(2, *attributes))


def _compare(value: bytes, operation: int = _EQUAL) -> bytes:
    return _expression("cmp", _number(1, 1), _number(2, operation), encode_nested(3, encode_attribute(1, value)))


def _meta(key: int, value: bytes, operation: int = _EQUAL) -> tuple[bytes, bytes]:
    return _expression("meta", _number(1, 1), _number(2, key)), _compare(value, operation)


def _from_ours(operation: int = _EQUAL, prefix: str = BRIDGE_PREFIX) -> tuple[bytes, bytes]:
    # Compared over the prefix only, which is how nft says carboy*.
    return _meta(_IIFNAME, prefix.encode(), operation)


def _to_ours(operation: int = _EQUAL) -> tuple[bytes, bytes]:
    return _meta(_OIFNAME, BRIDGE_PREFIX.encode(), operation)


def _by_device(key: int, name: str) -> tuple[bytes, bytes]:
    return _meta(key, name.encode().ljust(16, b"\0"))


def _state(bits: int) -> tuple[bytes, bytes, bytes]:
    mask, zero = struct.pack("=I", bits), bytes(4)
    return (
        _expression("ct", _number(1, 1), _number(2, 0)),
        _expression(
            "bitwise", _number(1, 1), _number(2, 1), _number(3, 4),
            encode_nested(4, encode_attribute(1, mask)), encode_nested(5, encode_attribute(1, zero)),
        ),
        _compare(zero, _DIFFERENT),
    )  # fmt: skip


def _to_network(family: int, address: bytes, mask: bytes) -> tuple[bytes, ...]:
    """Match a destination address: at byte 16 of an IPv4 header, 24 of an IPv6 one."""
    offset, size = (16, 4) if family == _IPV4 else (24, 16)
    return (
        *_meta(_NFPROTO, bytes([family])),
        _expression("payload", _number(1, 1), _number(2, 1), _number(3, offset), _number(4, size)),
        _expression(
            "bitwise", _number(1, 1), _number(2, 1), _number(3, size),
            encode_nested(4, encode_attribute(1, mask)), encode_nested(5, encode_attribute(1, bytes(size))),
        ),
        _compare(address),
    )  # fmt: skip


def _verdict(code: int) -> tuple[bytes]:
    return (_expression("immediate", _number(1, 0), encode_nested(2, encode_nested(2, _number(1, code)))),)


def plan_rules(networks: Sequence[str] = (), guarded: Sequence[str] = ()) -> list[tuple[str, tuple[bytes, ...]]]:
    """Return (chain, expressions) of each rule in order.

    ``networks`` names the bridges whose containers may talk to each other; ``guarded`` the devices whose forwarding was
    off before carboy turned it on: between them and other devices nothing passes now either.
    """
    accept, drop, leave = _verdict(_ACCEPT), _verdict(_DROP), _verdict(_RETURN)
    answers = (*_state(_ESTABLISHED | _RELATED), *accept)
    metadata = _to_network(_IPV4, bytes([169, 254, 0, 0]), bytes([255, 255, 0, 0]))
    link_local = _to_network(_IPV6, b"\xfe\x80" + bytes(14), b"\xff\xc0" + bytes(14))
    return [
        *(
            ("forward", (*_by_device(_IIFNAME, name), *_to_ours(_DIFFERENT), *_not_answers(), *drop))
            for name in guarded
        ),
        ("forward", (*_from_ours(_DIFFERENT), *_to_ours(_DIFFERENT), *leave)),
        *(("forward", (*_by_device(_IIFNAME, name), *_by_device(_OIFNAME, name), *accept)) for name in networks),
        ("forward", answers),
        ("forward", (*_to_ours(), *drop)),
        ("forward", (*_from_ours(prefix=INTERNAL_PREFIX), *drop)),
        ("forward", (*_state(_INVALID), *drop)),
        ("forward", (*metadata, *drop)),
        ("forward", (*link_local, *drop)),
        ("forward", accept),
        ("input", (*_from_ours(_DIFFERENT), *leave)),
        ("input", answers),
        ("input", (*_meta(_L4PROTO, bytes([_ICMP])), *accept)),
        ("input", (*_meta(_L4PROTO, bytes([_ICMPV6])), *accept)),
        ("input", drop),
        ("outward", (*_from_ours(), *_to_ours(_DIFFERENT), _expression("masq"))),
    ]


def _not_answers() -> tuple[bytes, bytes, bytes]:
    state, masked, _ = _state(_ESTABLISHED | _RELATED)
    return state, masked, _compare(bytes(4))


_CHAINS = (
    ("forward", "filter", _FORWARD, _PRIORITY_FILTER),
    ("input", "filter", _INPUT, _PRIORITY_FILTER),
    ("outward", "nat", _POSTROUTING, _PRIORITY_SOURCE_NAT),
)


def _request(kind: int, flags: int, what: str, *attributes: bytes, family: int = _INET, resource: int = 0) -> Request:
    return Request(kind, flags, struct.pack(">BBH", family, 0, resource) + b"".join(attributes), what)


def _transaction(*requests: Request) -> list[Request]:
    begin = _request(_BATCH_BEGIN, 0, "begin a change of the packet filter", family=0, resource=_SUBSYSTEM)
    end = _request(_BATCH_END, 0, "end a change of the packet filter", family=0, resource=_SUBSYSTEM)
    return [begin, *requests, end]


def _comment(networks: Sequence[str], guarded: Sequence[str]) -> bytes:
    """Return what the table is marked with, in the form in which nft(8) shows it as a comment."""
    sum_ = zlib.crc32(repr((tuple(networks), tuple(guarded))).encode())
    text = f"carboy's rules, version {VERSION}, of {sum_:08x}".encode() + b"\0"
    return bytes([0, len(text)]) + text


def is_installed(netlink: Netlink, networks: Sequence[str] = (), guarded: Sequence[str] = ()) -> bool:
    """Return whether the table stands, with these rules. A reloaded firewall may have removed it (hardening row 102)."""
    try:
        answers = netlink.ask(
            _GETTABLE, _request(_GETTABLE, 0, "", _text(1, TABLE)).body, what="look at the packet filter"
        )
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return any(dict(iter_attributes(data[4:])).get(6) == _comment(networks, guarded) for data in answers)


def find_obstacle(netlink: Netlink) -> str:
    """Return which chain of somebody else's drops what is forwarded for us, in words; "" when none is known to.

    What our table lets pass another one can still drop: a firewall whose policy it is, as Docker and ufw leave it. One that
    speaks of our bridges anywhere in its table has been told of them. Raises ``OSError``.
    """
    for data in netlink.ask(_GETCHAIN, bytes(4), dump=True, what="list the chains"):
        chain = dict(iter_attributes(data[4:]))
        hook = dict(iter_attributes(chain.get(4, b"")))
        if data[0] not in {_INET, _IPV4} or 5 not in chain or _decode(hook.get(1, b"")) != _FORWARD:
            continue
        table, name = _decode_text(chain[1]), _decode_text(chain[3])
        if table == TABLE or (_decode(chain[5]) != _DROP and table != _FIREWALLD):
            continue
        body = struct.pack(">BBH", data[0], 0, 0) + _text(1, table)
        rules = netlink.ask(_GETRULE, body, dump=True, what="list the rules")
        if not any(BRIDGE_PREFIX.encode() in rule for rule in rules):
            return f"the packet filter's chain {name} of the table {table} lets nothing through that is forwarded"
    return ""


def _decode(data: bytes) -> int:
    return int.from_bytes(data[:4], "big")


def _decode_text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def install(netlink: Netlink, networks: Sequence[str] = (), guarded: Sequence[str] = ()) -> None:
    """Put the table in place, whole, in the place of one that is there. Raises ``OSError``."""
    what = "set up the packet filter"
    table = _text(1, TABLE)
    requests = [
        _request(_NEWTABLE, CREATE, what, table),
        _request(_DELTABLE, 0, what, table),
        _request(_NEWTABLE, CREATE, what, table, encode_attribute(6, _comment(networks, guarded))),
    ]
    for name, kind, hook, priority in _CHAINS:
        place = encode_nested(4, _number(1, hook), _number(2, priority))
        requests.append(
            _request(_NEWCHAIN, CREATE, what, table, _text(3, name), place, _text(7, kind), _number(5, _ACCEPT))
        )
    requests += [
        _request(_NEWRULE, CREATE | _APPEND, what, table, _text(2, chain), encode_nested(4, *expressions))
        for chain, expressions in plan_rules(networks, guarded)
    ]
    _commit(netlink, requests)


def remove(netlink: Netlink) -> None:
    """Take the table away; one that is not there is fine. Raises ``OSError``."""
    try:
        _commit(netlink, [_request(_DELTABLE, 0, "remove the packet filter's table", _text(1, TABLE))])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _commit(netlink: Netlink, requests: list[Request]) -> None:
    netlink.send(_transaction(*requests), is_transaction=True)


def open_netfilter() -> Netlink:
    """Return a socket to the packet filter of this network namespace."""
    return Netlink(NETFILTER)
