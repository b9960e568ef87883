"""How much a layer may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps of one extraction: counts, and sizes in bytes."""

    members: int = 2_000_000
    size_bytes: int = 64 * 2**30
    header_bytes: int = 2**20
    path_bytes: int = 4096
    depth: int = 256


DEFAULT = Limits()
