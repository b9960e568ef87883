"""The state of an Alpine branch at one moment: its repositories' signed indexes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.apk.index import Package, parse_index
from carboy.bootstrap.apk.segments import SIGNATURE_LIMIT, read_files, read_segment
from carboy.bootstrap.apk.signature import find_signer
from carboy.bootstrap.errors import ArchiveDataError, ArchiveUnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from carboy.bootstrap.apk.signature import PublicKey
    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.fetch import Fetcher
    from carboy.bootstrap.recipe import Recipe

_FILE = "APKINDEX.tar.gz"
_FILE_LIMIT = 64 * 2**20
# The largest repository's has 20 MB.
_TEXT_LIMIT = 256 * 2**20
_BRANCH = re.compile(r"\d+\.\d+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryState:
    """One repository at one moment: its description, the hash of its index, the key that signed it, and what it has."""

    component: str
    description: str
    sha256: str
    signer: str
    packages: tuple[Package, ...]


def name_branch(suite: str) -> str:
    """Return the folder of a branch on a mirror: "v3.20", "edge"."""
    return f"v{suite}" if _BRANCH.match(suite) else suite


def fetch_states(
    fetcher: Fetcher, executor: Executor, *, recipe: Recipe, archive: ArchiveConfig, keys: Mapping[str, PublicKey]
) -> tuple[RepositoryState, ...]:
    """Return the verified state of each repository of ``recipe``, in the order of the components.

    Raises ``SignatureError``, ``ArchiveDataError``, ``ArchiveUnreachableError``.
    """
    return tuple(
        executor.map(
            lambda part: _fetch_state(fetcher, part, recipe=recipe, archive=archive, keys=keys), archive.components
        )
    )


def _fetch_state(
    fetcher: Fetcher, component: str, *, recipe: Recipe, archive: ArchiveConfig, keys: Mapping[str, PublicKey]
) -> RepositoryState:
    uri = f"{archive.mirror}/{name_branch(recipe.suite)}/{component}/{recipe.architecture}"
    url = f"{uri}/{_FILE}"
    try:
        data = fetcher.fetch_text(url, name=component, limit=_FILE_LIMIT)
    except ArchiveUnreachableError as error:
        if error.status not in {403, 404, 410}:
            raise
        hint = f"check the mirror's address (--mirror URL ends where the folder {name_branch(recipe.suite)!r} is)"
        reason = f"the archive has no {recipe.suite}/{component} for {recipe.architecture}: {error.reason}"
        raise ArchiveUnreachableError(url, reason, status=error.status, hint=hint) from error
    return read_index(data, url=url, keys=keys, uri=uri, suite=recipe.suite, architecture=recipe.architecture)


def read_index(
    data: bytes, *, url: str, keys: Mapping[str, PublicKey], uri: str, suite: str, architecture: str
) -> RepositoryState:
    """Return what an APKINDEX.tar.gz says, once a trusted key has signed it. Pure.

    The first gzip stream holds the signature of all bytes that follow it. Only then are these decompressed.
    """
    view = memoryview(data)

    def read(offset: int, size: int) -> bytes:
        return bytes(view[offset : offset + size])

    name = "the index of Alpine's archive"
    head = read_segment(read, 0, limit=SIGNATURE_LIMIT, name=name)
    signatures = read_files(head, name=name)
    signer = find_signer(signatures, view[head.end :], keys, url=url)
    body = read_segment(read, head.end, limit=_TEXT_LIMIT, name=name)
    files = read_files(body, name=name)
    if "APKINDEX" not in files or body.end != len(data):
        raise ArchiveDataError(f"{name} is not one", details=url)
    description = files.get("DESCRIPTION", b"").decode("utf-8", "replace").strip()[:200]
    # The signature proves who signed, not what was asked for: a mirror could serve another branch under this one's name.
    if (
        _BRANCH.match(suite)
        and re.match(r"v\d", description)
        and not description.startswith((f"v{suite}.", f"v{suite}-"))
    ):
        raise ArchiveDataError(
            f"the archive serves another branch than {suite}",
            details=f"{url} is signed as {description}",
            hint="use another mirror (--mirror URL)",
        )
    text = files["APKINDEX"].decode("utf-8", "replace")
    return RepositoryState(
        component=uri.rpartition("/")[0].rpartition("/")[2],
        description=description,
        sha256=hashlib.sha256(data).hexdigest(),
        signer=signer,
        packages=tuple(parse_index(text, uri=uri, architecture=architecture)),
    )
