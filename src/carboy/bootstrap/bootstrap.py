"""The use case: a recipe to one deterministic layer in the store, whatever the distribution's packages are."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.bootstrap.archive import check_keyrings
from carboy.bootstrap.errors import ArchiveUnreachableError, NotFetchedError
from carboy.bootstrap.layer import KIND, BaseLayer, Making, make_key, read_cached
from carboy.bootstrap.progress import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.base.home import Home
    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.layer import Runtime
    from carboy.bootstrap.progress import Progress
    from carboy.bootstrap.recipe import Recipe
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.linux.identity import Tier
    from carboy.store.store import Store


def bootstrap(
    recipe: Recipe,
    *,
    store: Store,
    home: Home,
    runtime: Runtime,
    tier: Tier,
    archive: ArchiveConfig,
    progress: Progress | None = None,
    refresh: bool = False,
    now_s: float | None = None,
    snapshot: Snapshot | None = None,
) -> BaseLayer:
    """Return the layer of ``recipe``, from the store when it was made before, else made from the archive.

    With ``refresh`` the archive is asked for its state again; the layer is made again only when a package changed. With a
    ``snapshot`` the base is that of the archive as it was then, of what the cache has, and nobody is asked. Must
    be called inside the tier. A failure, or an interruption, leaves nothing but downloads whose hashes were right.
    Raises the errors of this room, ``SandboxError``, or ``CarboyError`` when the disk is full.
    """
    key = make_key(recipe, archive)
    refresh = refresh or snapshot is not None
    if not refresh and (found := read_cached(store, key)) is not None:
        return found
    with store.lease(KIND), _alone(f"{home.run}/bootstrap-{key[-16:]}.lock"):
        # Whoever was here first may have made it meanwhile.
        if not refresh and (found := read_cached(store, key)) is not None:
            return found
        making = Making(
            recipe=recipe,
            archive=archive,
            store=store,
            home=home,
            runtime=runtime,
            tier=tier,
            progress=progress or Silence(),
            snapshot=snapshot,
        )
        return _make(making, key, now_s=time.time() if now_s is None else now_s)


def _make(making: Making, key: str, *, now_s: float) -> BaseLayer:
    check_keyrings(making.archive, making.recipe.known)
    if making.recipe.known.format == "apk":
        from carboy.bootstrap.apk.make import make_apk_base

        return make_apk_base(making, key)
    from carboy.bootstrap.deb.make import make_deb_base

    return make_deb_base(making, key, now_s=now_s)


def fetch_base_files(making: Making) -> dict[str, str]:
    """Return the files of the cache that the base of a snapshot is made of, by their names there; what is missing is fetched.

    ``making`` has that snapshot. Raises ``NotFetchedError`` when the archive's texts of that time are not kept any more.
    """
    if making.recipe.known.format == "apk":
        from carboy.bootstrap.apk.make import plan_apk_base
        from carboy.bootstrap.make import fetch_files

        return fetch_files(making, lambda fetcher, executor: plan_apk_base(making, fetcher, executor))
    from carboy.bootstrap.deb.make import plan_deb_base
    from carboy.bootstrap.make import fetch_files

    now_s = time.time()
    return fetch_files(making, lambda fetcher, executor: plan_deb_base(making, fetcher, executor, now_s=now_s))


def find_revisited(making: Making, snapshot: Snapshot | None) -> Snapshot | None:
    """Return a state of the archive that somebody would rather have, with the base's packages of then in the cache.

    None where that is not kept any more: the archive as it is now stands in for it.
    """
    if snapshot is None:
        return None
    try:
        fetch_base_files(replace(making, snapshot=snapshot))
    except (NotFetchedError, ArchiveUnreachableError):
        return None
    return snapshot


def find_base(recipe: Recipe, *, store: Store, archive: ArchiveConfig) -> BaseLayer | None:
    """Return the layer of ``recipe`` that was made before, None when there is none. Asks nobody, makes nothing."""
    return read_cached(store, make_key(recipe, archive))


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Hold the lock file ``path``: of two who want the same base at once, the second waits for the first's."""
    with translate_os_errors(f"lock {path}"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)
