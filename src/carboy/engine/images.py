"""Images by name: list, resolve, tag, remove, inspect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carboy.containers.events import write_event
from carboy.containers.names import read_name
from carboy.containers.record import iter_configs
from carboy.engine.platforms import read_platform
from carboy.errors import CarboyError
from carboy.images.platforms import choose_manifest, list_attestations, list_manifests
from carboy.images.platforms import read_platform as read_platform_of
from carboy.oci import mediatypes
from carboy.oci.config import ImageConfig, parse_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.index import is_index, parse_index
from carboy.oci.manifest import Manifest, parse_manifest
from carboy.oci.reference import Reference
from carboy.snapshots import snapshot
from carboy.store.referrers import find_referrers

if TYPE_CHECKING:
    from carboy.engine.context import Engine

SHORT_ID = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """One row of ``carboy images``: size is that of the layers, uncompressed as the store keeps them, in bytes."""

    name: str
    tag: str
    digest: Digest
    created_at_s: float
    size_bytes: int


class NoImageError(CarboyError):
    """There is no image of that name here; it may be one that can be made."""


def list_images(engine: Engine) -> list[ImageSummary]:
    """Return the named images, newest first."""
    rows = []
    for name, descriptor, created_at_s in engine.store.refs.list():
        manifest = read_manifest(engine, descriptor)
        reference = Reference.parse(name)
        rows.append(
            ImageSummary(
                name=reference.familiar_name,
                tag=reference.tag or "<none>",
                digest=descriptor.digest,
                created_at_s=created_at_s,
                size_bytes=sum(layer.size for layer in manifest.layers),
            )
        )
    return sorted(rows, key=lambda row: (-row.created_at_s, row.name, row.tag))


def read_manifest(engine: Engine, descriptor: Descriptor) -> Manifest:
    """Return the manifest behind a descriptor, verified; of an index the one for this machine, else its first."""
    return parse_manifest(engine.store.blobs.read(choose_manifest(engine.store, descriptor).digest))


def find_manifest(engine: Engine, name: str, *, platform: str, code: int = 125) -> str:
    """Return the digest of the manifest that the image ``name`` has for a platform, as a person writes it.

    Raises ``NoImageError``, and ``CarboyError`` with the platforms that there are.
    """
    descriptor = resolve_image(engine, name, code=code)
    wanted = read_platform(platform)
    return str(choose_manifest(engine.store, descriptor, platform=wanted, name=name, code=code).digest)


def read_config(engine: Engine, descriptor: Descriptor) -> ImageConfig:
    """Return the configuration of the image behind a manifest's descriptor, verified."""
    return parse_config(engine.store.blobs.read(read_manifest(engine, descriptor).config.digest))


def resolve_image(engine: Engine, name: str, *, code: int = 1) -> Descriptor:
    """Return the image called ``name``: a reference, a digest, or the first letters of a digest.

    Raises ``CarboyError`` (with ``code``) that names the nearest image when there is none, or when a short digest is ambiguous.
    """
    listed = engine.store.refs.list()
    by_id = {
        d.digest: d for _, d, _ in listed if is_short_id(name) and d.digest.hex.startswith(name.removeprefix("sha256:"))
    }
    if len(by_id) == 1:
        return next(iter(by_id.values()))
    if len(by_id) > 1:
        raise CarboyError(f"{name!r} is the start of {len(by_id)} digests", hint="write more letters of it", code=code)
    unnamed = _find_unnamed(engine, name)
    if unnamed is not None:
        return unnamed
    reference = Reference.parse(name)
    descriptor = engine.store.refs.get(str(reference))
    if descriptor is None and reference.digest is not None:
        # With a digest the tag is for the reader; an image that was pulled by one has that name alone.
        descriptor = engine.store.refs.get(str(replace(reference, tag=None)))
    if descriptor is not None:
        return descriptor
    from difflib import get_close_matches

    known = [Reference.parse(n).familiar for n, _, _ in listed]
    near = get_close_matches(reference.familiar, known, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "`carboy images` lists what there is; `carboy build FOLDER -t NAME` makes one"
    )
    raise NoImageError(f"there is no image {reference.familiar} here", hint=hint, code=code)


def _find_unnamed(engine: Engine, name: str) -> Descriptor | None:
    """Return the image with this whole digest ("sha256:..."), which need not have a name."""
    if not name.startswith("sha256:") or len(name) != len("sha256:") + 64 or not is_short_id(name):
        return None
    digest = Digest.parse(name)
    try:
        data = engine.store.blobs.read(digest)
        several = is_index(data)
        if several:
            parse_index(data)
        else:
            parse_manifest(data)
    except CarboyError:
        return None
    media_type = mediatypes.INDEX if several else mediatypes.MANIFEST
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def is_short_id(name: str) -> bool:
    """Return whether ``name`` can be a digest, or its first letters."""
    text = name.removeprefix("sha256:")
    return len(text) >= 6 and all(c in "0123456789abcdef" for c in text)


def parse_new_name(name: str) -> Reference:
    """Return a name that an image is to get. Raises ``CarboyError`` for what is none, (2) for one that holds a digest."""
    reference = Reference.parse(name)
    if reference.digest is not None:
        raise CarboyError("a new name cannot hold a digest", hint="write NAME[:TAG]", code=2)
    return reference


def tag_image(engine: Engine, name: str, new_name: str) -> None:
    """Give the image ``name`` another name; a name that is in use moves."""
    reference = parse_new_name(new_name)
    descriptor = resolve_image(engine, name)
    engine.store.refs.set(str(reference), descriptor)
    write_event(engine.home.path, "image", "tag", id=str(descriptor.digest), name=reference.familiar)


def remove_image(engine: Engine, name: str, *, force: bool = False) -> list[str]:
    """Remove a name (or, for a digest, all names of it) and return the names removed; data goes with `system prune`.

    The last name of an image that containers use goes with ``force`` only; the containers keep their layers either way.
    Raises ``CarboyError`` (1).
    """
    descriptor = resolve_image(engine, name)
    all_names = [n for n, d, _ in engine.store.refs.list() if d.digest == descriptor.digest]
    names = all_names
    if not is_short_id(name) or str(Reference.parse(name)) in names:
        names = [str(Reference.parse(name))]
    if not force and set(names) == set(all_names):
        _check_unused(engine, descriptor, Reference.parse(names[0]).familiar)
    for full in names:
        engine.store.refs.remove(full)
        familiar = Reference.parse(full).familiar
        write_event(engine.home.path, "image", "untag", id=str(descriptor.digest), name=familiar)
    return [Reference.parse(full).familiar for full in names]


def _check_unused(engine: Engine, descriptor: Descriptor, familiar: str) -> None:
    manifests = {str(descriptor.digest), *(str(one.digest) for one in list_manifests(engine.store, descriptor))}
    for folder, config in iter_configs(engine.home.containers):
        if config.get("manifest") not in manifests:
            continue
        container_id, name = str(config["id"]), read_name(folder)
        running = snapshot.is_running(engine.home, container_id)
        raise CarboyError(
            f"conflict: unable to remove repository reference {familiar!r} (must force) - container "
            f"{container_id[:SHORT_ID]} is using its referenced image {descriptor.digest.hex[:SHORT_ID]}",
            details=f"the container {name} {'is running' if running else 'does not run'}",
            hint=f"`carboy rm {'-f ' if running else ''}{name}` first, or `carboy rmi -f`",
        )


def inspect_image(engine: Engine, name: str) -> dict[str, Any]:
    """Return what is known of an image in the shape of ``docker image inspect`` (the fields that carboy has)."""
    import json

    descriptor = resolve_image(engine, name)
    manifest = read_manifest(engine, descriptor)
    several = list_manifests(engine.store, descriptor) if descriptor.media_type in mediatypes.INDEXES else ()
    config = json.loads(engine.store.blobs.read(manifest.config.digest))
    names = [Reference.parse(n).familiar for n, d, _ in engine.store.refs.list() if d.digest == descriptor.digest]
    return {
        "Id": str(manifest.config.digest),
        "Digest": str(descriptor.digest),
        "RepoTags": sorted(names),
        "Created": config.get("created", ""),
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os", ""),
        "Size": sum(layer.size for layer in manifest.layers),
        "Config": config.get("config", {}),
        "RootFS": {"Type": "layers", "Layers": config.get("rootfs", {}).get("diff_ids", [])},
        "History": config.get("history", []),
        "Layers": [
            {"MediaType": layer.media_type, "Digest": str(layer.digest), "Size": layer.size}
            for layer in manifest.layers
        ],
        **({"Manifests": [_describe_manifest(engine, one) for one in several]} if several else {}),
        "Attestations": _describe_attestations(engine, descriptor),
        "Referrers": _describe_referrers(engine, descriptor),
    }


def _describe_manifest(engine: Engine, descriptor: Descriptor) -> dict[str, Any]:
    """Return what an index has for one platform."""
    platform = descriptor.platform or read_platform_of(engine.store, descriptor)
    return {"Digest": str(descriptor.digest), "Platform": str(platform)}


def _describe_referrers(engine: Engine, descriptor: Descriptor) -> list[dict[str, Any]]:
    """Return what refers to an image, or to those of an index, of what is here."""
    return [
        {"ArtifactType": one.artifact_type, "Subject": str(image.digest), "Digest": str(one.digest), "Size": one.size}
        for image in list_manifests(engine.store, descriptor)
        for one in find_referrers(engine.store, image.digest).manifests
    ]


def _describe_attestations(engine: Engine, descriptor: Descriptor) -> list[dict[str, Any]]:
    """Return what is said of an image, or of the images of an index."""
    return [
        {
            "PredicateType": statement.annotations.get(mediatypes.PREDICATE_TYPE, ""),
            "Subject": str(said.image),
            "Digest": str(statement.digest),
            "Size": statement.size,
        }
        for said in list_attestations(engine.store, descriptor)
        for statement in parse_manifest(engine.store.blobs.read(said.manifest.digest)).layers
    ]
