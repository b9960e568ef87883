"""A build for several platforms: one image for each, and the index that names them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.images import platforms
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.index import make_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.build.solver.progress import GraphProgress
    from carboy.build.solver.solver import GraphResult
    from carboy.store.store import Store


class Counted:
    """Passes the news of several builds on as those of one: the steps of each have numbers behind those of the one before."""

    def __init__(self, progress: GraphProgress) -> None:
        self._progress = progress
        self._before = self._newest = 0

    def go_on(self) -> None:
        """Begin with the next build."""
        self._before = self._newest

    def step_started(self, number: int, title: str) -> None:
        """Pass it on."""
        self._newest = max(self._newest, self._before + number)
        self._progress.step_started(self._before + number, title)

    def step_log(self, number: int, line: str) -> None:
        """Pass it on."""
        self._progress.step_log(self._before + number, line)

    def step_finished(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Pass it on."""
        self._progress.step_finished(self._before + number, cached=cached, seconds=seconds, error=error)


def put_index(store: Store, images: Sequence[Descriptor]) -> tuple[Descriptor, bool]:
    """Return the index of several images, durable in the store, and whether it was there; the same images, the same bytes.

    The caller holds a lease.
    """
    entries = tuple(
        Descriptor(
            media_type=one.media_type,
            digest=one.digest,
            size=one.size,
            platform=platforms.read_platform(store, one),
        )
        for one in images
    )
    index = make_index(entries)
    digest = Digest.of(index.raw)
    known = store.blobs.has(digest)
    if not known:
        store.blobs.put(index.raw)
    return Descriptor(media_type=mediatypes.INDEX, digest=digest, size=len(index.raw)), known


def combine(store: Store, results: Sequence[GraphResult]) -> GraphResult:
    """Return one result whose image is the index of all, durable in the store; its files are the first's.

    The caller holds a lease.
    """
    descriptor, known = put_index(store, [one.descriptor for one in results])
    return replace(
        results[0],
        descriptor=descriptor,
        steps=tuple(step for one in results for step in one.steps),
        cached=known and all(one.cached for one in results),
        observed=None,
    )
