"""Links, addresses, routes and rules of the kernel, over a netlink socket of our own: no program, no library.

Requests are sent in one batch of which the last is acknowledged; the kernel reports errors of the others by itself.
Sources: netlink(7), rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from carboy.linux.namespaces import CLONE_NEWNET, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUTE = 0
NETFILTER = 12

REQUEST = 0x1
ACK = 0x4
DUMP = 0x300
EXCL = 0x200
REPLACE = 0x100
CREATE = 0x400

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, GETADDR = 20, 22
NEWROUTE, GETROUTE = 24, 26
NEWRULE = 32

_ERROR, _DONE = 2, 3
_CAPPED, _HAS_TLVS = 0x100, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_BUFFER_BYTES = 1 << 16
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")

_IFF_UP = 1
AF_BRIDGE = 7
# IFLA_*
_L_ADDRESS, _L_IFNAME, _L_MTU, _L_MASTER, _L_PROTINFO, _L_LINKINFO, _L_ALIAS, _L_NS_FD = 1, 3, 4, 10, 12, 18, 20, 28
_L_EXT_MASK, _SKIP_STATISTICS = 29, 8
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_BR_FORWARD_DELAY, _BRPORT_ISOLATED = 1, 33
# IFA_*, RTA_*, FRA_*
_A_ADDRESS, _A_LOCAL, _A_FLAGS, _NODAD = 1, 2, 8, 0x02
_R_DST, _R_OIF, _R_GATEWAY, _R_TABLE, MAIN_TABLE = 1, 4, 5, 15, 254
_SRC, _IIFNAME, _RULE_TABLE = 2, 3, 15
_UNICAST, _LOCAL, _BOOT, _SCOPE_LINK, _SCOPE_HOST = 1, 2, 3, 253, 254


class Link:
    """A network device as the kernel lists it; ``master`` is the index of its bridge, 0 for none."""

    __slots__ = ("alias", "index", "is_up", "kind", "mac", "master", "mtu", "name")

    def __init__(
        self, *, index: int, name: str, mac: bytes, master: int, mtu: int, kind: str, alias: str, is_up: bool
    ) -> None:
        self.index = index
        self.name = name
        self.mac = mac
        self.master = master
        self.mtu = mtu
        self.kind = kind
        self.alias = alias
        self.is_up = is_up


class Prefix:
    """An address with its prefix length, of the interface ``index``: what an interface has, or where a route leads."""

    __slots__ = ("address", "index", "length")

    def __init__(self, *, address: str, length: int, index: int) -> None:
        self.address = address
        self.length = length
        self.index = index


def encode_attribute(kind: int, payload: bytes) -> bytes:
    """Return a netlink attribute, padded to four bytes."""
    size = 4 + len(payload)
    return struct.pack("=HH", size, kind) + payload + bytes(-size % 4)


def encode_nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return encode_attribute(kind | _NESTED, b"".join(attributes))


def iter_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of the attributes in ``data``; stops at the first that does not fit."""
    offset = 0
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4 or offset + size > len(data):
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def encode_address(address: str) -> bytes:
    """Return the bytes of a numeric address of either family. Raises ``OSError`` for anything else."""
    return _socket.inet_pton(_socket.AF_INET6 if ":" in address else _socket.AF_INET, address)


def decode_address(data: bytes) -> str:
    """Return the text of an address of 4 or 16 bytes."""
    return _socket.inet_ntop(_socket.AF_INET6 if len(data) == 16 else _socket.AF_INET, data)


class Request:
    """One message to the kernel; ``what`` says for an error message what it was to do."""

    __slots__ = ("body", "flags", "kind", "what")

    def __init__(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body
        self.what = what


class Netlink:
    """A netlink socket in the network namespace in which it was made. A context manager; for one thread."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        try:
            self._socket.bind((0, 0))
            for option in (_CAP_ACK, _EXT_ACK, _STRICT):
                try:
                    self._socket.setsockopt(_SOL_NETLINK, option, 1)
                except OSError:  # before Linux 4.20: errors without words, dumps unfiltered
                    continue
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def send(self, requests: Sequence[Request], *, is_transaction: bool = False) -> None:
        """Carry the requests out in order. Raises the ``OSError`` of the first that failed, with the kernel's words.

        In a transaction the first and the last request are its brackets, of which not every kernel answers the last, and
        nothing is done when one fails; otherwise those after a failed one are carried out all the same.
        """
        if not requests:
            return
        first = self._sequence + 1
        last = self._sequence + len(requests) - (1 if is_transaction else 0)
        parts = []
        for request in requests:
            self._sequence += 1
            flags = request.flags | REQUEST | (ACK if self._sequence == last else 0)
            parts.append(_HEADER.pack(16 + len(request.body), request.kind, flags, self._sequence, 0))
            parts.append(request.body + bytes(-len(request.body) % 4))
        self._socket.send(b"".join(parts))
        failed: OSError | None = None
        while True:
            for kind, flags, sequence, payload in self._receive():
                if kind != _ERROR or sequence < first:
                    continue
                code = -struct.unpack_from("=i", payload)[0]
                if code and failed is None:
                    index = min(sequence - first, len(requests) - 1)
                    failed = _explain(code, requests[index].what, flags, payload)
                if failed is not None and (is_transaction or sequence == last):
                    raise failed
                if sequence == last:
                    return

    def ask(self, kind: int, body: bytes, *, dump: bool = False, what: str = "ask the kernel") -> list[bytes]:
        """Return the bodies of the answers to a question: one, or a whole table. Raises ``OSError``."""
        self._sequence += 1
        flags = REQUEST | (DUMP if dump else 0)
        self._socket.send(_HEADER.pack(16 + len(body), kind, flags, self._sequence, 0) + body)
        answers: list[bytes] = []
        while True:
            for answer, bits, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise _explain(code, what, bits, payload)
                    return answers
                if answer == _DONE:
                    return answers
                answers.append(payload)
                if not dump:
                    return answers

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_BUFFER_BYTES)
        offset = 0
        while offset + 16 <= len(data):
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if size < 16 or offset + size > len(data):
                raise OSError(errno.EBADMSG, "the kernel's answer was cut short")
            yield kind, flags, sequence, data[offset + 16 : offset + size]
            offset += (size + 3) & ~3


def _explain(code: int, what: str, flags: int, payload: bytes) -> OSError:
    """Return the error of a NLMSG_ERROR, with the text of the extended acknowledgement where there is one."""
    words = ""
    if flags & _HAS_TLVS:
        start = 20 if flags & _CAPPED else 4 + struct.unpack_from("=I", payload, 4)[0]
        for kind, text in iter_attributes(payload[start:]):
            if kind == 1:  # NLMSGERR_ATTR_MSG
                words = text.rstrip(b"\0").decode(errors="replace")
    return OSError(code, f"{what}: {os.strerror(code)}" + (f" ({words})" if words else ""))


def open_in_namespace(netns_fd: int, *, first: Callable[[], None] | None = None) -> Netlink:
    """Return a socket to the kernel's tables of another network namespace; this process, of one thread, comes back.

    ``first`` is called while it is there.
    """
    home_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns_fd, CLONE_NEWNET)
        try:
            if first is not None:
                first()
            return Netlink()
        finally:
            setns(home_fd, CLONE_NEWNET)
    finally:
        os.close(home_fd)


# --- links --------------------------------------------------------------------------------------------------------


def _encode_link(*attributes: bytes, index: int = 0, flags: int = 0, family: int = 0) -> bytes:
    return _LINK.pack(family, 0, index, flags, flags) + b"".join(attributes)


def _encode_text(kind: int, text: str) -> bytes:
    return encode_attribute(kind, text.encode() + b"\0")


def _encode_number(kind: int, value: int) -> bytes:
    return encode_attribute(kind, struct.pack("=I", value))


def create_bridge(name: str, *, mac: bytes, mtu: int = 0) -> Request:
    """A bridge that forwards at once and keeps its hardware address whatever is plugged into it."""
    info = encode_nested(
        _L_LINKINFO, _encode_text(_INFO_KIND, "bridge"), encode_nested(_INFO_DATA, _encode_number(_BR_FORWARD_DELAY, 0))
    )
    size = [_encode_number(_L_MTU, mtu)] if mtu else []
    body = _encode_link(_encode_text(_L_IFNAME, name), encode_attribute(_L_ADDRESS, mac), *size, info)
    return Request(NEWLINK, CREATE | EXCL, body, f"make the bridge {name}")


def probe_kind(kind: str) -> Request:
    """A request that never succeeds: EOPNOTSUPP says that the kernel has no such links, any other error that it has."""
    broken = encode_nested(_INFO_DATA, encode_attribute(1, b"\0"))
    body = _encode_link(
        _encode_text(_L_IFNAME, "carboy-probe"), encode_nested(_L_LINKINFO, _encode_text(_INFO_KIND, kind), broken)
    )
    return Request(NEWLINK, CREATE | EXCL, body, f"look for links of kind {kind}")


def create_veth(
    name: str, *, mac: bytes, peer_name: str, peer_mac: bytes, peer_netns_fd: int, master: int = 0, mtu: int = 0
) -> Request:
    """A pair of devices: ``name`` here, up, in the bridge ``master``; ``peer_name`` in the other namespace, down."""
    size = [_encode_number(_L_MTU, mtu)] if mtu else []
    peer = _encode_link(
        _encode_text(_L_IFNAME, peer_name),
        encode_attribute(_L_ADDRESS, peer_mac),
        *size,
        _encode_number(_L_NS_FD, peer_netns_fd),
    )
    info = encode_nested(
        _L_LINKINFO, _encode_text(_INFO_KIND, "veth"), encode_nested(_INFO_DATA, encode_attribute(_VETH_PEER, peer))
    )
    bridge = [_encode_number(_L_MASTER, master)] if master else []
    body = _encode_link(
        _encode_text(_L_IFNAME, name), encode_attribute(_L_ADDRESS, mac), *size, *bridge, info, flags=_IFF_UP
    )
    return Request(NEWLINK, CREATE | EXCL, body, f"make the devices {name} and {peer_name}")


def set_link(
    index: int, *, up: bool = False, name: str = "", master: int = 0, netns_fd: int = -1, alias: str = ""
) -> Request:
    """Change a device: bring it up, rename it, put it into a bridge or a namespace, describe it."""
    attributes = []
    if name:
        attributes.append(_encode_text(_L_IFNAME, name))
    if master:
        attributes.append(_encode_number(_L_MASTER, master))
    if netns_fd >= 0:
        attributes.append(_encode_number(_L_NS_FD, netns_fd))
    if alias:
        attributes.append(_encode_text(_L_ALIAS, alias))
    return Request(
        SETLINK, 0, _encode_link(*attributes, index=index, flags=_IFF_UP if up else 0), f"set up the device {index}"
    )


def isolate_port(index: int) -> Request:
    """Let a port of a bridge talk to the bridge and to ports that are not isolated, not to its like (Linux 4.18)."""
    attribute = encode_nested(_L_PROTINFO, encode_attribute(_BRPORT_ISOLATED, b"\1"))
    return Request(SETLINK, 0, _encode_link(attribute, index=index, family=AF_BRIDGE), f"isolate the port {index}")


def delete_link(name: str) -> Request:
    """Remove a device, and its other end with it."""
    return Request(DELLINK, 0, _encode_link(_encode_text(_L_IFNAME, name)), f"remove the device {name}")


def find_link(netlink: Netlink, name: str) -> Link | None:
    """Return the device of that name, None when there is none."""
    body = _encode_link(_encode_text(_L_IFNAME, name), _encode_number(_L_EXT_MASK, _SKIP_STATISTICS))
    try:
        return _parse_link(netlink.ask(GETLINK, body, what=f"look at the device {name}")[0])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def list_links(netlink: Netlink, *, master: int = 0) -> list[Link]:
    """Return the devices of the namespace, or the ports of one bridge."""
    wanted = [_encode_number(_L_MASTER, master)] if master else []
    body = _encode_link(*wanted, _encode_number(_L_EXT_MASK, _SKIP_STATISTICS))
    links = [_parse_link(data) for data in netlink.ask(GETLINK, body, dump=True, what="list the devices")]
    return [link for link in links if not master or link.master == master]


def _parse_link(data: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(data)
    found = dict(iter_attributes(data[16:]))
    info = dict(iter_attributes(found.get(_L_LINKINFO, b"")))
    return Link(
        index=index,
        name=_text(found.get(_L_IFNAME, b"")),
        mac=found.get(_L_ADDRESS, b""),
        master=_number(found.get(_L_MASTER, b"")),
        mtu=_number(found.get(_L_MTU, b"")),
        kind=_text(info.get(_INFO_KIND, b"")),
        alias=_text(found.get(_L_ALIAS, b"")),
        is_up=bool(flags & _IFF_UP),
    )


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little" if struct.pack("=H", 1) == b"\1\0" else "big")


# --- addresses, routes, rules -------------------------------------------------------------------------------------


def add_address(index: int, address: str, length: int) -> Request:
    """Give a device an address; an IPv6 one is usable at once, without looking for its double."""
    data = encode_address(address)
    family = _socket.AF_INET6 if len(data) == 16 else _socket.AF_INET
    attributes = encode_attribute(_A_LOCAL, data) + encode_attribute(_A_ADDRESS, data)
    if len(data) == 16:
        attributes += _encode_number(_A_FLAGS, _NODAD)
    body = _ADDRESS.pack(family, length, 0, 0, index) + attributes
    return Request(NEWADDR, CREATE | REPLACE, body, f"add the address {address}/{length}")


def list_addresses(netlink: Netlink) -> list[Prefix]:
    """Return the addresses of all devices of the namespace, both families."""
    found = []
    for data in netlink.ask(GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), dump=True, what="list the addresses"):
        _, length, _, _, index = _ADDRESS.unpack_from(data)
        attributes = dict(iter_attributes(data[8:]))
        address = attributes.get(_A_LOCAL) or attributes.get(_A_ADDRESS)
        if address:
            found.append(Prefix(address=decode_address(address), length=length, index=index))
    return found


def add_route(index: int, *, gateway: str, destination: str = "", length: int = 0) -> Request:
    """Lead a destination (all, by default) through ``gateway`` on a device."""
    data = encode_address(gateway)
    family = _socket.AF_INET6 if len(data) == 16 else _socket.AF_INET
    attributes = encode_attribute(_R_GATEWAY, data) + _encode_number(_R_OIF, index)
    if destination:
        attributes += encode_attribute(_R_DST, encode_address(destination))
    body = _ROUTE.pack(family, length, 0, 0, MAIN_TABLE, _BOOT, 0, _UNICAST, 0) + attributes
    return Request(NEWROUTE, CREATE | REPLACE, body, f"add the route through {gateway}")


def add_local_table(index: int, family: int, table: int) -> Request:
    """Make a table in which every address is this namespace's own, by the device ``index`` (the loopback)."""
    body = _ROUTE.pack(family, 0, 0, 0, table, _BOOT, _SCOPE_HOST, _LOCAL, 0) + _encode_number(_R_OIF, index)
    return Request(NEWROUTE, CREATE | REPLACE, body, f"make the routing table {table}")


def add_source_rule(source: str, length: int, *, device: str, table: int) -> Request:
    """Look up what comes from ``source`` and left through ``device`` in ``table`` first. Source: linux/fib_rules.h."""
    data = encode_address(source)
    family = _socket.AF_INET6 if len(data) == 16 else _socket.AF_INET
    # struct fib_rule_hdr: family, dst_len, src_len, tos, table, res1, res2, action (1: to a table), flags
    head = struct.pack("=BBBBBBBBI", family, 0, length, 0, table, 0, 0, 1, 0)
    body = head + encode_attribute(_SRC, data) + _encode_text(_IIFNAME, device) + _encode_number(_RULE_TABLE, table)
    return Request(NEWRULE, CREATE | EXCL, body, f"add the rule for {source}/{length}")


def list_routes(netlink: Netlink) -> list[Prefix]:
    """Return where the unicast routes of all tables lead, both families; the default route has length 0."""
    found = []
    for data in netlink.ask(GETROUTE, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0), dump=True, what="list the routes"):
        family, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(data)
        if kind != _UNICAST or family not in {_socket.AF_INET, _socket.AF_INET6}:
            continue
        attributes = dict(iter_attributes(data[12:]))
        address = attributes.get(_R_DST) or bytes(16 if family == _socket.AF_INET6 else 4)
        found.append(Prefix(address=decode_address(address), length=length, index=_number(attributes.get(_R_OIF, b""))))
    return found
