"""The containers of a home: implements ``Containers`` with the engine's use cases."""

from __future__ import annotations

import math
import os
import select
import signal as signals
from collections.abc import Callable
from dataclasses import replace

from carboy.compose.execution.materials import Materials
from carboy.compose.execution.request import check_supported, find_anonymous, plan_request
from carboy.compose.planning.container import PROJECT_LABEL, ServiceContainer
from carboy.compose.planning.state import ExistingContainer
from carboy.containers import control
from carboy.containers.control import Connection
from carboy.engine.containers.create import create_container, start_container
from carboy.engine.containers.manage import (
    ContainerView,
    delete_container,
    find_container,
    kill_container,
    list_containers,
    rename_container,
    view_container,
)
from carboy.engine.context import Engine
from carboy.engine.launch import read_launch_record
from carboy.errors import CarboyError
from carboy.linux.inotify import Watch
from carboy.oci.platform import Platform
from carboy.snapshots import snapshot
from carboy.volumes.store import VolumeStore

_UNLOCK_S = 5.0
_STEP_S = 0.01


class EngineContainers:
    """Containers of the home of one opened engine. A context manager: what it watches is closed at the end."""

    def __init__(self, engine: Engine) -> None:
        self.opened = engine
        self._home = engine.home
        self._materials = Materials(engine.home.path)
        # Whatever happens to a container is noted in a file of the home (``containers.events``).
        self._watch = Watch(engine.home.path)
        self._stopping: dict[str, tuple[Connection, int]] = {}
        self._filenos: Callable[[], list[int]] = list
        self._look: Callable[[], object] = bool

    def attend(self, filenos: Callable[[], list[int]], look: Callable[[], object]) -> None:
        """Call ``look()`` in each pause, which also ends when one of the descriptors ``filenos()`` becomes readable."""
        self._filenos, self._look = filenos, look

    def __enter__(self) -> EngineContainers:
        return self

    def __exit__(self, *_: object) -> None:
        for id in list(self._stopping):
            self._forget(id)
        self._watch.__exit__(None, None, None)

    def list(self, project: str) -> tuple[ExistingContainer, ...]:
        """Return all containers of a project, or of all projects."""
        found = (self._describe(view) for view in list_containers(self._home, everything=True))
        return tuple(item for item in found if item.project and project in {"", item.project})

    def view(self, name: str) -> ExistingContainer | None:
        """Return a container as it is now."""
        view = self._view(name)
        return None if view is None else self._describe(view)

    def _describe(self, view: ContainerView) -> ExistingContainer:
        """Return what planning needs to know; one that has just ended and is about to start again has not ended."""
        found = describe_view(view)
        if found.status != "exited" or view.config.restart == "no" or not snapshot.is_running(self._home, view.id):
            return found
        now = view_container(self._home, view.id)
        return replace(found, status="restarting") if now is not None and not now.state.stopped else found

    def _view(self, name: str) -> ContainerView | None:
        try:
            return view_container(self._home, find_container(self._home, name))
        except CarboyError:
            return None

    def create(self, container: ServiceContainer, *, replaces: str = "") -> None:
        """Make a container; with ``replaces`` under another name first, so that a failure costs nothing."""
        check_supported(container, platform=str(Platform.current()))
        record = read_launch_record(self.opened, container.image)
        for path in container.create_host_paths:
            make_host_path(path)
        name = f"{container.name}.{os.urandom(4).hex()}" if replaces else container.name
        sources = self._materials.write(container)
        try:
            anonymous = self._find_anonymous(replaces) if replaces else {}
            request = plan_request(container, record, name=name, sources=sources, anonymous=anonymous)
            id = create_container(self.opened, container.image, request)
        except BaseException:
            self.sweep(container.project)
            raise
        if replaces:
            self.remove(replaces, volumes=False)
            view = view_container(self._home, id)
            if view is not None:
                rename_container(self._home, view, container.name)

    def _find_anonymous(self, id: str) -> dict[str, str]:
        view = self._view(id)
        names = frozenset(volume.name for volume in VolumeStore(self._home).list_volumes() if volume.anonymous)
        return {} if view is None else find_anonymous(view.config.mounts, names)

    def start(self, name: str) -> None:
        """Start a container, as soon as the keeper of an earlier run has let go of it."""
        view = self._view(name)
        if view is None:
            raise CarboyError(f"the container {name} is gone", hint="somebody has removed it; try again")
        if not view.running:
            self._wait_unlocked(view.id)
            start_container(self.opened, view.id)

    def _wait_unlocked(self, id: str) -> None:
        for _ in range(int(_UNLOCK_S / _STEP_S)):
            if not snapshot.is_running(self._home, id):
                return
            select.select([], [], [], _STEP_S)

    def begin_stop(self, id: str, *, timeout_s: float | None) -> None:
        """Ask the keeper to end the container; its end is seen by :meth:`is_stopped`."""
        view = self._view(id)
        connection = None if view is None else control.connect(view.folder)
        if view is None or connection is None or view.id in self._stopping:
            return
        wait_s = view.config.stop_timeout_s if timeout_s is None else math.ceil(timeout_s)
        connection.send(("stop", signal_number(view.config.stop_signal), wait_s))
        try:
            keeper = os.pidfd_open(view.state.supervisor)
        except OSError:
            keeper = -1
        self._stopping[view.id] = (connection, keeper)

    def is_stopped(self, id: str) -> bool:
        """Return whether the container's keeper has let go of it."""
        if snapshot.is_running(self._home, id):
            return False
        self._forget(id)
        return True

    def _forget(self, id: str) -> None:
        connection, keeper = self._stopping.pop(id, (None, -1))
        if connection is not None:
            connection.close()
        if keeper >= 0:
            os.close(keeper)

    def kill(self, id: str, *, signal: int) -> None:
        """Send a signal to a container's process."""
        view = self._view(id)
        if view is None or not view.running:
            return
        try:
            kill_container(view, signal=int(signal))
        except CarboyError:
            now = self._view(id)
            if now is not None and now.running:
                raise

    def remove(self, id: str, *, volumes: bool) -> None:
        """Remove a stopped container, and the files of its secrets and configs."""
        view = self._view(id)
        if view is None:
            return
        self._wait_unlocked(view.id)
        delete_container(self._home, view, remove_anonymous=volumes)
        self.sweep(dict(view.config.labels).get(PROJECT_LABEL, ""))

    def sweep(self, project: str) -> None:
        """Remove the files of secrets and configs that no container of a project has any more."""
        if not project:
            return
        views = list_containers(self._home, everything=True)
        self._materials.sweep(project, {text for view in views for _, text in view.config.mounts})

    def pause(self, timeout_s: float) -> None:
        """Return when something was noted in the home, a keeper has ended, or time is up."""
        keepers = [keeper for _, keeper in self._stopping.values() if keeper >= 0]
        self._look()
        ready, _, _ = select.select([self._watch.fileno(), *keepers, *self._filenos()], [], [], timeout_s)
        if set(ready) & set(keepers):
            # The kernel lets go of a dead process's lock a moment before or after it says that it is dead.
            select.select([], [], [], _STEP_S)
        self._watch.drain()
        self._look()


def describe_view(view: ContainerView) -> ExistingContainer:
    """Return what planning needs to know of a container."""
    state, config = view.state, view.config
    health = state.health or ("starting" if config.health_test else "")
    return ExistingContainer(
        id=view.id,
        name=view.name,
        status=state.status,
        labels=config.labels,
        image=config.image.removeprefix("docker.io/library/").removeprefix("docker.io/"),
        image_id=config.manifest,
        health=health if state.status in {"running", "paused"} else "",
        restarts=state.restarts,
        exit_code=state.exit_code if state.status in {"exited", "restarting"} else None,
        ports=state.ports,
    )


def make_host_path(path: str) -> None:
    """Make the folder that a bind mount wants to be there. Raises ``CarboyError``."""
    if os.path.lexists(path):
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        hint = "make the folder yourself, or set bind.create_host_path to false"
        raise CarboyError(f"the folder {path} cannot be made", details=str(error), hint=hint) from error


def signal_number(name: str) -> int:
    """Return the number of a signal as an image or a compose file names it: SIGTERM, TERM, 15; that of SIGTERM for others."""
    if name.isascii() and name.isdigit():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    return int(getattr(signals, full, signals.SIGTERM))
