"""Carries out what is to be added to a base: layers of package files, each made once."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from carboy.base.fs import make_open_dirs, translate_os_errors
from carboy.bootstrap.added.installed import STATUS, TRIGGERS, extend_status, only_brings_files, parse_interests
from carboy.bootstrap.bytecode import stamp_bytecode
from carboy.bootstrap.deb.configure import CLEAN, plan_environment
from carboy.bootstrap.deb.database import format_status, iter_info
from carboy.bootstrap.deb.debfile import DebFile
from carboy.bootstrap.deb.members import read_small_tar
from carboy.bootstrap.deb.resolve import parse_relations
from carboy.bootstrap.deb.unpack import UnpackReport, iter_tree_tar
from carboy.bootstrap.sandbox import run_in_tree
from carboy.bootstrap.streams import ChunkReader
from carboy.layers.apply import TakenLayer, commit_tree, find_layer, keep_layer, take_layer
from carboy.layers.batch import LayerResult
from carboy.layers.extract import extract
from carboy.runtime.spec import BindMount
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.bootstrap.added.archive import Archive
    from carboy.bootstrap.deb.index import Package
    from carboy.bootstrap.layer import Making
    from carboy.oci.digest import Digest

# Part of every key: changed whenever the same packages become another layer.
FORMAT = 2
# Files that are made here, and not a package's, are of the first day that a zip file knows: they depend on nothing.
_TIME_S = 315_532_800
_ARCHIVES = "run/carboy/archives"
_KIND = "layer"
_LINKER = "etc/ld.so.cache"
MAX_CONTROL_BYTES = 64 * 2**20
_INSTALL = """\
set -eu
umask 022
cd /
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
"""


def _key(kind: str, value: object) -> str:
    text = json.dumps([FORMAT, kind, value], separators=(",", ":"))
    return f"layer:{hashlib.sha256(text.encode()).hexdigest()}"


def plan_batches(packages: Sequence[Package]) -> list[list[Package]]:
    """Return the packages, which are in the order of their dependencies, in parts that dpkg installs one after the other.

    What a package must find configured before it is unpacked (Pre-Depends) is in a part before its own. Pure.
    """
    batches: list[list[Package]] = []
    for package in packages:
        needed = {relation.name for group in parse_relations(package.pre_depends) for relation in group}
        if not batches or needed & {other.name for other in batches[-1]}:
            batches.append([])
        batches[-1].append(package)
    return batches


def plan_install(batches: Sequence[Sequence[Package]]) -> str:
    """Return the script that installs packages whose files lie in the folder of archives under their hashes. Pure."""
    lines = [_INSTALL]
    for batch in batches:
        files = shlex.join([f"/{_ARCHIVES}/{package.sha256}" for package in batch])
        lines.append(f"dpkg --force-unsafe-io --force-confold --install {files}\n")
    return "".join([*lines, CLEAN])


def install_above(
    making: Making, archive: Archive, packages: Sequence[Package], *, below: Sequence[Digest], epoch_s: int
) -> TakenLayer:
    """Return the layer of ``packages`` installed by dpkg, in the sandbox and without a network, above the layers ``below``.

    Raises ``ConfigureError`` when a package's script fails.
    """
    key = _key("installed", [list(map(str, below)), [package.sha256 for package in packages], epoch_s])

    def make() -> LayerResult:
        archive.fetch(packages)
        return _install(making, plan_install(plan_batches(packages)), below=below, epoch_s=epoch_s)

    return take_layer(making.store, key, make)


def _install(making: Making, script: str, *, below: Sequence[Digest], epoch_s: int) -> LayerResult:
    store = making.store
    with (
        translate_os_errors("install the packages"),
        store.layers.ingest_dir() as ingest,
        open_container(making.home, os.urandom(32).hex()) as container,
    ):
        container.claim([str(diff_id) for diff_id in below])
        root = container.prepare([store.layers.path(diff_id) for diff_id in below], userxattr=True)
        mounts = (BindMount(source=f"{making.home.cache}/archives", target=f"/{_ARCHIVES}", idmap="ids"),)
        run_in_tree(root, script, env=plan_environment(epoch_s=epoch_s), making=making, mounts=mounts)
        for depth in (3, 2, 1):  # the place that the mount needed
            with suppress(OSError):
                os.rmdir(f"{root.upper}/{'/'.join(_ARCHIVES.split('/')[:depth])}")
        os.rename(root.upper, f"{ingest}/tree")
        stamp_bytecode(f"{ingest}/tree", mtime_cap=epoch_s)
        owners = _inherit_owners(making, f"{ingest}/tree", below) if making.tier.name == "single" else None
        return commit_tree(store, ingest, mtime_cap=epoch_s, owners=owners)


def _inherit_owners(making: Making, tree: str, below: Sequence[Digest]) -> dict[bytes, tuple[int, int]]:
    """Return the owners of what is in ``tree`` and in a layer below it, where the disk cannot tell."""
    owners: dict[bytes, tuple[int, int]] = {}
    for diff_id in below:
        for name, ids in making.store.layers.meta(diff_id)["owners"].items():
            if os.path.lexists(f"{tree}/{name}"):
                owners[os.fsencode(name)] = (ids[0], ids[1])
    return owners


def find_files(making: Making, packages: Sequence[Package]) -> tuple[LayerResult, tuple[str, ...]] | None:
    """Return the layer of the packages' files that is there, and their paragraphs of a status file; None without it."""
    key = _key("files", [package.sha256 for package in packages])
    layer, entry = find_layer(making.store, key), making.store.cache.get(f"paragraphs:{key}")
    return (layer, tuple(entry.value["paragraphs"])) if layer is not None and entry is not None else None


def make_files(
    making: Making, packages: Sequence[Package], paths: Sequence[str]
) -> tuple[LayerResult, tuple[str, ...]]:
    """Make the layer of the files of ``packages``, which ``paths`` hold; it depends on nothing but them.

    Returns it with the packages' paragraphs of a status file.
    """
    store, key = making.store, _key("files", [package.sha256 for package in packages])
    places = {package.name: path for package, path in zip(packages, paths, strict=True)}
    report = UnpackReport()
    chunks = iter_tree_tar(packages, lambda p: places[p.name], report, mtime_s=_TIME_S, database=iter_info)
    with store.layers.ingest_dir() as ingest, translate_os_errors("unpack the packages"):
        with closing(chunks):
            chown = making.tier.name != "single"
            extracted = extract(ChunkReader(chunks), f"{ingest}/tree", chown=chown, whiteouts="apply")
        owners = {path.strip(b"/").removeprefix(b"./"): ids for path, ids in extracted.owners.items()}
        layer = commit_tree(store, ingest, mtime_cap=report.newest_s, owners=owners)
    paragraphs = tuple(format_status(package, state="installed") for package in report.packages)
    keep_layer(store, key, layer)
    store.cache.put(f"paragraphs:{key}", _KIND, {"paragraphs": list(paragraphs)}, [layer.diff_id])
    return layer, paragraphs


def find_plain(making: Making, archive: Archive, packages: Sequence[Package], *, base: Digest) -> frozenset[str]:
    """Return the names of those ``packages`` that only bring files; each is looked into once."""
    store = making.store
    interests = parse_interests(_read_file(making, [base], TRIGGERS))
    keys = {package.name: _key("plain", [package.sha256, interests]) for package in packages}
    known = {name: entry.value["plain"] for name, key in keys.items() if (entry := store.cache.get(key)) is not None}
    unknown = [package for package in packages if package.name not in known]
    for package, path in zip(unknown, archive.fetch(unknown), strict=True):
        with translate_os_errors("read a package"), DebFile(path, name=package.name) as deb:
            control = read_small_tar(ChunkReader(deb.open_tar("control")), limit=MAX_CONTROL_BYTES)
        known[package.name] = only_brings_files(control, interests=interests)
        store.cache.put(keys[package.name], _KIND, {"plain": known[package.name]}, [])
    return frozenset(name for name, plain in known.items() if plain)


def read_status(making: Making, layers: Sequence[Digest]) -> str:
    """Return dpkg's status file as the uppermost of ``layers`` that has one says it."""
    return _read_file(making, layers, STATUS)


def _read_file(making: Making, layers: Sequence[Digest], name: str) -> str:
    for diff_id in reversed(layers):
        path = f"{making.store.layers.path(diff_id)}/{name}"
        if os.path.isfile(path):
            with translate_os_errors(f"read {path}"), open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
    return ""


def make_records(making: Making, paragraphs: Sequence[str], *, below: Sequence[Digest], epoch_s: int) -> TakenLayer:
    """Return the layer of what a system notes of all its packages: dpkg's status with ``paragraphs`` more, the linker's cache.

    It stands on the layers ``below``, in which the packages are.
    """
    status = extend_status(read_status(making, below), paragraphs).encode("utf-8", "surrogateescape")
    key = _key("records", [hashlib.sha256(status).hexdigest(), list(map(str, below)), epoch_s])
    return take_layer(making.store, key, lambda: _make_records(making, status, below=below, epoch_s=epoch_s))


def _make_records(making: Making, status: bytes, *, below: Sequence[Digest], epoch_s: int) -> LayerResult:
    with (
        making.store.layers.ingest_dir() as ingest,
        translate_os_errors("write the packages' status"),
        open_container(making.home, os.urandom(32).hex()) as container,
    ):
        container.claim([str(diff_id) for diff_id in below])
        root = container.prepare([making.store.layers.path(diff_id) for diff_id in below], userxattr=True)
        run_in_tree(root, "exec ldconfig", env=plan_environment(epoch_s=epoch_s), making=making)
        for name in (STATUS, _LINKER):
            make_open_dirs(f"{ingest}/tree", os.path.dirname(name))
        with open(f"{ingest}/tree/{STATUS}", "wb") as file:
            file.write(status)
        os.chmod(f"{ingest}/tree/{STATUS}", 0o644)
        os.rename(f"{root.upper}/{_LINKER}", f"{ingest}/tree/{_LINKER}")
        return commit_tree(making.store, ingest, mtime_cap=epoch_s)
