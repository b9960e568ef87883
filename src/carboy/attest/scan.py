"""Finds the packages in an image's files. Everything there is hostile: nothing is run, no link leads out, sizes are capped."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.attest.licences import parse_copyright
from carboy.attest.packages import (
    Package,
    System,
    parse_apk,
    parse_conda,
    parse_dpkg,
    parse_origin,
    parse_python,
    parse_r,
    parse_system,
)
from carboy.snapshots.merged import MergedRoot, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from carboy.snapshots.merged import Folder

MAX_DATABASE_BYTES = 64 * 2**20
MAX_METADATA_BYTES = 2**20
MAX_PACKAGES = 200_000
_MAX_DEPTH = 64
_DATABASES: tuple[tuple[str, Callable[[str], Iterator[Package]]], ...] = (
    ("var/lib/dpkg/status", parse_dpkg),
    ("lib/apk/db/installed", parse_apk),
)
# Distroless images have a file for each package.
_STATUS_FOLDER = "var/lib/dpkg/status.d"
# What no package is in, or what is no part of an image.
_SKIPPED = frozenset({b"proc", b"sys", b"dev"})


def scan(trees: Sequence[str], *, copyrights: bool = False) -> tuple[System, tuple[Package, ...]]:
    """Return the distribution, and the packages of an image's layers (lowest first), each once, sorted.

    ``copyrights``: with the licences of Debian's packages, for each of which a file is read. Raises ``OSError`` for a disk that
    cannot be read.
    """
    if not trees:
        return System(), ()
    root = MergedRoot(list(trees))
    found: dict[Package, None] = {}
    with root.open() as top:
        system = parse_system(_read_path(top, "etc/os-release", MAX_METADATA_BYTES))
        for path, parse in _DATABASES:
            found.update(dict.fromkeys(parse(_read_path(top, path, MAX_DATABASE_BYTES))))
        for text in _read_folder(top, _STATUS_FOLDER):
            found.update(dict.fromkeys(parse_dpkg(text)))
        for package in _iter_tree(top):
            found[package] = None
            if len(found) > MAX_PACKAGES:
                break
        packages = [_add_copyright(top, one) if copyrights and one.kind == "deb" else one for one in found]
    return system, tuple(sorted(packages))


def _add_copyright(top: Folder, package: Package) -> Package:
    text = _read_path(top, f"usr/share/doc/{package.name}/copyright", MAX_METADATA_BYTES)
    return replace(package, licence_text=", ".join(parse_copyright(text)))


def _read_path(root: Folder, path: str, limit: int) -> str:
    """Return a file's text, "" for one that is not there, no file, or too large."""
    try:
        with find(root, path.encode()) as place:
            if place.folder is None or place.entry is None or not stat.S_ISREG(place.entry.status.st_mode):
                return ""
            return _read(place.folder, place.name, limit)
    except OSError:
        return ""


def _read(folder: Folder, name: bytes, limit: int) -> str:
    try:
        fd = folder.open_file(name)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    return "" if len(data) > limit else data.decode("utf-8", "replace")


def _read_folder(root: Folder, path: str) -> Iterator[str]:
    try:
        with find(root, path.encode()) as place:
            if place.entry is None or not place.entry.is_folder:
                return
            with place.open_folder(root) as folder:
                for name in folder.names():
                    if not name.endswith(b".md5sums"):
                        yield _read(folder, name, MAX_METADATA_BYTES)
    except OSError:
        return


def _iter_tree(top: Folder) -> Iterator[Package]:
    """Yield what is installed as folders, wherever it is: nobody can say where Python, R or conda look. No link is followed."""
    stack: list[tuple[Folder, list[bytes]]] = [(top, [n for n in top.names() if n not in _SKIPPED])]
    try:
        while stack:
            folder, names = stack[-1]
            if not names:
                stack.pop()
                if folder is not top:
                    folder.close()
                continue
            name = names.pop()
            entry = folder.lookup(name)
            if entry is None or not entry.is_folder or len(stack) >= _MAX_DEPTH:
                continue
            inner = folder.open_folder(name)
            below = inner.names()
            yield from _read_package(inner, name, set(below))
            stack.append((inner, below))
    finally:
        for folder, _ in stack:
            if folder is not top:
                folder.close()


def _read_package(folder: Folder, name: bytes, names: set[bytes]) -> Iterator[Package]:
    if name.endswith(b".dist-info") and b"METADATA" in names:
        note = _read(folder, b"direct_url.json", MAX_METADATA_BYTES) if b"direct_url.json" in names else ""
        yield from parse_python(_read(folder, b"METADATA", MAX_METADATA_BYTES), origin=parse_origin(note))
    elif name.endswith(b".egg-info") and b"PKG-INFO" in names:
        yield from parse_python(_read(folder, b"PKG-INFO", MAX_METADATA_BYTES))
    elif name == b"conda-meta":
        for file in sorted(names):
            if file.endswith(b".json"):
                yield from parse_conda(_read(folder, file, MAX_METADATA_BYTES))
    elif b"DESCRIPTION" in names and b"Meta" in names:  # an installed package of R's
        yield from parse_r(_read(folder, b"DESCRIPTION", MAX_METADATA_BYTES))
