"""Where large content is cut into pieces: the content decides, so that most pieces stay what they are when a part of it changes.

A border stands behind a rare pair of bytes whose neighbourhood has a small checksum, not too near to the one before it. The
bytes of one piece are all that its end depends on, so content that was cut anew at a change falls into step soon behind it.
Nothing here looks at bytes one by one: a table, a search and a checksum of the standard library do. Where borders are is part of
what a compressed layer's bytes are; a change of this module changes the digests of all that are made.

The idea is that of content-defined chunking (LBFS, 2001; FastCDC, 2016); the bounds are those of TTTD (2005).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIN_BYTES, MAX_BYTES = 2**18, 2**20
_WINDOW_BYTES = 128
# Of 1,024 places that come into question one is taken: behind the smallest size of a piece, that is some 100 KiB of random bytes.
_RARITY = 1024
_THRESHOLD = 2**32 // _RARITY
# Content that repeats itself can have very many places, none of which is ever taken.
_MAX_PLACES = 16 * _RARITY
_STRIP_BYTES = 2**17
_PAIR = b"\1\2"


def _make_classes() -> bytes:
    """Return the table that makes ``_PAIR`` of every two bytes between which a border can be.

    By the low halves of bytes, so that all kinds of content have such pairs: random bytes and floating point numbers 1 in 100 to
    200, digits, hexadecimal text, words, small integers and flags more. A run of one byte has none.
    """
    first = {value for value in range(256) if value & 15 in {1, 15}}
    second = {value for value in range(256) if value & 15 == 0} | set(b"Gg")  # nucleotides have A and G
    return bytes(1 if value in first else 2 if value in second else 0 for value in range(256))


_CLASSES = _make_classes()


def iter_pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content that ``chunks`` are together, cut at its borders; how it came in chunks makes no difference.

    Every piece but the last has ``MIN_BYTES`` to ``MAX_BYTES`` bytes.
    """
    held = b""
    for chunk in chunks:
        held += chunk
        start = 0
        while len(held) - start >= MAX_BYTES:
            end = _find_border(held, start)
            yield held[start:end]
            start = end
        held = held[start:]
    while held:
        end = _find_border(held, 0)
        yield held[:end]
        held = held[end:]


def _find_border(data: bytes, start: int) -> int:
    """Return where the piece ends that begins at ``start``: at the first border, or at its largest size, or with the data."""
    end = min(len(data), start + MAX_BYTES)
    places = 0
    for low in range(start + MIN_BYTES, end, _STRIP_BYTES):
        high = min(low + _STRIP_BYTES, end)
        # One byte more, for the pair between two strips.
        find = data[low : min(high + 1, end)].translate(_CLASSES).find
        at = find(_PAIR)
        while at >= 0:
            border = low + at + len(_PAIR)
            if zlib.crc32(data[border - _WINDOW_BYTES : border]) < _THRESHOLD:
                return border
            places += 1
            if places == _MAX_PLACES:
                return end
            at = find(_PAIR, at + len(_PAIR))
    return end
