"""A distribution's archive, open for more than a base: its index, and its packages' files."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.bootstrap.progress import DownloadCount
from carboy.bootstrap.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from carboy.bootstrap.deb.index import Package, PackageIndex
    from carboy.bootstrap.fetch import Fetcher
    from carboy.bootstrap.layer import Making


class Archive:
    """The archive of a making's recipe, reached when something of it is needed. Made by :func:`open_archive`.

    With a ``snapshot`` in the making it is the archive as it was then; what is not here of its packages is fetched, unless it is
    ``offline``.
    """

    def __init__(self, making: Making, stack: ExitStack, *, offline: bool) -> None:
        self._making = making
        self._stack = stack
        self._offline = offline
        self._texts: Mapping[str, str] = {}
        self._count = DownloadCount(making.progress)
        self._opened: tuple[Fetcher, Executor] | None = None
        self._index: PackageIndex | None = None

    def _open(self) -> tuple[Fetcher, Executor]:
        if self._opened is None:
            from carboy.bootstrap.fetch import CONNECTIONS, Fetcher

            cache = f"{self._making.home.cache}/archives"
            fetcher = self._stack.enter_context(
                Fetcher(
                    self._making.archive,
                    cache,
                    snapshot=self._making.snapshot,
                    offline=self._offline,
                    on_bytes=self._count.add,
                )
            )
            executor = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="carboy-fetch")
            self._stack.callback(executor.shutdown, cancel_futures=True)
            self._stack.callback(fetcher.cancel)
            self._opened = (fetcher, executor)
        return self._opened

    def read_index(self) -> PackageIndex:
        """Return the packages that the archive has; its signature is checked. Asked once.

        Raises ``NotFetchedError`` when the texts of a snapshot are not kept any more.
        """
        if self._index is None:
            from carboy.bootstrap.deb.signature import read_keyring
            from carboy.bootstrap.deb.state import fetch_index, fetch_states

            fetcher, executor = self._open()
            recipe, archive = self._making.recipe, self._making.archive
            if self._making.snapshot is not None:
                archive = replace(archive, check_valid_until=False)
            states = fetch_states(
                fetcher,
                executor,
                recipe=recipe,
                archive=archive,
                keyring=read_keyring(archive.keyrings),
                now_s=time.time(),
            )
            self._texts = {state.suite.name: state.sha256 for state in states}
            self._index = fetch_index(fetcher, executor, states=states, architecture=recipe.architecture)
        return self._index

    @property
    def snapshot(self) -> Snapshot:
        """The state whose index was read."""
        return Snapshot(texts=self._texts)

    @property
    def used(self) -> tuple[str, ...]:
        """The names that what was taken has in the cache: states, indexes and packages, sorted."""
        return tuple(sorted(self._opened[0].used)) if self._opened is not None else ()

    def fetch(self, packages: Sequence[Package]) -> list[str]:
        """Return where the packages' files are, fetched beside each other when they are not there; their hashes are right."""
        if not packages:
            return []
        from carboy.bootstrap.fetch import Download

        fetcher, executor = self._open()
        downloads = [Download(url=p.url, size_bytes=p.size_bytes, identity=p.sha256) for p in packages]
        self._count.begin(sum(package.size_bytes for package in packages))
        return list(executor.map(fetcher.fetch_file, downloads))


@contextmanager
def open_archive(making: Making, *, offline: bool = False) -> Iterator[Archive]:
    """Open the archive; leaving the context ends what is on its way.

    With a snapshot it is as it was then; ``offline``, of what the cache has of it: what is missing raises ``NotFetchedError``.
    """
    with ExitStack() as stack:
        yield Archive(making, stack, offline=offline)
