"""A base in the store: one layer, what it was made of, and the notes by which it is found again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from carboy.base.canonical import digest_json
from carboy.base.fs import translate_os_errors
from carboy.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.base.home import Home
    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.progress import Progress
    from carboy.bootstrap.recipe import Recipe
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.linux.identity import Tier
    from carboy.runtime.native.launch import Stdio
    from carboy.runtime.spec import SandboxSpec
    from carboy.store.store import Store

# Part of every key: changed whenever the same packages become another layer.
FORMAT = 2
KIND = "bootstrap"


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


class Runtime(Protocol):
    """Runs sandboxes."""

    def run(self, spec: SandboxSpec, stdio: Stdio) -> int:
        """Run one sandbox to its end and return its exit status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a base is made with: the recipe, the archive, and where and how it is carried out.

    With a ``snapshot`` the archive is as it was then, and what it has is in the cache: nobody is asked.
    """

    recipe: Recipe
    archive: ArchiveConfig
    store: Store
    home: Home
    runtime: Runtime
    tier: Tier
    progress: Progress
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBase:
    """A base, and what it was made with, for what else is wanted of its archive."""

    layer: BaseLayer
    making: Making

    @property
    def lines(self) -> tuple[str, ...]:
        """Its packages as lines of a lock."""
        return tuple(f"{name} {version} sha256:{sha256}" for name, version, sha256 in self.layer.packages)

    @property
    def record(self) -> str:
        """The record of the archive's state as images have it."""
        return json.dumps(dict(self.layer.archive), sort_keys=True, separators=(",", ":"))


def make_key(recipe: Recipe, archive: ArchiveConfig) -> str:
    """Return the key of what was asked for; a mirror is part of it only when it was named, since all serve the same."""
    return _hash(
        "recipe",
        {
            **_ask(recipe, archive),
            "keyrings": list(archive.keyrings),
            "mirror": archive.mirror if archive.explicit else None,
        },
    )


def make_content_key(recipe: Recipe, hashes: Sequence[str], *, archive: ArchiveConfig, released_s: int) -> str:
    """Return the key of what the layer is made of: ``hashes`` are those of the package files, in their order."""
    return _hash("content", {**_ask(recipe, archive), "packages": list(hashes), "released_s": released_s})


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
    return f"{KIND}-{kind}:{digest_json(value)}"


def read_cached(store: Store, key: str) -> BaseLayer | None:
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


def write_cached(store: Store, key: str, base: BaseLayer) -> None:
    """Note the base under ``key``."""
    value = {
        "diff_id": str(base.diff_id),
        "size_bytes": base.size_bytes,
        "packages": [list(package) for package in base.packages],
        "archive": dict(base.archive),
        "epoch_s": base.epoch_s,
    }
    store.cache.put(key, KIND, value, [base.diff_id])


def commit_base(
    making: Making,
    ingest_dir: str,
    *,
    packages: Sequence[tuple[str, str, str]],
    owners: Mapping[bytes, tuple[int, int]],
    epoch_s: int,
) -> BaseLayer:
    """Write the layer of the configured tree in ``ingest_dir`` and publish it; no file in it is newer than ``epoch_s``.

    ``owners`` are those of paths that root does not own: for a tier with one id, where the disk cannot tell.
    """
    from carboy.bootstrap.bytecode import stamp_bytecode
    from carboy.layers.apply import commit_tree

    with translate_os_errors("store the base"):
        stamp_bytecode(f"{ingest_dir}/tree", mtime_cap=epoch_s)
        result = commit_tree(
            making.store,
            ingest_dir,
            mtime_cap=epoch_s,
            owners=owners,
        )
    return BaseLayer(
        diff_id=result.diff_id,
        size_bytes=result.size_bytes,
        packages=tuple(sorted(packages)),
        archive={},
        epoch_s=epoch_s,
    )
