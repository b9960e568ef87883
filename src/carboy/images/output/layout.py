"""An OCI image layout in a folder of the caller's: what an archive holds, as files. Source: OCI image-spec, image-layout.md."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.images.archive import BLOBS, NAME, REFERRERS, TAG, list_contents
from carboy.oci.document import MAX_DOCUMENT_BYTES
from carboy.oci.index import make_index, parse_index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.images.archive import SavedImage
    from carboy.oci.digest import Digest
    from carboy.store.store import Store

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 2**20


def write_layout(store: Store, images: Sequence[SavedImage], path: str, *, docker: bool = False) -> None:
    """Put images into the layout at ``path``, which is made when it is missing; other images that it has stay.

    Blobs come first and the index last, each file whole, so that a reader sees the layout before or after. No link in it is
    followed. Raises ``CarboyError``, ``OSError``.
    """
    os.makedirs(path, exist_ok=True)
    contents = list_contents(store, images, docker=docker)
    documents = dict(contents.documents)
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = _open_folder(root, *BLOBS.split("/"))
        try:
            for digest in contents.blobs:
                _put_blob(store, folder, digest)
            for digest, data in contents.made.items():
                _put(folder, digest.hex, lambda write, data=data: write(data))  # type: ignore[misc]
        finally:
            os.close(folder)
        index, referrers = documents.pop("index.json"), documents.pop(REFERRERS, None)
        for name, data in documents.items():
            _put(root, name, lambda write, data=data: write(data))  # type: ignore[misc]
        if referrers is not None:
            all_referrers = _merge(_read_index(root, REFERRERS), referrers)
            _put(root, REFERRERS, lambda write: write(all_referrers))
        merged = _merge(_read_index(root), index)
        _put(root, "index.json", lambda write: write(merged))
        os.fsync(root)
    finally:
        os.close(root)


def _open_folder(root: int, *names: str) -> int:
    fd = os.dup(root)
    for name in names:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=fd)
            inner = os.open(name, _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _put_blob(store: Store, folder: int, digest: Digest) -> None:
    try:
        if os.stat(digest.hex, dir_fd=folder, follow_symlinks=False).st_size == store.blobs.size(digest):
            return
    except FileNotFoundError:
        pass

    def copy(write: Callable[[bytes], object]) -> None:
        with store.blobs.open(digest) as reader:
            while data := reader.read(_CHUNK_BYTES):
                write(data)

    _put(folder, digest.hex, copy)


def _put(folder: int, name: str, fill: Callable[[Callable[[bytes], object]], object]) -> None:
    """Make a file of a folder, whole and durable."""
    temporary = f".{name[:64]}.{os.urandom(6).hex()}.tmp"
    fd = os.open(temporary, _NEW, 0o644, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            fill(file.write)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise


def _read_index(root: int, name: str = "index.json") -> bytes | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise CarboyError(f"the layout's {name} is too large", hint="name another folder")
    return data


def _merge(old: bytes | None, new: bytes) -> bytes:
    """Return the index with the new entries in place of older ones of the same name, or the same image without one. Pure."""
    if old is None:
        return new
    added = parse_index(new).manifests
    names = {entry.annotations.get(NAME) or entry.annotations.get(TAG) for entry in added} - {None}
    digests = {entry.digest for entry in added}
    kept = [
        entry
        for entry in parse_index(old).manifests
        if (name := entry.annotations.get(NAME) or entry.annotations.get(TAG)) not in names
        and (name or entry.digest not in digests)
    ]
    return make_index((*kept, *added)).raw
