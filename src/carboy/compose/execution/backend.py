"""What carrying out a plan asks of an engine: two seams, each with an in-memory implementation in ``memory``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from carboy.compose.planning.container import ServiceContainer
    from carboy.compose.planning.state import ExistingContainer
    from carboy.compose.planning.steps import BuildImage, CreateNetwork, CreateVolume


class Containers(Protocol):
    """Containers by name. No call but :meth:`pause` and :meth:`start` waits for anything."""

    def list(self, project: str) -> tuple[ExistingContainer, ...]:
        """Return all containers of a project, those of ``run`` too, as they are now; of all projects when it is empty.

        A container that runs and has a health check has a ``health``, from its first moment on.
        """

    def view(self, name: str) -> ExistingContainer | None:
        """Return the container of this name or id as it is now, None when there is none."""

    def create(self, container: ServiceContainer, *, replaces: str = "") -> None:
        """Make a container; all or nothing. It takes over the anonymous volumes of the stopped container ``replaces`` (an
        id), which is removed.

        Raises ``CarboyError`` for what the engine cannot do; then ``replaces`` is still there.
        """

    def start(self, name: str) -> None:
        """Start a container; returns when its command has been executed. One that runs is fine.

        Raises ``CarboyError``.
        """

    def begin_stop(self, id: str, *, timeout_s: float | None) -> None:
        """Ask a container to end, and have it ended after ``timeout_s`` (None: its own). One that is gone is fine."""

    def is_stopped(self, id: str) -> bool:
        """Return whether a container has ended for good and can be removed or started."""

    def kill(self, id: str, *, signal: int) -> None:
        """Send a signal to a container's process; one that does not run is fine."""

    def remove(self, id: str, *, volumes: bool) -> None:
        """Remove a stopped container, with ``volumes`` its anonymous ones too; one that is gone is fine."""

    def pause(self, timeout_s: float) -> None:
        """Return when a container may have changed, at the latest after ``timeout_s``."""


class Resources(Protocol):
    """What containers need: images, networks and volumes, by the names that a project writes."""

    def image_ids(self, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Return (name, id) of those images that are here."""

    def build_image(self, step: BuildImage) -> None:
        """Build an image and name it. Raises ``CarboyError``, also for what builds here cannot do."""

    def pull_image(self, name: str, *, platform: str) -> None:
        """Get an image, for a platform ("": this machine's). Raises ``CarboyError``."""

    def remove_image(self, name: str) -> None:
        """Remove the name of an image; one that is not there is fine."""

    def network_names(self) -> tuple[str, ...]:
        """Return the names of the networks that were made."""

    def create_network(self, step: CreateNetwork) -> None:
        """Make a network. Raises ``CarboyError``."""

    def remove_network(self, name: str) -> None:
        """Remove a network; one that is not there is fine. Raises ``CarboyError`` when containers are on it."""

    def volume_names(self) -> tuple[str, ...]:
        """Return the names of the volumes that were made."""

    def create_volume(self, step: CreateVolume) -> None:
        """Make a volume. Raises ``CarboyError``."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume and what is in it; one that is not there is fine. Raises ``CarboyError`` when it is used."""
