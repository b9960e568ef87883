"""Fetches the lists of channels, and packages: on the host, with its proxies and certificates, each package by its SHA-256.

The cache is a folder: ``packages/<sha256>``, and ``lists/<key>.json`` with the mark of its server beside it. What is on its way
has ``.part`` at its end, is held by a lock, and gets its name when it is whole and right.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from carboy.base.answers import WebError, open_answer, retry
from carboy.base.credentials import redact
from carboy.base.fs import translate_os_errors
from carboy.base.locks import open_locked
from carboy.base.web import make_client
from carboy.errors import CarboyError, list_first
from carboy.layers.compression import open_decompressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import httpx

    from carboy.base.web import WebSettings
    from carboy.environments.conda.wants import CondaPackage

CONNECTIONS = 8
MAX_PACKAGE_BYTES = 8 << 30
MAX_LIST_BYTES = 4 << 30
_FILE = "file://"
_LISTS = ("repodata.json.zst", "repodata.json")


class ChannelFetcher:
    """Fetches from channels whose ``addresses`` are known by name, into ``cache_dir``; ``offline``, gives what is there."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        web: WebSettings,
        cache_dir: str,
        offline: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._addresses = addresses
        self._web = web
        self._cache_dir = cache_dir
        self._offline = offline
        self._sleep = sleep

    def fetch_lists(self, channels: Sequence[str], subdirs: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return (channel, subdir, path of its ``repodata.json``), in that order; lists that are as they were are not sent again.

        Raises ``CarboyError`` for a channel that cannot be reached, asks for a login, or has no list at all.
        """
        found = []
        with self._client() as client:
            for channel in channels:
                paths = [(subdir, self._fetch_list(client, channel, subdir)) for subdir in subdirs]
                if not any(path for _, path in paths):
                    raise CarboyError(
                        f"there is no channel {channel}",
                        details=f"{redact(self._addresses[channel])} has neither {' nor '.join(subdirs)}",
                        hint="correct its name, or say where it is: [conda] in config.toml",
                    )
                found += [(channel, subdir, path) for subdir, path in paths if path]
        return found

    def fetch_packages(self, packages: Sequence[CondaPackage]) -> dict[str, str]:
        """Return the paths of package files by their hashes, fetched where they are not in the cache, several at once.

        Raises ``CarboyError``; what was fetched by then stays in the cache.
        """
        from concurrent.futures import ThreadPoolExecutor

        paths = {package.sha256: path for package in packages if (path := self._find(package)) is not None}
        missing = [package for package in packages if package.sha256 not in paths]
        if missing and self._offline:
            raise explain_missing([f"{package.name} {package.version}" for package in missing])
        if missing:
            with self._client() as client, ThreadPoolExecutor(CONNECTIONS) as pool:
                waiting = [pool.submit(self._fetch_package, client, package) for package in missing]
                try:
                    for package, future in zip(missing, waiting, strict=True):
                        paths[package.sha256] = future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return paths

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with translate_os_errors("fetch conda's packages"):
            for folder in ("packages", "lists"):
                os.makedirs(f"{self._cache_dir}/{folder}", mode=0o700, exist_ok=True)
            os.utime(self._cache_dir)  # for clean-up, which begins with what was not used for long
        with make_client(self._web) as client:
            yield client

    def _find(self, package: CondaPackage) -> str | None:
        path = f"{self._cache_dir}/packages/{package.sha256}"
        try:
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == package.sha256:
                    return path
        except FileNotFoundError:
            return None
        os.unlink(path)
        return None

    def _fetch_package(self, client: httpx.Client, package: CondaPackage) -> str:
        path = f"{self._cache_dir}/packages/{package.sha256}"
        url = f"{self._addresses[package.channel]}/{package.path}"
        with translate_os_errors(f"fetch {redact(url)}"), _open_part(path) as part:
            if (found := self._find(package)) is not None:
                return found
            if not self._get(client, url, part, headers={}, limit=MAX_PACKAGE_BYTES, channel=package.channel)[0]:
                raise CarboyError(
                    f"the channel {package.channel} has no {package.path}",
                    details=redact(url),
                    hint="it was taken back, or the channel is another one: lock anew, or correct [conda] in config.toml",
                )
            with open(part, "rb", closefd=False) as file:
                file.seek(0)
                received = hashlib.file_digest(file, "sha256").hexdigest()
            if received != package.sha256:
                raise CarboyError(
                    f"{package.name} {package.version} is not what it should be: its hash is another one",
                    details=f"{redact(url)}\nexpected sha256 {package.sha256}\nreceived sha256 {received}",
                    hint="try again later, or use another mirror; if it stays so, the file was altered",
                )
            os.rename(f"{path}.part", path)
        return path

    def _fetch_list(self, client: httpx.Client, channel: str, subdir: str) -> str:
        """Return the path of a list, "" where the channel has none for ``subdir``."""
        address = self._addresses[channel]
        key = hashlib.sha256(f"{address}/{subdir}".encode()).hexdigest()
        path = f"{self._cache_dir}/lists/{key}.json"
        with translate_os_errors(f"fetch the list of {channel}"), _open_part(path) as part:
            known = _read_mark(path)
            for name in _LISTS:
                headers = {"If-None-Match": known} if known else {}
                url = f"{address}/{subdir}/{name}"
                there, mark = self._get(client, url, part, headers=headers, limit=MAX_LIST_BYTES, channel=channel)
                if there and mark == known and known and not os.fstat(part).st_size:
                    return path
                if there:
                    _settle_list(part, path, mark)
                    return path
        return ""

    def _get(
        self, client: httpx.Client, url: str, part: int, *, headers: Mapping[str, str], limit: int, channel: str
    ) -> tuple[bool, str]:
        """Write what is at ``url`` into ``part``; returns whether there is something, and its mark (ETag)."""
        if url.startswith(_FILE):
            return _copy(url.removeprefix(_FILE), part, limit), ""

        def once() -> tuple[bool, str]:
            os.ftruncate(part, 0)
            os.lseek(part, 0, os.SEEK_SET)
            with open_answer(client, url, headers=headers) as response:
                if response.status_code == 304:
                    return True, headers.get("If-None-Match", "")
                if response.status_code in {404, 410}:
                    return False, ""
                _check_status(response, url, channel)
                _write(part, response.iter_bytes(2**18), limit, url)
                return True, response.headers.get("ETag", "")

        try:
            return retry(once, sleep=self._sleep)
        except WebError as error:
            raise _unreachable(channel, url, str(error)) from error


def explain_missing(names: Sequence[str]) -> CarboyError:
    """Return the error of a build without a network that has not all of conda's packages."""
    return CarboyError(
        "conda's packages are not here, and --offline asks nobody for them",
        details="\n".join(list_first(names, 20)),
        hint="`carboy fetch FOLDER -o bundle.tar`, where there is a network, takes along all that is needed",
    )


def _unreachable(channel: str, url: str, why: str) -> CarboyError:
    return CarboyError(
        f"the channel {channel} cannot be reached",
        details=f"{redact(url)}: {redact(why)}",
        hint="check the network and the proxy, or say where a mirror of it is: [conda] in config.toml",
    )


def _check_status(response: httpx.Response, url: str, channel: str) -> None:
    status = response.status_code
    if status in {401, 403, 407}:
        raise CarboyError(
            f"the channel {channel} asks for a login ({status})",
            details=redact(url),
            hint=f'write user and password into its address: [conda] in config.toml, {channel} = "https://USER:PASSWORD@..."',
        )
    if status != 200:
        raise _unreachable(channel, url, f"the server answers {status}")


def _write(part: int, chunks: Iterator[bytes], limit: int, url: str) -> None:
    size_bytes = 0
    for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > limit:
            raise CarboyError("a channel sends more than it should", details=f"{redact(url)}: more than {limit} bytes")
        view = memoryview(chunk)
        while view:
            view = view[os.write(part, view) :]


def _copy(path: str, part: int, limit: int) -> bool:
    try:
        with open(path, "rb") as file:
            _write(part, iter(lambda: file.read(2**20), b""), limit, path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    return True


def _settle_list(part: int, path: str, mark: str) -> None:
    """Give a list its name, uncompressed; its mark is written after it, so that a mark never stands for an older list."""
    with open(part, "rb", closefd=False) as file:
        file.seek(0)
        compressed = file.read(4) == b"\x28\xb5\x2f\xfd"
        file.seek(0)
        if os.path.exists(f"{path}.mark"):
            os.unlink(f"{path}.mark")
        if compressed:
            try:
                _decompress(file, f"{path}.new")
            except BaseException:
                os.unlink(f"{path}.new")  # a full disk: what is there of it only makes it fuller
                raise
            os.rename(f"{path}.new", path)
        else:
            os.rename(f"{path}.part", path)
    if mark:
        with open(f"{path}.mark", "w", encoding="utf-8") as note:
            note.write(mark)


def _decompress(file: BinaryIO, path: str) -> None:
    with open(path, "wb") as plain:
        stream, size_bytes = open_decompressed(file), 0
        while chunk := stream.read(2**20):
            size_bytes += len(chunk)
            if size_bytes > MAX_LIST_BYTES:
                raise CarboyError(f"a channel's list is larger than {MAX_LIST_BYTES} bytes")
            plain.write(chunk)


def _read_mark(path: str) -> str:
    try:
        with open(f"{path}.mark", encoding="utf-8") as file:
            mark = file.read(1000)
    except (OSError, UnicodeDecodeError):
        return ""
    return mark if os.path.exists(path) else ""


@contextmanager
def _open_part(path: str) -> Iterator[int]:
    """Give ``path``.part, empty and ours alone; it is gone when this ends, unless it was given its name."""
    name = f"{path}.part"
    fd = open_locked(name)
    try:
        os.ftruncate(fd, 0)
        yield fd
    finally:
        try:
            if os.stat(name).st_ino == os.fstat(fd).st_ino:
                os.unlink(name)
        except FileNotFoundError:
            pass
        os.close(fd)
