"""Layers from a repository, and of those that are compressed in pieces only what no blob of the store has.

The table of a layer's pieces (``layers.pieces``) is fetched first, by its place, and compared with the tables of local blobs.
What both have is copied here, compressed as it is; the rest comes as parts of the blob. Nothing of that is believed: a piece that
is copied has to be what the table says, and the whole has to have the digest of the blob. Whatever goes wrong on the way, the
blob is fetched as any other.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, NamedTuple

from carboy.errors import CarboyError
from carboy.layers.pieces import ANNOTATION, TAIL_BYTES, parse_annotation, parse_table, parse_tail, prove
from carboy.store.errors import MissingBlobError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from carboy.layers.pieces import Piece
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.remote.repository import Repository
    from carboy.store.blobs import BlobStore

# What lies between two parts that are missing comes with them when it is less: a request costs as long as that takes.
_MIN_COPIED_BYTES = 2**17
# A blob of which more than this is missing comes in one piece.
_WORTHWHILE = 0.9
# No blob that is smaller was compressed in pieces.
_MIN_BLOB_BYTES = 2**12


class Place(NamedTuple):
    """Where the bytes of a piece are: in a local blob, from ``start``."""

    blob: Digest
    start: int


class LocalTable(NamedTuple):
    """A local blob that ends with a table of so many bytes."""

    blob: Digest
    blob_size: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Bytes of a blob, from ``start`` to before ``end``: a ``piece`` that is at a ``place`` here, or a part to be fetched."""

    start: int
    end: int
    piece: Piece | None = None
    place: Place | None = None

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start


def plan_assembly(pieces: Iterable[Piece], places: Mapping[Piece, Place]) -> tuple[Step, ...]:
    """Return how a blob is put together, in order; parts to be fetched are joined. Pure."""
    steps, at = [], 0
    for piece in pieces:
        place = places.get(piece)
        steps.append(Step(start=at, end=at + piece.size, piece=piece if place is not None else None, place=place))
        at += piece.size
    runs = _group(steps)
    for number in range(1, len(runs) - 1):
        run = runs[number]
        if run[0].place is not None and run[-1].end - run[0].start < _MIN_COPIED_BYTES:
            runs[number] = [Step(start=run[0].start, end=run[-1].end)]
    planned: list[Step] = []
    for run in _group([*chain(*runs)]):
        planned += run if run[0].place is not None else [Step(start=run[0].start, end=run[-1].end)]
    return tuple(planned)


def _group(steps: Sequence[Step]) -> list[list[Step]]:
    """Return runs of steps that are all copied, or all fetched."""
    return [list(run) for _, run in groupby(steps, key=lambda step: step.place is None)]


def find_tables(blobs: BlobStore) -> tuple[LocalTable, ...]:
    """Return which blobs of a store end with a table, as far as their last bytes say."""
    found = []
    for digest in blobs.digests():
        try:
            size = blobs.size(digest)
            if size < _MIN_BLOB_BYTES:
                continue
            tail = blobs.read_part(digest, start=size - TAIL_BYTES, size=TAIL_BYTES)
        except MissingBlobError:
            continue  # clean-up was faster
        if table := parse_tail(tail, blob_size=size):
            found.append(LocalTable(digest, size, table))
    return tuple(found)


def find_places(blobs: BlobStore, tables: Iterable[LocalTable], wanted: Collection[Piece]) -> dict[Piece, Place]:
    """Return where pieces that are wanted are, by the tables of local blobs. Those count as just used."""
    found: dict[Piece, Place] = {}
    for table in tables:
        if len(found) == len(wanted):
            break
        try:
            data = blobs.read_part(table.blob, start=table.blob_size - table.size, size=table.size)
            pieces = parse_table(data, blob_size=table.blob_size)
        except CarboyError:
            continue  # it only ended as if it had one, or is gone
        at, before = 0, len(found)
        for piece in pieces:
            if piece in wanted and piece not in found:
                found[piece] = Place(table.blob, at)
            at += piece.size
        if len(found) > before:
            blobs.has(table.blob)
    return found


class LayerSource:
    """Where the layers of an image come from: their repository, and what the store has already; for any thread."""

    def __init__(self, repository: Repository, blobs: BlobStore) -> None:
        self._repository = repository
        self._blobs = blobs
        self._lock = threading.Lock()
        self._tables: tuple[LocalTable, ...] | None = None

    def fetch_layer(self, layer: Descriptor, *, on_bytes: Callable[[int], None] = lambda _: None) -> int:
        """Put the blob of a layer into the store, and return how many of its bytes came from the repository.

        The caller holds a lease. ``on_bytes`` hears of fetched and of copied bytes. Raises as ``Repository.fetch_blob`` does.
        """
        size = parse_annotation(layer.annotations.get(ANNOTATION, ""), blob_size=layer.size)
        if size and (tables := self._find_tables()):
            try:
                came = self._assemble(layer, size, tables, on_bytes)
            except (CarboyError, OSError):
                came = None  # what is really wrong shows again, in the plain way
            if came is not None:
                return came
        self._repository.fetch_blob(layer, self._blobs, on_bytes=on_bytes)
        return layer.size

    def _find_tables(self) -> tuple[LocalTable, ...]:
        with self._lock:
            if self._tables is None:
                self._tables = find_tables(self._blobs)
            return self._tables

    def _assemble(
        self, layer: Descriptor, size: int, tables: tuple[LocalTable, ...], on_bytes: Callable[[int], None]
    ) -> int | None:
        """Put a blob together; None where that is not worthwhile. Raises ``CarboyError`` when it does not become the blob."""
        table = bytearray()
        self._repository.fetch_part(layer, table.extend, start=layer.size - size, end=layer.size)
        pieces = parse_table(bytes(table), blob_size=layer.size)
        steps = plan_assembly(pieces, find_places(self._blobs, tables, frozenset(pieces)))
        if sum(step.size for step in steps if step.place is None) > _WORTHWHILE * layer.size:
            return None
        came = size
        with self._blobs.writer() as writer:

            def write(data: bytes) -> None:
                writer.write(data)
                on_bytes(len(data))

            try:
                for step in steps:
                    data = self._copy(step)
                    if data is not None:
                        write(data)
                    else:
                        self._repository.fetch_part(layer, write, start=step.start, end=step.end)
                        came += step.size
                write(bytes(table))
                writer.commit(expected=layer.digest, size=layer.size)
            except BaseException:
                on_bytes(-writer.size)
                raise
        return came

    def _copy(self, step: Step) -> bytes | None:
        """Return the bytes of a step that are here, None where they are not, or are damaged."""
        if step.piece is None or step.place is None:
            return None
        try:
            data = self._blobs.read_part(step.place.blob, start=step.place.start, size=step.size)
        except (MissingBlobError, OSError):
            return None
        return data if prove(data) == step.piece.proof else None
