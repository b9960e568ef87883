"""How much a layer may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps of one extraction: counts, and sizes in bytes.

    ``size_bytes`` is the sum of what the members declare, so that a declared size costs nothing before it is refused.
    The cap on the ratio of compression is ``carboy.layers.compression``'s: it holds while the bytes are read.
    """

    members: int = 2_000_000
    size_bytes: int = 64 * 2**30
    header_bytes: int = 2**20
    path_bytes: int = 4096
    depth: int = 256


DEFAULT = Limits()
