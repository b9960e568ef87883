"""What clean-up must leave alone: everything written or used since the oldest live lease began.

A lease is a file that its holder keeps locked; the kernel lets go of it with the process, so a lease needs no renewal and no
repair. The gate makes "is it there, then it is used now" and "is it old, then remove it" exclude each other.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Claims:
    """The leases and the gate of one home, below ``run/``."""

    def __init__(self, run: str) -> None:
        self._gate = f"{run}/gate"
        self._folder = f"{run}/leases"

    @contextmanager
    def lease(self, owner: str) -> Iterator[None]:
        """Hold a lease for the block: what it writes or finds present stays until the block ends."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        path = f"{self._folder}/{owner}.{os.urandom(6).hex()}"
        with self.gate(exclusive=False):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.unlink(path)
            os.close(fd)

    @contextmanager
    def gate(self, *, exclusive: bool) -> Iterator[None]:
        """Pass the gate; held for moments only, never over I/O of content."""
        fd = os.open(self._gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    def touch(self, path: str) -> bool:
        """Mark ``path`` as used now and return whether it is there."""
        with self.gate(exclusive=False):
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def oldest_lease_s(self) -> float | None:
        """Return when the oldest live lease began (seconds since 1970), None when there is none; removes dead ones."""
        oldest: float | None = None
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return None
        for name in names:
            path = f"{self._folder}/{name}"
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                began = os.fstat(fd).st_mtime
                oldest = began if oldest is None else min(oldest, began)
            else:
                os.unlink(path)
            finally:
                os.close(fd)
        return oldest
