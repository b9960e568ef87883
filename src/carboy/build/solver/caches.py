"""Caches outside of the store, for one build: opened at its beginning, asked by its steps, written at its end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.oci.reference import DEFAULT_TAG

if TYPE_CHECKING:
    from collections.abc import Collection

    from carboy.build.exchange.arguments import CacheOrigin, CacheTarget
    from carboy.build.exchange.document import CacheRecord
    from carboy.build.graph.ops import Op
    from carboy.build.graph.options import BuildOptions
    from carboy.build.solver.bases import Registries
    from carboy.build.solver.progress import OneAtATime
    from carboy.build.solver.steps import LayerSource
    from carboy.layers.batch import LayerResult
    from carboy.store.store import Store


class Caches:
    """What ``--cache-from`` and ``--cache-to`` ask for; ``sources`` are asked in their order."""

    def __init__(self, options: BuildOptions, progress: OneAtATime, registries: Registries) -> None:
        self._options = options
        self._registries = registries
        self._progress = progress
        self._lock = threading.Lock()
        self._made: list[tuple[Op, str, LayerResult]] = []
        self.sources: list[LayerSource] = []

    def open(self, store: Store) -> None:
        """Open what is read; one that cannot be read is said and left out, as BuildKit does."""
        for origin in self._options.cache_from:
            number, started_s = self._start(f"importing cache manifest from {origin.where}")
            try:
                self.sources.append(self._open(origin, store))
            except CarboyError as error:
                self._finish(number, started_s, error=f"{error.brief}: it is not used")
            else:
                self._finish(number, started_s)

    def _open(self, origin: CacheOrigin, store: Store) -> LayerSource:
        if origin.image is None:
            from carboy.build.exchange.local import LocalCache

            return LocalCache.open(origin, self._warn)
        from carboy.build.exchange.registry import RegistryCache

        repository = self._registries.open_repository(origin.image, insecure=origin.insecure)
        return RegistryCache.open(repository, origin.image.tag or DEFAULT_TAG, store, self._warn)

    def note(self, op: Op, key: str, layer: LayerResult) -> None:
        """Keep in mind what a step made, or found."""
        with self._lock:
            self._made.append((op, key, layer))

    def write(self, store: Store, chain: Collection[Op]) -> None:
        """Write the caches that are asked for; ``chain`` are the operations of the image itself. Raises ``CarboyError``."""
        for target in self._options.cache_to:
            from carboy.build.exchange.document import CacheRecord

            number, started_s = self._start(f"exporting cache to {target.where}")
            records = [
                CacheRecord(key=key, digest=layer.diff_id, size_bytes=layer.size_bytes)
                for op, key, layer in self._made
                if target.mode == "max" or op in chain
            ]
            try:
                self._write(store, target, records)
            except CarboyError as error:
                self._finish(number, started_s, error=error.brief)
                if not target.may_fail:
                    raise
            else:
                self._finish(number, started_s)

    def _write(self, store: Store, target: CacheTarget, records: list[CacheRecord]) -> None:
        if target.image is None:
            from carboy.build.exchange.local import write_cache

            write_cache(store, target, records)
            return
        from carboy.build.exchange.registry import write_registry_cache

        repository = self._registries.open_repository(target.image, insecure=target.insecure)
        write_registry_cache(store, target, records, repository, target.image.tag or DEFAULT_TAG)

    def _warn(self, text: str) -> None:
        number, started_s = self._start("importing a layer of a cache")
        self._finish(number, started_s, error=f"{text}: it is not used")

    def _start(self, title: str) -> tuple[int, float]:
        return self._progress.start(title), time.monotonic()

    def _finish(self, number: int, started_s: float, *, error: str = "") -> None:
        self._progress.finish(number, cached=False, seconds=time.monotonic() - started_s, error=error)
