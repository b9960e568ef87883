"""Cache mounts: folders that are kept between builds, never part of an image.

::

    cache/mounts/<kind>/<hash>/            one cache, by the hash of its id: an id is never a path (CVE-2024-9675)
        lock                               making and filling it
        <number>/{data/,lock}              data is what is mounted; lock is shared by "shared", exclusive for "locked", "private"

``kind`` is the store's: files of many owners, or of one.
"""

from __future__ import annotations

import hashlib
import os
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
        os.makedirs(place, mode=0o700, exist_ok=True)
        for number in range(MAX_PRIVATE):
            own = f"{place}/{number}"
            with FileLock(f"{place}/lock"):
                if not os.path.isdir(own):
                    self._make(own, mount, fill)
            lock = FileLock(f"{own}/lock")
            if mount.sharing == "private":
                if lock.acquire(timeout_s=0):
                    return CacheFolder(f"{own}/data", lock)
                continue
            while not lock.acquire(shared=mount.sharing == "shared", timeout_s=_POLL_S):
                wait()
            return CacheFolder(f"{own}/data", lock)
        raise CarboyError(f"the cache {mount.id} is in use {MAX_PRIVATE} times", hint="use sharing=shared or locked")

    def _make(self, own: str, mount: CacheMount, fill: Callable[[str], None] | None) -> None:
        new = f"{own}~{os.urandom(6).hex()}"
        try:
            os.makedirs(f"{new}/data", mode=0o700)
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


def prune_caches(home: Home) -> int:
    """Remove all cache mounts that no build holds, and return how many were removed."""
    removed = 0
    top = f"{home.cache}/mounts"
    for kind in os.listdir(top) if os.path.isdir(top) else []:
        for name in os.listdir(f"{top}/{kind}"):
            place = f"{top}/{kind}/{name}"
            with FileLock(f"{place}/lock"):
                for number in os.listdir(place):
                    if number == "lock":
                        continue
                    lock = FileLock(f"{place}/{number}/lock")
                    if "~" in number or lock.acquire(timeout_s=0):
                        remove_tree(f"{place}/{number}")
                        removed += 1
                        lock.release()
    return removed
