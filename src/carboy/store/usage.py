"""How much a home holds, by kind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.store.gc import mark

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One kind of content: how many pieces, their size on the disk, and how much of it clean-up can free, in bytes."""

    kind: str
    count: int
    size_bytes: int
    reclaimable_bytes: int


def measure(store: Store, *, in_use: Iterable[str] = (), apart: Collection[str] = ()) -> list[Usage]:
    """Return what the home holds, but for what builds keep in folders of their own, and the content ``apart`` (digests)."""
    marked = mark(store, keep_cache=True, in_use=in_use)
    blobs = [
        (str(digest), os.stat(store.blobs.path(digest)).st_blocks * 512)
        for digest in store.blobs.digests()
        if str(digest) not in apart
    ]
    root = store.home.layers
    layers = [
        (f"sha256:{name}", tree_size(f"{root}/{kind}/{name}"))
        for kind in os.listdir(root)
        for name in os.listdir(f"{root}/{kind}")
        if f"sha256:{name}" not in apart
    ]
    containers = os.listdir(store.home.containers)
    written = sum(tree_size(f"{store.home.containers}/{name}") for name in containers)
    return [
        _usage("blobs", blobs, marked),
        _usage("unpacked layers", layers, marked),
        Usage(kind="containers", count=len(containers), size_bytes=written, reclaimable_bytes=0),
    ]


def _usage(kind: str, sizes: list[tuple[str, int]], marked: set[str]) -> Usage:
    free = sum(size for digest, size in sizes if digest not in marked)
    return Usage(kind=kind, count=len(sizes), size_bytes=sum(s for _, s in sizes), reclaimable_bytes=free)


def tree_size(path: str) -> int:
    """Return what a tree takes on the disk, in bytes; hard links count once, what cannot be read counts nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    stack = [path]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        total += status.st_blocks * 512
        except OSError:
            continue
    return total
