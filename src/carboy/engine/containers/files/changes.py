"""``diff`` and ``export``: what a container wrote, and all that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.containers.events import write_container_event
from carboy.engine.containers.files.root import open_layers
from carboy.snapshots import changes
from carboy.snapshots.merged import MergedRoot

if TYPE_CHECKING:
    from carboy.engine.containers.manage import ContainerView
    from carboy.engine.context import Engine
    from carboy.layers.tarwrite import Writable
    from carboy.snapshots.changes import Change


def diff_container(engine: Engine, view: ContainerView) -> list[Change]:
    """Return what the container changed of its image's files, sorted by path; volumes and other mounts do not count.

    Raises ``CarboyError``.
    """
    with open_layers(engine, view) as (upper, lowers), translate_os_errors(f"compare the files of {view.name}"):
        return changes.diff(upper, lowers)


def export_container(engine: Engine, view: ContainerView, out: Writable) -> int:
    """Write all files of the container as a tar to ``out``, without mounts, and return how many members it has.

    Raises ``CarboyError``, ``OSError`` of ``out``.
    """
    with open_layers(engine, view) as (upper, lowers):
        count = changes.write_root(MergedRoot(lowers, upper, live=view.running), out)
    write_container_event(view.folder, "export", image=view.config.image)
    return count
