"""Archives of images: an OCI image layout that is a docker-archive as well, as ``docker save`` has written it since version 25.

::

    oci-layout, index.json      the layout: a manifest for each name
    manifest.json               Docker's list: configuration, names and layers of each image
    repositories                names to top layers, for what is older than that
    referrers.json              an index of what refers to the images, where there is anything: carboy's own, because tools take
                                the only entry of index.json for the image
    blobs/sha256/<hex>          manifests, configurations and layers, each once

Sources: OCI image-spec, image-layout.md; moby, image/tarexport.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from carboy.images.platforms import choose_manifest, list_manifests, read_platform
from carboy.layers.tarread import DIRECTORY, REGULAR, Member
from carboy.layers.tarwrite import TarWriter
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.index import is_index, make_index, parse_index
from carboy.oci.manifest import parse_manifest
from carboy.store.attestations import make_attested_index
from carboy.store.store import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.layers.tarwrite import Writable
    from carboy.oci.manifest import Manifest
    from carboy.oci.reference import Reference
    from carboy.store.attestations import Attestation
    from carboy.store.store import Store

BLOBS = "blobs/sha256"
REFERRERS = "referrers.json"
NAME = "io.containerd.image.name"
TAG = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """An image that goes into an archive, with the names that it has there, and what is said of it or of its platforms.

    ``referrers`` are artifacts of the store that refer to it, or to those.
    """

    descriptor: Descriptor
    names: tuple[Reference, ...]
    attestations: tuple[Attestation, ...] = ()
    referrers: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a layout holds: ``documents`` by name, blobs that were ``made`` for it, and ``blobs`` of the store, each once."""

    documents: dict[str, bytes]
    made: dict[Digest, bytes]
    blobs: tuple[Digest, ...]


def write_archive(store: Store, images: Sequence[SavedImage], out: Writable, *, docker: bool = True) -> None:
    """Write the images as one tar; the same images give the same bytes. ``docker`` False leaves Docker's lists out.

    What is small comes first, so that who reads it as a stream knows what follows. Each blob is verified while it is read.
    Raises ``MissingBlobError``, ``CorruptBlobError``, ``LayerError``, ``OSError``; what was written is then no archive.
    """
    contents = list_contents(store, images, docker=docker)
    writer = TarWriter(out)
    for name, data in contents.documents.items():
        writer.add(Member(name=name.encode(), kind=REGULAR, size=len(data)), data)
    for folder in ("blobs/", f"{BLOBS}/"):
        writer.add(Member(name=folder.encode(), kind=DIRECTORY, mode=0o755))
    for digest, data in contents.made.items():
        writer.add(Member(name=f"{BLOBS}/{digest.hex}".encode(), kind=REGULAR, size=len(data)), data)
    for digest in contents.blobs:
        _add_blob(writer, store, digest)
    writer.finish()


def list_contents(store: Store, images: Sequence[SavedImage], *, docker: bool = True) -> Contents:
    """Return what a layout of the images holds. An image of which something is said is in an index with that.

    Raises ``MissingBlobError``, ``CorruptBlobError`` and ``InvalidDocumentError``.
    """
    # Docker's lists have one platform of each image.
    chosen = [choose_manifest(store, image.descriptor) for image in images]
    manifests = [parse_manifest(store.blobs.read(one.digest)) for one in chosen]
    made: dict[Digest, bytes] = {}
    blobs: dict[Digest, None] = {}
    entries: list[Descriptor] = []
    for image in images:
        entry = image.descriptor
        if image.attestations:
            entry, index = wrap_attested(store, image)
            made[entry.digest] = index
            parts = list_manifests(store, image.descriptor)
        else:
            parts = (entry,)
        for part in (*parts, *(said.manifest for said in image.attestations), *image.referrers):
            blobs |= dict.fromkeys(list_blobs(store, part))
        entries += _name(entry, image.names)
    documents = {"oci-layout": LAYOUT, "index.json": make_index(tuple(entries)).raw}
    referrers = {one.digest: one for image in images for one in image.referrers}
    if referrers:
        documents[REFERRERS] = make_index(tuple(referrers.values())).raw
    if docker:
        documents["manifest.json"] = _write_list(images, manifests)
        documents["repositories"] = _write_repositories(images, manifests)
    return Contents(documents=documents, made=made, blobs=tuple(blobs))


def wrap_attested(store: Store, image: SavedImage) -> tuple[Descriptor, bytes]:
    """Return the index of an image, or of its platforms, and of what is said of them: its bytes are not in the store."""
    parts = [
        msgspec.structs.replace(one, annotations={}, platform=one.platform or read_platform(store, one))
        for one in list_manifests(store, image.descriptor)
    ]
    index = make_attested_index(parts, image.attestations)
    return Descriptor(media_type=mediatypes.INDEX, digest=Digest.of(index.raw), size=len(index.raw)), index.raw


def list_blobs(store: Store, descriptor: Descriptor) -> list[Digest]:
    """Return what a manifest needs, itself first; of an index all that its manifests need."""
    data = store.blobs.read(descriptor.digest)
    if is_index(data):
        inner = [one for one in parse_index(data).manifests if one.media_type in mediatypes.MANIFESTS]
        return [descriptor.digest, *(digest for one in inner for digest in list_blobs(store, one))]
    manifest = parse_manifest(data)
    return [descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)]


def _name(entry: Descriptor, names: Sequence[Reference]) -> list[Descriptor]:
    if not names:
        return [entry]
    return [msgspec.structs.replace(entry, annotations={NAME: str(name), TAG: name.tag or ""}) for name in names]


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
