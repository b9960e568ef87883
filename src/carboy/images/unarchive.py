"""Archives of images, read: what ``carboy save``, ``docker save`` of any version, skopeo, podman and buildx write.

Nobody vouches for them. Content goes into the store under the digest that it has, whatever the archive calls it; what is read
as JSON is capped, and every reference is by digest or by a name of the archive. Nothing is unpacked by a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carboy.errors import CarboyError
from carboy.images.archive import NAME, REFERRERS, TAG
from carboy.images.platforms import is_attestation, list_manifests
from carboy.images.unpack import unpack_image
from carboy.layers import tarread
from carboy.layers.compression import GZIP, ZSTD, open_archive
from carboy.layers.errors import LayerError
from carboy.layers.inside import split_name
from carboy.layers.limits import Limits
from carboy.oci import mediatypes
from carboy.oci.artifact import parse_artifact
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import MAX_DOCUMENT_BYTES, parse_json, parse_json_array
from carboy.oci.errors import InvalidDocumentError, InvalidReferenceError
from carboy.oci.index import make_index, parse_index
from carboy.oci.manifest import MAX_LAYERS, make_manifest, parse_manifest
from carboy.oci.platform import Platform
from carboy.oci.reference import Reference
from carboy.store.attestations import Attestation, keep_attestation
from carboy.store.referrers import Referrers, keep_referrers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.layers.tarread import Member, Readable, TarReader
    from carboy.oci.manifest import Manifest
    from carboy.store.store import Store

LIMITS = Limits(members=20_000, depth=16)
MAX_IMAGES = 1000
MAX_DOCUMENTS_BYTES = 64 * 2**20
_REFERRERS = REFERRERS.encode()
_DOCUMENTS = frozenset({b"manifest.json", b"index.json", b"oci-layout", _REFERRERS})
# Of version 1 of Docker's images: every one of them is said again in the configuration.
_OLD = frozenset({b"json", b"VERSION", b"repositories"})
_BLOBS = b"blobs/sha256/"
_NO_INDEX = b'{"schemaVersion":2,"manifests":[]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """An image of an archive, whole in the store, and the names that the archive gives it."""

    descriptor: Descriptor
    names: tuple[Reference, ...]


@dataclass(slots=True)
class _Content:
    """What an archive holds: documents by name, other files by name as (digest, size, media type of a layer), links."""

    documents: dict[bytes, bytes] = field(default_factory=dict)
    files: dict[bytes, Descriptor] = field(default_factory=dict)
    links: dict[bytes, bytes] = field(default_factory=dict)

    def find(self, name: bytes) -> Descriptor | None:
        """Return the file of this name, through links of the archive's own."""
        for _ in range(4):
            found = self.files.get(name)
            if found is not None or name not in self.links:
                return found
            name = self.links[name]
        return None


def read_archive(store: Store, stream: Readable, *, tier_chown: bool) -> list[LoadedImage]:
    """Put the images of an archive into the store, their layers unpacked, and return them in the archive's order.

    The caller holds a lease, and gives the names. Raises ``CarboyError`` for what is no such archive, is damaged, or hostile:
    no name is then given, and what was stored goes with the next clean-up.
    """
    content = _read_content(store, open_archive(stream))
    # Docker's list has one platform of each image; only the layout can say that there are more.
    if b"manifest.json" in content.documents and not _has_indexes(content):
        found = list(_iter_docker(store, content))
    elif b"index.json" in content.documents:
        found = list(_iter_layout(store, content))
    else:
        raise CarboyError(
            "the archive holds no images",
            details="neither manifest.json nor index.json is in it",
            hint="`carboy import` makes an image of an archive of files",
        )
    said, referrers = _find_attestations(store, content), _find_referrers(store, content)
    for image in found:
        for manifest in list_manifests(store, image.descriptor):
            unpack_image(store, manifest, tier_chown=tier_chown)
            about = said.get(str(manifest.digest))
            if about is not None:
                keep_attestation(store, Attestation(image=manifest.digest, manifest=about[0]), about[1])
            if own := referrers.get(manifest.digest):
                parts = [part for _, parts in own for part in parts]
                kept = Referrers(manifests=tuple(descriptor for descriptor, _ in own))
                keep_referrers(store, manifest.digest, kept, parts)
    return found


# --- the tar --------------------------------------------------------------------------------------------------------


def _read_content(store: Store, stream: Readable) -> _Content:
    content = _Content()
    reader = tarread.TarReader(stream, limits=LIMITS)
    seen: set[bytes] = set()
    for member in reader:
        parts = split_name(member.name, depth=LIMITS.depth)
        name = b"/".join(parts)
        if member.kind == tarread.DIRECTORY:
            continue
        if not parts or name in seen:
            raise LayerError(f"the archive holds {tarread.show(member.name)} twice, or as its root")
        seen.add(name)
        if member.kind in {tarread.SYMLINK, tarread.HARDLINK}:
            # Docker before version 25 wrote a layer that two images have once, and links to it.
            base = parts[:-1] if member.kind == tarread.SYMLINK else []
            content.links[name] = _join(base, member)
        elif member.kind != tarread.REGULAR:
            raise LayerError(f"the archive holds {tarread.show(member.name)}, which is neither file nor link")
        elif name in _DOCUMENTS:
            content.documents[name] = _read_document(reader, member)
        elif parts[-1] not in _OLD:
            content.files[name] = _store_file(store, reader, member, name)
    reader.drain()
    return content


def _join(base: list[bytes], member: Member) -> bytes:
    parts = list(base)
    for part in member.linkname.split(b"/"):
        if part == b"..":
            if not parts:
                raise LayerError(f"the link {tarread.show(member.name)} leads out of the archive")
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
    return b"/".join(parts)


def _read_document(reader: TarReader, member: Member) -> bytes:
    if member.size > MAX_DOCUMENT_BYTES:
        raise LayerError(f"{tarread.show(member.name)} is larger than {MAX_DOCUMENT_BYTES} bytes")
    data = b""
    while len(data) < member.size:
        data += bytes(reader.read_data(member.size - len(data)))
    return data


def _store_file(store: Store, reader: TarReader, member: Member, name: bytes) -> Descriptor:
    expected = None
    if name.startswith(b"blobs/"):
        text = name.removeprefix(_BLOBS).decode("ascii", "replace")
        expected = Digest.parse(f"sha256:{text}")  # of another algorithm, or below another folder: refused
    left, head = member.size, b""
    with store.blobs.writer() as writer:
        while left:
            data = reader.read_data(min(left, 2**20))
            head = head or bytes(data[:4])
            left -= len(data)
            writer.write(data)
        digest = writer.commit(expected=expected)
    kind = mediatypes.LAYER_TAR
    if head.startswith(GZIP):
        kind = mediatypes.LAYER_GZIP
    elif head == ZSTD:
        kind = mediatypes.LAYER_ZSTD
    return Descriptor(media_type=kind, digest=digest, size=member.size)


# --- Docker's list --------------------------------------------------------------------------------------------------


def _iter_docker(store: Store, content: _Content) -> Iterator[LoadedImage]:
    """Yield the images of manifest.json. The OCI manifest is the archive's own where it has one, else made."""
    own = _own_manifests(store, content)
    entries = parse_json_array(content.documents[b"manifest.json"], "archive's manifest.json")
    if len(entries) > MAX_IMAGES:
        raise InvalidDocumentError(f"the archive holds more than {MAX_IMAGES} images")
    for entry in entries:
        config = _file(content, entry.get("Config"))
        layers = tuple(_file(content, name) for name in _texts(entry, "Layers"))
        if len(layers) > MAX_LAYERS:
            raise InvalidDocumentError(f"the image has more than {MAX_LAYERS} layers")
        names = tuple(_parse_name(text) for text in _texts(entry, "RepoTags"))
        descriptor = own.get((config.digest, tuple(layer.digest for layer in layers)))
        if descriptor is None:
            about = Descriptor(media_type=mediatypes.CONFIG, digest=config.digest, size=config.size)
            manifest = make_manifest(config=about, layers=layers)
            digest = store.blobs.put(manifest.raw)
            descriptor = Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(manifest.raw))
        yield LoadedImage(descriptor=descriptor, names=names)


def _own_manifests(store: Store, content: _Content) -> dict[tuple[Digest, tuple[Digest, ...]], Descriptor]:
    """Return the manifests of the archive's index by configuration and layers."""
    if b"index.json" not in content.documents:
        return {}
    found = {}
    for entry in parse_index(content.documents[b"index.json"]).manifests:
        if entry.media_type in mediatypes.MANIFESTS and _has(content, entry):
            manifest = _manifest(store, entry)
            layers = tuple(layer.digest for layer in manifest.layers)
            found[manifest.config.digest, layers] = _plain(entry, manifest)
    return found


def _file(content: _Content, name: object) -> Descriptor:
    if not isinstance(name, str):
        raise InvalidDocumentError("the archive's manifest.json breaks its specification")
    raw = b"/".join(split_name(name.encode("utf-8", "surrogatepass"), depth=LIMITS.depth))
    found = content.find(raw)
    if found is None:
        raise CarboyError(f"the archive is incomplete: {name[:200]!r} is not in it", hint="save it again")
    return found


def _texts(entry: dict[str, Any], key: str) -> list[str]:
    value = entry.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidDocumentError("the archive's manifest.json breaks its specification", details=key)
    return value


def _parse_name(text: str) -> Reference:
    name = Reference.parse(text)
    if name.digest is not None or name.tag is None:
        raise InvalidReferenceError(f"the archive names an image {text[:300]!r}, with a digest")
    return name


# --- an image layout ------------------------------------------------------------------------------------------------


def _iter_layout(store: Store, content: _Content) -> Iterator[LoadedImage]:
    """Yield the images of index.json, each once; of an index that is not there whole the manifest for this machine."""
    layout = parse_json(content.documents.get(b"oci-layout", b"{}"), "oci-layout")
    if layout.get("imageLayoutVersion") != "1.0.0":
        raise InvalidDocumentError("the archive's oci-layout is missing, or of another version")
    names: dict[Digest, list[Reference]] = {}
    found: dict[Digest, Descriptor] = {}
    entries = parse_index(content.documents[b"index.json"]).manifests
    if len(entries) > MAX_IMAGES:
        raise InvalidDocumentError(f"the archive holds more than {MAX_IMAGES} images")
    for entry in entries:
        chosen = _choose(store, content, entry)
        if chosen.media_type in mediatypes.INDEXES:
            found[chosen.digest] = Descriptor(media_type=chosen.media_type, digest=chosen.digest, size=chosen.size)
        else:
            missing = _find_missing(store, content, chosen)
            if missing is not None:
                raise CarboyError(f"the archive is incomplete: {missing.digest} is not in it", hint="save it again")
            found[chosen.digest] = _plain(chosen, _manifest(store, chosen))
        name = _annotated(entry)
        if name is not None and name not in names.setdefault(chosen.digest, []):
            names[chosen.digest].append(name)
    for digest, descriptor in found.items():
        yield LoadedImage(descriptor=descriptor, names=tuple(names.get(digest, ())))


def _choose(store: Store, content: _Content, entry: Descriptor) -> Descriptor:
    """Return an entry; of an index of which only a part is there the manifest for this machine.

    Docker writes such an index when it saves an image of several platforms, of which it has one. An index of indexes is not
    followed.
    """
    if entry.media_type not in mediatypes.INDEXES:
        return entry
    if not _has(content, entry):
        raise CarboyError(f"the archive is incomplete: {entry.digest} is not in it", hint="save it again")
    here = Platform.current()
    inner = parse_index(store.blobs.read(entry.digest, limit=MAX_DOCUMENT_BYTES)).manifests
    if len(inner) > MAX_IMAGES:
        raise InvalidDocumentError(f"the archive holds an index of more than {MAX_IMAGES} images")
    images = [each for each in inner if each.media_type in mediatypes.MANIFESTS and not is_attestation(each)]
    others = [each for each in inner if each not in images and not is_attestation(each)]
    if not others and len(images) > 1 and not any(_find_missing(store, content, each) for each in images):
        if len(images) == len(inner):
            return entry
        # What is said of the images is kept beside them: in the store the index is that of the images alone.
        index = make_index(tuple(images))
        return Descriptor(media_type=mediatypes.INDEX, digest=store.blobs.put(index.raw), size=len(index.raw))
    for each in inner:
        platform = each.platform
        if platform is not None and (platform.os, platform.architecture) == (here.os, here.architecture):
            return each
    there = ", ".join(str(each.platform) for each in inner if each.platform is not None)
    raise CarboyError(f"the archive's image is not for {here}", details=f"it is for {there or 'nothing'}")


def _find_missing(store: Store, content: _Content, entry: Descriptor) -> Descriptor | None:
    """Return the first blob of a manifest that is not in the archive, which may be itself."""
    if not _has(content, entry):
        return entry
    manifest = _manifest(store, entry)
    return next((part for part in (manifest.config, *manifest.layers) if not _has(content, part)), None)


def _has_indexes(content: _Content) -> bool:
    if b"index.json" not in content.documents:
        return False
    return any(
        entry.media_type in mediatypes.INDEXES for entry in parse_index(content.documents[b"index.json"]).manifests
    )


def _annotated(entry: Descriptor) -> Reference | None:
    """Return the name that an entry of an index has: a whole one, as containerd writes it, or one with its repository.

    A tag alone, as skopeo writes it, says no repository: such an image is loaded without a name.
    """
    for key in (NAME, TAG):
        text = entry.annotations.get(key, "")
        if text and (key == NAME or ":" in text or "/" in text):
            return _parse_name(text)
    return None


# --- what is said of images -----------------------------------------------------------------------------------------


def _find_attestations(store: Store, content: _Content) -> dict[str, tuple[Descriptor, list[Digest]]]:
    """Return the attestation manifests of the archive with their blobs, by the digest of the image.

    Who wrote one is not known, and nothing of it is believed: it is carried along. One that is not whole is left out.
    """
    found = {}
    for entry in parse_index(content.documents.get(b"index.json", _NO_INDEX)).manifests[:MAX_IMAGES]:
        if entry.media_type not in mediatypes.INDEXES or not _has(content, entry):
            continue
        for each in parse_index(store.blobs.read(entry.digest, limit=MAX_DOCUMENT_BYTES)).manifests[:MAX_IMAGES]:
            if not is_attestation(each) or _find_missing(store, content, each) is not None:
                continue
            manifest = _manifest(store, each)
            if all(layer.media_type == mediatypes.IN_TOTO for layer in manifest.layers):
                parts = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
                found[each.annotations.get(mediatypes.REFERENCE_DIGEST, "")] = (_plain(each, manifest), parts)
    return found


def _find_referrers(store: Store, content: _Content) -> dict[Digest, list[tuple[Descriptor, list[Digest]]]]:
    """Return the artifacts of the archive that refer to images, with their blobs, by the digest of the image; likewise."""
    found: dict[Digest, list[tuple[Descriptor, list[Digest]]]] = {}
    for entry in parse_index(content.documents.get(_REFERRERS, _NO_INDEX)).manifests[:MAX_IMAGES]:
        if entry.artifact_type not in mediatypes.DOCUMENTS or _find_missing(store, content, entry) is not None:
            continue
        artifact = parse_artifact(store.blobs.read(entry.digest, limit=MAX_DOCUMENT_BYTES))
        parts = [part.digest for part in artifact.contents]
        found.setdefault(artifact.subject.digest, []).append((artifact.descriptor, parts))
    return found


# --- both -----------------------------------------------------------------------------------------------------------


def _has(content: _Content, part: Descriptor) -> bool:
    """Return whether a blob is the archive's own: what only the store has is not the archive's to name."""
    found = content.files.get(_BLOBS + part.digest.hex.encode())
    return part.digest.algorithm == "sha256" and found is not None and found.size == part.size


def _manifest(store: Store, entry: Descriptor) -> Manifest:
    return parse_manifest(store.blobs.read(entry.digest, limit=MAX_DOCUMENT_BYTES), media_type=entry.media_type)


def _plain(entry: Descriptor, manifest: Manifest) -> Descriptor:
    return Descriptor(media_type=entry.media_type, digest=entry.digest, size=len(manifest.raw))
