"""Compressed layers in pieces: each is a stream of its own, and behind the last stands a table of them that decoders pass over.

::

    piece | piece | ... | table

gzip (RFC 1952) allows several members one after the other, and zstd (RFC 8878) several frames, so every client reads such a layer
as any other. The table is, with gzip, empty members that carry it in their extra fields; with zstd, one skippable frame. It holds
for each piece 16 bytes of the SHA-256 of its compressed bytes and their number (32 bits, little-endian), and at its end the
number of bytes that the table takes with all its wrapping (32 bits) and ``MAGIC``. Where a piece begins follows from the others.

A table is a hint and nothing more: what is put together by one is proved by the digest of the whole blob.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

from carboy.layers.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Iterable

# The annotation of a layer's descriptor that says how many bytes at the blob's end are the table.
ANNOTATION = "io.carboy.pieces"
MAX_TABLE_BYTES = 4 * 2**20
# More than the largest piece takes when it cannot be compressed.
MAX_PIECE_BYTES = 2 * 2**20
MAGIC = b"cbpiece1"
_ENTRY = struct.Struct("<16sI")
_FOOTER = struct.Struct(f"<I{len(MAGIC)}s")

# A member without content: deflate, extra field, no time, operating system unknown; one empty last block, no checksum, no size.
_MEMBER_HEAD = bytes.fromhex("1f8b0804 00000000 00ff")
_MEMBER_END = bytes.fromhex("0300 00000000 00000000")
_FIELD = struct.Struct("<H2sH")  # length of all extra fields; name and length of the only one
_FIELD_NAME = b"cb"
_FIELD_BYTES = 2**16 - 1 - 4
_MEMBER_BYTES = len(_MEMBER_HEAD) + _FIELD.size + len(_MEMBER_END)
_FRAME = struct.Struct("<II")
_FRAME_MAGIC = 0x184D2A5C

# So many bytes at a blob's end say whether it has a table.
TAIL_BYTES = _FOOTER.size + len(_MEMBER_END)


class Piece(NamedTuple):
    """A piece of a compressed layer: which bytes, and how many."""

    proof: bytes
    size: int


def prove(data: bytes) -> bytes:
    """Return what a table says of these bytes: the beginning of their SHA-256."""
    return hashlib.sha256(data).digest()[:16]


def make_table(pieces: Iterable[Piece], *, kind: str) -> bytes:
    """Return the table of the pieces of a layer in the compression ``kind``, "gzip" or "zstd"; b"" when there are too many."""
    entries = b"".join(_ENTRY.pack(*piece) for piece in pieces)
    size = len(entries) + _FOOTER.size
    if kind == "zstd":
        table = _FRAME.pack(_FRAME_MAGIC, size) + entries + _FOOTER.pack(_FRAME.size + size, MAGIC)
    else:
        members = -(-size // _FIELD_BYTES)
        content = entries + _FOOTER.pack(size + members * _MEMBER_BYTES, MAGIC)
        # The first has what does not fill one, so that the footer is never cut in two.
        ends = range(size - (members - 1) * _FIELD_BYTES, size + 1, _FIELD_BYTES)
        parts = [content[max(0, end - _FIELD_BYTES) : end] for end in ends]
        table = b"".join(
            _MEMBER_HEAD + _FIELD.pack(len(part) + 4, _FIELD_NAME, len(part)) + part + _MEMBER_END for part in parts
        )
    return table if len(table) <= MAX_TABLE_BYTES else b""


def parse_tail(data: bytes, *, blob_size: int) -> int:
    """Return how many bytes the table takes at the end of a blob whose last ``TAIL_BYTES`` are given; 0 where there is none."""
    for end in (data, data.removesuffix(_MEMBER_END)):
        if end.endswith(MAGIC) and len(end) >= _FOOTER.size:
            size: int = _FOOTER.unpack(end[-_FOOTER.size :])[0]
            return size if size <= min(blob_size, MAX_TABLE_BYTES) else 0
    return 0


def parse_annotation(text: str, *, blob_size: int) -> int:
    """Return how many bytes the table takes by the annotation of a descriptor; 0 where it says nothing that can be."""
    size = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
    return size if size <= min(blob_size, MAX_TABLE_BYTES) else 0


def parse_table(data: bytes, *, blob_size: int) -> list[Piece]:
    """Return the pieces by the table with which a blob ends; together with it they are the whole blob. Raises ``LayerError``."""
    if len(data) > MAX_TABLE_BYTES:
        raise _damaged(f"it has {len(data)} bytes")
    content = _unwrap(data)
    if len(content) < _FOOTER.size or (len(content) - _FOOTER.size) % _ENTRY.size:
        raise _damaged("it has no whole entries")
    entries, footer = content[: -_FOOTER.size], content[-_FOOTER.size :]
    if _FOOTER.unpack(footer) != (len(data), MAGIC):
        raise _damaged("it says another size of itself")
    pieces = [Piece(*entry) for entry in _ENTRY.iter_unpack(entries)]
    if any(not 0 < piece.size <= MAX_PIECE_BYTES for piece in pieces):
        raise _damaged(f"a piece is empty, or larger than {MAX_PIECE_BYTES} bytes")
    if sum(piece.size for piece in pieces) + len(data) != blob_size:
        raise _damaged(f"the pieces are not the {blob_size} bytes of the layer")
    return pieces


def _unwrap(data: bytes) -> bytes:
    """Return what the members or the frame of a table hold. Raises ``LayerError``."""
    if len(data) >= _FRAME.size and _FRAME.unpack_from(data) == (_FRAME_MAGIC, len(data) - _FRAME.size):
        return data[_FRAME.size :]
    parts, at = [], 0
    while at < len(data):
        begin = at + len(_MEMBER_HEAD) + _FIELD.size
        if len(data) < begin + len(_MEMBER_END) or not data.startswith(_MEMBER_HEAD, at):
            raise _damaged("it is no gzip member and no zstd frame of ours")
        fields, name, size = _FIELD.unpack_from(data, at + len(_MEMBER_HEAD))
        end = begin + size
        if name != _FIELD_NAME or fields != size + 4 or not data.startswith(_MEMBER_END, end):
            raise _damaged("a gzip member of it is not one of ours")
        parts.append(data[begin:end])
        at = end + len(_MEMBER_END)
    return b"".join(parts)


def _damaged(why: str) -> LayerError:
    return LayerError("the table of the layer's pieces is damaged", details=why)
