"""``carboy run --rm`` in the foreground: this process keeps the container itself, and nothing of it stays."""

from __future__ import annotations

import os
import time

from carboy.containers.events import write_event
from carboy.containers.keeper import Keeper
from carboy.containers.names import claim_name, release_claimed, write_name
from carboy.containers.record import write_record
from carboy.containers.removal import release_volumes, remove_stale
from carboy.engine.containers.network import check_network, find_default_network, open_network
from carboy.engine.containers.request import RunRequest, plan_config
from carboy.engine.containers.sandbox import check_memory, make_container_mounts, plan_sandbox, settle
from carboy.engine.launch import read_launch_record
from carboy.runtime.attend import Watcher, attend
from carboy.runtime.passing import Passing
from carboy.runtime.stdio import Stdio
from carboy.snapshots import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.containers.record import ContainerConfig
    from carboy.engine.context import Engine
    from carboy.snapshots.snapshot import OverlayMount

__all__ = ["Observer", "RunRequest", "run_image"]


class Observer:
    """Who looks at a container that :func:`run_image` runs; this one does nothing."""

    def planned(self, config: ContainerConfig) -> None:
        """Called when all is decided, and its mounts are there; nothing has run. What this raises stops the run."""

    def beside(self, keeper: Watcher) -> Watcher:
        """Return who watches the sandbox in the keeper's place, and tells it everything."""
        return keeper

    def ended(self, status: int, *, root: OverlayMount, oom_killed: bool) -> None:
        """Called when its process has ended, and all that it wrote is still there."""


def run_image(
    engine: Engine, name: str, request: RunRequest, *, manifest: str | None = None, observer: Observer | None = None
) -> int:
    """Run the image ``name`` (or the manifest digest given) as asked and return its exit status.

    The container is removed when its process ends, however it ends; with an ``observer`` the kernel counts what it uses.
    Raises ``CarboyError`` with code 125 when the sandbox cannot be made, 126 or 127 when the command cannot be executed or
    is not there, and ``OutOfMemoryError`` (137) when the kernel killed its process for want of memory.
    """
    home = engine.home
    request = settle(request, engine)
    remove_stale(home)
    container_id = os.urandom(32).hex()
    with snapshot.open_container(home, container_id) as container:
        # The container's lock is held before its layers are looked up, so that a concurrent clean-up either sees
        # this container's claim or has already removed the layer, which the look-up then unpacks again.
        record = read_launch_record(engine, name, manifest=manifest)
        container.claim(record.layers)
        config = plan_config(
            request,
            record,
            container_id=container_id,
            image=name,
            manifest=record.manifest,
            now_s=time.time(),
            network=request.network or find_default_network(engine, runtime=request.runtime),
            term=engine.environ.get("TERM", "xterm"),
        )
        check_network(config, home=home, tier=engine.tier.name)
        given = ""
        container.hand_over()  # until the name is free again: a second Ctrl-C leaves the folder, which tells of the name
        try:
            given = claim_name(home, container_id, request.name)
            write_name(container.path, given)
            if config.mounts or config.volumes:
                config = config.replace(mounts=make_container_mounts(engine, config))
            write_record(container.path, "config", config)
            if observer is not None:
                observer.planned(config)
            write_event(home.path, "container", "create", id=container_id, name=given, image=name)
            trees = tuple(engine.store.layers.path_of_hex(layer.partition(":")[2]) for layer in record.layers)
            root = container.prepare(trees, userxattr=True)
            runtime = engine.runtime_for(config.runtime)
            stdio = Stdio(stdin=0 if request.interactive else None, stdout=1, stderr=2, terminal=request.terminal)
            with Passing(stdio, terminal=request.terminal) as passing:
                plan = runtime.plan(plan_sandbox(config, root=root, engine=engine, accounting=observer is not None))
                network = open_network(config, name=given, home=home, tier=engine.tier.name)
                keeper = Keeper(container.path, plan, image=name, brief=True, network=network)
                try:
                    watcher = keeper if observer is None else observer.beside(keeper)
                    status = attend(lambda: runtime.launch(plan, passing.child_fds), passing, watcher=watcher)
                finally:
                    keeper.close()
            if observer is not None:
                observer.ended(status, root=root, oom_killed=keeper.state.oom_killed)
            check_memory(status, oom_killed=keeper.state.oom_killed, config=config)
            return status
        finally:
            if config.mounts:
                release_volumes(home.path, container_id, remove_anonymous=True)
            release_claimed(home, given, owner=container_id)
            container.take_back()
            if given:
                write_event(home.path, "container", "destroy", id=container_id, name=given, image=name)
