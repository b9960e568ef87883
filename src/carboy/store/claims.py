"""What clean-up must leave alone: everything written or used since the oldest live lease began.

A lease is a file that its holder keeps locked; the kernel lets go of it with the process, so a lease needs no renewal and no
repair. The gate makes "is it there, then it is used now" and "is it old, then remove it" exclude each other.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType


class Gate:
    """A lock file that is held for a block, for moments only; shared unless ``exclusive``.

    A class and no generator, as :class:`Lease` is: ``contextlib`` would be imported at every start for it.
    """

    __slots__ = ("_fd", "_operation", "_path")

    def __init__(self, path: str, *, exclusive: bool) -> None:
        self._path = path
        self._operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, self._operation)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


class Lease:
    """A lease that is held for a block; see :meth:`Claims.lease`."""

    __slots__ = ("_claims", "_fd", "_path")

    def __init__(self, claims: Claims, path: str) -> None:
        self._claims = claims
        self._path = path

    def __enter__(self) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        with self._claims.gate(exclusive=False):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.unlink(self._path)
        os.close(self._fd)


class Claims:
    """The leases and the gate of one home, below ``run/``."""

    def __init__(self, run: str) -> None:
        self._gate = f"{run}/gate"
        self._folder = f"{run}/leases"

    def lease(self, owner: str) -> Lease:
        """Hold a lease for the block: what it writes or finds present stays until the block ends."""
        return Lease(self, f"{self._folder}/{owner}.{os.urandom(6).hex()}")

    def gate(self, *, exclusive: bool) -> Gate:
        """Pass the gate; held for moments only, never over I/O of content."""
        return Gate(self._gate, exclusive=exclusive)

    def touch(self, path: str) -> bool:
        """Mark ``path`` as used now and return whether it is there."""
        return self.touch_all((path,))

    def touch_all(self, paths: Iterable[str]) -> bool:
        """Mark all of ``paths`` as used now and return whether all are there; one that is not ends it."""
        with self.gate(exclusive=False):
            try:
                for path in paths:
                    os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def move_unless_leased(self, path: str, target: str) -> bool:
        """Rename ``path`` to ``target`` unless any work under way holds a lease; return whether it was there and moved."""
        with self.gate(exclusive=True):
            if self.oldest_lease_s() is not None:
                return False
            try:
                os.rename(path, target)
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
