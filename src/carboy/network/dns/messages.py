"""DNS messages, as much as a resolver between containers needs. Pure. Sources: RFC 1035, RFC 6891, RFC 3596."""

from __future__ import annotations

import _socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

A, PTR, AAAA, ANY = 1, 12, 28, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
MAX_QUERY_BYTES = 1232
TTL_S = 5  # containers come and go
_HEADER = struct.Struct(">HHHHHH")
_IN = 1
_RESPONSE, _AUTHORITATIVE, _RECURSION_WANTED, _RECURSION = 0x8000, 0x0400, 0x0100, 0x0080
_OPCODE = 0x7800


class Question:
    """A query with one question: ``name`` in lower case without the last dot, ``section`` the question's own bytes."""

    __slots__ = ("flags", "id", "kind", "name", "section")

    def __init__(self, *, id: int, flags: int, name: str, kind: int, section: bytes) -> None:
        self.id = id
        self.flags = flags
        self.name = name
        self.kind = kind
        self.section = section


def parse_question(data: bytes) -> Question:
    """Return the question of a query. Raises ``ValueError`` for what is none, or not one question of class IN."""
    if not 17 <= len(data) <= MAX_QUERY_BYTES:
        raise ValueError("not the size of a query")
    identity, flags, count, _, _, _ = _HEADER.unpack_from(data)
    if flags & (_RESPONSE | _OPCODE) or count != 1:
        raise ValueError("not a query with one question")
    labels, offset = _read_name(data, 12)
    if offset + 4 > len(data):
        raise ValueError("the question is cut short")
    kind, class_ = struct.unpack_from(">HH", data, offset)
    if class_ != _IN:
        raise ValueError("not of class IN")
    name = b".".join(labels).decode("ascii").lower()
    return Question(id=identity, flags=flags, name=name, kind=kind, section=data[12 : offset + 4])


def _read_name(data: bytes, offset: int) -> tuple[list[bytes], int]:
    """Return the labels of an uncompressed name (a first question has nothing to point to) and where it ends."""
    labels: list[bytes] = []
    start = offset
    while True:
        if offset >= len(data) or offset - start > 255:
            raise ValueError("the name is cut short or too long")
        size = data[offset]
        offset += 1
        if size == 0:
            return labels, offset
        if size > 63 or offset + size > len(data):
            raise ValueError("the name is damaged")
        label = data[offset : offset + size]
        if b"." in label or not label.isascii():
            raise ValueError("a label of the name is no text")
        labels.append(label)
        offset += size


def encode_name(name: str) -> bytes:
    """Return a name as labels. Raises ``ValueError`` for one that DNS cannot carry."""
    parts = name.encode("ascii").split(b".") if name else []
    if any(not 1 <= len(part) <= 63 for part in parts) or len(name) > 253:
        raise ValueError(f"{name!r} is not a name for DNS")
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def encode_response(
    question: Question, code: int, *, addresses: Sequence[str] = (), names: Sequence[str] = ()
) -> bytes:
    """Return the answer to a question: address records for ``addresses``, pointers to ``names``."""
    records = []
    for address in addresses:
        family, kind = (_socket.AF_INET6, AAAA) if ":" in address else (_socket.AF_INET, A)
        records.append((kind, _socket.inet_pton(family, address)))
    records += [(PTR, encode_name(name)) for name in names]
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION | question.flags & _RECURSION_WANTED | code
    if code == SERVFAIL:
        flags &= ~_AUTHORITATIVE
    head = _HEADER.pack(question.id, flags, 1, len(records), 0, 0)
    # 0xC00C: the name of the question, 12 bytes into the message.
    body = b"".join(struct.pack(">HHHIH", 0xC00C, kind, _IN, TTL_S, len(data)) + data for kind, data in records)
    return head + question.section + body


def encode_error(data: bytes, code: int) -> bytes:
    """Return the refusal of something that could not be read; empty when it has not even a header."""
    if len(data) < 12 or data[2] & 0x80:
        return b""
    return _HEADER.pack(int.from_bytes(data[:2], "big"), _RESPONSE | code, 0, 0, 0, 0)


def is_answer_to(data: bytes, *, identity: int, section: bytes) -> bool:
    """Return whether a message is an answer with this id to this question; letters may differ in case."""
    return (
        len(data) >= 12 + len(section)
        and int.from_bytes(data[:2], "big") == identity
        and bool(data[2] & 0x80)
        and data[12 : 12 + len(section)].lower() == section.lower()
    )


def parse_reverse(name: str) -> str:
    """Return the address that a name below in-addr.arpa or ip6.arpa stands for, "" for any other name."""
    if name.endswith(".in-addr.arpa"):
        parts = name[: -len(".in-addr.arpa")].split(".")
        if len(parts) == 4 and all(part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts):
            return ".".join(str(int(part)) for part in reversed(parts))
    elif name.endswith(".ip6.arpa"):
        digits = name[: -len(".ip6.arpa")].split(".")
        if len(digits) == 32 and all(len(digit) == 1 and digit in "0123456789abcdef" for digit in digits):
            return _socket.inet_ntop(_socket.AF_INET6, bytes.fromhex("".join(reversed(digits))))
    return ""
