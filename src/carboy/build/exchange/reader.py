"""What a cache outside of the store gives to steps, wherever it lies: layers by the keys of steps, proved before they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carboy.errors import CarboyError
from carboy.layers.apply import keep_layer, unpack_layer
from carboy.layers.batch import LayerResult
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carboy.build.exchange.document import CacheRecord
    from carboy.store.store import Store


class CachePlace(Protocol):
    """Where the layers of a cache lie."""

    def copy_layer(self, record: CacheRecord, store: Store) -> None:
        """Put a layer into the store as a plain tar, with the digest and size of its record, or not at all.

        From any thread. Raises ``CarboyError``.
        """
        ...


class CacheReader:
    """The records of one cache. ``warn`` takes what is wrong with a layer of it; from any thread."""

    def __init__(self, place: CachePlace, records: Mapping[str, CacheRecord], warn: Callable[[str], None]) -> None:
        self._place = place
        self._records = dict(records)
        self._warn = warn

    @property
    def records(self) -> tuple[CacheRecord, ...]:
        """What there is."""
        return tuple(self._records.values())

    def fetch(self, key: str, store: Store) -> LayerResult | None:
        """Return the layer of a step, now in the store and its cache; None when it is not there, or is not what it should be."""
        record = self._records.get(key)
        if record is None:
            return None
        try:
            if not store.blobs.has(record.digest):
                self._place.copy_layer(record, store)
            descriptor = Descriptor(media_type=mediatypes.LAYER_TAR, digest=record.digest, size=record.size_bytes)
            unpack_layer(store, descriptor, diff_id=record.digest, tier_chown=store.kind != "single")
        except CarboyError as error:
            self._records.pop(key, None)  # said once
            self._warn("\n".join(text for text in (error.brief, error.details) if text))
            return None
        layer = LayerResult(diff_id=record.digest, size_bytes=record.size_bytes)
        keep_layer(store, key, layer)
        return layer
