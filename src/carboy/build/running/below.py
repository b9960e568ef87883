"""What a step stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carboy.build.copying.owners import Owners
    from carboy.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """What a step stands on: the layers' diff ids and trees, lowest first, and who owns what in them."""

    chain: tuple[Digest, ...]
    trees: tuple[str, ...]
    owners: Owners
    epoch_s: int
