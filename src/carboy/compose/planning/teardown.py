"""The way down, and what there is: ``plan_stop``, ``plan_down``, ``list_rows``: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from carboy.compose.errors import ComposeError
from carboy.compose.model import Project
from carboy.compose.planning.container import image_name
from carboy.compose.planning.graph import check_names, dependents, start_order
from carboy.compose.planning.images import image_names
from carboy.compose.planning.state import Existing, ExistingContainer
from carboy.compose.planning.steps import (
    Plan,
    PlanBuilder,
    RemoveContainer,
    RemoveImage,
    RemoveNetwork,
    RemoveVolume,
    StopContainer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownOptions:
    """Options of ``down``; with ``services`` only their containers go. ``images`` is empty, local or all."""

    services: tuple[str, ...] = ()
    volumes: bool = False
    images: str = ""
    remove_orphans: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """A line of ``ps``: a container of the project; ``orphan`` when its service is no longer in the file."""

    name: str
    service: str
    image: str
    status: str
    health: str
    exit_code: int | None
    ports: tuple[str, ...]
    orphan: bool


def find_orphans(project: Project, containers: Iterable[ExistingContainer]) -> list[ExistingContainer]:
    """Return the containers that ``up`` made for services that the project no longer has."""
    names = {service.name for service in project.services}
    return [item for item in containers if item.service not in names and not item.is_oneoff]


def plan_removal(
    builder: PlanBuilder,
    container: ExistingContainer,
    timeout_s: float | None,
    *,
    reason: str,
    volumes: bool = False,
    after: tuple[int, ...] = (),
) -> tuple[int, int]:
    """Plan to stop (where it runs) and remove; return the places of the last stop and of the removal."""
    stop = -1
    before = after
    if container.is_up:
        step = StopContainer(id=container.id, name=container.name, timeout_s=timeout_s, reason=reason)
        stop = builder.add(step, after=after)
        before = (stop,)
    removal = RemoveContainer(id=container.id, name=container.name, volumes=volumes, reason=reason)
    return stop, builder.add(removal, after=before)


def plan_stop(
    project: Project, existing: Existing, *, services: tuple[str, ...] = (), timeout_s: float | None = None
) -> Plan:
    """Return the stops of services (none: all), each behind those of the services that depend on it."""
    check_names(project, services)
    builder, done = PlanBuilder(), dict[str, list[int]]()
    containers = existing.of_project(project.name)
    for name in reversed(start_order(project)):
        before = tuple(step for other in dependents(project, name) for step in done.get(other, []))
        done[name] = list(before)
        own = [item for item in containers if item.service == name and item.is_up]
        if own and (not services or name in services):
            done[name] = [
                builder.add(
                    StopContainer(id=item.id, name=item.name, timeout_s=timeout_s, reason="it was asked for"),
                    after=before,
                )
                for item in reversed(own)
            ]
    return builder.finish()


def plan_down(project: Project, existing: Existing, options: DownOptions) -> Plan:
    """Return the steps that take a project down: containers, those of ``run`` too, then networks, and on request the rest."""
    check_names(project, options.services)
    builder = PlanBuilder()
    removed = _plan_container_removals(builder, project, existing, options)
    if options.services:
        return builder.finish()
    for network in project.networks:
        if not network.external and network.name in existing.networks:
            builder.add(RemoveNetwork(name=network.name, reason="the project made it"), after=removed)
    for volume in project.volumes if options.volumes else ():
        if not volume.external and volume.name in existing.volumes:
            builder.add(RemoveVolume(name=volume.name, reason="--volumes was given"), after=removed)
    for name in _removable_images(project, options.images):
        if existing.image_id(name):
            builder.add(RemoveImage(image=name, reason=f"--rmi {options.images} was given"), after=removed)
    return builder.finish()


def _plan_container_removals(
    builder: PlanBuilder, project: Project, existing: Existing, options: DownOptions
) -> tuple[int, ...]:
    containers = [item for item in existing.containers if item.project == project.name]
    orphans = find_orphans(project, containers)
    removed: list[int] = []
    stops: dict[str, list[int]] = {}
    for name in reversed(start_order(project)):
        before = tuple(step for other in dependents(project, name) for step in stops.get(other, []))
        stops[name] = []
        own = [item for item in containers if item.service == name]
        for item in (
            sorted(own, key=lambda item: -item.number) if not options.services or name in options.services else ()
        ):
            stop, removal = plan_removal(
                builder, item, options.timeout_s, reason="the project goes down", volumes=options.volumes, after=before
            )
            stops[name] += [stop] if stop >= 0 else []
            removed.append(removal)
        stops[name] = stops[name] or list(before)
    if orphans and not options.remove_orphans and not options.services:
        names = ", ".join(item.name for item in orphans)
        builder.warn(
            f"containers of services that are no longer in the file stay: {names}; --remove-orphans removes them"
        )
    for item in orphans if options.remove_orphans else ():
        reason = f"the service {item.service} is no longer in the file"
        removed.append(plan_removal(builder, item, options.timeout_s, reason=reason, volumes=options.volumes)[1])
    return tuple(removed)


def _removable_images(project: Project, which: str) -> tuple[str, ...]:
    if which not in {"", "local", "all"}:
        raise ComposeError(f"--rmi knows local and all, not {which!r}", code=2)
    if which == "all":
        return image_names(project)
    built = (item for item in project.services if item.build is not None and not item.image)
    return tuple(image_name(project, item) for item in built) if which else ()


def list_rows(project: Project, existing: Existing, *, stopped: bool = False) -> tuple[ServiceRow, ...]:
    """Return the lines of ``ps``: running containers, with ``stopped`` all."""
    names = {service.name for service in project.services}
    return tuple(
        ServiceRow(
            name=item.name,
            service=item.service,
            image=item.image,
            status=item.status,
            health=item.health,
            exit_code=item.exit_code,
            ports=item.ports,
            orphan=item.service not in names,
        )
        for item in existing.of_project(project.name)
        if stopped or item.is_up
    )
