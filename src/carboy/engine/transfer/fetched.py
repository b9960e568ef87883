"""What is remembered of registries: images that were fetched, by name and platform, and which repositories have which blobs.

An image that was fetched is found again without asking anybody, until it is asked for anew, or pruned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.images.archive import list_blobs
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest

if TYPE_CHECKING:
    from carboy.images.transport.pull import PulledDocuments
    from carboy.oci.platform import Platform
    from carboy.oci.reference import Reference
    from carboy.remote.repository import Repository
    from carboy.store.store import Store

KIND, LOCATION = "fetched", "location"
MAX_LOCATED = 2000  # blobs of a repository, the newest first


def keep_fetched(store: Store, name: Reference, image: PulledDocuments, *, platform: Platform) -> None:
    """Keep in mind that the image of that name is here for a platform, and keep it here. The caller holds a lease."""
    value = {"digest": str(image.descriptor.digest), "size": image.descriptor.size, "type": image.descriptor.media_type}
    parts = [image.descriptor.digest, image.manifest.config.digest, *(one.digest for one in image.manifest.layers)]
    store.cache.put(_key(name, platform), KIND, value, parts)


def name_fetched(store: Store, name: Reference, image: PulledDocuments, *, platform: Platform) -> None:
    """Give an image its name, unless that is another's, which was built or loaded here or is for another platform.

    Before :func:`keep_fetched`, which forgets what was fetched earlier.
    """
    before, named = find_fetched(store, name, platform=platform), store.refs.get(str(name))
    if named is None or (before is not None and named.digest == before.digest):
        store.refs.set(str(name), image.descriptor)


def find_fetched(store: Store, name: Reference, *, platform: Platform) -> Descriptor | None:
    """Return the manifest that was fetched for a platform, when it is still here."""
    entry = store.cache.get(_key(name, platform))
    if entry is None:
        return None
    found = Descriptor(
        media_type=entry.value["type"], digest=Digest.parse(entry.value["digest"]), size=entry.value["size"]
    )
    return found if store.blobs.has(found.digest) else None


def _key(name: Reference, platform: Platform) -> str:
    return f"{KIND}:{platform.os}/{platform.architecture}:{name}"


def note_location(store: Store, repository: Repository, image: Descriptor) -> None:
    """Keep in mind that a repository has the blobs of an image: another of its registry may take them from there."""
    known = store.cache.get(_location(repository))
    blobs = [str(digest) for digest in list_blobs(store, image)]
    blobs = list(dict.fromkeys([*blobs, *(known.value["blobs"] if known is not None else ())]))[:MAX_LOCATED]
    store.cache.put(_location(repository), LOCATION, {"repository": repository.name, "blobs": blobs}, [])


def find_locations(store: Store, repository: Repository) -> dict[Digest, str]:
    """Return blobs that other repositories of the same registry had when they were last seen."""
    prefix = f"{LOCATION}:{repository.registry}/"
    found: dict[Digest, str] = {}
    for key in (row.key for row in store.cache.list_rows() if row.key.startswith(prefix)):
        entry = store.cache.get(key)
        if entry is not None and entry.value["repository"] != repository.name:
            found |= {Digest.parse(text): entry.value["repository"] for text in entry.value["blobs"]}
    return found


def _location(repository: Repository) -> str:
    return f"{LOCATION}:{repository.registry}/{repository.name}"
