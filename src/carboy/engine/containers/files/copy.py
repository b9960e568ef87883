"""``cp``: files into containers and out of them, one by one or as an archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.containers.events import write_container_event
from carboy.engine.containers.files.root import open_root
from carboy.errors import CarboyError
from carboy.snapshots import copy

if TYPE_CHECKING:
    from carboy.engine.containers.manage import ContainerView
    from carboy.engine.context import Engine
    from carboy.layers.tarread import Readable
    from carboy.layers.tarwrite import Writable


def copy_in(
    engine: Engine, view: ContainerView, source: str, path: str, *, follow: bool = False, archive: bool = False
) -> int:
    """Copy ``source`` of the host to ``path`` in the container and return how many entries were made.

    They belong to root of the container, or keep their ids with ``archive``, where the tier has ids. ``follow``: a source
    that is a link is what it points to. Raises ``CarboyError``.
    """
    with open_root(engine, view) as root:
        count = copy.copy_in(root, source, os.fsencode(path), follow=follow, archive=_keeps_ids(engine, archive))
    write_container_event(view.folder, "extract-to-dir", image=view.config.image)
    return count


def copy_out(
    engine: Engine, view: ContainerView, path: str, destination: str, *, follow: bool = False, archive: bool = False
) -> int:
    """Copy ``path`` of the container to ``destination`` on the host and return how many entries were made.

    They belong to the caller, or keep the container's ids with ``archive``. Raises ``CarboyError``.
    """
    with open_root(engine, view) as root:
        archive = _keeps_ids(engine, archive)
        count = copy.copy_out(root, os.fsencode(path), destination, follow=follow, archive=archive)
    write_container_event(view.folder, "archive-path", image=view.config.image)
    return count


def write_tar(engine: Engine, view: ContainerView, path: str, out: Writable, *, follow: bool = False) -> int:
    """Write ``path`` of the container as a tar to ``out`` and return how many members it has. Raises ``CarboyError``."""
    with open_root(engine, view) as root:
        count = copy.write_tar(root, os.fsencode(path), out, follow=follow)
    write_container_event(view.folder, "archive-path", image=view.config.image)
    return count


def read_tar(engine: Engine, view: ContainerView, stream: Readable, path: str, *, archive: bool = False) -> int:
    """Unpack a tar, compressed or not, into the folder ``path`` of the container; returns how many entries were made.

    Raises ``CarboyError``.
    """
    from carboy.layers.compression import open_archive
    from carboy.layers.errors import LayerError

    with open_root(engine, view) as root:
        archive = _keeps_ids(engine, archive)
        try:
            count = copy.read_tar(root, open_archive(stream), os.fsencode(path), archive=archive)
        except LayerError as error:
            hint = "a tar is expected, as it is, or compressed by gzip, bzip2, xz or zstd"
            raise CarboyError("what was given is no whole archive", details=error.brief, hint=hint) from error
    write_container_event(view.folder, "extract-to-dir", image=view.config.image)
    return count


def _keeps_ids(engine: Engine, archive: bool) -> bool:
    """Return whether ids can be kept: in the tier with one, all files have that one, as for programs inside."""
    return archive and engine.tier.name != "single"
