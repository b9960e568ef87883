"""Reads what is compared: the layers of images, out of their blobs, whatever they are compressed with."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from carboy.comparison.files import FileEntry
from carboy.layers import tarread
from carboy.layers.compression import open_decompressed
from carboy.layers.tarread import TarReader
from carboy.snapshots.merged import split

if TYPE_CHECKING:
    from carboy.layers.tarread import Member, Readable
    from carboy.oci.digest import Digest
    from carboy.store.store import Store

MAX_CONTENT_BYTES = 8 * 2**20
"""How much of a file is looked at for the reason of a difference."""
_KINDS = {
    tarread.REGULAR: "file",
    tarread.HARDLINK: "hard link",
    tarread.SYMLINK: "link",
    tarread.DIRECTORY: "folder",
    tarread.CHARACTER: "character device",
    tarread.BLOCK_DEVICE: "block device",
    tarread.FIFO: "fifo",
}
_CHUNK_BYTES = 2**20


def read_layer(store: Store, digest: Digest) -> dict[bytes, FileEntry]:
    """Return what the layer with this blob has, in its order; of a path that comes twice the last. Raises ``CarboyError``."""
    with store.blobs.open(digest) as stream:
        return read_entries(open_decompressed(stream))


def read_entries(stream: Readable) -> dict[bytes, FileEntry]:
    """Return what a tar has, in its order. Raises ``LayerError``."""
    found: dict[bytes, FileEntry] = {}
    reader = TarReader(stream)
    for member in reader:
        path = normalise(member.name)
        found.pop(path, None)
        found[path] = _read_member(reader, member)
    return found


def normalise(name: bytes) -> bytes:
    """Return a member's name as a path: "./a/" is "a", the root itself b""."""
    return b"/".join(split(name))


def _read_member(reader: TarReader, member: Member) -> FileEntry:
    digest = ""
    if member.kind == tarread.REGULAR:
        hashing = hashlib.sha256()
        while data := reader.read_data(_CHUNK_BYTES):
            hashing.update(data)
        digest = hashing.hexdigest()
    return FileEntry(
        kind=_KINDS[member.kind],
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime_s=member.mtime,
        size_bytes=member.size,
        digest=digest,
        target=member.linkname,
        device=member.device,
        xattrs=tuple(sorted(member.xattrs.items())),
    )


def read_contents(store: Store, digest: Digest, paths: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the beginning (``MAX_CONTENT_BYTES``) of the files ``paths`` of a layer. Raises ``CarboyError``."""
    found: dict[bytes, bytes] = {}
    if not paths:
        return found
    with store.blobs.open(digest) as stream:
        reader = TarReader(open_decompressed(stream))
        for member in reader:
            path = normalise(member.name)
            if path not in paths or member.kind != tarread.REGULAR:
                continue
            content = bytearray()
            while len(content) < MAX_CONTENT_BYTES and (data := reader.read_data(_CHUNK_BYTES)):
                content += data
            found[path] = bytes(content)
    return found
