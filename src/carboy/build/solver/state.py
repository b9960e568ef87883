"""What steps give each other: layers, and views of files."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.build.copying.owners import Owners
from carboy.layers.apply import unpack_layer
from carboy.layers.batch import LayerResult
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor

if TYPE_CHECKING:
    from carboy.oci.config import History
    from carboy.oci.digest import Digest
    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as a manifest names it, and its diff id."""

    descriptor: Descriptor
    diff_id: Digest

    @classmethod
    def made(cls, result: LayerResult) -> Layer:
        """Return a layer that was made here: kept as a plain tar."""
        descriptor = Descriptor(media_type=mediatypes.LAYER_TAR, digest=result.diff_id, size=result.size_bytes)
        return cls(descriptor=descriptor, diff_id=result.diff_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateResult:
    """The files of a state: ``layers`` lowest first, ``history`` of the base, the latest time ``epoch_s`` of what comes above.

    ``packages`` and ``archive`` tell what a base that was made here is made of.
    """

    layers: tuple[Layer, ...] = ()
    history: tuple[History, ...] = ()
    epoch_s: int = 0
    packages: int = 0
    archive: str = ""

    @property
    def chain(self) -> tuple[Digest, ...]:
        """The diff ids, lowest first."""
        return tuple(layer.diff_id for layer in self.layers)

    def on_top(self, result: LayerResult) -> StateResult:
        """Return the state with one more layer."""
        layers = (*self.layers, Layer.made(result))
        return StateResult(
            layers=layers, history=self.history, epoch_s=self.epoch_s, packages=self.packages, archive=self.archive
        )


class Trees:
    """Unpacks layers when somebody needs their files, each once; from any thread."""

    def __init__(self, *, kind: str) -> None:
        self._has_owners = kind != "single"
        self._lock = threading.Lock()

    def open(self, store: Store, state: StateResult) -> tuple[str, ...]:
        """Return the trees of a state, lowest first. Raises ``CarboyError`` when a layer cannot be unpacked."""
        found = []
        for layer in state.layers:
            if not store.layers.has(layer.diff_id):
                with self._lock:
                    unpack_layer(store, layer.descriptor, diff_id=layer.diff_id, tier_chown=self._has_owners)
            found.append(store.layers.path(layer.diff_id))
        return tuple(found)

    def owners(self, store: Store, state: StateResult) -> Owners:
        """Return whose the files are; after :meth:`open`."""
        return Owners.read(store, state.chain)
