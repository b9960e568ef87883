"""The use case: a recipe to one deterministic layer in the store."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.base.fs import translate_os_errors
from carboy.bootstrap.progress import Silence
from carboy.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from carboy.base.home import Home
    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.configure import Runtime
    from carboy.bootstrap.fetch import Fetcher
    from carboy.bootstrap.index import Package
    from carboy.bootstrap.progress import Progress
    from carboy.bootstrap.recipe import Recipe
    from carboy.bootstrap.state import SuiteState
    from carboy.bootstrap.unpack import UnpackReport
    from carboy.linux.identity import Tier
    from carboy.store.store import Store

# Part of every key: changed whenever the same packages become another layer.
FORMAT = 1
_KIND = "bootstrap"
SOURCES_MIRROR = "http://mirrors.edge.kernel.org/debian"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLayer:
    """A base in the store: one layer, and what it was made of.

    ``packages`` are (name, version, SHA-256 of the package file), sorted by name. ``archive`` says which signed
    state of the archive they are from; it holds no address, since it goes into images. ``epoch_s`` is the newest
    time in the layer, seconds since 1970. ``cached`` says that nothing had to be made.
    """

    diff_id: Digest
    size_bytes: int
    packages: tuple[tuple[str, str, str], ...]
    archive: Mapping[str, Any]
    epoch_s: int
    cached: bool = False


def manifest_json(base: BaseLayer) -> bytes:
    """Return the record of what a base was made of, as canonical JSON; the same base always gives the same bytes."""
    record = {
        "archive": dict(base.archive),
        "packages": [{"name": name, "version": version, "sha256": sha256} for name, version, sha256 in base.packages],
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def bootstrap(
    recipe: Recipe,
    *,
    store: Store,
    home: Home,
    runtime: Runtime,
    tier: Tier,
    archive: ArchiveConfig,
    progress: Progress | None = None,
    refresh: bool = False,
    now_s: float | None = None,
) -> BaseLayer:
    """Return the layer of ``recipe``, from the store when it was made before, else made from the archive.

    With ``refresh`` the archive is asked for its state again; the layer is made again only when a package changed. Must
    be called inside the tier. A failure, or an interruption, leaves nothing but downloads whose hashes were right.
    Raises the errors of this room, ``SandboxError``, or ``CarboyError`` when the disk is full.
    """
    key = _make_key(recipe, archive)
    if not refresh and (found := _read_cached(store, key)) is not None:
        return found
    with store.lease(_KIND), _alone(f"{home.run}/bootstrap-{key[-16:]}.lock"):
        # Whoever was here first may have made it meanwhile.
        if not refresh and (found := _read_cached(store, key)) is not None:
            return found
        run = _Run(
            recipe, store=store, home=home, runtime=runtime, tier=tier, archive=archive, progress=progress or Silence()
        )
        return run.make(key, now_s=time.time() if now_s is None else now_s)


def find_base(recipe: Recipe, *, store: Store, archive: ArchiveConfig) -> BaseLayer | None:
    """Return the layer of ``recipe`` that was made before, None when there is none. Asks nobody, makes nothing."""
    return _read_cached(store, _make_key(recipe, archive))


class _Run:
    """One bootstrap under way."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        store: Store,
        home: Home,
        runtime: Runtime,
        tier: Tier,
        archive: ArchiveConfig,
        progress: Progress,
    ) -> None:
        self._recipe = recipe
        self._store = store
        self._home = home
        self._runtime = runtime
        self._tier = tier
        self._archive = archive
        self._progress = progress
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._total_bytes: int | None = None

    def make(self, key: str, *, now_s: float) -> BaseLayer:
        """Make the layer and note it under ``key``."""
        from carboy.bootstrap.fetch import CONNECTIONS, Fetcher
        from carboy.bootstrap.resolve import resolve
        from carboy.bootstrap.signature import read_keyring
        from carboy.bootstrap.state import fetch_index, fetch_states

        with ExitStack() as stack:
            fetcher = stack.enter_context(Fetcher(self._archive, f"{self._home.cache}/archives", on_bytes=self._count))
            executor = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="carboy-fetch")
            stack.callback(executor.shutdown, cancel_futures=True)
            stack.callback(fetcher.cancel)
            states = fetch_states(
                fetcher,
                executor,
                recipe=self._recipe,
                archive=self._archive,
                keyring=read_keyring(self._archive.keyrings),
                now_s=now_s,
            )
            index = fetch_index(fetcher, executor, states=states, architecture=self._recipe.architecture)
            packages = resolve(index, self._recipe.packages)
            del index  # it holds the archive's whole index in memory
            released_s = states[0].release.date_s
            content_key = _make_content_key(self._recipe, packages, archive=self._archive, released_s=released_s)
            found = _read_cached(self._store, content_key)
            if found is None:
                ingest_dir = stack.enter_context(self._store.layers.ingest_dir())
                found = self._make_layer(ingest_dir, packages, states, fetcher=fetcher, executor=executor)
                _write_cached(self._store, content_key, found)
        base = BaseLayer(
            diff_id=found.diff_id,
            size_bytes=found.size_bytes,
            packages=found.packages,
            archive=_describe(self._recipe, states),
            epoch_s=found.epoch_s,
            cached=found.cached,
        )
        _write_cached(self._store, key, base)
        return base

    def _make_layer(
        self,
        ingest_dir: str,
        packages: Sequence[Package],
        states: Sequence[SuiteState],
        *,
        fetcher: Fetcher,
        executor: ThreadPoolExecutor,
    ) -> BaseLayer:
        from carboy.bootstrap.configure import configure_tree
        from carboy.bootstrap.fetch import Download
        from carboy.bootstrap.unpack import UnpackReport

        with self._lock:
            self._done_bytes, self._total_bytes = 0, sum(package.size_bytes for package in packages)
        paths = {
            package.name: executor.submit(
                fetcher.fetch_file,
                Download(url=package.url, size_bytes=package.size_bytes, sha256=package.sha256),
            )
            for package in packages
        }
        report = UnpackReport()
        released_s = states[0].release.date_s
        tree = f"{ingest_dir}/tree"
        owners = self._unpack(tree, packages, lambda package: paths[package.name].result(), report, mtime_s=released_s)
        executor.shutdown()
        # No file is newer than this, and none is changed by it: a clamp below a source's time would make its compiled
        # form stale. It depends on the packages alone, not on when the archive was last signed.
        epoch_s = max(released_s, report.newest_s)
        configure_tree(
            tree,
            report.packages,
            home=self._home,
            runtime=self._runtime,
            tier=self._tier,
            epoch_s=epoch_s,
            progress=self._progress,
        )
        return self._commit(ingest_dir, owners, epoch_s=epoch_s, packages=packages)

    def _unpack(
        self,
        tree: str,
        packages: Sequence[Package],
        open_path: Callable[[Package], str],
        report: UnpackReport,
        *,
        mtime_s: int,
    ) -> dict[bytes, tuple[int, int]]:
        """Unpack the packages as they arrive and return who owns what in them."""
        from carboy.bootstrap.deb import ChunkReader
        from carboy.bootstrap.unpack import iter_tree_tar
        from carboy.layers.extract import extract

        sources = (b"etc/apt/sources.list.d/debian.sources", format_sources(self._recipe, self._archive), 0o644)
        chunks = iter_tree_tar(packages, open_path, report, mtime_s=mtime_s, extra=(sources,))
        with closing(chunks), translate_os_errors("unpack the base's packages"):
            extracted = extract(ChunkReader(chunks), tree, chown=self._tier.name != "single", whiteouts="apply")
        return dict(extracted.owners)

    def _commit(
        self, ingest_dir: str, owners: Mapping[bytes, tuple[int, int]], *, epoch_s: int, packages: Sequence[Package]
    ) -> BaseLayer:
        """Write the layer and publish its tree."""
        from carboy.bootstrap.bytecode import stamp_bytecode
        from carboy.bootstrap.owners import merge_owners
        from carboy.layers.apply import commit_tree

        with translate_os_errors("store the base"):
            stamp_bytecode(f"{ingest_dir}/tree", mtime_cap=epoch_s)
            result = commit_tree(
                self._store,
                ingest_dir,
                mtime_cap=epoch_s,
                owners=merge_owners(owners) if self._tier.name == "single" else None,
            )
        return BaseLayer(
            diff_id=result.diff_id,
            size_bytes=result.size_bytes,
            packages=tuple(sorted((package.name, package.version, package.sha256) for package in packages)),
            archive={},
            epoch_s=epoch_s,
        )

    def _count(self, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            self._progress.step_progress(self._done_bytes, self._total_bytes)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Hold the lock file ``path``: of two who want the same base at once, the second waits for the first's."""
    with translate_os_errors(f"lock {path}"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


def format_sources(recipe: Recipe, archive: ArchiveConfig) -> bytes:
    """Return the base's own apt sources: the public mirror, since a layer says nothing of the host that made it."""
    lines = [
        f"Types: deb\nURIs: {SOURCES_MIRROR}\nSuites: {recipe.suite}"
        + (f" {recipe.suite}-updates" if archive.security else ""),
        "Components: " + " ".join(archive.components),
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
    ]
    if archive.security:
        lines += ["", f"Types: deb\nURIs: {SOURCES_MIRROR}-security\nSuites: {recipe.suite}-security", *lines[1:3]]
    return ("\n".join(lines) + "\n").encode()


def _describe(recipe: Recipe, states: Sequence[SuiteState]) -> dict[str, Any]:
    return {
        "distribution": recipe.distribution,
        "suite": recipe.suite,
        "version": states[0].release.version,
        "architecture": recipe.architecture,
        "suites": [
            {
                "name": state.suite.name,
                "components": list(state.suite.components),
                "date_s": state.release.date_s,
                "inrelease_sha256": state.sha256,
                "signed_by": list(state.signers),
            }
            for state in states
        ],
    }


def _make_key(recipe: Recipe, archive: ArchiveConfig) -> str:
    """Return the key of what was asked for; a mirror is part of it only when it was named, since all serve the same."""
    return _hash(
        "recipe",
        {
            **_ask(recipe, archive),
            "keyrings": list(archive.keyrings),
            "mirror": archive.mirror if archive.explicit else None,
        },
    )


def _make_content_key(recipe: Recipe, packages: Sequence[Package], *, archive: ArchiveConfig, released_s: int) -> str:
    """Return the key of what the layer is made of."""
    hashes = [package.sha256 for package in packages]
    return _hash("content", {**_ask(recipe, archive), "packages": hashes, "released_s": released_s})


def _ask(recipe: Recipe, archive: ArchiveConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "distribution": recipe.distribution,
        "suite": recipe.suite,
        "architecture": recipe.architecture,
        "packages": list(recipe.packages),
        "security": archive.security,
        "components": list(archive.components),
    }


def _hash(kind: str, value: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return f"{_KIND}-{kind}:{digest}"


def _read_cached(store: Store, key: str) -> BaseLayer | None:
    """Return the base noted under ``key`` if its layer is still there."""
    entry = store.cache.get(key)
    if entry is None:
        return None
    value = entry.value
    diff_id = Digest.parse(value["diff_id"])
    if not store.blobs.has(diff_id):
        store.cache.forget(key)
        return None
    return BaseLayer(
        diff_id=diff_id,
        size_bytes=value["size_bytes"],
        packages=tuple((name, version, sha256) for name, version, sha256 in value["packages"]),
        archive=value["archive"],
        epoch_s=value["epoch_s"],
        cached=True,
    )


def _write_cached(store: Store, key: str, base: BaseLayer) -> None:
    value = {
        "diff_id": str(base.diff_id),
        "size_bytes": base.size_bytes,
        "packages": [list(package) for package in base.packages],
        "archive": dict(base.archive),
        "epoch_s": base.epoch_s,
    }
    store.cache.put(key, _KIND, value, [base.diff_id])
