"""Cache mounts: folders that are kept between builds, never part of an image.

::

    cache/mounts/<kind>/<hash>/            one cache, by the hash of its id: an id is never a path (CVE-2024-9675)
        lock                               making and filling it
        <number>/{data/,lock,id}           data is what is mounted, id what it was asked for by; lock is shared by
                                           "shared", exclusive for "locked" and "private"; its time is the last use's

``kind`` is the store's: files of many owners, or of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import remove_tree
from carboy.base.locks import FileLock
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from carboy.base.home import Home
    from carboy.build.graph.ops import CacheMount

_POLL_S = 0.2
MAX_PRIVATE = 1000


class CacheFolder:
    """A cache's folder, held by its lock for a block; ``data`` is what to mount."""

    def __init__(self, data: str, lock: FileLock) -> None:
        self.data = data
        self._lock = lock

    def __enter__(self) -> CacheFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


class CacheFolders:
    """The cache mounts of a home."""

    def __init__(self, home: Home, *, kind: str) -> None:
        self._folder = f"{home.cache}/mounts/{kind}"
        self._on_disk = kind != "single"

    def open(
        self,
        mount: CacheMount,
        *,
        origin: str = "",
        fill: Callable[[str], None] | None = None,
        wait: Callable[[], None] = lambda: None,
    ) -> CacheFolder:
        """Return the folder of a mount, made and filled when it is new.

        ``origin`` tells caches of one id with different first contents apart; ``fill`` gives an empty folder these;
        ``wait`` is called again and again while somebody else holds it, and may raise.
        """
        name = hashlib.sha256(f"{origin}\0{mount.id}".encode()).hexdigest()
        place = f"{self._folder}/{name}"
        number = 0
        while number < MAX_PRIVATE:
            own = f"{place}/{number}"
            lock = self._lock(own, mount, fill, wait)
            if lock is None:
                number += 1  # a private one, which somebody else has
            elif lock.is_current():
                os.utime(f"{own}/lock")  # when it was used last, for clean-up
                return CacheFolder(f"{own}/data", lock)
            else:
                lock.release()  # it was cleaned up between its making and its locking
        raise CarboyError(f"the cache {mount.id} is in use {MAX_PRIVATE} times", hint="use sharing=shared or locked")

    def _lock(
        self, own: str, mount: CacheMount, fill: Callable[[str], None] | None, wait: Callable[[], None]
    ) -> FileLock | None:
        """Return the lock of a folder, which is made when it is missing; None when it is another's."""
        place = os.path.dirname(own)
        os.makedirs(place, mode=0o700, exist_ok=True)
        with FileLock(f"{place}/lock"):
            if not os.path.isdir(own):
                self._make(own, mount, fill)
            lock = FileLock(f"{own}/lock")
            if lock.acquire(shared=mount.sharing == "shared", timeout_s=0):
                return lock
        if mount.sharing == "private":
            return None
        while True:
            wait()
            try:
                if lock.acquire(shared=mount.sharing == "shared", timeout_s=_POLL_S):
                    return lock
            except FileNotFoundError:
                return lock  # it is gone; not current, so that another one is made

    def _make(self, own: str, mount: CacheMount, fill: Callable[[str], None] | None) -> None:
        new = f"{own}~{os.urandom(6).hex()}"
        try:
            os.makedirs(f"{new}/data", mode=0o700)
            with open(f"{new}/id", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(mount.id)
            if fill is not None:
                fill(f"{new}/data")
            else:
                if self._on_disk:
                    os.chown(f"{new}/data", mount.uid, mount.gid)
                os.chmod(f"{new}/data", mount.mode)
            os.rename(new, own)
        except BaseException:
            remove_tree(new)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCache:
    """A cache mount on the disk: its ``path``, its id as it was written, when it was used last (seconds since 1970)."""

    path: str
    id: str
    used_s: float
    in_use: bool


def list_caches(home: Home) -> list[KeptCache]:
    """Return every cache mount, by path; also those whose making was interrupted."""
    found = []
    top = f"{home.cache}/mounts"
    for kind in _names(top):
        for name in _names(f"{top}/{kind}"):
            for number in _names(f"{top}/{kind}/{name}"):
                path = f"{top}/{kind}/{name}/{number}"
                if number == "lock":
                    continue
                with _Claim(path) as is_free:
                    used_s = _read_use(path)
                    if used_s is not None:
                        found.append(KeptCache(path=path, id=_read_id(path), used_s=used_s, in_use=not is_free))
    return found


def remove_cache(home: Home, cache: KeptCache) -> bool:
    """Remove a cache mount unless a build holds it, and return whether this removed it."""
    target = f"{home.trash}/{os.urandom(12).hex()}"
    with _Claim(cache.path) as is_free:
        if not is_free:
            return False
        try:
            os.rename(cache.path, target)  # killed after this, the next opener of the home removes it
        except FileNotFoundError:
            return False
    remove_tree(target)
    return True


class _Claim:
    """Holds a cache that no build holds, for a block, which is given whether that is so. Leaves its time of use alone."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._place = FileLock(f"{os.path.dirname(path)}/lock")
        self._fd = -1

    def __enter__(self) -> bool:
        if not self._place.acquire(timeout_s=0):
            return False  # one is made, or looked for
        if "~" in self._path:
            return True  # whoever made it held the place's lock until it had its name
        try:
            self._fd = os.open(f"{self._path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._place.release()


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_id(path: str) -> str:
    try:
        with open(f"{path}/id", encoding="utf-8", errors="surrogateescape") as file:
            return file.read(4096)
    except OSError:
        return ""


def _read_use(path: str) -> float | None:
    """Return when a cache was used last, None when it is gone, or has its name by now."""
    for place in (f"{path}/lock", path):
        try:
            return os.stat(place).st_mtime
        except FileNotFoundError:
            continue
    return None
