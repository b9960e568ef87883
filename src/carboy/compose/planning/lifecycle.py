"""What is done with containers that exist: start, restart, remove; and builds: pure."""

from __future__ import annotations

from carboy.compose.errors import ComposeError
from carboy.compose.model import HEALTHY, STARTED, Dependency, Project
from carboy.compose.planning.container import image_name
from carboy.compose.planning.graph import check_names, start_order
from carboy.compose.planning.images import ImageBuilds
from carboy.compose.planning.state import Existing, ExistingContainer
from carboy.compose.planning.steps import Plan, PlanBuilder, PullImage, StartContainer, StopContainer, WaitFor
from carboy.compose.planning.teardown import plan_removal, plan_stop


def plan_builds(
    project: Project, *, services: tuple[str, ...] = (), pull: bool = False, no_cache: bool = False
) -> Plan:
    """Return the builds of services (none: of all that are active and are built), each image once."""
    check_names(project, services)
    builder, done, reason = PlanBuilder(), set(), "it was asked for"
    # As in Docker Compose, what a build takes files from is built as well; what is the same comes from the cache.
    builds = ImageBuilds(builder, project, why=lambda _: "others take files from it", pull=pull, no_cache=no_cache)
    for service in project.services:
        wanted = service.name in services if services else project.is_active(service)
        image = image_name(project, service)
        if service.build is None or not wanted or image in done:
            continue
        done.add(image)
        builds.add(service, reason)
    return builder.finish()


def plan_pulls(project: Project, *, services: tuple[str, ...] = ()) -> Plan:
    """Return the pulls of services (none: all that are active) that are not built here, each image once."""
    check_names(project, services)
    builder, done = PlanBuilder(), set()
    for service in project.services:
        wanted = service.name in services if services else project.is_active(service)
        image = image_name(project, service)
        if service.build is not None or not wanted or (image, service.platform) in done:
            continue
        done.add((image, service.platform))
        builder.add(PullImage(image=image, platform=service.platform, reason="it was asked for"))
    return builder.finish()


def list_pushes(project: Project, *, services: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the images of services (none: all that are active) that are built here under a name of their own."""
    check_names(project, services)
    found = {
        service.image: None
        for service in project.services
        if service.build is not None
        and service.image
        and (service.name in services if services else project.is_active(service))
    }
    return tuple(found)


def plan_start(project: Project, existing: Existing, *, services: tuple[str, ...] = ()) -> Plan:
    """Return the starts of the containers that services have (none: all), in the order of dependencies.

    Raises ``ComposeError`` for a service that was named and has no container.
    """
    check_names(project, services)
    own = _group(project, existing)
    if missing := [name for name in services if not own.get(name)]:
        hint = f"carboy compose up -d {' '.join(missing)}"
        raise ComposeError(f"no container was made for {', '.join(missing)} yet", hint=hint)
    builder = PlanBuilder()
    _plan_starts(builder, project, own, services, stopped={}, reason="it has stopped")
    return builder.finish()


def plan_restart(
    project: Project, existing: Existing, *, services: tuple[str, ...] = (), timeout_s: float | None = None
) -> Plan:
    """Return the stops and starts of services (none: all), and of those that want to be restarted with one of them."""
    check_names(project, services)
    own = _group(project, existing)
    wanted = set(services or own)
    for name in start_order(project):
        depends = project.service(name).depends_on
        if any(item.restart and item.service in wanted for item in depends) and _is_up(own.get(name, ())):
            wanted.add(name)
    chosen = tuple(name for name in own if name in wanted)
    builder, stopped = PlanBuilder(), dict[str, int]()
    stops = plan_stop(project, existing, services=chosen, timeout_s=timeout_s)
    for step, after in zip(stops.steps, stops.after, strict=True):
        if isinstance(step, StopContainer):
            stopped[step.id] = builder.add(step, after=after)
    _plan_starts(builder, project, own, chosen, stopped=stopped, reason="it was stopped for a restart")
    return builder.finish()


def plan_remove(
    project: Project,
    existing: Existing,
    *,
    services: tuple[str, ...] = (),
    stop: bool = False,
    volumes: bool = False,
) -> Plan:
    """Return the removals of the stopped containers of services (none: all), with ``stop`` of the running ones too."""
    check_names(project, services)
    builder = PlanBuilder()
    for container in existing.of_project(project.name):
        if (services and container.service not in services) or (container.is_up and not stop):
            continue
        plan_removal(builder, container, None, reason="it was asked for", volumes=volumes)
    return builder.finish()


def plan_wait(project: Project, existing: Existing, services: tuple[str, ...]) -> Plan:
    """Return the waits until services run, and are healthy where they are checked; one that has done its work is fine."""
    builder = PlanBuilder()
    for container in existing.of_project(project.name):
        done = container.status == "exited" and container.exit_code == 0
        if container.service in services and not done:
            condition = HEALTHY if container.health else STARTED
            builder.add(
                WaitFor(
                    service=container.service,
                    names=(container.name,),
                    condition=condition,
                    required=True,
                    reason="--wait was given",
                )
            )
    return builder.finish()


def plan_conditions(project: Project, existing: Existing, service: str) -> Plan:
    """Return the waits until what a service depends on is as its conditions want it; all of that has been started."""
    builder = PlanBuilder()
    own = _group(project, existing)
    for item in project.service(service).depends_on:
        names = tuple(container.name for container in own.get(item.service, ()))
        if names and item.condition != STARTED:
            reason = f"{service} depends on it"
            builder.add(
                WaitFor(
                    service=item.service,
                    names=names,
                    condition=item.condition,
                    required=item.required,
                    reason=reason,
                )
            )
    return builder.finish()


def _group(project: Project, existing: Existing) -> dict[str, list[ExistingContainer]]:
    """Return the containers of each service that has some, in starting order."""
    containers = existing.of_project(project.name)
    groups = {name: [item for item in containers if item.service == name] for name in start_order(project)}
    return {name: group for name, group in groups.items() if group}


def _is_up(containers: list[ExistingContainer] | tuple[()]) -> bool:
    return any(item.is_up for item in containers)


def _plan_starts(
    builder: PlanBuilder,
    project: Project,
    own: dict[str, list[ExistingContainer]],
    services: tuple[str, ...],
    *,
    stopped: dict[str, int],
    reason: str,
) -> None:
    starts: dict[str, list[int]] = {}
    for name, containers in own.items():
        if services and name not in services:
            continue
        waiting = [item for item in containers if item.id in stopped or not item.is_up]
        if not waiting:
            continue
        before = [
            place for item in project.service(name).depends_on for place in _plan_dependency(builder, item, own, starts)
        ]
        for container in waiting:
            after = [*before, *([stopped[container.id]] if container.id in stopped else [])]
            step = StartContainer(name=container.name, service=name, reason=reason)
            starts.setdefault(name, []).append(builder.add(step, after=tuple(after)))


def _plan_dependency(
    builder: PlanBuilder, item: Dependency, own: dict[str, list[ExistingContainer]], starts: dict[str, list[int]]
) -> tuple[int, ...]:
    """Return the places of what must be done before a dependency counts as met; nothing, when it is not started here."""
    begun = tuple(starts.get(item.service, ()))
    if not begun or item.condition == STARTED:
        return begun
    step = WaitFor(
        service=item.service,
        names=tuple(container.name for container in own[item.service]),
        condition=item.condition,
        required=item.required,
        reason="services depend on it",
    )
    return (builder.add(step, after=begun),)
