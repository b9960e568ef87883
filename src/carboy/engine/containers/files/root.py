"""Where the files of a container are: in its mount namespace while it runs, else in its layers, volumes and folders."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carboy.containers.client import open_root as open_live_root
from carboy.engine.containers.create import read_config
from carboy.engine.containers.manage import view_container
from carboy.engine.containers.sandbox import find_trees
from carboy.engine.containers.volumes import check_source
from carboy.errors import CarboyError
from carboy.runtime.mounts import parse_mount
from carboy.runtime.native.binds import check_outside
from carboy.runtime.spec import ROOT_TIER_FIRST_ID
from carboy.snapshots import snapshot
from carboy.snapshots.merged import LiveRoot, MergedRoot
from carboy.snapshots.mounted import Mounted, MountedRoot
from carboy.volumes.store import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.containers.record import ContainerConfig
    from carboy.engine.containers.manage import ContainerView
    from carboy.engine.context import Engine
    from carboy.runtime.mounts import MountRequest
    from carboy.snapshots.merged import Root
    from carboy.snapshots.snapshot import Container

# The kernel's own: nothing that anybody means by a container's files, and some of it never ends.
KERNEL = frozenset({b"dev", b"proc", b"sys"})


@contextmanager
def open_root(engine: Engine, view: ContainerView) -> Iterator[Root]:
    """Give the files of a container as a program inside sees them, to be read and written.

    One that does not run is locked meanwhile, so that it cannot start. Raises ``CarboyError``.
    """
    container = None if view.running else snapshot.lock_container(engine.home, view.id)
    if container is None:
        with _open_live(engine, view) as root:
            yield root
        return
    with container:
        config = read_config(container.path)
        base = _open_base(engine, container, config)
        try:
            closed = "the root of the container is read-only" if config.read_only else ""
            root = MountedRoot(base, _open_mounts(engine, config), closed=closed)
        except OSError as error:
            raise CarboyError(
                "the mounts of the container cannot be found in its files",
                details=f"{error.strerror}: {error.filename!r}",
            ) from error
        with root:
            yield root


@contextmanager
def open_layers(engine: Engine, view: ContainerView) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give the writable tree of a container and its layers (lowest first), without mounts.

    One that does not run is locked meanwhile; of one that runs, what changes meanwhile is there or not. Raises ``CarboyError``.
    """
    if not view.running:
        container = snapshot.lock_container(engine.home, view.id)
        if container is not None:
            with container:
                overlay = container.prepare(find_trees(engine, read_config(container.path)), userxattr=True)
                yield overlay.upper, overlay.lower
            return
    yield f"{view.folder}/rw/upper", find_trees(engine, read_config(view.folder))


@contextmanager
def _open_live(engine: Engine, view: ContainerView) -> Iterator[Root]:
    if view.config.runtime == "runsc":
        raise CarboyError(
            "the files of a running container are out of reach with the runtime runsc",
            hint=f"`carboy stop {view.name}` first, or copy by a program inside: carboy exec -i {view.name} tar ...",
        )
    try:
        fd = open_live_root(view.folder)
    except CarboyError as error:
        now = view_container(engine.home, view.id)
        if now is not None and now.state.status == "restarting":
            hint = f"wait until it runs, or `carboy stop {view.name}`"
            raise CarboyError(f"the container {view.name} is about to start again", hint=hint) from error
        error.code = 1
        raise
    try:
        first_id = ROOT_TIER_FIRST_ID if engine.tier.name == "root" else 0
        yield LiveRoot(fd, first_id=first_id, hidden=KERNEL)
    finally:
        os.close(fd)


def _open_base(engine: Engine, container: Container, config: ContainerConfig) -> MergedRoot:
    overlay = container.prepare(find_trees(engine, config), userxattr=True)
    return MergedRoot(overlay.lower, overlay.upper)


def _open_mounts(engine: Engine, config: ContainerConfig) -> list[Mounted]:
    """Return the volumes and folders of the host, open: each source is looked up once, as for a start."""
    volumes = VolumeStore(engine.home)
    found: list[Mounted] = []
    try:
        for option, text in config.mounts:
            request = parse_mount(text) if option == "mount" else None
            if request is None or request.kind == "tmpfs":
                continue
            source = request.source
            if request.kind == "volume":
                source = volumes.inspect(request.source).path
            else:
                check_source(source, engine.home)
            fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
            found.append(Mounted(fd, os.fsencode(request.target), closed=_find_closed(engine, request)))
            if request.kind == "bind":
                check_outside(fd, engine.home.path)
    except OSError as error:
        _close(found)
        raise CarboyError("a mount of the container cannot be opened", details=str(error)) from error
    except BaseException as error:
        _close(found)
        if isinstance(error, CarboyError):
            error.code = 1
        raise
    return found


def _find_closed(engine: Engine, request: MountRequest) -> str:
    """Return why nothing can be written into a mount of a container that does not run; empty when something can."""
    if request.read_only:
        return "it is mounted read-only"
    if request.idmap == "owner" and engine.tier.name == "root":
        return (
            "its owners are exchanged by a mount that there is only while the container runs; `carboy start` it first"
        )
    return ""


def _close(mounts: list[Mounted]) -> None:
    for mount in mounts:
        os.close(mount.fd)
