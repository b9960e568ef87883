"""Locks between processes: flock(2), which the kernel lets go of when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from types import TracebackType

_POLL_S = 0.05


def open_locked(path: str) -> int:
    """Return the file at ``path`` open and locked, made when it is not there, once no other process holds it.

    For a file that its holder renames or removes: what is returned is the one that has the path. Raises ``OSError``.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)  # its holder has finished and renamed it


class FileLock:
    """A lock on the file ``path``, made when it is missing and left in place. A context manager, exclusive there.

    The holder's pid is written into the file, for the message of those that wait.
    """

    def __init__(self, path: str, *, timeout_s: float | None = None) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._fd: int | None = None

    def acquire(self, *, shared: bool = False, timeout_s: float | None = None) -> bool:
        """Take the lock and return True; False when ``timeout_s`` (0: do not wait, None: for ever) ran out."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(fd, operation | (0 if end_s is None else fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if end_s is None or time.monotonic() >= end_s:
                    os.close(fd)
                    return False
                time.sleep(_POLL_S)
        if not shared:
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd
        return True

    def is_current(self) -> bool:
        """Return whether the lock that is held is that of the file that has the path now: nobody has removed it meanwhile."""
        try:
            return self._fd is not None and os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go of the lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FileLock:
        if not self.acquire(timeout_s=self._timeout_s):
            with open(self._path, encoding="utf-8", errors="replace") as file:
                holder = file.read(20).strip()
            raise CarboyError(
                "another carboy is at the same work", details=f"process {holder}", hint="wait for it, or stop it"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
