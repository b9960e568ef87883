"""Which packages share a layer: pure, and stable, so that one package more or less changes one layer.

A container looks a name up in each of its layers, and an image has at most 127 of them. So a large package has a layer of
its own, and a small one shares a bin, which its name alone chooses: whatever else is installed, it stays where it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.environments.lock import Package

if TYPE_CHECKING:
    from carboy.layers.batch import LayerResult

FORMAT = 2
LARGE_BYTES = 1_000_000
MAX_OWN = 60
MAX_OWN_BESIDE = 20
"""Where packages of another language are in the image as well: all layers of an image together are at most 100."""
BINS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Packages that share a layer, sorted by name; ``key`` covers all that its bytes depend on."""

    packages: tuple[Package, ...]
    key: str

    @property
    def title(self) -> str:
        """The group for people: ``numpy 2.4.6``, or the first of several and how many more there are."""
        names = [f"{package.name} {package.version}" for package in self.packages]
        return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def plan_groups(
    packages: Sequence[Package], *, interpreter: str, base: str, own: int = MAX_OWN, bins: int = BINS
) -> tuple[Group, ...]:
    """Return the layers of an environment, lowest first: the bins by number, then the large packages by name.

    ``interpreter`` says which Python compiles, on which processor, and by which installer; ``base`` is what packages that
    have no wheel are built with. The largest ``own`` of those that are large have layers of their own, all others share ``bins``.
    """
    large = sorted(
        (p for p in packages if p.size_bytes >= LARGE_BYTES or not p.size_bytes), key=lambda p: (-p.size_bytes, p.name)
    )[:own]
    alone = {package.name for package in large}
    shared: dict[int, list[Package]] = {}
    for package in sorted(packages, key=lambda p: p.name):
        if package.name not in alone:
            shared.setdefault(find_bin(package.name, bins=bins), []).append(package)
    groups = [tuple(shared[number]) for number in sorted(shared)]
    groups += [(package,) for package in sorted(large, key=lambda p: p.name)]
    return tuple(Group(packages=group, key=_key(group, interpreter=interpreter, base=base)) for group in groups)


def find_bin(name: str, *, bins: int = BINS) -> int:
    """Return the number of the bin that a small package is in."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % bins


def _key(group: Sequence[Package], *, interpreter: str, base: str) -> str:
    below = base if any(package.built for package in group) else ""
    value = [
        FORMAT,
        interpreter,
        below,
        [" ".join(filter(None, (package.requirement, package.origin))) for package in group],
    ]
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLayer:
    """A layer of an image, what is in it in a few words, and whether it was there already."""

    layer: LayerResult
    content: str
    cached: bool


def name_layers(
    groups: Sequence[Group], found: Mapping[str, Sequence[LayerResult]], *, made: Sequence[Group], untitled: str = ""
) -> tuple[MadeLayer, ...]:
    """Return all layers of ``groups``, those that were cut into parts included; ``found`` has them by the groups' keys.

    ``made`` are the groups whose layers were not there, ``untitled`` names one that has no packages.
    """
    layers = []
    for group in groups:
        parts = found[group.key]
        for number, layer in enumerate(parts):
            part = f" ({number + 1} of {len(parts)})" if len(parts) > 1 else ""
            content = f"{group.title or untitled}{part}"
            layers.append(MadeLayer(layer=layer, content=content, cached=group not in made))
    return tuple(layers)


def describe_made(layers: Sequence[MadeLayer], *, fetched: int = 0) -> str:
    """Return in a few words what was done: "fetched 1 package, made 1 layer of 25: tabulate 0.10.0"."""
    made = [item for item in layers if not item.cached]
    if not made:
        return "each layer is there"
    words = [f"fetched {_count(fetched, 'package')}"] if fetched else []
    if len(made) == len(layers):
        return ", ".join([*words, f"made {_count(len(made), 'layer')}"])
    named = f": {', '.join(item.content for item in made)}" if len(made) <= 3 else ""
    return ", ".join([*words, f"made {_count(len(made), 'layer')} of {len(layers)}{named}"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
