"""Layers and a configuration to an image in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from carboy.oci import mediatypes
from carboy.oci.config import History, RunConfig, make_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.manifest import make_manifest
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.layers.batch import LayerResult
    from carboy.oci.config import ImageConfig
    from carboy.oci.manifest import Manifest
    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    """A layer and the line of history that tells how it came to be."""

    layer: LayerResult
    created_by: str


def assemble(
    store: Store,
    layers: Sequence[BuiltLayer],
    *,
    config: RunConfig,
    created: str,
    comment: str,
    platform: Platform | None = None,
) -> Descriptor:
    """Write configuration and manifest of an image and return the manifest's descriptor; the same input, the same bytes.

    ``layers`` are lowest first and in the store; ``created`` is an RFC 3339 time; ``comment`` goes into the last, empty line of
    the history, which stands for the configuration. ``platform`` is what it is for, None for this machine's.
    """
    history = [History(created=created, created_by=item.created_by) for item in layers]
    history.append(History(created=created, created_by="carboy: configuration", comment=comment, empty_layer=True))
    document = make_config(
        platform=platform or Platform.current(),
        diff_ids=tuple(item.layer.diff_id for item in layers),
        config=config,
        created=created,
        history=tuple(history),
    )
    return _write(store, document, tuple(_describe(item.layer) for item in layers))


def extend(
    store: Store, base: tuple[Manifest, ImageConfig], layer: LayerResult | None, *, config: RunConfig, entry: History
) -> Descriptor:
    """Write an image that is ``base`` with one more layer and another configuration; returns its manifest's descriptor.

    ``entry`` is the new line of the history; without a layer it is an empty one. All layers are in the store.
    """
    manifest, above = base
    if layer is None:
        entry = msgspec.structs.replace(entry, empty_layer=True)
    document = make_config(
        platform=above.platform,
        diff_ids=(*above.diff_ids, *(() if layer is None else (layer.diff_id,))),
        config=config,
        created=entry.created,
        history=(*above.history, entry),
        author=entry.author,
    )
    return _write(store, document, (*manifest.layers, *(() if layer is None else (_describe(layer),))))


def _describe(layer: LayerResult) -> Descriptor:
    return Descriptor(media_type=mediatypes.LAYER_TAR, digest=layer.diff_id, size=layer.size_bytes)


def _write(store: Store, document: ImageConfig, layers: tuple[Descriptor, ...]) -> Descriptor:
    config = Descriptor(media_type=mediatypes.CONFIG, digest=store.blobs.put(document.raw), size=len(document.raw))
    manifest = make_manifest(config=config, layers=layers)
    return Descriptor(media_type=mediatypes.MANIFEST, digest=store.blobs.put(manifest.raw), size=len(manifest.raw))
