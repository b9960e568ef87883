"""The files of chosen packages: where they are is asked of the index, and they are fetched by their hashes, on the host.

::

    cache/packages/<sha256>
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.base.web import read_web_settings
from carboy.bootstrap.fetch import CONNECTIONS, Download, Fetcher, identify_sha256
from carboy.bootstrap.progress import DownloadCount
from carboy.environments.addresses import ADDRESS_SCRIPT, add_credentials, parse_addresses, plan_pins
from carboy.environments.install import MAX_LOCK_BYTES
from carboy.environments.trees import read_left
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.base.home import Home
    from carboy.build.progress import Progress
    from carboy.environments.addresses import SourceFile
    from carboy.environments.install import EnvironmentRequest, PackageAssembler
    from carboy.environments.lock import Package

PLACE = "packages"
WORK = "/run/carboy/work"


class PackageFiles:
    """Finds and fetches as a request says: through its indexes, with its certificates and logins."""

    def __init__(self, assembler: PackageAssembler, request: EnvironmentRequest, *, home: Home) -> None:
        self._assembler = assembler
        self._request = request
        self._cache = f"{home.cache}/{PLACE}"

    def ask(self, packages: tuple[Package, ...], *, progress: Progress) -> tuple[SourceFile, ...]:
        """Return where the packages' files are, as the index says now."""
        files = {"pins.txt": plan_pins(self._request.requirements, packages)}
        words = (self._request.python,)
        with self._assembler.open_step(self._request, ADDRESS_SCRIPT, words, files, progress.log) as (work, _):
            text = read_left(work, "pylock.toml", limit=MAX_LOCK_BYTES)
        return parse_addresses(text, packages=packages, work=WORK)

    def fetch(self, files: Sequence[SourceFile], *, progress: Progress) -> None:
        """Have the files in the cache."""
        env = dict(self._request.indexes.env)
        web = read_web_settings(env)
        if self._request.indexes.ca_bundle is not None:
            web = replace(web, ca_file=self._request.indexes.ca_bundle)
        count = DownloadCount(progress)
        count.begin(sum(file.size_bytes or 0 for file in files))
        with Fetcher(web, self._cache, on_bytes=count.add) as fetcher:
            for file in files:
                if file.address.startswith("/"):
                    self._take_local(file)
            elsewhere = [
                Download(
                    url=add_credentials(file.address, env, self._request.requirements),
                    size_bytes=file.size_bytes,
                    identity=file.sha256,
                )
                for file in files
                if not file.address.startswith("/")
            ]
            with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="carboy-fetch") as executor:
                try:
                    list(executor.map(fetcher.fetch_file, elsewhere))
                except BaseException:
                    fetcher.cancel()
                    executor.shutdown(wait=False, cancel_futures=True)
                    raise

    def _take_local(self, file: SourceFile) -> None:
        """Copy a file of this host's index into the cache."""
        from shutil import copyfileobj

        from carboy.base.fs import open_durable

        path = f"{self._cache}/{file.sha256}"
        with translate_os_errors(f"read {file.address}"):
            if os.path.exists(path):
                return
            with open(file.address, "rb") as source, open_durable(path) as target:
                copyfileobj(source, target, 2**20)
            with open(path, "rb") as kept:
                sha256 = identify_sha256(kept)
            if sha256 != file.sha256:
                os.unlink(path)
                raise CarboyError(f"{file.address} has not the hash that its index gives", hint="try again")
