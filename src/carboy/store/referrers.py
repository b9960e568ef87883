"""What refers to images, and how they were made, by the digest of the image: it stays as long as that, whatever else goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.store.attestations import MAKING, REFERRERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrers:
    """Artifacts of the store that refer to an image; ``source`` is a digest of what made them, "" where they came along."""

    manifests: tuple[Descriptor, ...] = ()
    source: str = ""


def find_referrers(store: Store, image: Digest) -> Referrers:
    """Return what refers to an image, by its manifest's digest."""
    entry = store.cache.get(f"{REFERRERS}:{image}")
    if entry is None:
        return Referrers()
    found = [
        Descriptor(
            media_type=mediatypes.MANIFEST,
            digest=Digest.parse(item["digest"]),
            size=item["size"],
            artifact_type=item["artifact_type"],
        )
        for item in entry.value["manifests"]
    ]
    there = tuple(one for one in found if os.path.exists(store.blobs.path(one.digest)))
    return Referrers(manifests=there, source=entry.value["source"] if len(there) == len(found) else "")


def keep_referrers(store: Store, image: Digest, referrers: Referrers, contents: Sequence[Digest]) -> None:
    """Keep what refers to an image, which is in the store with its ``contents``, in place of what did before."""
    manifests = [
        {"digest": str(one.digest), "size": one.size, "artifact_type": one.artifact_type} for one in referrers.manifests
    ]
    value = {"manifests": manifests, "source": referrers.source}
    digests = [*(one.digest for one in referrers.manifests), *contents]
    store.cache.put(f"{REFERRERS}:{image}", REFERRERS, value, digests)


def note_making(store: Store, image: Digest, value: dict[str, Any]) -> None:
    """Keep how an image was made, in place of what was known; nothing is written when that is the same."""
    found = find_making(store, image)
    if found != value:
        store.cache.put(f"{MAKING}:{image}", MAKING, value, [])


def find_making(store: Store, image: Digest) -> dict[str, Any] | None:
    """Return how an image was made, None for one that was not made here."""
    entry = store.cache.get(f"{MAKING}:{image}")
    return None if entry is None else entry.value
