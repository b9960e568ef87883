"""A cache in a registry: the document is a manifest under a tag, its layers are blobs, compressed for the way.

Nobody vouches for what is read. Blobs have the digests by which they are named; a layer is unpacked from its compression into the
store under the diff id and the size that were announced, or not at all, and by the extractor of all layers at once, before a
step is taken for done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.build.exchange.document import CONFIG_TYPE, DIFF_ID, CacheRecord, make_cache, parse_cache
from carboy.build.exchange.reader import CacheReader
from carboy.images.output.compress import compress_layers
from carboy.images.transport.assembly import LayerSource
from carboy.images.transport.progress import SilentTransfer
from carboy.images.transport.push import push_blobs
from carboy.layers.compression import open_decompressed
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import MAX_DOCUMENT_BYTES
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.manifest import parse_manifest
from carboy.remote.errors import NotThereError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from carboy.build.exchange.arguments import CacheTarget
    from carboy.remote.repository import Repository
    from carboy.store.store import Store

_CHUNK_BYTES = 2**20


class RegistryCache(CacheReader):
    """The records of one cache in a registry; ``layers`` are those that it has, by diff id, as they are kept there."""

    def __init__(
        self,
        repository: Repository,
        records: Mapping[str, CacheRecord],
        layers: Mapping[Digest, Descriptor],
        warn: Callable[[str], None],
    ) -> None:
        there = {key: record for key, record in records.items() if record.digest in layers}
        super().__init__(_Blobs(repository, layers), there, warn)
        self.layers = layers

    @classmethod
    def open(cls, repository: Repository, tag: str, store: Store, warn: Callable[[str], None]) -> RegistryCache:
        """Read the document of a cache; its layers are fetched when they are asked for. Raises ``CarboyError``."""
        name = f"{repository.registry}/{repository.name}:{tag}"
        fetched = repository.fetch_manifest(tag)
        if fetched.media_type not in mediatypes.MANIFESTS:
            raise InvalidDocumentError(f"{name} is no build cache of carboy's, but several images")
        manifest = parse_manifest(fetched.raw, media_type=fetched.media_type)
        if manifest.config.media_type != CONFIG_TYPE or manifest.config.size > MAX_DOCUMENT_BYTES:
            raise InvalidDocumentError(f"{name} is no build cache of carboy's: {manifest.config.media_type}")
        if not store.blobs.has(manifest.config.digest):
            repository.fetch_blob(manifest.config, store.blobs)
        records = parse_cache(store.blobs.read(manifest.config.digest, limit=MAX_DOCUMENT_BYTES))
        layers = {
            Digest.parse(layer.annotations.get(DIFF_ID, str(layer.digest))): layer
            for layer in manifest.layers
            if layer.media_type in mediatypes.LAYERS
        }
        return cls(repository, records, layers, warn)


class _Blobs:
    """Implements ``CachePlace``: blobs of a repository, each compressed."""

    def __init__(self, repository: Repository, layers: Mapping[Digest, Descriptor]) -> None:
        self._repository = repository
        self._layers = layers

    def copy_layer(self, record: CacheRecord, store: Store) -> None:
        packed = self._layers[record.digest]
        if not store.blobs.has(packed.digest):
            LayerSource(self._repository, store.blobs).fetch_layer(packed)
        if packed.digest == record.digest:
            return
        with store.blobs.open(packed.digest) as blob, store.blobs.writer() as writer:
            stream = open_decompressed(blob)
            while writer.size <= record.size_bytes and (data := stream.read(_CHUNK_BYTES)):
                writer.write(data)
            writer.commit(expected=record.digest, size=record.size_bytes)


def write_registry_cache(
    store: Store,
    target: CacheTarget,
    records: Iterable[CacheRecord],
    repository: Repository,
    tag: str,
) -> None:
    """Write a cache under a tag of a registry, in place of what was there. Raises ``CarboyError``.

    The tag comes last, so that at each moment the old one is there, or the new one.
    """
    own = list(records)
    pairs = {
        one.digest: Descriptor(media_type=mediatypes.LAYER_TAR, digest=one.digest, size=one.size_bytes) for one in own
    }
    packed = compress_layers(store, tuple((layer, diff_id) for diff_id, layer in pairs.items()), target.compression)
    layers = dict(zip(pairs, packed, strict=True))
    kept = {one.key: one for one in own}
    if target.adds:
        before = _read_before(repository, tag, store)
        if before is not None:
            kept = {**{one.key: one for one in before.records}, **kept}
            layers = {**before.layers, **layers}
    config, manifest = make_cache(kept.values(), packed=layers)
    store.blobs.put(config)
    push_blobs(repository, store, (*packed, manifest.config), elsewhere={}, progress=SilentTransfer())
    repository.send_manifest(tag, manifest.raw, media_type=mediatypes.MANIFEST)


def _read_before(repository: Repository, tag: str, store: Store) -> RegistryCache | None:
    """Return what this build wrote for another platform."""
    try:
        return RegistryCache.open(repository, tag, store, lambda _: None)
    except NotThereError:
        return None
