"""Volumes as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carboy.client.calls import call


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder that outlives containers; ``carboy.run(..., volumes={volume.name: "/data"})`` uses it.

    ``path`` is where it lies on the host. Every method raises ``CarboyError`` when it cannot do its work.
    """

    name: str
    path: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
        """Make a volume and return it; without a name one that :meth:`prune` removes. One that is there stays as it is."""
        return _read(call("create_volume", name=name, labels=dict(labels or {})))

    @classmethod
    def get(cls, name: str) -> Volume:
        """Return the volume with this name."""
        return _read(call("volume", name=name))

    @classmethod
    def list(cls) -> tuple[Volume, ...]:
        """Return the volumes, by name."""
        return tuple(_read(row) for row in call("volumes"))

    @classmethod
    def prune(cls, *, all: bool = False) -> tuple[str, ...]:
        """Remove the unnamed volumes (``all``: the named ones, too) that no container has, and return their names."""
        return tuple(call("prune_volumes", everything=all))

    def remove(self, *, force: bool = False) -> None:
        """Remove it and all that is in it, unless a container has it; with ``force`` one that is gone is fine."""
        call("remove_volume", name=self.name, force=force)


def _read(row: Mapping[str, Any]) -> Volume:
    return Volume(row["Name"], row["Mountpoint"], dict(row["Labels"]))
