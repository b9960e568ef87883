"""Caches outside of the store, for one build: opened at its beginning, asked by its steps, written at its end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from carboy.build.graph.ops import Op
    from carboy.build.graph.options import BuildOptions
    from carboy.build.solver.progress import OneAtATime
    from carboy.build.solver.steps import LayerSource
    from carboy.layers.apply import LayerResult
    from carboy.store.store import Store


class Caches:
    """What ``--cache-from`` and ``--cache-to`` ask for; ``sources`` are asked in their order."""

    def __init__(self, options: BuildOptions, progress: OneAtATime) -> None:
        self._options = options
        self._progress = progress
        self._lock = threading.Lock()
        self._made: list[tuple[Op, str, LayerResult]] = []
        self.sources: list[LayerSource] = []

    def open(self) -> None:
        """Open what is read; one that cannot be read is said and left out, as BuildKit does."""
        for origin in self._options.cache_from:
            from carboy.build.exchange.local import LocalCache

            number, started_s = self._start(f"importing cache manifest from local:{origin.folder}")
            try:
                self.sources.append(LocalCache.open(origin, self._warn))
            except CarboyError as error:
                self._finish(number, started_s, error=f"{error.brief}: it is not used")
            else:
                self._finish(number, started_s)

    def note(self, op: Op, key: str, layer: LayerResult) -> None:
        """Keep in mind what a step made, or found."""
        with self._lock:
            self._made.append((op, key, layer))

    def write(self, store: Store, chain: Collection[Op]) -> None:
        """Write the caches that are asked for; ``chain`` are the operations of the image itself. Raises ``CarboyError``."""
        for target in self._options.cache_to:
            from carboy.build.exchange.document import CacheRecord
            from carboy.build.exchange.local import write_cache

            number, started_s = self._start(f"exporting cache to local:{target.folder}")
            records = [
                CacheRecord(key=key, digest=layer.diff_id, size_bytes=layer.size_bytes)
                for op, key, layer in self._made
                if target.mode == "max" or op in chain
            ]
            try:
                write_cache(store, target, records)
            except CarboyError as error:
                self._finish(number, started_s, error=error.brief)
                if not target.may_fail:
                    raise
            else:
                self._finish(number, started_s)

    def _warn(self, text: str) -> None:
        number, started_s = self._start("importing a layer of a cache")
        self._finish(number, started_s, error=f"{text}: it is not used")

    def _start(self, title: str) -> tuple[int, float]:
        return self._progress.start(title), time.monotonic()

    def _finish(self, number: int, started_s: float, *, error: str = "") -> None:
        self._progress.finish(number, cached=False, seconds=time.monotonic() - started_s, error=error)
