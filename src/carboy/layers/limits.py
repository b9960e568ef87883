"""How much a layer may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps of one extraction: counts, sizes in bytes, seconds.

    ``size_bytes`` is the sum of what the members declare, so that a declared size costs nothing before it is refused.
    ``ratio`` (uncompressed to compressed) counts only above ``ratio_free_bytes``: small layers of zeros are honest.
    """

    members: int = 2_000_000
    size_bytes: int = 64 * 2**30
    header_bytes: int = 2**20
    path_bytes: int = 4096
    depth: int = 256
    ratio: int = 250
    ratio_free_bytes: int = 512 * 2**20
    time_s: float = 3600.0


DEFAULT = Limits()
