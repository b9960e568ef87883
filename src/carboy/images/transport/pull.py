"""Images from repositories: documents first, then layers, several at once, each unpacked as soon as it is there.

Nothing is believed that is not proved: manifests and blobs are what their digests say, layers what the configuration says of
them once they are unpacked. What is interrupted leaves content without a name, which the next pull finds, or clean-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.images.platforms import is_attestation
from carboy.images.transport.assembly import LayerSource
from carboy.images.transport.together import Together
from carboy.images.unpack import check_image
from carboy.layers.apply import unpack_layer
from carboy.oci import mediatypes
from carboy.oci.config import parse_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import MAX_DOCUMENT_BYTES
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.index import parse_index
from carboy.oci.manifest import parse_manifest
from carboy.oci.platform import Platform
from carboy.store.attestations import Attestation, keep_attestation

if TYPE_CHECKING:
    from carboy.images.transport.progress import TransferProgress
    from carboy.oci.config import ImageConfig
    from carboy.oci.manifest import Manifest
    from carboy.oci.reference import Reference
    from carboy.remote.client import FetchedManifest
    from carboy.remote.repository import Repository
    from carboy.store.store import Store

MAX_ENTRIES = 1000
# What is said of an image is carried along up to this size, in bytes, all together.
MAX_SAID_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledDocuments:
    """An image's documents, now in the store: ``descriptor`` is its manifest for one platform.

    ``top`` is the digest of what the repository has under the name: the manifest, or the index that it was chosen from.
    ``said`` are attestation manifests of the index that are about the image.
    """

    descriptor: Descriptor
    top: Digest
    manifest: Manifest
    config: ImageConfig
    said: tuple[Descriptor, ...] = ()


def pull_documents(
    repository: Repository, store: Store, reference: Reference, *, platform: Platform | None
) -> PulledDocuments:
    """Put manifest and configuration of an image into the store, for a platform (None: this machine's).

    The caller holds a lease. Raises ``CarboyError``: ``RegistryError`` of the way, or what is wrong with the image.
    """
    fetched = repository.fetch_manifest(str(reference.digest or reference.tag))
    top = fetched.digest
    said: tuple[Descriptor, ...] = ()
    if fetched.media_type in mediatypes.INDEXES:
        entries = parse_index(fetched.raw).manifests
        if len(entries) > MAX_ENTRIES:
            raise InvalidDocumentError(f"the index of {reference.familiar} has more than {MAX_ENTRIES} entries")
        entry = _choose(entries, platform or Platform.current(), reference)
        said = tuple(each for each in entries if _is_about(each, entry.digest))
        fetched = _fetch_entry(repository, entry)
    manifest = parse_manifest(fetched.raw, media_type=fetched.media_type)
    _check_size(manifest.config)
    if not store.blobs.has(manifest.config.digest):
        repository.fetch_blob(manifest.config, store.blobs)
    config = parse_config(store.blobs.read(manifest.config.digest, limit=MAX_DOCUMENT_BYTES))
    check_image(config, manifest)
    if platform is not None and not platform.fits(config.platform):
        raise CarboyError(
            f"{reference.familiar} has nothing for {platform}",
            details=f"there is: {config.platform}",
            hint="choose another --platform",
        )
    store.blobs.put(fetched.raw)
    descriptor = Descriptor(media_type=fetched.media_type, digest=fetched.digest, size=len(fetched.raw))
    return PulledDocuments(descriptor=descriptor, top=top, manifest=manifest, config=config, said=said)


def pull_layers(
    repository: Repository, store: Store, image: PulledDocuments, *, tier_chown: bool, progress: TransferProgress
) -> bool:
    """Put the layers of an image into the store, unpacked, and return whether any had to be fetched.

    What is said of the image comes along. The caller holds the lease from before its documents came. Raises ``CarboyError``.
    """
    together = Together()
    fetched: list[Digest] = []
    source = LayerSource(repository, store.blobs)

    def pull(pair: tuple[Descriptor, Digest]) -> None:
        layer, diff_id = pair
        progress.begin(layer.digest, layer.size)
        if store.blobs.has(layer.digest) and store.layers.has(diff_id):
            progress.end(layer.digest, "Already exists")
            return

        def count(size: int) -> None:
            together.check()
            progress.advance(layer.digest, size)

        outcome = "Pull complete"
        if not store.blobs.has(layer.digest):
            came = source.fetch_layer(layer, on_bytes=count)
            fetched.append(layer.digest)
            if came < layer.size:
                outcome += f", {came / 1e6:.1f} MB of {layer.size / 1e6:.1f} MB fetched"
        together.check()
        unpack_layer(store, layer, diff_id=diff_id, tier_chown=tier_chown)
        progress.end(layer.digest, outcome)

    pairs = zip(image.manifest.layers, image.config.diff_ids, strict=True)
    # A layer that an image has twice is fetched once.
    together.run(pull, {layer.digest: (layer, diff_id) for layer, diff_id in pairs}.values())
    for entry in image.said:
        _pull_said(repository, store, image, entry)
    return bool(fetched)


def _choose(entries: tuple[Descriptor, ...], wanted: Platform, reference: Reference) -> Descriptor:
    """Return the entry of an index for a platform. Raises ``CarboyError`` that says which there are. Pure."""
    # An index in an index says nothing that this one could not.
    images = [one for one in entries if not is_attestation(one) and one.media_type in mediatypes.MANIFESTS]
    for exact in (True, False):
        for one in images:
            if one.platform is not None and (one.platform == wanted if exact else wanted.fits(one.platform)):
                return one
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    there = ", ".join(dict.fromkeys(str(one.platform) for one in images if one.platform is not None))
    raise CarboyError(
        f"{reference.familiar} has nothing for {wanted}",
        details=f"there is: {there or 'nothing that carboy reads'}",
        hint="choose another --platform",
    )


def _is_about(entry: Descriptor, image: Digest) -> bool:
    return (
        is_attestation(entry)
        and entry.media_type in mediatypes.MANIFESTS
        and entry.annotations.get(mediatypes.REFERENCE_DIGEST) == str(image)
    )


def _fetch_entry(repository: Repository, entry: Descriptor) -> FetchedManifest:
    fetched = repository.fetch_manifest(str(entry.digest))
    if len(fetched.raw) != entry.size or entry.digest.algorithm != "sha256":
        raise InvalidDocumentError(
            "an image is not what its index says of it",
            details=f"{entry.digest}: {entry.size} bytes were announced, {len(fetched.raw)} came",
        )
    if fetched.media_type not in mediatypes.MANIFESTS:
        raise InvalidDocumentError("an entry of the index is no image", details=str(entry.digest))
    return fetched


def _check_size(config: Descriptor) -> None:
    if config.size > MAX_DOCUMENT_BYTES:
        raise InvalidDocumentError(f"the image's configuration is larger than {MAX_DOCUMENT_BYTES} bytes")
    if config.digest.algorithm != "sha256":
        raise InvalidDigestError("the image names its configuration by a digest that is not sha256")


def _pull_said(repository: Repository, store: Store, image: PulledDocuments, entry: Descriptor) -> None:
    """Keep what is said of an image beside it. Who said it is not known, and nothing of it is believed."""
    fetched = _fetch_entry(repository, entry)
    manifest = parse_manifest(fetched.raw, media_type=fetched.media_type)
    parts = (manifest.config, *manifest.layers)
    is_known = all(layer.media_type == mediatypes.IN_TOTO for layer in manifest.layers)
    if not is_known or sum(part.size for part in parts) > MAX_SAID_BYTES:
        return
    for part in parts:
        if not store.blobs.has(part.digest):
            repository.fetch_blob(part, store.blobs)
    digest = store.blobs.put(fetched.raw)
    about = Descriptor(media_type=fetched.media_type, digest=digest, size=len(fetched.raw))
    said = Attestation(image=image.descriptor.digest, manifest=about)
    keep_attestation(store, said, [part.digest for part in parts])
