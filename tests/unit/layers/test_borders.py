"""Where content is cut: the same wherever it comes from, within bounds, and again in step soon behind a change."""

from __future__ import annotations

import array
import hashlib
import random

import pytest

from carboy.layers.borders import MAX_BYTES, MIN_BYTES, iter_pieces


def make_numbers(size: int) -> bytes:
    chance = random.Random(3)
    weights = array.array("f", (chance.gauss(0, 0.02) for _ in range(2**16))).tobytes()
    # Each 256 KiB of them other bytes, and all of them floating point numbers.
    return b"".join(
        weights[step % 4096 * 4 :] + weights[: step % 4096 * 4] for step in range(7, 7 + size // len(weights))
    )


def make_table(size: int) -> bytes:
    chance = random.Random(2)
    row = b"%d,%.4f,red\n"
    return b"".join(row % (number, chance.random() * 100) for number in range(size // 18))


KINDS = {
    "random": random.Random(1).randbytes(6 * 2**20),
    "table": make_table(6 * 2**20),
    "numbers": make_numbers(6 * 2**20),
    "hexadecimal": random.Random(4).randbytes(3 * 2**20).hex().encode(),
}


def cut(data: bytes, step: int = 2**20) -> list[bytes]:
    return list(iter_pieces(data[at : at + step] for at in range(0, len(data), step)))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_usual_content(kind: str) -> None:
    """Whole, in bounds, and of a size by which a change costs little and a border little."""
    data = KINDS[kind]
    pieces = cut(data)
    assert b"".join(pieces) == data
    assert all(MIN_BYTES <= len(piece) <= MAX_BYTES for piece in pieces[:-1])
    assert 2**18 <= len(data) / len(pieces) <= 2**20
    # However it comes.
    assert cut(data, 100_003) == pieces
    assert cut(data, len(data)) == pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [b"seventeen more...", b""])
def test_a_change_in_the_middle_changes_what_is_around_it(kind: str, change: bytes) -> None:
    """Bytes put in or taken out: behind them the same pieces come soon."""
    data = KINDS[kind]
    middle = len(data) // 2
    changed = data[:middle] + (change + data[middle:] if change else data[middle + 1000 :])
    known = set(cut(data))
    assert sum(len(piece) for piece in cut(changed) if piece not in known) <= 4 * MAX_BYTES


def test_what_repeats_itself_has_bounds_as_well() -> None:
    for unit in (b"\0", b"\1\0", b"a", b"\xff\0\0\0", b"0,1,0\n"):
        data = (unit * (3 * 2**20))[: 3 * 2**20]
        pieces = cut(data)
        assert b"".join(pieces) == data
        assert all(MIN_BYTES <= len(piece) <= MAX_BYTES for piece in pieces[:-1])


@pytest.mark.parametrize("size", [0, 1, MIN_BYTES - 1, MIN_BYTES, MIN_BYTES + 1, MAX_BYTES, MAX_BYTES + 1])
def test_little_content(size: int) -> None:
    data = KINDS["random"][:size]
    pieces = cut(data)
    assert b"".join(pieces) == data
    assert b"" not in pieces


def test_borders_are_where_they_always_were() -> None:
    """Whoever moves one changes the digests of what everybody has pushed."""
    sizes = [len(piece) for piece in cut(KINDS["random"])]
    assert hashlib.sha256(repr(sizes).encode()).hexdigest()[:16] == "e5bc0d9d49695b18"
