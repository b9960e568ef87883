"""Reads everything again and says what is damaged; with repair, damage and what stands on it are set aside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.oci import mediatypes
from carboy.oci.config import parse_config
from carboy.oci.digest import Digest
from carboy.oci.index import is_index, parse_index
from carboy.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.store.store import Store

_READ_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: its ``kind`` ("blob", "layer", "image", "file"), its name, what is wrong, and the outcome."""

    kind: str
    name: str
    detail: str
    repaired: bool


def check(store: Store, *, repair: bool, verify_layer: Callable[[Digest], str | None]) -> list[Problem]:
    """Return what is wrong with the store; an empty list means that every byte was read and is right.

    ``verify_layer`` says what is wrong with an unpacked layer (the store does not know what trees mean). With ``repair``,
    damaged content is removed together with the names and cache entries that need it: building again brings it back.
    """
    problems = [*_check_blobs(store, repair), *_check_layers(store, repair, verify_layer)]
    problems += _check_images(store, repair)
    if repair:
        _forget_lost(store)
    return problems


def _check_blobs(store: Store, repair: bool) -> list[Problem]:
    problems = []
    folder = f"{store.home.store}/blobs/sha256"
    for name in sorted(os.listdir(folder)):
        detail = _read_blob(store, name)
        if detail is None:
            continue
        if repair:
            os.unlink(f"{folder}/{name}")
        problems.append(Problem(kind="blob", name=name[:19], detail=detail, repaired=repair))
    return problems


def _read_blob(store: Store, name: str) -> str | None:
    try:
        digest = Digest.from_hex(name)
        with store.blobs.open(digest) as reader:
            while reader.read(_READ_BYTES):
                pass
    except CarboyError as error:
        return error.brief
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


def _check_layers(store: Store, repair: bool, verify_layer: Callable[[Digest], str | None]) -> list[Problem]:
    problems = []
    for name in store.layers.diff_ids():
        try:
            digest = Digest.from_hex(name)
            detail = verify_layer(digest)
        except CarboyError as error:
            detail = error.brief
        except (OSError, ValueError, KeyError) as error:
            detail = f"it cannot be read: {error}"
        if detail is not None:
            if repair:
                store.layers.remove(Digest.from_hex(name))
            problems.append(Problem(kind="layer", name=name[:19], detail=detail, repaired=repair))
    return problems


def _check_images(store: Store, repair: bool) -> list[Problem]:
    problems = []
    for name, descriptor, _ in store.refs.list():
        detail = _check_image(store, descriptor.digest)
        if detail is not None:
            if repair:
                store.refs.remove(name)
            problems.append(Problem(kind="image", name=name, detail=detail, repaired=repair))
    return problems


def _check_image(store: Store, digest: Digest) -> str | None:
    try:
        data = store.blobs.read(digest)
        if is_index(data):
            inner = [entry.digest for entry in parse_index(data).manifests if entry.media_type in mediatypes.MANIFESTS]
            return next(filter(None, (_check_image(store, one) for one in inner)), None)
        manifest = parse_manifest(data)
        parse_config(store.blobs.read(manifest.config.digest))
        for layer in manifest.layers:
            if store.blobs.size(layer.digest) != layer.size:
                return f"its layer {layer.digest} has another size"
    except CarboyError as error:
        return error.brief
    return None


def _forget_lost(store: Store) -> None:
    """Forget what was cached of content that is gone: a miss from now on, not damage."""
    for text in store.cache.digests():
        if not os.path.exists(store.blobs.path(Digest.parse(text))):
            store.cache.forget_digest(Digest.parse(text))
