"""From what an archive has to a base layer: packages fetched beside each other, unpacked as they arrive, made once."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from carboy.base.fs import translate_os_errors
from carboy.bootstrap.errors import NotFetchedError
from carboy.bootstrap.fetch import CONNECTIONS, Download, Fetcher
from carboy.bootstrap.layer import read_cached, write_cached
from carboy.bootstrap.progress import DownloadCount
from carboy.bootstrap.streams import ChunkReader
from carboy.layers.extract import extract

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from carboy.bootstrap.layer import BaseLayer, Making
    from carboy.layers.extract import ExtractReport


class Named(Protocol):
    """A package of an archive."""

    @property
    def name(self) -> str:
        """Its name, which no other one of a base has."""


class Opened(Protocol):
    """A package file that is being decompressed."""

    def close(self) -> None:
        """Stop, and close it."""


P = TypeVar("P", bound=Named)
F = TypeVar("F", bound=Opened)

# Packages whose data is decompressed at once: memory does not grow with the base.
_PACKAGES_AHEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Generic[P]):
    """What an archive's state comes to: ``packages`` in the order in which they are unpacked, with the ``downloads`` of each.

    ``content_key`` is that of the layer they make, ``archive`` describes the state, and ``make`` makes the layer in an ingest
    folder, given what says where a package's file is, which waits for it.
    """

    packages: Sequence[P]
    downloads: Sequence[Download]
    content_key: str
    archive: Mapping[str, Any]
    make: Callable[[str, Callable[[P], str]], BaseLayer]


def make_base(making: Making, key: str, plan: Callable[[Fetcher, Executor], Planned[P]]) -> BaseLayer:
    """Make the layer of ``making`` and note it under ``key``; the one that is there when its packages have not changed.

    ``plan`` asks the archive. Raises what it raises, the errors of this room and ``SandboxError``.
    """
    store = making.store
    count = DownloadCount(making.progress)
    with ExitStack() as stack:
        fetcher, executor = _open_fetcher(stack, making, count, offline=making.snapshot is not None)
        planned = plan(fetcher, executor)
        found = read_cached(store, planned.content_key)
        if found is None:
            if making.snapshot is not None and (missing := fetcher.list_missing(planned.downloads)):
                names = [os.path.basename(download.url) for download in missing]
                raise NotFetchedError(f"packages of the base {making.recipe.name} are not here", names)
            count.begin(sum(download.size_bytes or 0 for download in planned.downloads))
            ingest_dir = stack.enter_context(store.layers.ingest_dir())
            futures = [executor.submit(fetcher.fetch_file, download) for download in planned.downloads]
            files = {package.name: future for package, future in zip(planned.packages, futures, strict=True)}
            found = planned.make(ingest_dir, lambda package: files[package.name].result())
            write_cached(store, planned.content_key, found)
    base = replace(found, archive=planned.archive)
    if (
        making.snapshot is None
    ):  # else it is what somebody brought, and no answer to whoever asks for the base as it is now
        write_cached(store, key, base)
    return base


def _open_fetcher(
    stack: ExitStack, making: Making, count: DownloadCount, *, offline: bool
) -> tuple[Fetcher, ThreadPoolExecutor]:
    cache = f"{making.home.cache}/archives"
    fetcher = stack.enter_context(
        Fetcher(making.archive, cache, snapshot=making.snapshot, offline=offline, on_bytes=count.add)
    )
    executor = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="carboy-fetch")
    stack.callback(executor.shutdown, cancel_futures=True)
    stack.callback(fetcher.cancel)
    return fetcher, executor


def fetch_files(making: Making, plan: Callable[[Fetcher, Executor], Planned[P]]) -> dict[str, str]:
    """Return the files of the cache that the base of ``making``, which has a snapshot, is made of: their paths by their names.

    Those that are not there are fetched. Raises ``NotFetchedError`` when the snapshot's texts are not in the cache.
    """
    count = DownloadCount(making.progress)
    with ExitStack() as stack:
        fetcher, executor = _open_fetcher(stack, making, count, offline=False)
        planned = plan(fetcher, executor)
        count.begin(sum(download.size_bytes or 0 for download in planned.downloads))
        list(executor.map(fetcher.fetch_file, planned.downloads))
        return {name: f"{making.home.cache}/archives/{name}" for name in sorted(fetcher.used)}


def unpack_tree(chunks: Generator[bytes], tree: str, *, making: Making) -> ExtractReport:
    """Unpack the tar of a base into ``tree``. Raises ``CarboyError``, and what the stream raises."""
    with closing(chunks), translate_os_errors("unpack the base's packages"):
        return extract(ChunkReader(chunks), tree, chown=making.tier.name != "single", whiteouts="apply")


def iter_opened(packages: Sequence[P], open_package: Callable[[P], F]) -> Generator[F]:
    """Yield each package opened, a few ahead of it opened as well. Close the generator when it is left early."""
    waiting: list[F] = []
    rest = iter(packages)
    try:
        while True:
            while len(waiting) < _PACKAGES_AHEAD and (package := next(rest, None)) is not None:
                waiting.append(open_package(package))
            if not waiting:
                return
            yield waiting[0]
            waiting.pop(0).close()
    finally:
        for opened in waiting:
            opened.close()
