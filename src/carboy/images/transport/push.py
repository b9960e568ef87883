"""Images to repositories: blobs first, several at once, then what names them, the tag last.

So a repository never has a tag whose image is not whole. A blob that is there is not sent; one that another repository of the
same registry is known to have is taken from there by the registry itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.images.archive import wrap_attested
from carboy.images.transport.together import Together
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.index import is_index, parse_index
from carboy.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from carboy.images.archive import SavedImage
    from carboy.images.transport.progress import TransferProgress
    from carboy.oci.digest import Digest
    from carboy.remote.repository import Repository
    from carboy.store.store import Store

_CHUNK_BYTES = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What goes: blobs, each once, and manifests with their bytes, those below others first."""

    blobs: tuple[Descriptor, ...]
    manifests: tuple[tuple[Descriptor, bytes], ...]


def push_image(
    repository: Repository,
    store: Store,
    image: SavedImage,
    tags: tuple[str, ...],
    *,
    elsewhere: Mapping[Digest, str],
    progress: TransferProgress,
) -> Descriptor:
    """Send an image, with what is said of it, and return the descriptor of what has the tags (its digest alone without one).

    ``elsewhere`` are repositories of the same registry that have a blob, to be tried. The caller holds a lease. Raises
    ``RegistryError``, ``MissingBlobError``, ``CorruptBlobError``.
    """
    parts = _list_parts(store, image)
    push_blobs(repository, store, parts.blobs, elsewhere=elsewhere, progress=progress)
    *below, (top, raw) = parts.manifests
    for descriptor, data in below:
        repository.send_manifest(str(descriptor.digest), data, media_type=descriptor.media_type)
    for tag in tags or (str(top.digest),):
        repository.send_manifest(tag, raw, media_type=top.media_type)
    return top


def push_blobs(
    repository: Repository,
    store: Store,
    blobs: Iterable[Descriptor],
    *,
    elsewhere: Mapping[Digest, str],
    progress: TransferProgress,
) -> None:
    """Send blobs of the store that a repository has not; see :func:`push_image`."""
    together = Together()

    def push(blob: Descriptor) -> None:
        progress.begin(blob.digest, blob.size)
        if repository.has_blob(blob.digest):
            progress.end(blob.digest, "Layer already exists")
            return
        source = elsewhere.get(blob.digest)
        if source is not None and repository.mount_blob(blob.digest, source=source):
            progress.end(blob.digest, f"Mounted from {source}")
            return
        repository.send_blob(blob, lambda: _iter_blob(store, blob, together, progress))
        progress.end(blob.digest, "Pushed")

    together.run(push, blobs)


def _list_parts(store: Store, image: SavedImage) -> _Parts:
    manifests: dict[Digest, tuple[Descriptor, bytes]] = {}
    blobs: dict[Digest, Descriptor] = {}
    for part in (image.descriptor, *(said.manifest for said in image.attestations)):
        for one, data in _walk(store, part):
            manifests.setdefault(one.digest, (one, data))
            for blob in _blobs_of(one, data):
                blobs.setdefault(blob.digest, blob)
    if image.attestations:
        top, data = wrap_attested(store, image)
        # The index of the platforms alone is no part of the one that holds them with what is said of them.
        if image.descriptor.media_type in mediatypes.INDEXES:
            manifests.pop(image.descriptor.digest)
        manifests[top.digest] = (top, data)
    else:
        manifests[image.descriptor.digest] = manifests.pop(image.descriptor.digest)  # last
    return _Parts(blobs=tuple(blobs.values()), manifests=tuple(manifests.values()))


def _walk(store: Store, descriptor: Descriptor) -> Iterator[tuple[Descriptor, bytes]]:
    """Yield the manifests below a descriptor with their bytes, and then itself."""
    data = store.blobs.read(descriptor.digest)
    if is_index(data):
        for one in parse_index(data).manifests:
            if one.media_type in mediatypes.MANIFESTS:
                yield from _walk(store, one)
    yield Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=len(data)), data


def _blobs_of(descriptor: Descriptor, data: bytes) -> tuple[Descriptor, ...]:
    if descriptor.media_type in mediatypes.INDEXES:
        return ()
    manifest = parse_manifest(data)
    return (*manifest.layers, manifest.config)


def _iter_blob(store: Store, blob: Descriptor, together: Together, progress: TransferProgress) -> Iterator[bytes]:
    """Yield the bytes of a blob, verified at their end, so that a damaged one is never whole on the other side."""
    sent = 0
    try:
        with store.blobs.open(blob.digest) as reader:
            while data := reader.read(_CHUNK_BYTES):
                together.check()
                progress.advance(blob.digest, len(data))
                sent += len(data)
                yield data
    except GeneratorExit:
        progress.advance(blob.digest, -sent)  # it goes again from the beginning
        raise
