"""The archive's state: what its suites hold at one moment, signed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.bootstrap.deb.index import PackageIndex
from carboy.bootstrap.deb.release import check_release, parse_release
from carboy.bootstrap.deb.signature import verify_inrelease
from carboy.bootstrap.errors import ArchiveDataError, ArchiveUnreachableError
from carboy.bootstrap.fetch import Download
from carboy.bootstrap.streams import iter_decompressed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from carboy.bootstrap.archive import ArchiveConfig, Suite
    from carboy.bootstrap.deb.release import Release
    from carboy.bootstrap.deb.signature import Keyring
    from carboy.bootstrap.fetch import Fetcher
    from carboy.bootstrap.recipe import Recipe

_INRELEASE_LIMIT = 8 * 2**20
# Debian's main index has 50 MB; the hash is checked before anything is decompressed, so this is no defence but a check.
_INDEX_LIMIT = 512 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteState:
    """One suite at one moment: where it was read, its signed release, the hash of the signed file and who signed it."""

    suite: Suite
    release: Release
    sha256: str
    signers: tuple[str, ...]


def fetch_states(
    fetcher: Fetcher,
    executor: Executor,
    *,
    recipe: Recipe,
    archive: ArchiveConfig,
    keyring: Keyring,
    now_s: float,
) -> tuple[SuiteState, ...]:
    """Return the verified state of every suite of ``recipe``, the primary one first; all are fetched at once."""
    return tuple(
        executor.map(
            lambda suite: _fetch_state(fetcher, suite, archive=archive, keyring=keyring, now_s=now_s),
            archive.plan_suites(recipe),
        )
    )


def _fetch_state(
    fetcher: Fetcher, suite: Suite, *, archive: ArchiveConfig, keyring: Keyring, now_s: float
) -> SuiteState:
    url = f"{suite.url}/InRelease"
    try:
        data = fetcher.fetch_text(url, name=suite.name, limit=_INRELEASE_LIMIT)
    except ArchiveUnreachableError as error:
        if error.status not in {403, 404, 410}:
            raise
        hint = "check the mirror's address (--mirror URL ends where the folder 'dists' is)"
        if not suite.primary:
            hint = f"--no-security leaves {suite.name} out, or {hint}"
        raise ArchiveUnreachableError(
            url, f"the archive has no suite {suite.name}: {error.reason}", status=error.status, hint=hint
        ) from error
    signed = verify_inrelease(data, keyring, url=url)
    release = parse_release(signed.text)
    check_release(release, wanted=suite.name, now_s=now_s, check_valid_until=archive.check_valid_until, url=url)
    return SuiteState(suite=suite, release=release, sha256=hashlib.sha256(data).hexdigest(), signers=signed.signers)


def fetch_index(
    fetcher: Fetcher, executor: Executor, *, states: Sequence[SuiteState], architecture: str
) -> PackageIndex:
    """Return the packages of all ``states`` together; each index is checked against its suite's release."""
    wanted = [(state, component) for state in states for component in state.suite.components]
    texts = executor.map(lambda pair: _fetch_text(fetcher, *pair, architecture=architecture), wanted)
    return PackageIndex([(text, state.suite.uri) for text, (state, _) in zip(texts, wanted, strict=True)])


def _fetch_text(fetcher: Fetcher, state: SuiteState, component: str, *, architecture: str) -> bytearray:
    file = state.release.find_index(component, architecture)
    if file is None:
        raise ArchiveDataError(
            f"{state.suite.name} has no packages for {architecture}",
            details=f"{state.suite.url} has {', '.join(state.release.architectures)}"
            f" in {', '.join(state.release.components)}",
            hint="" if state.suite.primary else "--no-security leaves this suite out",
        )
    if not file.size_bytes:
        return bytearray()
    path, url = (
        f"{state.suite.url}/{file.path}",
        f"{state.suite.url}/{os.path.dirname(file.path)}/by-hash/SHA256/{file.sha256}",
    )
    download = Download(
        url=url if state.release.by_hash else path,
        size_bytes=file.size_bytes,
        identity=file.sha256,
        fallback_url=path if state.release.by_hash else None,
    )
    text = bytearray()
    cached = fetcher.fetch_file(download)
    with translate_os_errors(f"read {cached}"), open(cached, "rb") as raw:
        for chunk in iter_decompressed(raw, os.path.splitext(file.path)[1]):
            text += chunk
            if len(text) > _INDEX_LIMIT:
                raise ArchiveDataError("a package index is larger than any archive's", details=path)
    return text
