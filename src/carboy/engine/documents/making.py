"""How an image was made, noted beside it by every build: what only the build knows, for its provenance, and its lock.

No time and nothing of the machine is in it, so that the same build notes the same. It is one row of the store's table, which
stays as long as the image; documents are made of it when somebody wants them (``referrers``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import carboy
from carboy.base.credentials import redact
from carboy.store import referrers

if TYPE_CHECKING:
    from carboy.engine.dockerfile_request import DockerfileRequest
    from carboy.environments.lockfile import LockFile
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """``frontend`` is "dockerfile" or "python"; ``version`` carboy's. ``source`` is the address of a context that is elsewhere,
    ``file`` the Dockerfile's name, ``bases`` digests of images by full name (None: made here), ``lock`` what a ``carboy.lock``
    would have.
    """

    frontend: str
    version: str
    source: str = ""
    file: str = ""
    bases: Mapping[str, str | None] = field(default_factory=dict)
    lock: str = ""


def note_dockerfile(
    store: Store, image: Digest, request: DockerfileRequest, *, bases: Mapping[str, str | None]
) -> None:
    """Note how the image of a Dockerfile was made."""
    making = Making(
        frontend="dockerfile",
        version=carboy.__version__,
        source=redact(request.context) if is_elsewhere(request.context) else "",
        file=inner_name(request),
        bases=dict(bases),
    )
    referrers.note_making(store, image, asdict(making))


def note_folder(store: Store, image: Digest, lock: LockFile) -> None:
    """Note how the image of a folder of Python or R was made; its packages are in the image, so that it is noted once."""
    if referrers.find_making(store, image) is not None:
        return
    from carboy.environments.lockfile import render_lockfile

    making = Making(frontend="python", version=carboy.__version__, lock=render_lockfile(lock))
    referrers.note_making(store, image, asdict(making))


def find_making(store: Store, image: Digest) -> Making | None:
    """Return how an image was made, None for one that was not made here."""
    found = referrers.find_making(store, image)
    return None if found is None else Making(**found)


def carry_making(store: Store, before: Descriptor, after: Descriptor) -> None:
    """Note of an image what is known of the same one in another compression."""
    if before.digest == after.digest:
        return
    from carboy.images.platforms import list_manifests

    for old, new in zip(list_manifests(store, before), list_manifests(store, after), strict=True):
        found = referrers.find_making(store, old.digest)
        if found is not None:
            referrers.note_making(store, new.digest, found)


def is_elsewhere(context: str) -> bool:
    """Return whether a build's context is no folder of this machine."""
    return bool(context) and not os.path.isdir(context)


def inner_name(request: DockerfileRequest) -> str:
    """Return the Dockerfile's path in the context, or its name alone: where that is on the machine is nobody's business."""
    if not request.file:
        return "Dockerfile"
    if is_elsewhere(request.context) and not os.path.isabs(request.file):
        return request.file
    inner = os.path.relpath(os.path.realpath(request.file), os.path.realpath(request.context or "."))
    return os.path.basename(request.file) if inner.startswith("..") else inner
