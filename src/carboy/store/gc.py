"""Clean-up: mark what is named, cached or in use, remove the rest. Never removes what a lease may stand on."""

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
from carboy.store.attestations import STAYING, find_attestation, forget_attestations
from carboy.store.referrers import find_referrers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What clean-up removed, or would remove: sizes in bytes of blobs and unpacked layers together."""

    freed_bytes: int
    blobs: int
    layers: int


def mark(store: Store, *, keep_cache: bool, in_use: Iterable[str] = (), without: Collection[str] = ()) -> set[str]:
    """Return the digests (of blobs and of unpacked layers) that must stay; entries of the cache ``without`` keep nothing."""
    roots = {str(descriptor.digest) for _, descriptor, _ in store.refs.list()}
    roots |= set(in_use)
    if keep_cache:
        roots |= store.cache.digests(without=without)
    marked = set(roots)
    for root in roots:
        marked |= _reachable(store, Digest.parse(root))
    for image in list(marked):
        said = find_attestation(store, Digest.parse(image))
        if said is not None:
            marked |= {str(said.manifest.digest)} | _reachable(store, said.manifest.digest)
        for one in find_referrers(store, Digest.parse(image)).manifests:
            marked |= {str(one.digest)} | _reachable(store, one.digest)
    return marked


def _reachable(store: Store, digest: Digest) -> set[str]:
    """Return what an image needs; of an index all its images. A digest that is no readable manifest needs nothing else."""
    try:
        data = store.blobs.read(digest)
        if is_index(data):
            # An index names manifests only: no index in an index, so that this ends.
            inner = [entry.digest for entry in parse_index(data).manifests if entry.media_type in mediatypes.MANIFESTS]
            return {str(one) for one in inner}.union(*(_reachable(store, one) for one in inner))
        manifest = parse_manifest(data)
    except CarboyError:
        return set()
    needed = {str(manifest.config.digest), *(str(layer.digest) for layer in manifest.layers)}
    try:
        return needed.union(map(str, parse_config(store.blobs.read(manifest.config.digest)).diff_ids))
    except CarboyError:
        return needed


def collect(store: Store, *, keep_cache: bool, dry_run: bool = False, in_use: Iterable[str] = ()) -> Report:
    """Remove what nothing needs and return what went; with ``dry_run`` nothing is touched.

    ``in_use`` are the diff ids of running containers. Content that was written or used since the oldest live lease began
    stays, whatever names it.
    """
    if not keep_cache and not dry_run:
        store.cache.clear(but=STAYING)  # these go with their image
    used = set(in_use)
    marked = mark(store, keep_cache=keep_cache, in_use=used)
    if not keep_cache and not dry_run:
        forget_attestations(store, but=marked)
    freed = blobs = layers = 0
    for path, name in [*_blob_paths(store), *_layer_paths(store)]:
        if f"sha256:{name}" in marked:
            continue
        size = _size(path)
        with store.claims.gate(exclusive=True):
            if not dry_run and not _remove(store, path):
                continue
        freed += size
        blobs += os.path.dirname(path).endswith("/blobs/sha256")
        layers += not os.path.dirname(path).endswith("/blobs/sha256")
    if not dry_run:
        from carboy.store.trees import recover

        recover(store.home)
    return Report(freed_bytes=freed, blobs=blobs, layers=layers)


def discard(store: Store, digests: Collection[str], *, without: Collection[str], in_use: Iterable[str] = ()) -> int:
    """Remove the content ``digests`` where nothing but the entries ``without`` of the cache needs it; return the bytes freed.

    The entries themselves stay: what they refer to is gone then, which their readers find out. Leases count as for
    :func:`collect`.
    """
    marked = mark(store, keep_cache=True, in_use=in_use, without=without)
    freed = 0
    for path, name in [*_blob_paths(store), *_layer_paths(store)]:
        if f"sha256:{name}" not in digests or f"sha256:{name}" in marked:
            continue
        size = _size(path)
        with store.claims.gate(exclusive=True):
            freed += size if _remove(store, path) else 0
    from carboy.store.trees import recover

    recover(store.home)
    return freed


def _blob_paths(store: Store) -> list[tuple[str, str]]:
    return [(store.blobs.path(digest), digest.hex) for digest in store.blobs.digests()]


def _layer_paths(store: Store) -> list[tuple[str, str]]:
    root = store.home.layers
    return [
        (f"{root}/{kind}/{name}", name)
        for kind in sorted(os.listdir(root))
        for name in sorted(os.listdir(f"{root}/{kind}"))
    ]


def _remove(store: Store, path: str) -> bool:
    """Take a candidate out of sight unless a lease may stand on it; the caller holds the gate."""
    oldest_s = store.claims.oldest_lease_s()
    try:
        if oldest_s is not None and os.stat(path).st_mtime >= oldest_s:
            return False
        os.rename(path, f"{store.home.trash}/{os.urandom(12).hex()}")
    except FileNotFoundError:
        return False
    return True


def _size(path: str) -> int:
    if os.path.isfile(path):
        return os.stat(path).st_blocks * 512
    return sum(os.lstat(f"{folder}/{name}").st_blocks * 512 for folder, _, files in os.walk(path) for name in files)
