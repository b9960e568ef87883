"""What refers to an image, to and from repositories: artifacts of OCI 1.1, and the tag that stands for a list of them.

Source: OCI distribution-spec 1.1, "Pushing Manifests with Subject", "Listing Referrers", "Referrers Tag Schema".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.images.transport.progress import SilentTransfer
from carboy.images.transport.push import push_blobs
from carboy.oci import mediatypes
from carboy.oci.artifact import parse_artifact
from carboy.oci.descriptor import Descriptor
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.index import make_index, parse_index
from carboy.remote.errors import NotThereError, RegistryError
from carboy.store.errors import CorruptBlobError
from carboy.store.referrers import Referrers, keep_referrers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.oci.digest import Digest
    from carboy.remote.repository import Repository
    from carboy.store.store import Store

MAX_REFERRERS = 50
MAX_BYTES = 64 * 2**20
_TAG = re.compile(r"sha256-[0-9a-f]{64}")


def is_referrers_tag(tag: str) -> bool:
    """Return whether a tag stands for a list of referrers, and for no image."""
    return _TAG.fullmatch(tag) is not None


def _tag_of(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"


def push_referrers(repository: Repository, store: Store, image: Descriptor, referrers: Sequence[Descriptor]) -> None:
    """Send artifacts of the store that refer to an image of the repository, and see to it that they are found by it.

    Raises ``RegistryError``: the image is there all the same.
    """
    listed = True
    for one in referrers:
        artifact = parse_artifact(store.blobs.read(one.digest))
        push_blobs(repository, store, artifact.contents, elsewhere={}, progress=SilentTransfer())
        listed &= repository.send_artifact(artifact.raw)
    if listed or not referrers:
        return
    tag = _tag_of(image.digest)
    index = make_index(_merge(_fetch_tagged(repository, tag), referrers))
    repository.send_manifest(tag, index.raw, media_type=mediatypes.INDEX)


def _merge(there: Sequence[Descriptor], more: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
    digests = {one.digest for one in more}
    return (*(one for one in there if one.digest not in digests), *more)


def _fetch_tagged(repository: Repository, tag: str) -> tuple[Descriptor, ...]:
    try:
        fetched = repository.fetch_manifest(tag)
    except NotThereError:
        return ()
    return parse_index(fetched.raw).manifests if fetched.media_type in mediatypes.INDEXES else ()


def pull_referrers(repository: Repository, store: Store, image: Descriptor) -> int:
    """Put what carboy knows of an image's referrers into the store beside it, and return how many these are.

    Who made them is not known, and nothing of them is believed. A registry that has none, or fails at it, gives none. Raises
    ``OSError`` of the disk.
    """
    try:
        data = repository.fetch_referrers(image.digest)
        entries = _fetch_tagged(repository, _tag_of(image.digest)) if data is None else parse_index(data).manifests
        found = [one for one in entries if one.artifact_type in mediatypes.DOCUMENTS][:MAX_REFERRERS]
        kept, contents = _pull(repository, store, image, found)
    except (RegistryError, InvalidDocumentError, InvalidDigestError, CorruptBlobError):
        return 0
    if kept:
        keep_referrers(store, image.digest, Referrers(manifests=tuple(kept)), contents)
    return len(kept)


def _pull(
    repository: Repository, store: Store, image: Descriptor, entries: Sequence[Descriptor]
) -> tuple[list[Descriptor], list[Digest]]:
    kept: list[Descriptor] = []
    contents: list[Digest] = []
    size = 0
    for entry in entries:
        artifact = parse_artifact(repository.fetch_manifest(str(entry.digest)).raw)
        size += sum(part.size for part in artifact.contents)
        if artifact.subject.digest != image.digest or artifact.artifact_type != entry.artifact_type:
            continue
        if size > MAX_BYTES:
            break
        for part in artifact.contents:
            if not store.blobs.has(part.digest):
                repository.fetch_blob(part, store.blobs)
        store.blobs.put(artifact.raw)
        contents += [part.digest for part in artifact.contents]
        kept.append(artifact.descriptor)
    return kept, contents
