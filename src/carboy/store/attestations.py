"""What is said of images beside them, by the digest of the image: it stays as long as that, whatever of the cache goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.index import Index, make_index
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from carboy.store.store import Store

KIND = "attestation"
MAKING, REFERRERS = "making", "referrers"
STAYING = (KIND, MAKING, REFERRERS)
"""Entries of the cache that stay as long as the image that they are about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What is said of the image with the manifest ``image``: the attestation ``manifest``."""

    image: Digest
    manifest: Descriptor


_UNKNOWN = Platform(os="unknown", architecture="unknown")


def find_attestation(store: Store, image: Digest) -> Attestation | None:
    """Return what is said of an image, by its manifest's digest; None when nothing is."""
    entry = store.cache.get(make_key(image))
    if entry is None:
        return None
    digest = Digest.parse(entry.value["digest"])
    if not os.path.exists(store.blobs.path(digest)):
        return None
    manifest = Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=entry.value["size"])
    return Attestation(image=image, manifest=manifest)


def keep_attestation(store: Store, said: Attestation, contents: Sequence[Digest]) -> None:
    """Keep what is said of an image, which is in the store with its ``contents``, in place of what was said before."""
    value = {"digest": str(said.manifest.digest), "size": said.manifest.size}
    store.cache.put(make_key(said.image), KIND, value, [said.manifest.digest, *contents])


def forget_attestations(store: Store, *, but: Collection[str]) -> None:
    """Forget what is said, and known, of other images than those with the digests ``but``."""
    for row in store.cache.list_rows():
        if row.kind in STAYING and row.key.partition(":")[2] not in but:
            store.cache.forget(row.key)


def make_key(image: Digest | str) -> str:
    """Return the key of an image's entry."""
    return f"{KIND}:{image}"


def make_attested_index(images: Sequence[Descriptor], said: Sequence[Attestation]) -> Index:
    """Return the index of images, with their platforms, and of what is said of them. Pure.

    Source: BuildKit, docs/attestations/attestation-storage.md.
    """
    return make_index(
        (
            *images,
            *(
                msgspec.structs.replace(
                    one.manifest,
                    annotations={
                        mediatypes.REFERENCE_DIGEST: str(one.image),
                        mediatypes.REFERENCE_TYPE: mediatypes.ATTESTATION,
                    },
                    platform=_UNKNOWN,
                )
                for one in said
            ),
        )
    )
