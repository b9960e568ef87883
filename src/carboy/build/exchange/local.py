"""A cache in a folder, which is an OCI image layout::

    oci-layout, index.json                  the caches by name (org.opencontainers.image.ref.name)
    blobs/sha256/<hex>                      manifests, configurations (``document``), layers

Nobody vouches for a folder that is read. Documents are capped and must have the digest by which they are named; a layer is copied
into the store under the digest and size that were announced, or not at all, and unpacked by the extractor of all
layers at once, so that an archive that is none, or a hostile one, is found before a step is taken for done.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from carboy.base.fs import make_dir, open_durable, translate_os_errors, write_durable
from carboy.build.exchange.arguments import CacheOrigin
from carboy.build.exchange.document import CONFIG_TYPE, CacheRecord, make_cache, parse_cache
from carboy.build.exchange.reader import CacheReader
from carboy.errors import CarboyError
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import MAX_DOCUMENT_BYTES
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.index import make_index, parse_index
from carboy.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carboy.build.exchange.arguments import CacheTarget
    from carboy.store.store import Store

NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK_BYTES = 2**20


class LocalCache(CacheReader):
    """The records of one cache in a folder."""

    @classmethod
    def open(cls, origin: CacheOrigin, warn: Callable[[str], None]) -> LocalCache:
        """Read the document of a cache; its layers are read when they are asked for. Raises ``CarboyError``."""
        folder = os.path.abspath(origin.folder)
        with translate_os_errors(f"read the cache {origin.folder}"):
            index = parse_index(_read(f"{folder}/index.json", MAX_DOCUMENT_BYTES))
            named = [one for one in index.manifests if one.annotations.get(NAME) == origin.tag]
            if not named:
                raise CarboyError(f"{origin.folder} has no cache {origin.tag!r}", hint="check tag= of --cache-from")
            manifest = parse_manifest(_read_blob(folder, named[0]))
            if manifest.config.media_type != CONFIG_TYPE:
                raise InvalidDocumentError(
                    f"{origin.folder} has no build cache of carboy's: {manifest.config.media_type}"
                )
            return cls(_Folder(folder), parse_cache(_read_blob(folder, manifest.config)), warn)


class _Folder:
    """Implements ``CachePlace``: blobs of an image layout."""

    def __init__(self, path: str) -> None:
        self._path = path

    def copy_layer(self, record: CacheRecord, store: Store) -> None:
        with translate_os_errors(f"read the cache {self._path}"), store.blobs.writer() as writer:
            for data in _iter_blob(self._path, record.digest, record.size_bytes):
                writer.write(data)
            writer.commit(expected=record.digest, size=record.size_bytes)


def write_cache(store: Store, target: CacheTarget, records: Iterable[CacheRecord]) -> None:
    """Write a cache into a folder, which is made when it is missing; other names in it stay. Raises ``CarboyError``.

    Durable, and at each moment the old one or the new one: ``index.json`` comes last.
    """
    kept = {one.key: one for one in (*(_read_records(target) if target.adds else ()), *records)}
    folder = os.path.abspath(target.folder)
    blobs = f"{folder}/blobs/sha256"
    config, manifest = make_cache(kept.values())
    with translate_os_errors(f"write the cache {target.folder}"):
        make_dir(blobs, mode=0o755)
        if os.path.realpath(blobs) != f"{os.path.realpath(folder)}/blobs/sha256":
            raise CarboyError(f"{target.folder} leads elsewhere by a link", hint="name an empty folder")
        for layer in manifest.layers:
            _write_layer(store, layer, f"{blobs}/{layer.digest.hex}")
        _write_new(f"{blobs}/{manifest.config.digest.hex}", config)
        digest = Digest.of(manifest.raw)
        _write_new(f"{blobs}/{digest.hex}", manifest.raw)
        _write_new(f"{folder}/oci-layout", _LAYOUT)
        own = Descriptor(
            media_type=mediatypes.MANIFEST, digest=digest, size=len(manifest.raw), annotations={NAME: target.tag}
        )
        others = [one for one in _read_index(folder) if one.annotations.get(NAME) != target.tag]
        write_durable(f"{folder}/index.json", make_index((*others, own)).raw, mode=0o644)


def _read_records(target: CacheTarget) -> Iterable[CacheRecord]:
    """Return what is there by now under a target's name; its layers were written by this build."""
    return LocalCache.open(CacheOrigin(folder=target.folder, tag=target.tag), lambda _: None).records


def _read_index(folder: str) -> tuple[Descriptor, ...]:
    """Return what a folder holds by now; nothing, when it is new or no layout."""
    try:
        found = parse_index(_read(f"{folder}/index.json", MAX_DOCUMENT_BYTES)).manifests
    except (FileNotFoundError, InvalidDocumentError):
        return ()
    return found


def _write_layer(store: Store, layer: Descriptor, path: str) -> None:
    if _has(path, layer.size):
        return
    with open_durable(path, mode=0o644) as file, store.blobs.open(layer.digest) as reader:
        while data := reader.read(_CHUNK_BYTES):
            file.write(data)


def _write_new(path: str, data: bytes) -> None:
    if not _has(path, len(data)):
        write_durable(path, data, mode=0o644)


def _has(path: str, size: int) -> bool:
    """Return whether a file of that size is there: what is damaged is found by whoever reads it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _read_blob(folder: str, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_DOCUMENT_BYTES:
        raise InvalidDocumentError(f"{descriptor.digest} is larger than {MAX_DOCUMENT_BYTES} bytes")
    data = b"".join(_iter_blob(folder, descriptor.digest, descriptor.size))
    if Digest.of(data) != descriptor.digest:
        raise InvalidDocumentError(f"{descriptor.digest} is not what its digest says", details=folder)
    return data


def _iter_blob(folder: str, digest: Digest, size: int) -> Iterator[bytes]:
    """Return the bytes of a blob, at most one more than were announced."""
    with os.fdopen(_open(f"{folder}/blobs/{digest.algorithm}/{digest.hex}"), "rb", buffering=0) as file:
        left = size + 1
        while left and (data := file.read(min(left, _CHUNK_BYTES))):
            left -= len(data)
            yield data


def _read(path: str, limit: int) -> bytes:
    with os.fdopen(_open(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidDocumentError(f"{path} is larger than {limit} bytes")
    return data


def _open(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidDocumentError(f"{path} is no file")
    return fd
