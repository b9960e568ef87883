"""What builds keep for the next one: what it takes, when it was used last, and taking it away, oldest first.

Pieces are of these types, by the names that BuildKit has for them where it has one:

- ``regular``: a layer that a step or a bootstrap made, in the store, and what was fetched by ADD. The records that lead to it
  go with it. One that an image or a container needs stays there, and only its records can go.
- ``exec.cachemount``: a folder of ``RUN --mount=type=cache``; a build that uses it holds its lock.
- ``source.git.checkout``: a repository with its checkouts.
- ``source.local``: what is remembered of the digests of contexts.
- ``downloads``: packages of distributions and of Python, fetched to be installed.
- ``records``: what is remembered of builds as a whole, and why steps were done.

Nothing goes that a running build may stand on: content used since it began (leases of the store), folders whose lock it holds,
and while any work holds a lease no repository and no download. Killed at any moment, clean-up leaves nothing half there:
folders are renamed into the trash first; content goes before its records, and a record without content is a miss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import remove_tree
from carboy.build.running.caches import KeptCache, list_caches, remove_cache
from carboy.oci.digest import Digest
from carboy.snapshots import snapshot
from carboy.store.gc import discard, mark
from carboy.store.usage import Usage, tree_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from carboy.engine.context import Engine
    from carboy.store.database import CacheRow
    from carboy.store.store import Store

REGULAR, MOUNT, GIT, LOCAL = "regular", "exec.cachemount", "source.git.checkout", "source.local"
DOWNLOADS, RECORDS = "downloads", "records"
TYPES = (REGULAR, MOUNT, GIT, LOCAL, DOWNLOADS, RECORDS)
# Entries of the store's cache that only remember, and those that are content's.
_MEMORIES = {"build": "a build", "step": "a step", "files": "digests of files", "location": "where blobs are"}
_MEANINGS = {
    "layer": "a step's layer", "download": "fetched by ADD", "bootstrap": "a base", "image": "an image",
    "compressed": "a layer, compressed to leave",
    "fetched": "an image of a registry",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePiece:
    """One thing that builds keep.

    ``size_bytes`` is what removing it frees, ``used_s`` when it was used last (seconds since 1970). ``shared``: an image needs
    the content, so that removing frees nothing. ``in_use``: a build may stand on it. ``rows`` are the store's records, ``digest``
    its content, ``path`` and ``mount`` a folder.
    """

    id: str
    type: str
    description: str
    size_bytes: int
    used_s: float
    in_use: bool = False
    shared: bool = False
    rows: tuple[CacheRow, ...] = ()
    digest: str = ""
    path: str = ""
    mount: KeptCache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What is to go: with ``everything`` also records of what images need; used last before ``until_s``, of these ``types``
    (empty: all), and only as much as leaves ``keep_bytes`` of it."""

    everything: bool = False
    until_s: float | None = None
    keep_bytes: int = 0
    types: frozenset[str] = frozenset()


def list_pieces(engine: Engine) -> list[CachePiece]:
    """Return all that builds keep, the least recently used first."""
    pieces = [*_list_content(engine), *_list_mounts(engine), *_list_folders(engine)]
    return sorted(pieces, key=lambda piece: (piece.used_s, piece.id))


def plan_prune(pieces: Sequence[CachePiece], request: PruneRequest) -> list[CachePiece]:
    """Return what goes, in order: of what is not in use, the least recently used first. Pure."""
    fitting = [piece for piece in pieces if not request.types or piece.type in request.types]
    kept = sum(piece.size_bytes for piece in fitting)
    chosen = []
    for piece in sorted(fitting, key=lambda piece: (piece.used_s, piece.id)):
        if request.keep_bytes and kept <= request.keep_bytes:
            break
        if piece.in_use or (piece.shared and not request.everything):
            continue
        if request.until_s is not None and piece.used_s >= request.until_s:
            continue
        chosen.append(piece)
        kept -= piece.size_bytes
    return chosen


def prune_pieces(engine: Engine, pieces: Sequence[CachePiece]) -> list[CachePiece]:
    """Remove pieces, and return those that went; what a build has taken into use since they were listed stays."""
    gone = _remove_content(engine, [piece for piece in pieces if piece.rows])
    for piece in pieces:
        if piece.mount is not None:
            if remove_cache(engine.home, piece.mount):
                gone.append(piece)
        elif piece.path and _remove_folder(engine, piece):
            gone.append(piece)
    return gone


def measure_builds(pieces: Iterable[CachePiece]) -> list[Usage]:
    """Return rows for ``system df``: what is kept for the next build alone, content of the store included, and downloads."""
    found: dict[str, list[CachePiece]] = {"build cache": [], "downloads": []}
    for piece in pieces:
        if not piece.shared:
            found["downloads" if piece.type == DOWNLOADS else "build cache"].append(piece)
    return [
        Usage(
            kind=kind,
            count=len(own),
            size_bytes=sum(piece.size_bytes for piece in own),
            reclaimable_bytes=sum(piece.size_bytes for piece in own if not piece.in_use),
        )
        for kind, own in found.items()
    ]


def find_cached_only(pieces: Iterable[CachePiece]) -> dict[str, int]:
    """Return the store's content that is kept for the next build alone: digests, with the bytes of each on the disk."""
    return {piece.digest: piece.size_bytes for piece in pieces if piece.digest and not piece.shared}


# --- content of the store -----------------------------------------------------------------------------------------


def _list_content(engine: Engine) -> list[CachePiece]:
    store = engine.store
    rows = store.cache.list_rows()
    needed = mark(store, keep_cache=False, in_use=snapshot.read_claims(engine.home))
    oldest_s = store.claims.oldest_lease_s()
    by_digest: dict[str, list[CacheRow]] = {}
    for row in rows:
        if row.kind in _MEANINGS:
            for digest in row.digests:
                by_digest.setdefault(digest, []).append(row)
    pieces = []
    for text, own in by_digest.items():
        shared = text in needed
        size_bytes, touched_s = _measure_content(store, text, is_size_wanted=not shared)
        used_s = max(touched_s, *(row.created_at_s for row in own))
        meaning = ", ".join(dict.fromkeys(_MEANINGS[row.kind] for row in own))
        pieces.append(
            CachePiece(
                id=text.partition(":")[2][:12], type=REGULAR, description=meaning, size_bytes=size_bytes,
                used_s=used_s, in_use=oldest_s is not None and used_s >= oldest_s, shared=shared, rows=tuple(own),
                digest=text,
            )
        )  # fmt: skip
    pieces += [
        CachePiece(
            id=row.key.rpartition(":")[2][:12],
            type=RECORDS,
            description=_MEMORIES[row.kind],
            size_bytes=row.size_bytes,
            used_s=row.created_at_s,
            in_use=oldest_s is not None and row.created_at_s >= oldest_s,
            rows=(row,),
        )
        for row in rows
        if row.kind in _MEMORIES
    ]
    return pieces


def _measure_content(store: Store, digest: str, *, is_size_wanted: bool) -> tuple[int, float]:
    """Return (bytes on the disk, when it was used last) of a blob and the layers that were unpacked of it; 0 bytes unasked."""
    size_bytes, used_s = 0, 0.0
    hex_digits = Digest.parse(digest).hex
    try:
        status = os.stat(store.blobs.path(Digest.parse(digest)))
        size_bytes, used_s = status.st_blocks * 512 if is_size_wanted else 0, status.st_mtime
    except FileNotFoundError:
        pass
    for kind in os.listdir(store.home.layers):
        place = f"{store.home.layers}/{kind}/{hex_digits}"
        if os.path.isdir(place):
            size_bytes += tree_size(place) if is_size_wanted else 0
            used_s = max(used_s, os.stat(place).st_mtime)
    return size_bytes, used_s


def _remove_content(engine: Engine, pieces: Sequence[CachePiece]) -> list[CachePiece]:
    store = engine.store
    keys = {row.key for piece in pieces for row in piece.rows}
    # A launch record keeps what it starts, but is made again of it at any time.
    keys |= {row.key for row in store.cache.list_rows() if row.kind == "launch"}
    discard(
        store,
        _with_parts(store, {piece.digest for piece in pieces if piece.digest and not piece.shared}),
        without=keys,
        in_use=snapshot.read_claims(engine.home),
    )
    gone = []
    for piece in pieces:
        if piece.digest and not piece.shared and _has_content(store, piece.digest):
            continue  # a lease holds it: it was used meanwhile
        for row in piece.rows:
            store.cache.forget(row.key, created_at_s=row.created_at_s)
        gone.append(piece)
    for row in store.cache.list_rows():
        if row.kind == "launch" and not all(_has_content(store, digest) for digest in row.digests):
            store.cache.forget(row.key)
    return gone


def _with_parts(store: Store, digests: Collection[str]) -> set[str]:
    """Return digests with those of their configuration, where they are images without a name."""
    from carboy.errors import CarboyError
    from carboy.oci.manifest import parse_manifest

    found = set(digests)
    for text in digests:
        path = store.blobs.path(Digest.parse(text))
        if os.path.exists(path) and os.path.getsize(path) < _MANIFEST_BYTES:
            try:
                found.add(str(parse_manifest(store.blobs.read(Digest.parse(text))).config.digest))
            except CarboyError:
                continue
    return found


_MANIFEST_BYTES = 2**20


def _has_content(store: Store, digest: str) -> bool:
    return os.path.exists(store.blobs.path(Digest.parse(digest)))


# --- folders ------------------------------------------------------------------------------------------------------


def _list_mounts(engine: Engine) -> list[CachePiece]:
    return [
        CachePiece(
            id=os.path.basename(os.path.dirname(cache.path))[:12],
            type=MOUNT,
            description=f"cache mount {cache.id}" if cache.id else "a cache mount",
            size_bytes=tree_size(cache.path),
            used_s=cache.used_s,
            in_use=cache.in_use,
            mount=cache,
        )
        for cache in list_caches(engine.home)
    ]


def _list_folders(engine: Engine) -> list[CachePiece]:
    home = engine.home
    held = engine.store.claims.oldest_lease_s() is not None
    found = []
    for name in _names(f"{home.cache}/git"):
        path = f"{home.cache}/git/{name}"
        found.append(_folder(path, GIT, _read_text(f"{path}/url") or "a repository", used=f"{path}/url", held=held))
    for name in _names(f"{home.cache}/contexts"):
        found.append(_folder(f"{home.cache}/contexts/{name}", LOCAL, "digests of a context's files", held=False))
    for name in _names(home.cache):
        if name in {"archives", "packages", "sources", "wheels"} or name.startswith("uv-"):
            meaning = "packages of distributions" if name == "archives" else "packages of Python"
            found.append(_folder(f"{home.cache}/{name}", DOWNLOADS, meaning, held=held))
    return [piece for piece in found if piece is not None]


def _folder(path: str, type_: str, description: str, *, held: bool, used: str = "") -> CachePiece | None:
    try:
        used_s = os.stat(used if used and os.path.exists(used) else path).st_mtime
        size_bytes = tree_size(path) if os.path.isdir(path) else os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return None  # it goes just now
    name = os.path.basename(path)
    return CachePiece(
        id=name[:12], type=type_, description=description, size_bytes=size_bytes, used_s=used_s, in_use=held, path=path
    )


def _remove_folder(engine: Engine, piece: CachePiece) -> bool:
    target = f"{engine.home.trash}/{os.urandom(12).hex()}"
    if piece.type == LOCAL:  # read whole, written whole: nobody holds it
        try:
            os.unlink(piece.path)
        except FileNotFoundError:
            return False
        return True
    if not engine.store.claims.move_unless_leased(piece.path, target):
        return False
    remove_tree(target)
    return True


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
