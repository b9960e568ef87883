"""An engine that keeps all in its memory: for tests, and to see what carrying out a plan comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from carboy.compose.planning.container import ServiceContainer
from carboy.compose.planning.state import ExistingContainer
from carboy.compose.planning.steps import BuildImage, CreateNetwork, CreateVolume
from carboy.errors import CarboyError


@dataclass(slots=True)
class MemoryEngine:
    """Implements ``Containers`` and ``Resources``. ``calls`` are the changes that were asked for, in order, as words.

    Time passes in :meth:`pause` alone: each tells what happens meanwhile by calling the next of ``events``, and stopping
    containers have ended after it. ``made`` is what each container was made of; ``failing`` are the calls that fail.
    """

    containers: dict[str, ExistingContainer] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    networks: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    events: list[Callable[[], object]] = field(default_factory=list)
    made: dict[str, ServiceContainer] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    now_s: float = 0.0
    _stopping: set[str] = field(default_factory=set)

    def _call(self, text: str) -> None:
        self.calls.append(text)
        if text in self.failing:
            raise CarboyError(f"it cannot: {text}")

    # --- containers -----------------------------------------------------------------------------------------------

    def list(self, project: str) -> tuple[ExistingContainer, ...]:
        """Return all containers of a project, or of all projects."""
        return tuple(item for item in self.containers.values() if item.project and project in {"", item.project})

    def view(self, name: str) -> ExistingContainer | None:
        """Return a container as it is now."""
        return next((item for item in self.containers.values() if name in {item.name, item.id}), None)

    def change(self, name: str, **fields: object) -> None:
        """Let something happen to a container. Raises ``KeyError``."""
        found = self.view(name)
        if found is None:
            raise KeyError(name)
        self.containers[found.id] = replace(found, **fields)  # type: ignore[arg-type]

    def create(self, container: ServiceContainer, *, replaces: str = "") -> None:
        """Make a container."""
        self._call(f"{'recreate' if replaces else 'create'} {container.name}")
        if replaces:
            self.remove(replaces, volumes=False)
        if self.view(container.name) is not None:
            raise CarboyError(f"the name {container.name} is in use")
        labels = tuple((name, value) for name, _, value in (text.partition("=") for text in container.label))
        id = f"id{len(self.calls)}"
        self.containers[id] = ExistingContainer(
            id=id,
            name=container.name,
            status="created",
            labels=labels,
            image=container.image,
            image_id=self.images.get(container.image, ""),
        )
        self.made[container.name] = container

    def start(self, name: str) -> None:
        """Start a container."""
        self._call(f"start {name}")
        check = self.made[name].healthcheck
        checked = check is not None and check.test[:1] not in ((), ("NONE",))
        self.change(name, status="running", exit_code=None, health="starting" if checked else "")

    def begin_stop(self, id: str, *, timeout_s: float | None) -> None:
        """Ask a container to end, which it does while time passes."""
        found = self.view(id)
        if found is not None and found.is_up:
            self._call(f"stop {found.name}" + ("" if timeout_s is None else f" {timeout_s:g}"))
            self._stopping.add(found.id)

    def is_stopped(self, id: str) -> bool:
        """Return whether a container has ended."""
        found = self.view(id)
        return found is None or not found.is_up

    def kill(self, id: str, *, signal: int) -> None:
        """Send a signal: each ends the container."""
        found = self.view(id)
        if found is not None and found.is_up:
            self._call(f"kill {found.name} {signal}")
            self.change(found.name, status="exited", exit_code=128 + signal, health="")

    def remove(self, id: str, *, volumes: bool) -> None:
        """Remove a stopped container."""
        found = self.view(id)
        if found is None:
            return
        self._call(f"remove {found.name}" + (" with volumes" if volumes else ""))
        if found.is_up:
            raise CarboyError(f"the container {found.name} is running")
        del self.containers[found.id]

    def pause(self, timeout_s: float) -> None:
        """Let time pass. Raises ``RuntimeError`` when nothing would ever happen."""
        self.now_s += timeout_s
        if not self.events and not self._stopping and self.now_s > 3600:
            raise RuntimeError("nothing happens any more")
        for id in self._stopping:
            if id in self.containers:
                self.containers[id] = replace(self.containers[id], status="exited", exit_code=0, health="")
        self._stopping.clear()
        if self.events:
            self.events.pop(0)()

    # --- resources ------------------------------------------------------------------------------------------------

    def image_ids(self, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Return (name, id) of those images that are here."""
        return tuple((name, self.images[name]) for name in names if name in self.images)

    def build_image(self, step: BuildImage) -> None:
        """Build an image: every time another one."""
        self._call(f"build {step.image}")
        self.images[step.image] = f"image{len(self.calls)}"

    def pull_image(self, name: str, *, platform: str) -> None:
        """Get an image."""
        del platform
        self._call(f"pull {name}")
        self.images[name] = f"image{len(self.calls)}"

    def remove_image(self, name: str) -> None:
        """Remove the name of an image."""
        self._call(f"remove image {name}")
        self.images.pop(name, None)

    def network_names(self) -> tuple[str, ...]:
        """Return the names of the networks."""
        return tuple(self.networks)

    def create_network(self, step: CreateNetwork) -> None:
        """Make a network."""
        self._call(f"create network {step.network.name}")
        self.networks.append(step.network.name)

    def remove_network(self, name: str) -> None:
        """Remove a network."""
        self._call(f"remove network {name}")
        self.networks.remove(name)

    def volume_names(self) -> tuple[str, ...]:
        """Return the names of the volumes."""
        return tuple(self.volumes)

    def create_volume(self, step: CreateVolume) -> None:
        """Make a volume."""
        self._call(f"create volume {step.volume.name}")
        self.volumes.append(step.volume.name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        self._call(f"remove volume {name}")
        self.volumes.remove(name)
