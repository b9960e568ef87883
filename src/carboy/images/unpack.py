"""Images that come from elsewhere: their documents checked against each other, their layers unpacked, which proves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.layers.apply import unpack_layer
from carboy.oci import mediatypes
from carboy.oci.config import parse_config
from carboy.oci.document import MAX_DOCUMENT_BYTES
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from carboy.oci.config import ImageConfig
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.manifest import Manifest
    from carboy.store.store import Store


def unpack_image(store: Store, descriptor: Descriptor, *, tier_chown: bool) -> None:
    """Unpack the layers of an image of the store. Raises ``CarboyError`` where it is not what its documents say."""
    data = store.blobs.read(descriptor.digest, limit=MAX_DOCUMENT_BYTES)
    manifest = parse_manifest(data, media_type=descriptor.media_type)
    config = parse_config(store.blobs.read(manifest.config.digest, limit=MAX_DOCUMENT_BYTES))
    check_image(config, manifest)
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        unpack_layer(store, layer, diff_id=diff_id, tier_chown=tier_chown)


def check_image(config: ImageConfig, manifest: Manifest) -> None:
    """Raise ``CarboyError`` for an image that cannot be unpacked, or whose two documents do not agree."""
    if config.platform.os != "linux":
        raise CarboyError(f"the image is for {config.platform}", hint="carboy runs images for Linux")
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidDocumentError(
            "the image's configuration and its manifest do not agree",
            details=f"{len(config.diff_ids)} layers there, {len(manifest.layers)} here",
        )
    for layer in manifest.layers:
        if layer.media_type not in mediatypes.LAYERS:
            raise InvalidDocumentError(f"the image has a layer of the unknown kind {layer.media_type!r}")
    digests = (*config.diff_ids, manifest.config.digest, *(layer.digest for layer in manifest.layers))
    if any(digest.algorithm != "sha256" for digest in digests):
        raise InvalidDigestError("the image names a layer by a digest that is not sha256")
