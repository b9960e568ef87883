"""ADD of a URL: one file, by http or https with the host's certificates and proxies, kept as a blob.

What was fetched before is asked for again with its ETag or date, so that a file that has not changed is not sent; with a
checksum, and the bytes in the store, nobody is asked at all.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from carboy.build.copying.views import FilesView, SingleFile
from carboy.errors import CarboyError
from carboy.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from carboy.build.graph.ops import Http
    from carboy.store.store import Store

_CHUNK_BYTES = 2**18


def fetch_file(
    op: Http, store: Store, environ: Mapping[str, str], *, check: Callable[[], None]
) -> tuple[FilesView, bool]:
    """Return a view of the file, and whether nothing had to be sent. ``check`` is called now and then, and may raise.

    Raises ``CarboyError`` when it cannot be had, or is not what the checksum says.
    """
    key = f"http:{hashlib.sha256(op.url.encode()).hexdigest()}"
    entry = store.cache.get(key)
    known: dict[str, Any] = dict(entry.value) if entry is not None else {}
    if known and not store.blobs.has(Digest.parse(known["digest"])):
        known = {}
    if known and op.checksum is not None and known.get("checksums", {}).get(op.checksum.algorithm) == str(op.checksum):
        return _view(op, store, known), True
    fetched = _fetch(op, store, environ, known, check)
    if fetched is not None:
        store.cache.put(key, "download", fetched, [Digest.parse(fetched["digest"])])
        return _view(op, store, fetched), False
    _check(op, known["checksums"])
    return _view(op, store, known), True


def _view(op: Http, store: Store, known: dict[str, Any]) -> FilesView:
    digest = Digest.parse(known["digest"])
    file = SingleFile(
        name=op.filename,
        mode=op.mode,
        sha256=digest.hex,
        size_bytes=known["size_bytes"],
        path=store.blobs.path(digest),
        mtime_s=known["mtime_s"],
    )
    return FilesView([file])


def _check(op: Http, checksums: dict[str, str]) -> None:
    if op.checksum is not None and checksums.get(op.checksum.algorithm) != str(op.checksum):
        raise CarboyError(
            f"{show_url(op.url)} is not what its checksum says",
            details=f"expected {op.checksum}\nreceived {checksums.get(op.checksum.algorithm, 'something else')}",
            hint="the file was changed, or the checksum is another file's",
        )


def _fetch(
    op: Http, store: Store, environ: Mapping[str, str], known: dict[str, Any], check: Callable[[], None]
) -> dict[str, Any] | None:
    """Return what was fetched, now in the store; None when what is known is still so."""
    import httpx

    headers = {}
    if known.get("etag"):
        headers["If-None-Match"] = known["etag"]
    elif known.get("last_modified"):
        headers["If-Modified-Since"] = known["last_modified"]
    try:
        with _client(environ) as client, client.stream("GET", op.url, headers=headers) as response:
            if response.status_code == 304 and known:
                return None
            if response.status_code != 200:
                reason = f"the server answers {response.status_code} {response.reason_phrase}"
                raise CarboyError(f"{show_url(op.url)} cannot be fetched", details=reason, hint="check the address")
            algorithm = "sha256" if op.checksum is None else op.checksum.algorithm
            other = hashlib.new(algorithm)
            with store.blobs.writer() as writer:
                for chunk in response.iter_raw(_CHUNK_BYTES):
                    check()
                    writer.write(chunk)
                    other.update(chunk)
                length = response.headers.get("Content-Length", "")
                if length.isdigit() and int(length) != writer.size:
                    raise CarboyError(f"{show_url(op.url)}: the connection ended early", hint="try again")
                checksums = {algorithm: f"{algorithm}:{other.hexdigest()}"}
                _check(op, checksums)
                digest = writer.commit()
                size_bytes = writer.size
            return {
                "digest": str(digest),
                "size_bytes": size_bytes,
                "checksums": {**checksums, "sha256": str(digest)},
                "etag": response.headers.get("ETag", ""),
                "last_modified": response.headers.get("Last-Modified", ""),
                "mtime_s": _parse_date(response.headers.get("Last-Modified", "")),
            }
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CarboyError(
            f"{show_url(op.url)} cannot be fetched",
            details=str(error) or type(error).__name__,
            hint="check the address, the network and HTTPS_PROXY",
        ) from error


def _client(environ: Mapping[str, str]) -> httpx.Client:
    from carboy.base.web import make_client
    from carboy.bootstrap.archive import read_archive_config

    # How the host reaches the outside, its package manager's settings included, is found out in one place.
    return make_client(read_archive_config(environ))


def _parse_date(text: str) -> int | None:
    from email.utils import parsedate_to_datetime

    try:
        return max(0, int(parsedate_to_datetime(text).timestamp()))
    except (TypeError, ValueError, OverflowError):
        return None


def show_url(url: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    if "://" not in url:
        return url  # git@host:path, in which the user is none of a person's
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{os.path.normpath(parts.path) if parts.path else ''}"
