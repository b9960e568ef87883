"""What can be wrong with the store."""

from __future__ import annotations

from carboy.errors import CarboyError


class MissingBlobError(CarboyError):
    """Content that is named and not there."""


class CorruptBlobError(CarboyError):
    """Content whose bytes are not what its name says."""
