"""A distribution's archive, open for more than a base: its index, and its packages' files."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from carboy.bootstrap.deb.signature import read_keyring
from carboy.bootstrap.deb.state import fetch_index, fetch_states
from carboy.bootstrap.fetch import CONNECTIONS, Download, Fetcher
from carboy.bootstrap.progress import DownloadCount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from carboy.bootstrap.deb.index import Package, PackageIndex
    from carboy.bootstrap.layer import Making


class Archive:
    """The archive of a making's recipe. Made by :func:`open_archive`."""

    def __init__(self, making: Making, fetcher: Fetcher, executor: Executor, count: DownloadCount) -> None:
        self._making = making
        self._fetcher = fetcher
        self._executor = executor
        self._count = count
        self._index: PackageIndex | None = None

    def read_index(self) -> PackageIndex:
        """Return the packages that the archive has now; its signature is checked. Asked once."""
        if self._index is None:
            recipe, archive = self._making.recipe, self._making.archive
            states = fetch_states(
                self._fetcher,
                self._executor,
                recipe=recipe,
                archive=archive,
                keyring=read_keyring(archive.keyrings),
                now_s=time.time(),
            )
            self._index = fetch_index(self._fetcher, self._executor, states=states, architecture=recipe.architecture)
        return self._index

    def fetch(self, packages: Sequence[Package]) -> list[str]:
        """Return where the packages' files are, fetched beside each other when they are not there; their hashes are right."""
        downloads = [Download(url=p.url, size_bytes=p.size_bytes, identity=p.sha256) for p in packages]
        self._count.begin(sum(package.size_bytes for package in packages))
        return list(self._executor.map(self._fetcher.fetch_file, downloads))


@contextmanager
def open_archive(making: Making) -> Iterator[Archive]:
    """Open the archive; leaving the context ends what is on its way."""
    count = DownloadCount(making.progress)
    with ExitStack() as stack:
        fetcher = stack.enter_context(Fetcher(making.archive, f"{making.home.cache}/archives", on_bytes=count.add))
        executor = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="carboy-fetch")
        stack.callback(executor.shutdown, cancel_futures=True)
        stack.callback(fetcher.cancel)
        yield Archive(making, fetcher, executor, count)
