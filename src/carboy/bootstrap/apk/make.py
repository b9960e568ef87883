"""A base of Alpine's packages: the signed state of a branch, its packages, their scripts, one layer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from carboy.bootstrap.apk.configure import configure_tree, list_owned, list_scripts
from carboy.bootstrap.apk.database import list_files
from carboy.bootstrap.apk.index import PackageIndex
from carboy.bootstrap.apk.resolve import plan_world, resolve
from carboy.bootstrap.apk.segments import identify
from carboy.bootstrap.apk.signature import read_keys
from carboy.bootstrap.apk.state import fetch_states, name_branch
from carboy.bootstrap.apk.unpack import UnpackReport, iter_tree_tar
from carboy.bootstrap.fetch import Download
from carboy.bootstrap.layer import commit_base, make_content_key
from carboy.bootstrap.make import Planned, make_base, unpack_tree
from carboy.layers.inside import open_directory
from carboy.runtime.passwd import UnknownUserError, resolve_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from carboy.bootstrap.apk.index import Package
    from carboy.bootstrap.apk.state import RepositoryState
    from carboy.bootstrap.apk.unpack import Unpacked
    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.fetch import Fetcher
    from carboy.bootstrap.layer import BaseLayer, Making
    from carboy.bootstrap.recipe import Recipe

_MAX_ACCOUNTS = 2**20


def make_apk_base(making: Making, key: str) -> BaseLayer:
    """Make the layer of ``making`` and note it under ``key``; see :func:`make_base`.

    An index of Alpine's has no time at which it expires: how new it is, is up to the mirror. Raises the errors of this room and
    ``SandboxError``.
    """
    return make_base(making, key, lambda fetcher, executor: plan_apk_base(making, fetcher, executor))


def plan_apk_base(making: Making, fetcher: Fetcher, executor: Executor) -> Planned[Package]:
    """Return what the branch's state comes to; see :func:`make_apk_base`."""
    recipe, archive = making.recipe, making.archive
    states = fetch_states(fetcher, executor, recipe=recipe, archive=archive, keys=read_keys(archive.keyrings))
    index = PackageIndex([package for state in states for package in state.packages])
    world = plan_world(index, recipe.packages)
    packages = resolve(index, world)
    identities = [package.identity for package in packages]
    built_s = max(package.built_s for package in packages)
    return Planned(
        packages=packages,
        downloads=[
            Download(url=p.url, size_bytes=p.size_bytes, identity=p.identity, identify=identify) for p in packages
        ],
        content_key=make_content_key(recipe, identities, archive=archive, released_s=built_s),
        archive=_describe(recipe, states),
        make=lambda ingest_dir, open_path: _make_layer(making, ingest_dir, packages, open_path, world=world),
    )


def _make_layer(
    making: Making,
    ingest_dir: str,
    packages: Sequence[Package],
    open_path: Callable[[Package], str],
    *,
    world: Sequence[str],
) -> BaseLayer:
    """Unpack the packages as they arrive, run their scripts and commit the tree."""
    report = UnpackReport()
    tree = f"{ingest_dir}/tree"
    built_s = max(package.built_s for package in packages)

    def finish() -> list[tuple[bytes, bytes, int]]:
        settings = list_settings(making.recipe, making.archive, world=world)
        return [*list_files(report.packages, mtime_s=built_s), *settings, *list_scripts(report.packages)]

    chunks = iter_tree_tar(packages, open_path, report, finish, mtime_s=built_s)
    extracted = unpack_tree(chunks, tree, making=making)
    epoch_s = max(built_s, *(package.passed.newest_s for package in report.packages))
    configure_tree(tree, report.packages, making=making, epoch_s=epoch_s)
    return commit_base(
        making,
        ingest_dir,
        packages=[(package.name, package.version, package.identity) for package in packages],
        owners=_merge_owners(extracted.owners, report.packages, tree),
        epoch_s=epoch_s,
    )


def list_settings(recipe: Recipe, archive: ArchiveConfig, *, world: Sequence[str]) -> list[tuple[bytes, bytes, int]]:
    """Return apk's own settings: the public mirror, since a layer says nothing of the host that made it. Pure."""
    mirror = recipe.known.find_mirror(recipe.architecture)
    lines = [f"{mirror}/{name_branch(recipe.suite)}/{component}\n" for component in archive.components]
    return [
        (b"etc/apk/world", "".join(f"{word}\n" for word in world).encode(), 0o644),
        (b"etc/apk/arch", f"{recipe.architecture}\n".encode(), 0o644),
        (b"etc/apk/repositories", "".join(lines).encode(), 0o644),
    ]


def _merge_owners(
    packaged: Mapping[bytes, tuple[int, int]], packages: Sequence[Unpacked], tree: str
) -> dict[bytes, tuple[int, int]]:
    """Return who owns what root does not, by path: names are those of the tree's own accounts, once its scripts have run."""
    owners = {path.strip(b"/").removeprefix(b"./"): owner for path, owner in packaged.items() if owner != (0, 0)}
    passwd, group = _read_accounts(tree)
    for package in packages:
        for entry in list_owned(package):
            try:
                name = f"{entry.user.decode()}:{entry.group.decode()}"
                uid, gid, _, _ = resolve_user(name, passwd, group)
            except (UnknownUserError, UnicodeDecodeError):
                continue  # chown has said so, and failed
            owners[entry.path] = (uid, gid)
    return owners


def _read_accounts(tree: str) -> tuple[bytes, bytes]:
    """Return the tree's passwd and group; what a link leads to is read inside of the tree only, or not at all."""
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        etc = open_directory(root, [b"etc"])
        try:
            texts = []
            for name in ("passwd", "group"):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=etc)
                with open(fd, "rb") as file:
                    texts.append(file.read(_MAX_ACCOUNTS))
            return texts[0], texts[1]
        finally:
            os.close(etc)
    except OSError:
        return b"", b""
    finally:
        os.close(root)


def _describe(recipe: Recipe, states: Sequence[RepositoryState]) -> dict[str, Any]:
    return {
        "distribution": recipe.distribution,
        "suite": recipe.suite,
        "architecture": recipe.architecture,
        "repositories": [
            {
                "name": state.component,
                "description": state.description,
                "index_sha256": state.sha256,
                "signed_by": state.signer,
            }
            for state in states
        ],
    }
