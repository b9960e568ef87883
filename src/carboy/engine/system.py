"""The store as a whole: how much it holds, clean-up, and the check of every byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.containers.removal import remove_stale
from carboy.engine.builds.cache import (
    CachePiece,
    PruneRequest,
    find_cached_only,
    list_pieces,
    measure_builds,
    plan_prune,
    prune_pieces,
)
from carboy.layers.apply import verify_tree
from carboy.snapshots import snapshot
from carboy.store.check import Problem, check
from carboy.store.gc import Report, collect
from carboy.store.usage import Usage, measure

if TYPE_CHECKING:
    from carboy.engine.context import Engine


def disk_usage(engine: Engine) -> list[Usage]:
    """Return what the home holds, by kind; each piece of content is counted once."""
    pieces = list_pieces(engine)
    rows = measure(engine.store, in_use=snapshot.read_claims(engine.home), apart=find_cached_only(pieces))
    return [*rows, *measure_builds(pieces)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What clean-up took: of the store, and of the folders that builds keep; ``kept_bytes`` stays for the next build alone."""

    report: Report
    pieces: tuple[CachePiece, ...]
    kept_bytes: int


def prune(engine: Engine, *, everything: bool, dry_run: bool) -> Pruned:
    """Remove what no name, lease, build cache or running container needs; with ``everything`` the build cache and downloads."""
    remove_stale(engine.home)
    pieces: list[CachePiece] = []
    if everything:
        pieces = [piece for piece in plan_prune(list_pieces(engine), PruneRequest()) if not piece.rows]
        pieces = pieces if dry_run else prune_pieces(engine, pieces)
    report = collect(engine.store, keep_cache=not everything, dry_run=dry_run, in_use=snapshot.read_claims(engine.home))
    kept = 0 if everything else sum(find_cached_only(list_pieces(engine)).values())
    return Pruned(report=report, pieces=tuple(pieces), kept_bytes=kept)


def check_store(engine: Engine, *, repair: bool) -> list[Problem]:
    """Read every blob and layer again and return what is wrong; with ``repair`` it is set right or set aside."""
    remove_stale(engine.home)
    with engine.store.lease("check"):
        return check(engine.store, repair=repair, verify_layer=lambda diff_id: verify_tree(engine.store, diff_id))
