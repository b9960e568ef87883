"""What can be wrong with a layer."""

from __future__ import annotations

from carboy.errors import CarboyError


class LayerError(CarboyError):
    """A layer that cannot be unpacked: malformed, hostile, or not what its digest says."""
