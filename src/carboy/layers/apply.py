"""Layers and the store: a blob becomes an unpacked tree, a tree becomes a blob, each once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.layers.batch import LayerBatch, LayerResult
from carboy.layers.compression import open_decompressed
from carboy.layers.errors import LayerError
from carboy.layers.extract import extract
from carboy.layers.tarwrite import TreeOptions, write_tree
from carboy.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.layers.tarread import Readable
    from carboy.oci.descriptor import Descriptor
    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenLayer:
    """A layer, and whether it was there already."""

    layer: LayerResult
    cached: bool


class _Hashing:
    """Passes a stream on and hashes it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> Digest:
        return Digest.from_hex(self._hash.hexdigest())


def unpack_layer(store: Store, descriptor: Descriptor, *, diff_id: Digest, tier_chown: bool) -> str:
    """Return the tree of a layer, unpacked if it is not yet; both its digest and its diff id are checked on the way.

    Raises ``LayerError``, ``MissingBlobError`` or ``CorruptBlobError``; nothing is left behind then.
    """
    if store.layers.has(diff_id):
        return store.layers.path(diff_id)
    with store.layers.ingest_dir() as ingest, store.blobs.open(descriptor.digest) as blob:
        stream = _Hashing(open_decompressed(blob))
        report = extract(stream, f"{ingest}/tree", chown=tier_chown)
        while blob.read(2**20):
            pass  # to the verified end
        if stream.digest() != diff_id:
            raise LayerError(
                "the layer is not the one that the image names",
                details=f"it has {stream.digest()}, the image says {diff_id}",
            )
        owners = {} if tier_chown else {os.fsdecode(name): list(ids) for name, ids in report.owners.items()}
        meta = {"size_bytes": report.size_bytes, "entries": report.entries, "canonical": False, "owners": owners}
        store.layers.publish(diff_id, ingest, meta)
    return store.layers.path(diff_id)


def commit_tree(
    store: Store, ingest: str, *, mtime_cap: int, owners: Mapping[bytes, tuple[int, int]] | None = None
) -> LayerResult:
    """Make the finished ``ingest/tree`` a layer: written as a canonical tar, and published as its unpacked form.

    The tree's times are set to what the tar says. ``owners`` are those of what root does not own, for a store of the kind
    "single": all files have one owner on its disk. Elsewhere the disk says it. Durable when this returns.
    """
    with LayerBatch(store) as batch:
        layer = batch.write(ingest, mtime_cap=mtime_cap, owners=owners)
        batch.publish()
    return layer


def find_layers(store: Store, key: str) -> tuple[LayerResult, ...]:
    """Return the layers that the build cache has under a key, () when it has none or one of them is gone."""
    entry = store.cache.get(key)
    if entry is None:
        return ()
    rows = [(entry.value["diff_id"], entry.value["size_bytes"]), *entry.value.get("more", ())]
    layers = tuple(LayerResult(diff_id=Digest.parse(diff_id), size_bytes=size) for diff_id, size in rows)
    return layers if all(store.blobs.has(layer.diff_id) for layer in layers) else ()


def keep_layers(store: Store, key: str, layers: Sequence[LayerResult]) -> None:
    """Put layers, at least one, into the build cache for :func:`find_layers`."""
    first, *more = layers
    value = {"diff_id": str(first.diff_id), "size_bytes": first.size_bytes}
    rest = {"more": [[str(layer.diff_id), layer.size_bytes] for layer in more]} if more else {}
    store.cache.put(key, "layer", {**value, **rest}, [layer.diff_id for layer in layers])


def find_layer(store: Store, key: str) -> LayerResult | None:
    """Return the layer that the build cache has under a key, None when it has none or the layer is gone."""
    return next(iter(find_layers(store, key)), None)


def keep_layer(store: Store, key: str, layer: LayerResult) -> None:
    """Put a layer into the build cache for :func:`find_layer`."""
    keep_layers(store, key, (layer,))


def take_layer(store: Store, key: str, make: Callable[[], LayerResult]) -> TakenLayer:
    """Return the layer that the build cache has under a key, else the one that ``make`` makes, which it has from now on."""
    found = find_layer(store, key)
    if found is not None:
        return TakenLayer(layer=found, cached=True)
    layer = make()
    keep_layer(store, key, layer)
    return TakenLayer(layer=layer, cached=False)


def verify_tree(store: Store, diff_id: Digest) -> str | None:
    """Return what is wrong with an unpacked layer that was made here, None when its tree still gives its diff id.

    A layer from elsewhere need not be canonical, and is not judged: unpacking it again is its check.
    """
    meta = store.layers.meta(diff_id)
    if not meta.get("canonical"):
        return None
    sink = _Sink()
    owners = None
    if store.kind == "single":
        owners = {os.fsencode(name): (ids[0], ids[1]) for name, ids in meta["owners"].items()}
    write_tree(store.layers.path(diff_id), sink, TreeOptions(owners=owners, mtime_cap=meta.get("mtime_cap")))
    return None if sink.hash.hexdigest() == diff_id.hex else "a file of it was changed"


class _Sink:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        self.hash.update(data)
