"""Repositories of source packages, as CRAN is laid out: their index, and the packages' files, checked and kept by hash.

Layout ("R Installation and Administration", 6.6): ``src/contrib/PACKAGES.gz``, ``src/contrib/NAME_VERSION.tar.gz``, and for
versions that are not current ``src/contrib/Archive/NAME/NAME_VERSION.tar.gz``.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import zlib
from typing import TYPE_CHECKING

from carboy.base.answers import WebError, open_answer, retry
from carboy.base.fs import translate_os_errors, write_durable
from carboy.base.web import make_client
from carboy.environments.r.description import iter_paragraphs, parse_requirements
from carboy.environments.r.library import RepositoryError, Source
from carboy.environments.r.versions import compare, is_version
from carboy.environments.r.wants import is_name
from carboy.errors import CarboyError
from carboy.layers.compression import open_decompressed
from carboy.layers.errors import LayerError
from carboy.layers.tarread import REGULAR, TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

    from carboy.base.web import WebSettings

PUBLIC = "https://cloud.r-project.org"
VARIABLE = "CARBOY_CRAN"
MAX_INDEX_BYTES = 128 * 2**20
MAX_PACKAGE_BYTES = 2**30
_MAX_DESCRIPTION_BYTES = 2**20
_CONTRIB = "src/contrib"


class SourceRepository:
    """Repositories, asked in their order; ``hashes`` are SHA-256 by "NAME VERSION" that a lock has. Close it when done."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        web: WebSettings,
        cache_dir: str,
        hashes: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._addresses = [address.rstrip("/") for address in addresses]
        self._web = web
        self._cache_dir = cache_dir
        self._hashes = hashes
        self._sleep = sleep
        self._client: httpx.Client | None = None
        self._index: dict[str, tuple[str, str, str]] | None = None

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()

    def find_version(self, name: str) -> str | None:
        """Return the version that is locked, else the current one, None for an unknown name. Raises ``RepositoryError``."""
        locked = next((key for key in self._hashes if key.partition(" ")[0] == name), None)
        if locked is not None:
            return locked.partition(" ")[2]
        found = self._read_index().get(name)
        return found[0] if found is not None else None

    def fetch(self, name: str, version: str) -> Source | None:
        """Return a version of a package, its file in the cache, None where there is none.

        Raises ``RepositoryError``, and ``CarboyError`` for other bytes than were locked.
        """
        locked = self._hashes.get(f"{name} {version}", "")
        data = self.read_cached(locked) if locked else None
        if data is None:
            data = self._download(name, version)
        if data is None:
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        if locked and sha256 != locked:
            raise CarboyError(
                f"{name} {version} has other bytes than carboy.lock says",
                details=f"expected sha256:{locked}\nreceived sha256:{sha256}",
                hint="the repository altered it; use another one, or `carboy lock` where that is right",
            )
        source = read_source(data, sha256=sha256)
        if source.name != name or compare(source.version, version):
            raise CarboyError(
                f"the file of {name} {version} holds {source.name} {source.version}",
                hint="use another repository of R packages",
            )
        with translate_os_errors(f"keep {name} {version}"):
            os.makedirs(self._cache_dir, mode=0o700, exist_ok=True)
            if not os.path.exists(f"{self._cache_dir}/{sha256}"):
                write_durable(f"{self._cache_dir}/{sha256}", data)
        return source

    def read_cached(self, sha256: str) -> bytes | None:
        """Return the file of that hash, None where the cache has not got it whole."""
        try:
            with open(f"{self._cache_dir}/{sha256}", "rb") as file:
                data = file.read(MAX_PACKAGE_BYTES)
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def _download(self, name: str, version: str) -> bytes | None:
        current, md5, address = self._read_index().get(name, ("", "", ""))
        if current == version:
            data = self._read(f"{address}/{_CONTRIB}/{name}_{version}.tar.gz", limit=MAX_PACKAGE_BYTES)
            found = hashlib.md5(data, usedforsecurity=False).hexdigest() if data is not None else ""
            if data is not None and md5 and found != md5:
                raise CarboyError(
                    f"the file of {name} {version} is not what the repository's index says",
                    details=f"expected md5 {md5}\nreceived md5 {found}",
                    hint="try again later or use another repository: this one is being updated, or altered",
                )
            if data is not None:
                return data
        for place in self._addresses:
            data = self._read(f"{place}/{_CONTRIB}/Archive/{name}/{name}_{version}.tar.gz", limit=MAX_PACKAGE_BYTES)
            if data is not None:
                return data
        return None

    def _read_index(self) -> dict[str, tuple[str, str, str]]:
        """Return (version, MD5, address) by name; the first repository that has a package counts, there its newest version."""
        if self._index is None:
            found: dict[str, tuple[str, str, str]] = {}
            for address in self._addresses:
                own: dict[str, tuple[str, str, str]] = {}
                for fields in iter_paragraphs(self._read_packages(address)):
                    name, version = fields.get("Package", ""), fields.get("Version", "")
                    known = is_name(name) and is_version(version)
                    if known and (name not in own or compare(version, own[name][0]) > 0):
                        own[name] = (version, fields.get("MD5sum", "").lower(), address)
                found = {**own, **found}
            self._index = found
        return self._index

    def _read_packages(self, address: str) -> str:
        place = f"{address}/{_CONTRIB}"
        packed = self._read(f"{place}/PACKAGES.gz", limit=MAX_INDEX_BYTES)
        if packed is not None:
            unpacker = zlib.decompressobj(wbits=31)
            try:
                text = unpacker.decompress(packed, MAX_INDEX_BYTES)
            except zlib.error as error:
                raise RepositoryError(f"{place}/PACKAGES.gz is damaged", details=str(error)) from error
            if not unpacker.eof:
                raise RepositoryError(f"{place}/PACKAGES.gz is damaged", details="it is cut off, or far too large")
            return text.decode("utf-8", "replace")
        plain = self._read(f"{place}/PACKAGES", limit=MAX_INDEX_BYTES)
        if plain is None:
            raise RepositoryError(
                f"{address} is no repository of R packages", details=f"there is no {_CONTRIB}/PACKAGES.gz"
            )
        return plain.decode("utf-8", "replace")

    def _read(self, address: str, *, limit: int) -> bytes | None:
        """Return what is at an address, None where there is nothing."""
        if address.startswith(("file://", "/")):
            try:
                with open(address.removeprefix("file://"), "rb") as file:
                    data = file.read(limit + 1)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise RepositoryError(f"cannot read {address}", details=error.strerror or "") from error
            _check_size(data, address, limit)
            return data
        return self._fetch(address, limit)

    def _fetch(self, address: str, limit: int) -> bytes | None:
        client = self._client = self._client or make_client(self._web)

        def once() -> bytes | None:
            with open_answer(client, address, headers={}) as response:
                if response.status_code in {404, 410}:
                    return None
                if response.status_code >= 400:
                    raise WebError(f"the server answers {response.status_code}")
                data = bytearray()
                for chunk in response.iter_raw():
                    data += chunk
                    _check_size(data, address, limit)
                return bytes(data)

        try:
            return retry(once, sleep=self._sleep)
        except WebError as error:
            raise RepositoryError(f"cannot fetch {address}", details=str(error)) from error


def _check_size(data: bytes | bytearray, address: str, limit: int) -> None:
    if len(data) > limit:
        raise RepositoryError(f"{address} is larger than {limit} bytes")


def read_source(data: bytes, *, sha256: str) -> Source:
    """Return what a source package's DESCRIPTION says of it. Raises ``CarboyError`` for what is no package."""
    try:
        reader = TarReader(open_decompressed(io.BytesIO(data)))
        for member in reader:
            if member.kind == REGULAR and member.name.count(b"/") == 1 and member.name.endswith(b"/DESCRIPTION"):
                text = b""
                while len(text) < min(member.size, _MAX_DESCRIPTION_BYTES):
                    text += reader.read_data(member.size - len(text))
                fields = next(iter_paragraphs(text.decode("utf-8", "replace")), {})
                return Source(
                    name=fields.get("Package", ""),
                    version=fields.get("Version", ""),
                    sha256=sha256,
                    requires=tuple(parse_requirements(fields, where=f"DESCRIPTION of {fields.get('Package', '')}")),
                    compiled=fields.get("NeedsCompilation", "yes").lower() != "no",
                )
    except LayerError as error:
        raise CarboyError("an R package's file is damaged", details=f"{error.brief}: {error.details}") from error
    raise CarboyError("an R package's file has no DESCRIPTION", hint="use another repository of R packages")
