"""The steps of a plan: frozen values, each with a reason, and what must be done before it."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.compose.model import HEALTHY, STARTED, Build, Material, Network, Pairs, Volume
from carboy.compose.planning.container import ServiceContainer


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNetwork:
    """Make a network; ``labels`` are those of the file and the project's own."""

    network: Network
    labels: Pairs
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"create network {self.network.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVolume:
    """Make a volume; ``labels`` are those of the file and the project's own."""

    volume: Volume
    labels: Pairs
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"create volume {self.volume.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildImage:
    """Build the image of a service and give it the name ``image`` (and ``build.tags``).

    ``secrets`` are where the build's secrets come from, by their ids. The contexts of ``build`` that were services are
    images.
    """

    service: str
    image: str
    build: Build
    platform: str
    reason: str
    secrets: tuple[tuple[str, Material], ...] = ()

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"build image {self.image}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage:
    """Get an image that is not made here."""

    image: str
    platform: str
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"pull image {self.image}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer:
    """Make a container; it does not run yet."""

    container: ServiceContainer
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"create container {self.container.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecreateContainer:
    """Stop and remove the container ``replaces`` (an id), and make this one, which takes over its anonymous volumes."""

    container: ServiceContainer
    replaces: str
    timeout_s: float | None
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"recreate container {self.container.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Start the container of this name."""

    name: str
    service: str
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"start container {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFor:
    """Wait until all containers (names) of a service meet a condition of ``depends_on``.

    A container that stops before it is healthy, becomes unhealthy, or ends with a status other than 0 fails the wait; a wait
    that is not ``required`` then ends with a warning.
    """

    service: str
    names: tuple[str, ...]
    condition: str
    required: bool
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        words = {HEALTHY: "is healthy", STARTED: "runs"}
        return f"wait until {self.service} {words.get(self.condition, 'is finished')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopContainer:
    """Stop a container; ``timeout_s`` None is the container's own."""

    id: str
    name: str
    timeout_s: float | None
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"stop container {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    """Remove a stopped container; with ``volumes`` its anonymous ones too."""

    id: str
    name: str
    volumes: bool
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"remove container {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork:
    """Remove a network."""

    name: str
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"remove network {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolume:
    """Remove a volume and what is in it."""

    name: str
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"remove volume {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveImage:
    """Remove an image's name, and the image when that was its last."""

    image: str
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"remove image {self.image}"


Step = (
    CreateNetwork
    | CreateVolume
    | BuildImage
    | PullImage
    | CreateContainer
    | RecreateContainer
    | StartContainer
    | WaitFor
    | StopContainer
    | RemoveContainer
    | RemoveNetwork
    | RemoveVolume
    | RemoveImage
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in an order that works one after the other; ``after[i]`` are the places of what step ``i`` really waits for."""

    steps: tuple[Step, ...] = ()
    after: tuple[tuple[int, ...], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[tuple[Step, ...], ...]:
        """The steps in groups: those of one group may run at once when all earlier groups are done."""
        depth: list[int] = []
        groups: list[list[Step]] = []
        for step, before in zip(self.steps, self.after, strict=True):
            level = 1 + max((depth[index] for index in before), default=-1)
            depth.append(level)
            if level == len(groups):
                groups.append([])
            groups[level].append(step)
        return tuple(tuple(group) for group in groups)

    def describe(self) -> tuple[str, ...]:
        """Return a line for each step: what, and why."""
        return tuple(f"{step.what}: {step.reason}" for step in self.steps)


class PlanBuilder:
    """Gathers steps; a step can only wait for earlier ones, so that no circle can be written."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._after: list[tuple[int, ...]] = []
        self._warnings: list[str] = []

    def add(self, step: Step, *, after: tuple[int, ...] = ()) -> int:
        """Add a step and return its place. Raises ``ValueError`` when it would wait for a later one."""
        if any(index >= len(self._steps) for index in after):
            raise ValueError(after)
        self._steps.append(step)
        self._after.append(tuple(sorted(set(after))))
        return len(self._steps) - 1

    def warn(self, text: str) -> None:
        """Add a remark about the plan."""
        self._warnings.append(text)

    def finish(self) -> Plan:
        """Return the plan."""
        return Plan(steps=tuple(self._steps), after=tuple(self._after), warnings=tuple(self._warnings))
