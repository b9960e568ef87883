"""What exists now, as frozen summaries: whoever plans gets these, whoever knows the engine makes them."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.compose.model import Pairs
from carboy.compose.planning.container import (
    FIELDS_LABEL,
    HASH_LABEL,
    NUMBER_LABEL,
    ONEOFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
)

STATUSES = ("created", "running", "paused", "restarting", "exited", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingContainer:
    """A container: ``status`` is one of ``STATUSES``, ``health`` is starting, healthy, unhealthy or empty.

    ``restarts`` is how often its policy has started it again; ``ports`` are texts for people; ``image_id`` is what its image was
    when it was made.
    """

    id: str
    name: str
    status: str
    labels: Pairs
    image: str = ""
    image_id: str = ""
    health: str = ""
    exit_code: int | None = None
    restarts: int = 0
    ports: tuple[str, ...] = ()

    def label(self, name: str) -> str:
        """Return a label, empty when it has none."""
        return dict(self.labels).get(name, "")

    @property
    def project(self) -> str:
        """The project that made it."""
        return self.label(PROJECT_LABEL)

    @property
    def service(self) -> str:
        """The service that it is one of."""
        return self.label(SERVICE_LABEL)

    @property
    def number(self) -> int:
        """Which one of its service it is; 0 when its labels do not say."""
        text = self.label(NUMBER_LABEL)
        return int(text) if text.isascii() and text.isdigit() else 0

    @property
    def config_hash(self) -> str:
        """The hash of its configuration."""
        return self.label(HASH_LABEL)

    @property
    def field_hashes(self) -> str:
        """The hashes of the fields of its configuration."""
        return self.label(FIELDS_LABEL)

    @property
    def is_oneoff(self) -> bool:
        """Whether it was made by ``run``, not by ``up``."""
        return self.label(ONEOFF_LABEL).lower() == "true"

    @property
    def is_up(self) -> bool:
        """Whether it has a process."""
        return self.status in {"running", "paused", "restarting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """All that a plan needs to know. ``networks`` and ``volumes`` are names; ``images`` are (name, id), with each name written
    as the project writes it (``plan.image_names``).
    """

    containers: tuple[ExistingContainer, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: Pairs = ()

    def of_project(self, project: str) -> tuple[ExistingContainer, ...]:
        """Return the containers that ``up`` of a project made, in the order of services and numbers."""
        found = (item for item in self.containers if item.project == project and not item.is_oneoff)
        return tuple(sorted(found, key=lambda item: (item.service, item.number, item.name)))

    def image_id(self, name: str) -> str:
        """Return the id of an image, empty when it is not here."""
        return dict(self.images).get(name, "")
