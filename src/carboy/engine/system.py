"""The store as a whole: how much it holds, clean-up, and the check of every byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.containers.names import remove_stale_names
from carboy.containers.removal import remove_stale
from carboy.layers.apply import verify_tree
from carboy.snapshots import snapshot
from carboy.store.check import Problem, check
from carboy.store.gc import Report, collect
from carboy.store.usage import Usage, measure

if TYPE_CHECKING:
    from carboy.engine.context import Engine


def disk_usage(engine: Engine) -> list[Usage]:
    """Return what the home holds, by kind."""
    return measure(engine.store, in_use=snapshot.read_claims(engine.home))


def prune(engine: Engine, *, everything: bool, dry_run: bool) -> Report:
    """Remove what no name, lease, build cache or running container needs; with ``everything`` the build cache too."""
    remove_stale(engine.home)
    remove_stale_names(engine.home)
    return collect(engine.store, keep_cache=not everything, dry_run=dry_run, in_use=snapshot.read_claims(engine.home))


def check_store(engine: Engine, *, repair: bool) -> list[Problem]:
    """Read every blob and layer again and return what is wrong; with ``repair`` it is set right or set aside."""
    remove_stale(engine.home)
    remove_stale_names(engine.home)
    with engine.store.lease("check"):
        return check(engine.store, repair=repair, verify_layer=lambda diff_id: verify_tree(engine.store, diff_id))
