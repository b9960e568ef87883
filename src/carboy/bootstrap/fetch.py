"""Downloads: checked by size and hash, resumed, retried, kept by hash.

What an archive signs is kept as well, under its SHA-256: a ``Snapshot`` names it, and is read from there alone.

The cache is one folder of files named by their hashes; ``NAME.part`` is a download on its way, held by ``flock`` by
the process that writes it. A file is under its name only when its hash was right, and is hashed again before use.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, TypeVar

from carboy.base.answers import TRIES, WebError, open_answer, retry
from carboy.base.fs import translate_os_errors, write_durable
from carboy.base.locks import open_locked
from carboy.base.web import make_client
from carboy.bootstrap.errors import ArchiveDataError, ArchiveUnreachableError, BootstrapError, NotFetchedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    import httpx

    from carboy.base.web import WebSettings
    from carboy.bootstrap.snapshot import Snapshot

_T = TypeVar("_T")

CONNECTIONS = 8
MAX_UNKNOWN_BYTES = 16 * 2**30
_CHUNK = 256 * 1024


def identify_sha256(file: IO[bytes]) -> str:
    """Return the SHA-256 of what is left of an open file, as hexadecimal digits."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file to have: where it is, and what it must be; ``fallback_url`` is tried when ``url`` is not found.

    ``size_bytes`` is None where nobody says it: up to :data:`MAX_UNKNOWN_BYTES` then.

    ``identity`` is what ``identify`` has to say of the file, a SHA-256 unless an archive names its files by something else;
    it is the file's name in the cache.
    """

    url: str
    size_bytes: int | None
    identity: str
    fallback_url: str | None = None
    identify: Callable[[IO[bytes]], str] = identify_sha256


class Cancelled(BootstrapError):
    """Another download failed, so that this one is of no use any more."""


class Fetcher:
    """Fetches from one archive, from any thread. Use it as a context manager: leaving it ends what is on its way.

    With a ``snapshot`` the archive's texts are those, from the cache. ``offline``: nobody is asked for anything. ``used`` are the
    files that were taken, by their names in the cache.
    """

    def __init__(
        self,
        web: WebSettings,
        cache_dir: str,
        *,
        snapshot: Snapshot | None = None,
        offline: bool = False,
        on_bytes: Callable[[int], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._web = web
        self._snapshot = snapshot
        self._offline = offline
        self.used: dict[str, Download] = {}
        self._cache_dir = cache_dir
        self._on_bytes = on_bytes or (lambda _count: None)
        self._sleep = sleep
        self._stop = threading.Event()
        self._client: httpx.Client | None = None

    def __enter__(self) -> Fetcher:
        with translate_os_errors(f"make the folder {self._cache_dir}"):
            os.makedirs(self._cache_dir, mode=0o700, exist_ok=True)
            os.utime(self._cache_dir)  # for clean-up, which begins with what was not used for long
        if not self._offline:
            self._client = make_client(self._web, connections=CONNECTIONS * 2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._client is not None:
            self._client.close()

    def cancel(self) -> None:
        """Make every download that is on its way end soon, with ``Cancelled``."""
        self._stop.set()

    def fetch_text(self, url: str, *, name: str, limit: int) -> bytes:
        """Return what is at ``url``, or what the snapshot has under ``name``; it stays in the cache.

        Raises ``ArchiveUnreachableError``, ``NotFetchedError``; ``ArchiveDataError`` over ``limit`` bytes.
        """
        if self._snapshot is not None:
            return self._read_text(name, limit)

        def once() -> bytes:
            content = bytearray()
            self._stream(url, 0, content.extend, limit)
            return bytes(content)

        data = self._retry(url, once)
        path = os.path.join(self._cache_dir, hashlib.sha256(data).hexdigest())
        if not os.path.exists(path):
            with translate_os_errors(f"keep {url}"):
                write_durable(path, data)
        return data

    def _read_text(self, name: str, limit: int) -> bytes:
        assert self._snapshot is not None
        sha256 = self._snapshot.texts.get(name, "")
        found = self.find_cached(Download(url=name, size_bytes=None, identity=sha256)) if sha256 else None
        if found is None:
            raise NotFetchedError("the archive's signed state is not here", [name])
        with translate_os_errors(f"read {found}"), open(found, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ArchiveDataError(
                "the archive's signed state is too large", details=f"{name}: more than {limit} bytes"
            )
        self.used[sha256] = Download(url=name, size_bytes=len(data), identity=sha256)
        return data

    def list_missing(self, downloads: Sequence[Download]) -> list[Download]:
        """Return those that are not in the cache: a look, which no hash is computed for."""
        return [one for one in downloads if not os.path.exists(os.path.join(self._cache_dir, one.identity))]

    def find_cached(self, download: Download) -> str | None:
        """Return the path of a file in the cache whose bytes are right, or None; a wrong one is removed."""
        path = os.path.join(self._cache_dir, download.identity)
        try:
            with open(path, "rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if download.size_bytes in {None, size_bytes} and download.identify(file) == download.identity:
                    return path
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        os.unlink(path)
        return None

    def fetch_file(self, download: Download) -> str:
        """Return the file's path in the cache, fetched when it is not there; size and hash are right, or it raises."""
        self.used[download.identity] = download
        with translate_os_errors(f"fetch {download.url}"):
            cached = self.find_cached(download)
            if cached is not None:
                self._on_bytes(download.size_bytes or 0)
                return cached
            if self._offline:
                raise NotFetchedError("a file that is needed is not here, and there is no network", [download.url])
            path = os.path.join(self._cache_dir, download.identity)
            part = open_locked(path + ".part")
            try:
                cached = self.find_cached(download)
                if cached is None:
                    self._fetch_part(download, part)
                    os.rename(path + ".part", path)
            except OSError:
                os.unlink(path + ".part")  # a full disk: what is there of the file only makes it fuller
                raise
            finally:
                os.close(part)
            return path

    def _fetch_part(self, download: Download, part: int) -> None:
        urls = [download.url]
        for attempt in range(2):
            try:
                self._retry(urls[-1], partial(self._resume, urls[-1], download, part))
            except ArchiveUnreachableError as error:
                if error.status != 404 or download.fallback_url in {None, *urls}:
                    raise
                urls.append(download.fallback_url or "")
                self._retry(urls[-1], partial(self._resume, urls[-1], download, part))
            with open(part, "rb", closefd=False) as file:
                file.seek(0)
                found, size_bytes = download.identify(file), os.fstat(part).st_size
            if found == download.identity and download.size_bytes in {None, size_bytes}:
                return
            # Resumed after what an older, damaged attempt left, perhaps: once more, from the start.
            os.ftruncate(part, 0)
            self._on_bytes(-size_bytes)
            if attempt:
                raise ArchiveDataError(
                    "a download is not what the archive's index says it is",
                    details=f"{urls[-1]}\nexpected {download.size_bytes or 'some'} bytes, hash {download.identity}\n"
                    f"received {size_bytes} bytes, hash {found or 'none that fits'}",
                    hint="try again later or use another mirror (--mirror URL): this one is being updated, or altered",
                )

    def _resume(self, url: str, download: Download, part: int) -> None:
        have = os.lseek(part, 0, os.SEEK_END)
        if download.size_bytes is not None and have >= download.size_bytes:
            if have > download.size_bytes:
                os.ftruncate(part, 0)
                raise WebError("too long", passing=True)
            return

        def write(chunk: bytes) -> None:
            view = memoryview(chunk)
            while view:
                view = view[os.write(part, view) :]
            self._on_bytes(len(chunk))

        limit = MAX_UNKNOWN_BYTES if download.size_bytes is None else download.size_bytes
        self._stream(url, have, write, limit, rewind=lambda: _rewind(part, self._on_bytes))
        if os.fstat(part).st_size < (download.size_bytes or 0):
            ended = f"the connection ended after {os.fstat(part).st_size} of {download.size_bytes} bytes"
            raise WebError(ended, passing=True)

    def _stream(
        self,
        url: str,
        start: int,
        write: Callable[[bytes], object],
        limit: int,
        *,
        rewind: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass ``url`` from byte ``start`` on to ``write``; ``rewind`` when the server sends it from its beginning."""
        if self._client is None or self._stop.is_set():
            raise Cancelled("the download was given up")
        headers = {"Range": f"bytes={start}-"} if start else {}
        with open_answer(self._client, url, headers=headers) as response:
            status = response.status_code
            if status == 416:  # what is there already is longer than the file
                rewind()
                raise WebError("the server cannot resume", passing=True)
            if status >= 400:
                raise WebError(f"the server answers {status} {response.reason_phrase}", status=status)
            if start and status != 206:
                rewind()
                start = 0
            size_bytes = start
            for chunk in response.iter_raw(_CHUNK):
                if self._stop.is_set():
                    raise Cancelled("the download was given up")
                size_bytes += len(chunk)
                if size_bytes > limit:
                    raise ArchiveDataError(
                        "the archive sends more than it should", details=f"{url}: more than {limit} bytes"
                    )
                write(chunk)

    def _retry(self, url: str, action: Callable[[], _T]) -> _T:
        try:
            return retry(action, sleep=self._pause)
        except WebError as error:
            if not error.passing:
                raise ArchiveUnreachableError(url, str(error), status=error.status) from error
            if self._stop.is_set():
                raise Cancelled("the download was given up") from error
            raise ArchiveUnreachableError(url, f"{error} ({TRIES} tries)") from error

    def _pause(self, seconds: float) -> None:
        if self._stop.is_set():
            raise Cancelled("the download was given up")
        self._sleep(seconds)


def _rewind(part: int, on_bytes: Callable[[int], None]) -> None:
    on_bytes(-os.fstat(part).st_size)
    os.ftruncate(part, 0)
    os.lseek(part, 0, os.SEEK_SET)
