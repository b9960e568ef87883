"""Images whose layers are compressed otherwise: for archives and registries. The store itself keeps layers as they were made.

The same layer gives the same bytes on every machine: zlib's deflate and zstd's single thread, without times and names.
(isal's deflate is faster, but what it writes depends on the processor.) Large ones are compressed piece by piece
(``layers.pieces``), so that whoever has an earlier one fetches what changed.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import msgspec

from carboy.layers.borders import iter_pieces
from carboy.layers.compression import open_decompressed
from carboy.layers.errors import LayerError
from carboy.layers.pieces import ANNOTATION, Piece, make_table, prove
from carboy.oci import mediatypes
from carboy.oci.config import parse_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.index import is_index, make_index, parse_index
from carboy.oci.manifest import make_manifest, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from carboy.images.output.request import Compression
    from carboy.layers.tarread import Readable
    from carboy.oci.index import Index
    from carboy.store.blobs import BlobWriter
    from carboy.store.store import Store

TYPES = {"uncompressed": mediatypes.LAYER_TAR, "gzip": mediatypes.LAYER_GZIP, "zstd": mediatypes.LAYER_ZSTD}
# zlib's 6 takes half as long again as 4, and with programs and libraries more than twice as long, for 1 to 3 % fewer bytes.
USUAL_LEVELS = {"gzip": 4, "zstd": 3}
_PLAIN = frozenset({mediatypes.LAYER_TAR, mediatypes.DOCKER_LAYER_TAR})
_KINDS = {
    mediatypes.LAYER_TAR: "uncompressed",
    mediatypes.DOCKER_LAYER_TAR: "uncompressed",
    mediatypes.LAYER_GZIP: "gzip",
    mediatypes.DOCKER_LAYER_GZIP: "gzip",
    mediatypes.LAYER_ZSTD: "zstd",
}
_CHUNK_BYTES = 2**20
# Tars of this size are compressed in pieces. What is smaller travels as fast as its table and two pieces of it would.
MIN_PIECED_BYTES = 16 * 2**20
# So many pieces of a layer are in memory, or on as many processors.
_PIECES_AHEAD = 8


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Nothing:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compress_image(store: Store, descriptor: Descriptor, compression: Compression) -> Descriptor:
    """Return an image with the same configuration whose layers are compressed as asked, in the store; durable.

    The caller holds a lease. It is the same image where nothing is to be done. Raises ``LayerError``, ``MissingBlobError``
    and ``CorruptBlobError``.
    """
    if not compression.kind:
        return descriptor
    data = store.blobs.read(descriptor.digest)
    if is_index(data):
        return _compress_all(store, descriptor, parse_index(data), compression)
    manifest = parse_manifest(data)
    config = parse_config(store.blobs.read(manifest.config.digest))
    layers = compress_layers(store, tuple(zip(manifest.layers, config.diff_ids, strict=True)), compression)
    if layers == manifest.layers:
        return descriptor
    about = msgspec.structs.replace(manifest.config, media_type=mediatypes.CONFIG)
    made = make_manifest(config=about, layers=layers, annotations=manifest.annotations)
    return Descriptor(media_type=mediatypes.MANIFEST, digest=store.blobs.put(made.raw), size=len(made.raw))


def _compress_all(store: Store, descriptor: Descriptor, index: Index, compression: Compression) -> Descriptor:
    """Return the index of the images that :func:`compress_image` makes of those of an index."""
    made = []
    for one in index.manifests:
        found = compress_image(store, one, compression) if one.media_type in mediatypes.MANIFESTS else one
        made.append(msgspec.structs.replace(one, media_type=found.media_type, digest=found.digest, size=found.size))
    if tuple(made) == index.manifests:
        return descriptor
    new = make_index(tuple(made))
    return Descriptor(media_type=mediatypes.INDEX, digest=store.blobs.put(new.raw), size=len(new.raw))


def compress_layers(
    store: Store, layers: Sequence[tuple[Descriptor, Digest]], compression: Compression
) -> tuple[Descriptor, ...]:
    """Return layers in the compression asked for: found again, or made, as many at once as there are processors.

    The cache is read and written by this thread alone: a connection of SQLite's is one thread's.
    """
    kind = compression.kind
    level = compression.level if compression.level is not None else USUAL_LEVELS.get(kind, 0)
    done: dict[Digest, Descriptor] = {}
    missing: dict[Digest, tuple[Descriptor, Digest]] = {}
    for layer, diff_id in layers:
        is_plain = layer.media_type in _PLAIN
        if _KINDS.get(layer.media_type) == kind or not (is_plain or compression.force):
            done[layer.digest] = layer
        elif (known := _find(store, kind, level, diff_id)) is not None:
            done[layer.digest] = known
        else:
            missing[layer.digest] = layer, diff_id

    if missing:
        count = os.cpu_count() or 1
        with ThreadPoolExecutor(count, "compress") as pool, ThreadPoolExecutor(count, "pieces") as pieces:

            def make(pair: tuple[Descriptor, Digest]) -> Descriptor:
                return _make(store, *pair, packer=_Packer(kind, level, pieces))

            for (layer, diff_id), made in zip(missing.values(), pool.map(make, missing.values()), strict=True):
                value = {"digest": str(made.digest), "size": made.size, "annotations": made.annotations}
                store.cache.put(_key(kind, level, diff_id), "compressed", value, [made.digest])
                done[layer.digest] = made
    return tuple(done[layer.digest] for layer, _ in layers)


def _key(kind: str, level: int, diff_id: Digest) -> str:
    return f"compressed:pieces:{kind}:{level}:{diff_id}"


def _find(store: Store, kind: str, level: int, diff_id: Digest) -> Descriptor | None:
    entry = store.cache.get(_key(kind, level, diff_id))
    if entry is None:
        return None
    value = entry.value
    known = Descriptor(
        media_type=TYPES[kind],
        digest=Digest.parse(value["digest"]),
        size=value["size"],
        annotations=value["annotations"],
    )
    return known if store.blobs.has(known.digest) else None


def _make(store: Store, layer: Descriptor, diff_id: Digest, *, packer: _Packer) -> Descriptor:
    seen = hashlib.sha256()
    with store.blobs.open(layer.digest) as blob, store.blobs.writer() as writer:
        table = _compress(_iter_chunks(open_decompressed(blob), seen.update), writer, packer)
        while blob.read(_CHUNK_BYTES):
            pass  # to the verified end
        if seen.hexdigest() != diff_id.hex:
            raise LayerError("the layer is not the one that the image names", details=f"the image says {diff_id}")
        about = {ANNOTATION: str(len(table))} if table else {}
        return Descriptor(media_type=TYPES[packer.kind], digest=writer.commit(), size=writer.size, annotations=about)


def _iter_chunks(stream: Readable, see: Callable[[bytes], object]) -> Iterator[bytes]:
    while data := stream.read(_CHUNK_BYTES):
        see(data)
        yield data


def _compress(chunks: Iterator[bytes], writer: BlobWriter, packer: _Packer) -> bytes:
    """Write a tar compressed, large ones in pieces, and return the table of those, b"" without any."""
    head, size = [], 0
    for chunk in chunks:
        head.append(chunk)
        size += len(chunk)
        if size >= MIN_PIECED_BYTES:
            break
    if packer.kind != "uncompressed" and size >= MIN_PIECED_BYTES:
        return _write_pieces(chain(head, chunks), writer, packer)
    compressor = packer.open()
    for chunk in chain(head, chunks):
        writer.write(compressor.compress(chunk))
    writer.write(compressor.flush())
    return b""


def _write_pieces(chunks: Iterable[bytes], writer: BlobWriter, packer: _Packer) -> bytes:
    pieces = []
    for packed in packer.pack_all(iter_pieces(chunks)):
        writer.write(packed)
        pieces.append(Piece(prove(packed), len(packed)))
    table = make_table(pieces, kind=packer.kind)
    writer.write(table)
    return table


class _Packer:
    """Compresses in one way; pieces, which need nothing of each other, several at once."""

    def __init__(self, kind: str, level: int, pool: ThreadPoolExecutor) -> None:
        self.kind = kind
        self._level = level
        self._pool = pool

    def open(self) -> _Compressor:
        """Return a compressor for one stream."""
        return _open(self.kind, self._level)

    def pack_all(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield a whole stream for each piece, in order."""
        waiting: deque[Future[bytes]] = deque()
        for piece in pieces:
            waiting.append(self._pool.submit(self._pack, piece))
            if len(waiting) == _PIECES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _pack(self, piece: bytes) -> bytes:
        if self.kind == "zstd":
            import zstandard

            # At once: with the size known, small pieces get smaller tables.
            return zstandard.ZstdCompressor(level=self._level).compress(piece)
        compressor = self.open()
        return compressor.compress(piece) + compressor.flush()


def _open(kind: str, level: int) -> _Compressor:
    if kind == "gzip":
        return zlib.compressobj(
            level, zlib.DEFLATED, 31
        )  # 31: gzip's frame, without a time (zlib's manual, deflateInit2)
    if kind == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=level).compressobj()
    return _Nothing()
