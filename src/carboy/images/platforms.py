"""Images of several platforms: the manifests of an index, and the one that a platform wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.oci import mediatypes
from carboy.oci.config import parse_config
from carboy.oci.index import is_index, parse_index
from carboy.oci.manifest import parse_manifest
from carboy.oci.platform import Platform
from carboy.store.attestations import find_attestation

if TYPE_CHECKING:
    from carboy.oci.descriptor import Descriptor
    from carboy.store.attestations import Attestation
    from carboy.store.store import Store


def list_manifests(store: Store, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """Return the manifests of images behind a descriptor: those of an index, with their platforms, else itself alone.

    Attestations are left out. Raises ``CarboyError``.
    """
    data = store.blobs.read(descriptor.digest)
    if not is_index(data):
        return (descriptor,)
    return tuple(
        entry
        for entry in parse_index(data).manifests
        if entry.media_type in mediatypes.MANIFESTS
        and not entry.annotations.get(mediatypes.REFERENCE_TYPE)
        and (entry.platform is None or entry.platform.os != "unknown")
    )


def is_attestation(entry: Descriptor) -> bool:
    """Return whether an entry of an index is something said of an image, in place of one."""
    return entry.annotations.get(mediatypes.REFERENCE_TYPE) == mediatypes.ATTESTATION


def list_attestations(store: Store, descriptor: Descriptor) -> tuple[Attestation, ...]:
    """Return what is said of the image, or of those of an index. Raises ``CarboyError``."""
    found = [find_attestation(store, one.digest) for one in list_manifests(store, descriptor)]
    return tuple(one for one in found if one is not None)


def read_platform(store: Store, descriptor: Descriptor) -> Platform:
    """Return the platform of a manifest's image: its configuration says it."""
    return parse_config(store.blobs.read(parse_manifest(store.blobs.read(descriptor.digest)).config.digest)).platform


def choose_manifest(
    store: Store, descriptor: Descriptor, *, platform: Platform | None = None, name: str = "the image", code: int = 1
) -> Descriptor:
    """Return the manifest for a platform. None: this machine's, else the first; of a single image, itself.

    Raises ``CarboyError`` (``code``) that says which platforms there are.
    """
    entries = list_manifests(store, descriptor)
    wanted = platform or Platform.current()
    there = [(entry, entry.platform or read_platform(store, entry)) for entry in entries]
    fit = [entry for entry, one in there if wanted.fits(one)]
    if fit:
        return fit[0]
    if platform is None and entries:
        return entries[0]
    platforms = ", ".join(str(one) for _, one in there)
    raise CarboyError(
        f"{name} has nothing for {wanted}",
        details=f"there is: {platforms}" if platforms else "",
        hint="choose another --platform",
        code=code,
    )
