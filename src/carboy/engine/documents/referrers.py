"""What goes with an image wherever it goes: provenance, lock, two SBOMs and licences, as artifacts that refer to it.

The image's own digest does not change by them. They are made when they are asked for or when the image leaves, of what its build
noted (``making``) and of its files; the same image gives the same ones on every machine.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import carboy
from carboy.attest import slsa
from carboy.attest.kept import Document, keep_documents
from carboy.attest.packages import Package, System, make_purl, quote
from carboy.attest.slsa import BuildFacts
from carboy.attest.statement import STATEMENT_1, make_statement
from carboy.base.canonical import digest_json, encode_json
from carboy.bootstrap.snapshot import list_texts
from carboy.engine.documents.inventory import scan_image
from carboy.engine.documents.making import Making, find_making
from carboy.engine.documents.recorded import read_archive
from carboy.engine.images import read_config, resolve_image
from carboy.engine.platforms import read_platform
from carboy.environments.lockfile import ARCHIVE_LABEL, parse_lockfile
from carboy.errors import CarboyError
from carboy.images.platforms import choose_manifest, list_manifests
from carboy.oci import mediatypes
from carboy.oci.artifact import parse_artifact
from carboy.oci.platform import Platform
from carboy.store.referrers import Referrers, find_referrers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.engine.context import Engine
    from carboy.environments.lockfile import LockFile
    from carboy.images.archive import SavedImage
    from carboy.oci.config import ImageConfig
    from carboy.oci.descriptor import Descriptor
    from carboy.store.store import Store

FORMAT = 1
"""Changed whenever the same image would get other documents."""
MAX_DOCUMENT_BYTES = 64 * 2**20


def collect_referrers(engine: Engine, image: Descriptor, ready: Descriptor) -> tuple[tuple[Descriptor, Referrers], ...]:
    """Return what goes along with an image of the store, which leaves as ``ready`` (in another compression, or itself).

    For each of its platforms, the manifest that leaves and its artifacts, which are in the store then; those that an image from
    elsewhere came with, as they are. The caller holds a lease. Raises ``CarboyError``.
    """
    store = engine.store
    pairs = zip(list_manifests(store, image), list_manifests(store, ready), strict=True)
    return tuple((new, _find(engine, old, new)) for old, new in pairs)


def add_documents(engine: Engine, image: SavedImage, *, built: Descriptor) -> SavedImage:
    """Return an image that leaves with what goes along with it; ``built`` is the same one as the store has it. See above."""
    found = collect_referrers(engine, built, image.descriptor)
    return replace(image, referrers=tuple(one for _, referrers in found for one in referrers.manifests))


def _find(engine: Engine, image: Descriptor, ready: Descriptor) -> Referrers:
    store = engine.store
    making = find_making(store, image.digest)
    there = find_referrers(store, ready.digest)
    if making is None:
        return there
    config = read_config(engine, image)
    provenance = make_provenance(making, config)
    source = digest_json([FORMAT, carboy.__version__, provenance])
    if there.source == source:
        return there
    inventory = scan_image(engine, image, name=str(ready.digest), leaves_as=ready.digest)
    statement = make_statement(
        slsa.PREDICATE,
        provenance,
        image=ready.digest,
        names=(),
        platform=str(config.platform),
        kind=STATEMENT_1,
    )
    documents = [
        Document(media_type=mediatypes.IN_TOTO, data=statement, predicate_type=slsa.PREDICATE),
        Document(media_type=mediatypes.SPDX, data=encode_json(inventory.as_spdx())),
        Document(media_type=mediatypes.CYCLONEDX, data=encode_json(inventory.as_cyclonedx())),
        Document(media_type=mediatypes.LICENCES, data=encode_json(inventory.as_licences())),
    ]
    if making.lock:
        documents.append(Document(media_type=mediatypes.LOCK, data=making.lock.encode()))
    return keep_documents(store, ready, documents, created=config.created, source=source)


def make_provenance(making: Making, config: ImageConfig) -> dict[str, Any]:
    """Return the predicate of SLSA's provenance 1 for an image with this configuration. Pure."""
    facts = BuildFacts(
        frontend=making.frontend,
        platform=str(Platform.current()),
        source=making.source,
        file=making.file,
        bases=making.bases,
        materials=tuple(_list_materials(making, config)),
    )
    return slsa.make_provenance(facts, mode="min", platform=str(config.platform), version=making.version)


def _list_materials(making: Making, config: ImageConfig) -> Iterator[tuple[str, str]]:
    """Yield what an image of a folder was made of: its archive's signed state, its lock, and each package of that."""
    archive = read_archive((config.config.Labels or {}).get(ARCHIVE_LABEL, ""))
    distribution = str(archive.get("distribution", ""))
    for name, sha in list_texts(archive):
        yield f"urn:carboy:archive:{quote(distribution)}:{quote(name)}", sha
    if making.lock:
        yield "urn:carboy:lock", sha256(making.lock.encode()).hexdigest()
        yield from _list_packages(parse_lockfile(making.lock), System(id=distribution))


def _list_packages(lock: LockFile, system: System) -> Iterator[tuple[str, str]]:
    for kind, lines in (("deb", (*lock.base_packages, *lock.r)), ("cran", lock.r_sources), ("conda", lock.conda)):
        for line in lines:
            name, version, *_, mark = line.split(" ")
            package = Package(kind=kind, name=name, version=version)
            yield make_purl(package, system), mark.removeprefix("sha256:")
    for line in lock.python:
        pin, *hashes = line.split(" --hash=sha256:")
        name, _, version = pin.partition("==")
        if version:
            # Of several files (each processor and Python has its own) none is named by its hash: the lock has all.
            uri = make_purl(Package(kind="pypi", name=name, version=version), system)
            yield uri, hashes[0] if len(hashes) == 1 else ""


def read_document(engine: Engine, name: str, media_type: str, *, platform: str = "") -> bytes:
    """Return what goes along with the image ``name`` under a media type of ``mediatypes.DOCUMENTS``. Raises ``CarboyError``."""
    store = engine.store
    with store.lease("documents"):
        wanted = read_platform(platform) if platform else None
        image = choose_manifest(store, resolve_image(engine, name), platform=wanted, name=name)
        for one in _find(engine, image, image).manifests:
            if one.artifact_type == media_type:
                return _read_layer(store, one)
    is_lock = media_type == mediatypes.LOCK
    raise CarboyError(
        f"nothing here says {'with which packages' if is_lock else 'how'} {name} was made",
        details="an image of a Dockerfile has no lock" if is_lock else "",
        hint="it is known where it was built, and where it came to from there together with its documents",
    )


def _read_layer(store: Store, artifact: Descriptor) -> bytes:
    layer = parse_artifact(store.blobs.read(artifact.digest)).layers[0]
    return store.blobs.read(layer.digest, limit=MAX_DOCUMENT_BYTES)
