"""Archives of images: an OCI image layout that is a docker-archive as well, as ``docker save`` has written it since version 25.

::

    oci-layout, index.json      the layout: a manifest for each name
    manifest.json               Docker's list: configuration, names and layers of each image
    repositories                names to top layers, for what is older than that
    blobs/sha256/<hex>          manifests, configurations and layers, each once

Sources: OCI image-spec, image-layout.md; moby, image/tarexport.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from carboy.images.platforms import choose_manifest
from carboy.layers.tarread import DIRECTORY, REGULAR, Member
from carboy.layers.tarwrite import TarWriter
from carboy.oci import mediatypes
from carboy.oci.index import is_index, make_index, parse_index
from carboy.oci.manifest import parse_manifest
from carboy.store.store import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.layers.tarwrite import Writable
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.oci.manifest import Manifest
    from carboy.oci.reference import Reference
    from carboy.store.store import Store

BLOBS = "blobs/sha256"
NAME = "io.containerd.image.name"
TAG = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """An image that goes into an archive, with the names that it has there."""

    descriptor: Descriptor
    names: tuple[Reference, ...]


def write_archive(store: Store, images: Sequence[SavedImage], out: Writable, *, docker: bool = True) -> None:
    """Write the images as one tar; the same images give the same bytes. ``docker`` False leaves Docker's lists out.

    What is small comes first, so that who reads it as a stream knows what follows. Each blob is verified while it is read.
    Raises ``MissingBlobError``, ``CorruptBlobError``, ``LayerError``, ``OSError``; what was written is then no archive.
    """
    documents, blobs = list_contents(store, images, docker=docker)
    writer = TarWriter(out)
    for name, data in documents.items():
        writer.add(Member(name=name.encode(), kind=REGULAR, size=len(data)), data)
    for folder in ("blobs/", f"{BLOBS}/"):
        writer.add(Member(name=folder.encode(), kind=DIRECTORY, mode=0o755))
    for digest in blobs:
        _add_blob(writer, store, digest)
    writer.finish()


def list_contents(
    store: Store, images: Sequence[SavedImage], *, docker: bool = True
) -> tuple[dict[str, bytes], list[Digest]]:
    """Return what a layout of the images holds: documents by name, and the digests of blobs, each once.

    Raises ``MissingBlobError``, ``CorruptBlobError`` and ``InvalidDocumentError``.
    """
    # Docker's lists have one platform of each image.
    chosen = [choose_manifest(store, image.descriptor) for image in images]
    manifests = [parse_manifest(store.blobs.read(one.digest)) for one in chosen]
    documents = {"oci-layout": LAYOUT, "index.json": make_index(tuple(_entries(images))).raw}
    if docker:
        documents["manifest.json"] = _write_list(images, manifests)
        documents["repositories"] = _write_repositories(images, manifests)
    blobs: dict[Digest, None] = {}
    for image in images:
        blobs |= dict.fromkeys(_list_blobs(store, image.descriptor))
    return documents, list(blobs)


def _list_blobs(store: Store, descriptor: Descriptor) -> list[Digest]:
    """Return what a manifest needs, itself first; of an index all that its manifests need."""
    data = store.blobs.read(descriptor.digest)
    if is_index(data):
        inner = [one for one in parse_index(data).manifests if one.media_type in mediatypes.MANIFESTS]
        return [descriptor.digest, *(digest for one in inner for digest in _list_blobs(store, one))]
    manifest = parse_manifest(data)
    return [descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)]


def _entries(images: Sequence[SavedImage]) -> list[Descriptor]:
    found = []
    for image in images:
        if not image.names:
            found.append(image.descriptor)
        for name in image.names:
            annotations = {NAME: str(name), TAG: name.tag or ""}
            found.append(msgspec.structs.replace(image.descriptor, annotations=annotations))
    return found


def _write_list(images: Sequence[SavedImage], manifests: Sequence[Manifest]) -> bytes:
    value = [
        {
            "Config": f"{BLOBS}/{manifest.config.digest.hex}",
            "RepoTags": [name.familiar for name in image.names] or None,
            "Layers": [f"{BLOBS}/{layer.digest.hex}" for layer in manifest.layers],
        }
        for image, manifest in zip(images, manifests, strict=True)
    ]
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _write_repositories(images: Sequence[SavedImage], manifests: Sequence[Manifest]) -> bytes:
    value: dict[str, dict[str, str]] = {}
    for image, manifest in zip(images, manifests, strict=True):
        for name in image.names:
            if name.tag is not None and manifest.layers:
                repository = name.familiar.removesuffix(f":{name.tag}")
                value.setdefault(repository, {})[name.tag] = manifest.layers[-1].digest.hex
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _add_blob(writer: TarWriter, store: Store, digest: Digest) -> None:
    member = Member(name=f"{BLOBS}/{digest.hex}".encode(), kind=REGULAR, size=store.blobs.size(digest))
    with store.blobs.open(digest) as reader:
        writer.add_stream(member, reader.read)
        reader.read(1)  # its end, where the digest is compared
