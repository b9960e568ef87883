"""Statements beside the images of the store: kept, and carried over to other forms of the same image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.attest.statement import make_documents, retarget_statement
from carboy.images.platforms import list_attestations, list_manifests
from carboy.oci import mediatypes
from carboy.oci.artifact import EMPTY, make_artifact
from carboy.oci.descriptor import Descriptor
from carboy.oci.manifest import parse_manifest
from carboy.store.attestations import Attestation, find_attestation, keep_attestation
from carboy.store.referrers import Referrers, keep_referrers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.oci.digest import Digest
    from carboy.store.store import Store

MAX_STATEMENT_BYTES = 64 * 2**20


def keep_statements(store: Store, image: Digest, statements: Sequence[tuple[str, bytes]]) -> Attestation:
    """Keep statements, with their predicates' types, beside the image with this manifest; durable."""
    documents = make_documents(statements)
    contents = [store.blobs.put(data) for _, data in documents.statements]
    contents.append(store.blobs.put(documents.config))
    digest = store.blobs.put(documents.manifest)
    manifest = Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(documents.manifest))
    said = Attestation(image=image, manifest=manifest)
    keep_attestation(store, said, contents)
    return said


def carry_attestations(store: Store, before: Descriptor, after: Descriptor) -> tuple[Attestation, ...]:
    """Return what is said of an image, said of the same one in another compression. Raises ``CarboyError``."""
    if before.digest == after.digest:
        return list_attestations(store, before)
    found = []
    for old, new in zip(list_manifests(store, before), list_manifests(store, after), strict=True):
        said = find_attestation(store, old.digest)
        if said is None:
            continue
        manifest = parse_manifest(store.blobs.read(said.manifest.digest))
        statements = [
            (
                layer.annotations.get(mediatypes.PREDICATE_TYPE, ""),
                retarget_statement(store.blobs.read(layer.digest, limit=MAX_STATEMENT_BYTES), image=new.digest),
            )
            for layer in manifest.layers
        ]
        found.append(said if old.digest == new.digest else keep_statements(store, new.digest, statements))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One thing said of an image: its media type, its bytes, and for a statement the type of its predicate."""

    media_type: str
    data: bytes
    predicate_type: str = ""


def keep_documents(
    store: Store, image: Descriptor, documents: Sequence[Document], *, created: str, source: str
) -> Referrers:
    """Keep documents as artifacts that refer to an image, which itself stays what it is; durable.

    The same documents of the same image are the same artifacts: ``created`` is the image's own time. ``source``: see
    ``store.referrers.Referrers``.
    """
    contents = [store.blobs.put(EMPTY)]
    manifests = []
    for document in documents:
        annotations = {mediatypes.CREATED: created} if created else {}
        about = {mediatypes.PREDICATE_TYPE: document.predicate_type} if document.predicate_type else {}
        digest = store.blobs.put(document.data)
        contents.append(digest)
        layer = Descriptor(media_type=document.media_type, digest=digest, size=len(document.data), annotations=about)
        artifact = make_artifact(document.media_type, layer, subject=image, annotations={**annotations, **about})
        store.blobs.put(artifact.raw)
        manifests.append(artifact.descriptor)
    kept = Referrers(manifests=tuple(manifests), source=source)
    keep_referrers(store, image.digest, kept, contents)
    return kept
