"""The table of a layer's pieces: there and back, invisible to decoders, and hostile ones."""

from __future__ import annotations

import gzip
import random
import struct

import pytest
import zstandard

from carboy.layers.errors import LayerError
from carboy.layers.pieces import (
    MAGIC,
    MAX_PIECE_BYTES,
    TAIL_BYTES,
    Piece,
    make_table,
    parse_annotation,
    parse_table,
    parse_tail,
    prove,
)

# One member of gzip holds 3,275 entries with the footer; 3,276 and a half fill two to the last byte.
COUNTS = [0, 1, 3275, 3276, 3277, 6553, 7000]


def make_pieces(count: int) -> list[Piece]:
    chance = random.Random(count)
    return [Piece(chance.randbytes(16), chance.randrange(1, 2**20)) for _ in range(count)]


def size_of(pieces: list[Piece], table: bytes) -> int:
    return sum(piece.size for piece in pieces) + len(table)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("count", COUNTS)
def test_there_and_back(kind: str, count: int) -> None:
    pieces = make_pieces(count)
    table = make_table(pieces, kind=kind)
    size = size_of(pieces, table)
    assert parse_table(table, blob_size=size) == pieces
    assert parse_tail((bytes(TAIL_BYTES) + table)[-TAIL_BYTES:], blob_size=size) == len(table)
    assert parse_annotation(str(len(table)), blob_size=size) == len(table)
    data = gzip.compress(b"before") if kind == "gzip" else zstandard.compress(b"before")
    if kind == "gzip":
        assert gzip.decompress(data + table) == b"before"
    else:
        reader = zstandard.ZstdDecompressor().stream_reader(data + table, read_across_frames=True)
        assert reader.read() == b"before"


def test_too_many_pieces_have_no_table() -> None:
    assert make_table([Piece(bytes(16), 1)] * 210_000, kind="gzip") == b""


def test_what_ends_otherwise_has_no_table() -> None:
    assert parse_tail(b"", blob_size=0) == 0
    assert parse_tail(bytes(TAIL_BYTES), blob_size=2**20) == 0
    assert parse_tail(MAGIC, blob_size=8) == 0
    for size in (2**20 + 1, 2**32 - 1):  # larger than the blob
        assert parse_tail(struct.pack("<I", size) + MAGIC, blob_size=2**20) == 0
    for text in ("", "-1", "1e3", "0x10", "٣", " 7", "9" * 10, "1000001", str(2**22 + 1)):
        assert parse_annotation(text, blob_size=1_000_000) == 0


def damage(table: bytes, at: int, new: bytes) -> bytes:
    return table[:at] + new + table[at + len(new) :]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_hostile_tables(kind: str) -> None:
    """Too short, too long, other wrapping, sizes that are not those of the blob: refused, never believed in part."""
    pieces = make_pieces(7000)
    table = make_table(pieces, kind=kind)
    size = size_of(pieces, table)
    wrong = [b"", table[:1], table[:-1], table[1:], table + b"\0", table * 2, table[: len(table) // 2]]
    wrong += [damage(table, at, b"\xfe\xfd") for at in (0, 4, 5, len(table) - 2)]
    if kind == "gzip":
        wrong += [damage(table, at, new) for at in (10, 12, 14) for new in (b"\xfe\xfd", b"\xff\xff")]
        wrong += [damage(table, 8, gzip.compress(b"content")), gzip.compress(table)]
    for one in wrong:
        with pytest.raises(LayerError, match="the table of the layer's pieces is damaged"):
            parse_table(one, blob_size=size)
    with pytest.raises(LayerError):
        parse_table(bytes(2**23), blob_size=2**30)


@pytest.mark.parametrize("sizes", [(0, 10), (10, MAX_PIECE_BYTES + 1), (2**32 - 1, 2**32 - 1)])
def test_pieces_that_cannot_be(sizes: tuple[int, ...]) -> None:
    pieces = [Piece(bytes(16), size) for size in sizes]
    table = make_table(pieces, kind="gzip")
    with pytest.raises(LayerError, match="damaged"):
        parse_table(table, blob_size=size_of(pieces, table))


@pytest.mark.parametrize("more", [-1, 1])
def test_pieces_that_are_not_the_blob(more: int) -> None:
    pieces = make_pieces(3)
    table = make_table(pieces, kind="zstd")
    with pytest.raises(LayerError, match="damaged"):
        parse_table(table, blob_size=size_of(pieces, table) + more)


def test_proofs_are_the_beginning_of_sha256() -> None:
    assert prove(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb924"
