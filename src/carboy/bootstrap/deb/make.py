"""A base of Debian's packages: the signed state of the archive, its packages, their configuration, one layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carboy.bootstrap.deb.configure import configure_tree
from carboy.bootstrap.deb.owners import merge_owners
from carboy.bootstrap.deb.resolve import resolve
from carboy.bootstrap.deb.signature import read_keyring
from carboy.bootstrap.deb.state import fetch_index, fetch_states
from carboy.bootstrap.deb.unpack import UnpackReport, iter_tree_tar
from carboy.bootstrap.fetch import Download
from carboy.bootstrap.layer import commit_base, make_content_key
from carboy.bootstrap.make import Planned, make_base, unpack_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.deb.index import Package
    from carboy.bootstrap.deb.state import SuiteState
    from carboy.bootstrap.fetch import Fetcher
    from carboy.bootstrap.layer import BaseLayer, Making
    from carboy.bootstrap.recipe import Recipe


def make_deb_base(making: Making, key: str, *, now_s: float) -> BaseLayer:
    """Make the layer of ``making`` and note it under ``key``; see :func:`make_base`.

    ``now_s`` is the time that a signed state must not have expired at. Raises the errors of this room and ``SandboxError``.
    """
    return make_base(making, key, lambda fetcher, executor: plan_deb_base(making, fetcher, executor, now_s=now_s))


def plan_deb_base(making: Making, fetcher: Fetcher, executor: Executor, *, now_s: float) -> Planned[Package]:
    """Return what the archive's state comes to; see :func:`make_deb_base`."""
    recipe, archive = making.recipe, making.archive
    if making.snapshot is not None:
        archive = replace(archive, check_valid_until=False)
    states = fetch_states(
        fetcher, executor, recipe=recipe, archive=archive, keyring=read_keyring(archive.keyrings), now_s=now_s
    )
    index = fetch_index(fetcher, executor, states=states, architecture=recipe.architecture)
    packages = resolve(index, recipe.packages)
    released_s = states[0].release.date_s
    hashes = [package.sha256 for package in packages]
    return Planned(
        packages=packages,
        downloads=[Download(url=p.url, size_bytes=p.size_bytes, identity=p.sha256) for p in packages],
        content_key=make_content_key(recipe, hashes, archive=archive, released_s=released_s),
        archive=_describe(recipe, states),
        make=lambda ingest_dir, open_path: _make_layer(making, ingest_dir, packages, open_path, released_s=released_s),
    )


def _make_layer(
    making: Making,
    ingest_dir: str,
    packages: Sequence[Package],
    open_path: Callable[[Package], str],
    *,
    released_s: int,
) -> BaseLayer:
    """Unpack the packages as they arrive, configure them and commit the tree."""
    report = UnpackReport()
    tree = f"{ingest_dir}/tree"
    name = f"etc/apt/sources.list.d/{making.recipe.distribution}.sources"
    sources = (name.encode(), format_sources(making.recipe, making.archive), 0o644)
    chunks = iter_tree_tar(packages, open_path, report, mtime_s=released_s, extra=(sources,))
    extracted = unpack_tree(chunks, tree, making=making)
    # No file is newer than this, and none is changed by it: a clamp below a source's time would make its compiled
    # form stale. It depends on the packages alone, not on when the archive was last signed.
    epoch_s = max(released_s, report.newest_s)
    configure_tree(tree, report.packages, making=making, epoch_s=epoch_s)
    return commit_base(
        making,
        ingest_dir,
        packages=[(package.name, package.version, package.sha256) for package in packages],
        owners=merge_owners(extracted.owners),
        epoch_s=epoch_s,
    )


def format_sources(recipe: Recipe, archive: ArchiveConfig) -> bytes:
    """Return the base's own apt sources: the public mirror, since a layer says nothing of the host that made it."""
    known = recipe.known
    mirror = known.find_mirror(recipe.architecture).replace("https://", "http://")  # a base has no certificates yet
    updates = f" {recipe.suite}-updates" if archive.security and known.security else ""
    also = f"{updates} {recipe.suite}-security" if updates and known.security == "same" else updates
    lines = [
        f"Types: deb\nURIs: {mirror}\nSuites: {recipe.suite}{also}",
        "Components: " + " ".join(archive.components),
        f"Signed-By: {known.keyring}",
    ]
    if archive.security and known.security == "beside":
        lines += ["", f"Types: deb\nURIs: {mirror}-security\nSuites: {recipe.suite}-security", *lines[1:3]]
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
