"""Content by digest. A blob is there, whole, or not there: it gets its name only when all of it is on the disk."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carboy.oci.digest import Digest
from carboy.oci.errors import InvalidDocumentError
from carboy.store.errors import CorruptBlobError, MissingBlobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.store.claims import Claims

CHUNK_BYTES = 2**20
DEFAULT_LIMIT = 4 * 2**20


class BlobWriter:
    """A blob under way; an unnamed file of the kernel, so that whatever happens nothing of it is left behind."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append ``data``; all of it is written. Raises ``OSError``."""
        self._hash.update(data)
        view = memoryview(data).cast("B")
        count = len(view)
        while view:
            view = view[os.write(self._fd, view) :]
        self.size += count
        return count

    @property
    def digest(self) -> Digest:
        """The digest of what was written until now."""
        return Digest.from_hex(self._hash.hexdigest())

    @property
    def fd(self) -> int:
        """The file, for a caller that makes several durable at once."""
        return self._fd

    def commit(self, *, expected: Digest | None = None, size: int | None = None, sync: bool = True) -> Digest:
        """Make the blob durable under its digest and return that; the same content twice is one blob.

        Raises ``CorruptBlobError`` when it is not the ``expected`` content; then nothing is kept.
        """
        digest = self.digest
        if (expected is not None and digest != expected) or (size is not None and size != self.size):
            raise CorruptBlobError(
                "the content is not what was announced",
                details=f"announced {expected} ({size} bytes)\nreceived {digest} ({self.size} bytes)",
                hint="try again; if it stays, the source is damaged",
            )
        if sync:
            os.fsync(self._fd)
        directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With a directory descriptor Python calls linkat(2), which can follow the link in /proc; link(2) cannot.
            os.link(f"/proc/self/fd/{self._fd}", digest.hex, dst_dir_fd=directory, follow_symlinks=True)
        except FileExistsError:
            os.utime(digest.hex, dir_fd=directory)
        finally:
            if sync:
                os.fsync(directory)
            os.close(directory)
        return digest

    def close(self) -> None:
        """Let go of the file; without a commit it is gone."""
        os.close(self._fd)


class BlobReader:
    """Reads a blob and proves it at its end: the last read raises ``CorruptBlobError`` when the digest does not fit."""

    def __init__(self, fd: int, digest: Digest) -> None:
        self._fd = fd
        self._digest = digest
        self._hash = hashlib.new(digest.algorithm)

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, b"" at the verified end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        data = os.read(self._fd, size)
        if data:
            self._hash.update(data)
        elif size and self._hash.hexdigest() != self._digest.hex:
            raise CorruptBlobError(
                f"the content of {self._digest} is damaged",
                details=f"its bytes have the digest {self._hash.hexdigest()}",
                hint="`carboy system check --repair` sets it aside; then build or load the image again",
            )
        return data

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class BlobStore:
    """The blobs of a store, below ``store/blobs/sha256``."""

    def __init__(self, folder: str, claims: Claims) -> None:
        self._folder = folder
        self._claims = claims

    def path(self, digest: Digest) -> str:
        """Return where the blob lies, or would lie."""
        return f"{self._folder}/{digest.hex}"

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is there; one that is counts as just used, so that clean-up leaves it alone."""
        return self._claims.touch(self.path(digest))

    def size(self, digest: Digest) -> int:
        """Return the size in bytes. Raises ``MissingBlobError``."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    @contextmanager
    def open(self, digest: Digest) -> Iterator[BlobReader]:
        """Return a verifying reader. Raises ``MissingBlobError``."""
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(digest) from None
        reader = BlobReader(fd, digest)
        try:
            yield reader
        finally:
            reader.close()

    def read(self, digest: Digest, *, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return a small blob, verified. Raises ``MissingBlobError``, ``CorruptBlobError``, or for more than ``limit`` bytes."""
        if self.size(digest) > limit:
            raise InvalidDocumentError(f"{digest} is larger than the {limit} bytes that are read at once")
        with self.open(digest) as reader:
            return reader.read()

    def read_part(self, digest: Digest, *, start: int, size: int) -> bytes:
        """Return a part of a blob, fewer bytes where it ends before; nothing proves them. Raises ``MissingBlobError``."""
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(digest) from None
        try:
            data = b""
            while len(data) < size and (more := os.pread(fd, size - len(data), start + len(data))):
                data += more
            return data
        finally:
            os.close(fd)

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Return a writer for a new blob; leaving the block without a commit leaves nothing behind."""
        writer = BlobWriter(self._folder)
        try:
            yield writer
        finally:
            writer.close()

    def put(self, data: bytes) -> Digest:
        """Store ``data`` durably and return its digest."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def sync(self) -> None:
        """Make the names of blobs that were committed without ``sync`` durable. Raises ``OSError``."""
        from carboy.base.fs import fsync_dir

        fsync_dir(self._folder)

    def digests(self) -> list[Digest]:
        """Return every blob's digest, in order."""
        return [Digest.from_hex(name) for name in sorted(os.listdir(self._folder)) if len(name) == 64]


def _missing(digest: Digest) -> MissingBlobError:
    return MissingBlobError(f"the content {digest} is not in the store", hint="build or load the image again")
