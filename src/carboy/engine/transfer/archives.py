"""``save`` and ``load``: images to an archive, and an archive to images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.containers.events import write_event
from carboy.engine.images import is_short_id, resolve_image
from carboy.errors import CarboyError
from carboy.images.archive import SavedImage, write_archive
from carboy.images.platforms import list_attestations
from carboy.images.unarchive import read_archive
from carboy.layers.errors import LayerError
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError, InvalidReferenceError
from carboy.oci.reference import Reference
from carboy.store.errors import CorruptBlobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.engine.context import Engine
    from carboy.images.unarchive import LoadedImage
    from carboy.layers.tarread import Readable
    from carboy.layers.tarwrite import Writable
    from carboy.oci.digest import Digest

_DAMAGE = (LayerError, InvalidDocumentError, InvalidDigestError, InvalidReferenceError, CorruptBlobError)


def choose_images(engine: Engine, names: Sequence[str]) -> list[SavedImage]:
    """Return the images called ``names``, each once, with the names by which they were asked for.

    An image asked for by digest has no name in the archive. Raises ``CarboyError`` for one that is not there.
    """
    found: dict[Digest, SavedImage] = {}
    for text in names:
        descriptor = resolve_image(engine, text)
        earlier = found.get(descriptor.digest, SavedImage(descriptor=descriptor, names=()))
        name = _name(engine, text)
        more = (name,) if name is not None and name not in earlier.names else ()
        found[descriptor.digest] = SavedImage(
            descriptor=descriptor,
            names=(*earlier.names, *more),
            attestations=list_attestations(engine.store, descriptor),
        )
    return list(found.values())


def _name(engine: Engine, text: str) -> Reference | None:
    """Return the name that ``text`` is, None where it found an image by its digest."""
    if text.startswith("sha256:"):
        return None
    name = Reference.parse(text)
    if is_short_id(text) and engine.store.refs.get(str(name)) is None:
        return None
    return name if name.digest is None else None


def save_images(engine: Engine, images: Sequence[SavedImage], out: Writable, *, documents: bool = True) -> None:
    """Write images as an archive that carboy, Docker, podman and skopeo load, with their ``documents`` (``engine.documents``).

    Raises ``CarboyError``, ``OSError``.
    """
    with engine.store.lease("save"):
        if documents:
            from carboy.engine.documents.referrers import add_documents

            images = [add_documents(engine, image, built=image.descriptor) for image in images]
        write_archive(engine.store, images, out)
    for image in images:
        for name in image.names:
            write_event(engine.home.path, "image", "save", id=str(image.descriptor.digest), name=name.familiar)


def load_images(engine: Engine, stream: Readable) -> list[LoadedImage]:
    """Put the images of an archive into the store, by the names that they have there, and return them.

    The archive is a ``docker save`` of any version or an OCI layout as a tar, compressed or not. All names are given when all
    images are there, or none. Raises ``CarboyError``.
    """
    with engine.store.lease("load"), translate_os_errors("load the archive"):
        try:
            found = read_archive(engine.store, stream, tier_chown=engine.tier.name != "single")
        except _DAMAGE as error:
            details = "\n".join(text for text in (error.brief, error.details) if text)
            hint = error.hint or "`carboy save`, `docker save` and `skopeo copy` make archives of images"
            raise CarboyError("what was given is no archive of images", details=details, hint=hint) from error
        for image in found:
            for name in image.names:
                engine.store.refs.set(str(name), image.descriptor)
    for image in found:
        for text in [name.familiar for name in image.names] or [""]:
            write_event(engine.home.path, "image", "load", id=str(image.descriptor.digest), name=text)
    return found
