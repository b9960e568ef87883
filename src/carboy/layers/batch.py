"""Trees become layers, several at a time: written as canonical tars, and published together.

Each waits for the disk if it is alone, which takes longer than all else where many small layers are made. So those
of one step are written first, by as many threads as there are; the disk is waited for once, and only then do they get names.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.layers.tarwrite import TreeOptions, write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from carboy.oci.digest import Digest
    from carboy.store.blobs import BlobWriter
    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """A layer that was made here: its digest is also its diff id; ``size_bytes`` is the tar's."""

    diff_id: Digest
    size_bytes: int


class LayerBatch:
    """Layers that are published together, or not at all: leaving the block before that leaves nothing behind."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: list[tuple[BlobWriter, Digest, str]] = []
        self._open = ExitStack()

    def __enter__(self) -> LayerBatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def ingest_dir(self) -> str:
        """Return a new folder with an empty ``tree/`` in it, which is there until the block ends, or its layer is published."""
        return self._open.enter_context(self._store.layers.ingest_dir())

    def write(
        self, ingest: str, *, mtime_cap: int, owners: Mapping[bytes, tuple[int, int]] | None = None
    ) -> LayerResult:
        """Write the finished ``ingest/tree`` as a canonical tar, for :meth:`publish`; several threads may do so at once.

        The tree's times are set to what the tar says. ``owners`` are those of what root does not own, for a store of the kind
        "single": all files have one owner on its disk. Elsewhere the disk says it. Raises ``OSError``, ``LayerError``.
        """
        owners = (owners or {}) if self._store.kind == "single" else None
        writer = self._open.enter_context(self._store.blobs.writer())
        entries = write_tree(f"{ingest}/tree", writer, TreeOptions(mtime_cap=mtime_cap, owners=owners, settle=True))
        noted = {os.fsdecode(name): list(ids) for name, ids in (owners or {}).items()}
        # The latest time is what whiteouts have, which are no files with a time of their own.
        meta = {
            "size_bytes": writer.size,
            "entries": entries,
            "canonical": True,
            "owners": noted,
            "mtime_cap": mtime_cap,
        }
        self._store.layers.note(ingest, meta)
        diff_id = writer.digest
        self._written.append((writer, diff_id, ingest))
        return LayerResult(diff_id=diff_id, size_bytes=writer.size)

    def publish(self) -> None:
        """Make all that was written layers of the store. Durable when this returns."""
        if not self._written:
            return
        layers = self._store.layers
        device = layers.sync(self._written[0][2])
        for writer, _, _ in self._written:
            if os.fstat(writer.fd).st_dev != device:
                os.fsync(writer.fd)
            writer.commit(sync=False)
        self._store.blobs.sync()
        layers.publish_synced([(diff_id, ingest) for _, diff_id, ingest in self._written])
        self._written.clear()
