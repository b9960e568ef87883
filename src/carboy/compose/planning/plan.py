"""From a project and what exists to ordered steps, each with its reason: pure. What is planned here is what is carried out.

``up`` is two plans: ``plan_images`` first, because only an image that was built tells whether containers of the older one must
be made anew; then, with what exists after it, ``plan_up``. ``teardown`` is the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from carboy.compose.errors import ComposeError, Issue
from carboy.compose.model import COMPLETED, HEALTHY, STARTED, Dependency, Project, Service
from carboy.compose.planning.container import (
    NETWORK_LABEL,
    PROJECT_LABEL,
    VOLUME_LABEL,
    ServiceContainer,
    changed_fields,
    service_container,
)
from carboy.compose.planning.graph import check_names, select_services
from carboy.compose.planning.images import UpOptions
from carboy.compose.planning.state import Existing, ExistingContainer
from carboy.compose.planning.steps import (
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Plan,
    PlanBuilder,
    RecreateContainer,
    StartContainer,
    StopContainer,
    WaitFor,
)
from carboy.compose.planning.teardown import find_orphans, plan_removal


@dataclass(slots=True, kw_only=True)
class _Decision:
    """What becomes of the containers of one service."""

    service: Service
    kept: list[tuple[ExistingContainer, ServiceContainer]] = field(default_factory=list)
    recreated: list[tuple[ExistingContainer, ServiceContainer, str]] = field(default_factory=list)
    created: list[ServiceContainer] = field(default_factory=list)
    excess: list[ExistingContainer] = field(default_factory=list)
    scale: int = 1
    # Places of steps: of the container's own making (by name), and of all starts.
    made: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, int] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the containers that there will be."""
        found = [target for _, target in self.kept]
        found += [target for _, target, _ in self.recreated]
        found += self.created
        return tuple(target.name for target in sorted(found, key=lambda item: item.number))


def plan_up(project: Project, existing: Existing, options: UpOptions) -> Plan:
    """Return the steps that bring services up: networks, volumes, containers, and starts in the order of dependencies.

    What is already as it should be has no step. Raises ``ComposeError`` for unknown services, circles, missing external
    networks and volumes, missing env files, and numbers of containers that cannot be.
    """
    services = select_services(project, options.services, with_dependencies=not options.no_deps)
    scales = _scales(project, services, options)
    _check_services(services, scales)
    builder = PlanBuilder()
    resources = _plan_resources(builder, project, services, existing)
    decisions = {item.name: _decide(project, item, scales[item.name], existing, options) for item in services}
    _plan_orphans(builder, project, existing, options)
    for decision in decisions.values():
        for container in decision.excess:
            plan_removal(
                builder, container, options.timeout_s, reason=f"{decision.service.name} has {decision.scale} of them"
            )
    _plan_restarts(builder, decisions, options)
    for decision in decisions.values():
        before = (*resources, *(step for other in _restarting(decisions, decision) for step in other.stopped.values()))
        _plan_making(builder, decision, options, after=before)
    if not options.no_start:
        waits: dict[tuple[str, str, bool], int] = {}
        for decision in decisions.values():
            _plan_starts(builder, decision, decisions, waits)
    return builder.finish()


def plan_resources(project: Project, services: tuple[Service, ...], existing: Existing) -> Plan:
    """Return the steps that make the networks and volumes of services, where they are missing.

    Raises ``ComposeError`` for missing external ones, and for services that cannot be started as they are.
    """
    _check_services(services, {service.name: 1 for service in services})
    builder = PlanBuilder()
    _plan_resources(builder, project, services, existing)
    return builder.finish()


def _scales(project: Project, services: tuple[Service, ...], options: UpOptions) -> dict[str, int]:
    check_names(project, tuple(name for name, _ in options.scale))
    given = dict(options.scale)
    return {service.name: given.get(service.name, service.replicas) for service in services}


def _check_services(services: tuple[Service, ...], scales: dict[str, int]) -> None:
    """Raise for services that cannot be started as they are."""
    issues = []
    by_name = {service.name: service for service in services}
    for service in services:
        path, scale = f"services.{service.name}", scales[service.name]
        issues += [Issue(text=text, path=path) for text in service.problems]
        if scale < 0:
            issues.append(Issue(text=f"there cannot be {scale} containers", path=path))
        if scale > 1 and service.container_name:
            issues.append(Issue(text=f"{scale} containers cannot share one container_name", path=path))
        for port in service.ports:
            if scale > 1 and port.published and "-" not in port.published:
                text = f"{scale} containers cannot share the port {port.published}: publish a range, or only the target"
                issues.append(Issue(text=text, path=f"{path}.ports"))
        for item in service.depends_on:
            check = by_name[item.service].healthcheck if item.service in by_name else None
            if item.condition == HEALTHY and check is not None and check.test[:1] == ("NONE",):
                text = f"it waits until {item.service} is healthy, whose healthcheck is disabled"
                issues.append(Issue(text=text, path=f"{path}.depends_on.{item.service}"))
    if issues:
        raise ComposeError("services cannot be started", issues=tuple(issues))


def _plan_resources(
    builder: PlanBuilder, project: Project, services: tuple[Service, ...], existing: Existing
) -> tuple[int, ...]:
    """Plan what the services use and is not there; return the places of these steps."""
    networks = {item.network for service in services for item in service.networks}
    volumes = {item.source for service in services for item in service.mounts if item.kind == "volume"}
    issues, places = [], []
    own = (PROJECT_LABEL, project.name)
    for network in project.networks:
        if network.key not in networks or network.name in existing.networks:
            continue
        if network.external:
            text = f"the external network {network.name} does not exist: carboy network create {network.name}"
            issues.append(Issue(text=text, path=f"networks.{network.key}"))
        labels = (*network.labels, own, (NETWORK_LABEL, network.key))
        places.append(builder.add(CreateNetwork(network=network, labels=labels, reason="services are on it")))
    for volume in project.volumes:
        if volume.key not in volumes or volume.name in existing.volumes:
            continue
        if volume.external:
            text = f"the external volume {volume.name} does not exist: carboy volume create {volume.name}"
            issues.append(Issue(text=text, path=f"volumes.{volume.key}"))
        labels = (*volume.labels, own, (VOLUME_LABEL, volume.key))
        places.append(builder.add(CreateVolume(volume=volume, labels=labels, reason="services keep files in it")))
    if issues:
        raise ComposeError("external resources are missing", issues=tuple(issues), hint="create them first")
    return tuple(places)


def _decide(project: Project, service: Service, scale: int, existing: Existing, options: UpOptions) -> _Decision:
    """Return which containers of a service stay, are made anew, made, and removed."""
    decision = _Decision(service=service, scale=scale)
    found = [item for item in existing.of_project(project.name) if item.service == service.name]
    named = not options.services or service.name in options.services
    reasons = {item.id: _why_recreate(project, service, item, existing, options, named=named) for item in found}
    # What is up to date stays before what is not, low numbers before high ones.
    ranked = sorted(found, key=lambda item: (bool(reasons[item.id]), item.number == 0, item.number))
    decision.excess = sorted(ranked[scale:], key=lambda item: -item.number)
    staying = sorted(ranked[:scale], key=lambda item: item.number)
    taken = {item.number for item in staying if item.number}
    free = iter(number for number in range(1, scale + len(found) + 2) if number not in taken)
    for item in staying:
        target = service_container(project, service, item.number or next(free))
        if reasons[item.id]:
            decision.recreated.append((item, target, reasons[item.id]))
        else:
            decision.kept.append((item, target))
    decision.created = [service_container(project, service, next(free)) for _ in range(scale - len(staying))]
    return decision


def _why_recreate(
    project: Project,
    service: Service,
    container: ExistingContainer,
    existing: Existing,
    options: UpOptions,
    *,
    named: bool,
) -> str:
    """Return why a container is not what it should be; empty when it is."""
    if options.no_recreate:
        return ""
    if options.force_recreate and named:
        return "--force-recreate was given"
    target = service_container(project, service, container.number or 1)
    if container.config_hash != target.config_hash:
        changed = changed_fields(container.field_hashes, target)
        return f"changed: {', '.join(changed)}" if changed else "its configuration changed"
    image_id = existing.image_id(target.image)
    if image_id and container.image_id and image_id != container.image_id:
        return f"the image {target.image} is a newer one"
    return f"its name is not {target.name}" if container.name != target.name else ""


def _plan_orphans(builder: PlanBuilder, project: Project, existing: Existing, options: UpOptions) -> None:
    orphans = find_orphans(project, existing.of_project(project.name))
    if orphans and not options.remove_orphans:
        names = ", ".join(item.name for item in orphans)
        builder.warn(f"containers of services that are no longer in the file: {names}; --remove-orphans removes them")
        return
    for container in orphans:
        reason = f"the service {container.service} is no longer in the file"
        plan_removal(builder, container, options.timeout_s, reason=reason)


def _restarting(decisions: dict[str, _Decision], decision: _Decision) -> list[_Decision]:
    """Return the services that want to be restarted when containers of this one are made anew."""
    if not decision.recreated:
        return []
    name = decision.service.name
    return [
        other
        for other in decisions.values()
        if any(item.service == name and item.restart for item in other.service.depends_on)
    ]


def _plan_restarts(builder: PlanBuilder, decisions: dict[str, _Decision], options: UpOptions) -> None:
    for decision in decisions.values():
        for other in _restarting(decisions, decision):
            for container, _ in other.kept:
                if container.is_up and container.name not in other.stopped:
                    reason = f"{decision.service.name}, which it depends on with restart, is made anew"
                    step = StopContainer(
                        id=container.id, name=container.name, timeout_s=options.timeout_s, reason=reason
                    )
                    other.stopped[container.name] = builder.add(step)


def _plan_making(builder: PlanBuilder, decision: _Decision, options: UpOptions, *, after: tuple[int, ...]) -> None:
    for container, target, reason in decision.recreated:
        step = RecreateContainer(container=target, replaces=container.id, timeout_s=options.timeout_s, reason=reason)
        decision.made[target.name] = builder.add(step, after=after)
    for target in decision.created:
        reason = f"{decision.service.name} has none yet" if target.number == 1 else f"{decision.scale} are wanted"
        decision.made[target.name] = builder.add(CreateContainer(container=target, reason=reason), after=after)


def _plan_starts(
    builder: PlanBuilder,
    decision: _Decision,
    decisions: dict[str, _Decision],
    waits: dict[tuple[str, str, bool], int],
) -> None:
    """Plan the starts of a service, behind what it depends on."""
    waiting: list[tuple[str, str, tuple[int, ...]]] = []
    for name in decision.names:
        if name in decision.made:
            waiting.append((name, "it is new", (decision.made[name],)))
    for container, target in decision.kept:
        if container.name in decision.stopped:
            waiting.append((target.name, "it was stopped for a restart", (decision.stopped[container.name],)))
        elif not container.is_up:
            status = "it was never started" if container.status == "created" else "it has stopped"
            waiting.append((target.name, status, ()))
    if not waiting:
        return
    before: list[int] = []
    for item in decision.service.depends_on:
        before += _plan_dependency(builder, item, decisions, waits)
    for name, reason, made in waiting:
        step = StartContainer(name=name, service=decision.service.name, reason=reason)
        decision.starts.append(builder.add(step, after=(*made, *before)))


def _plan_dependency(
    builder: PlanBuilder,
    item: Dependency,
    decisions: dict[str, _Decision],
    waits: dict[tuple[str, str, bool], int],
) -> list[int]:
    """Return the places of what must be done so that a dependency's condition is met."""
    other = decisions.get(item.service)
    if other is None or other.scale == 0:
        return []
    if item.condition == STARTED or _is_met(item, other):
        return list(other.starts)
    key = (item.service, item.condition, item.required)
    if key not in waits:
        word = "is healthy" if item.condition == HEALTHY else "has finished"
        step = WaitFor(
            service=item.service,
            names=other.names,
            condition=item.condition,
            required=item.required,
            reason=f"services depend on it and start when it {word}",
        )
        waits[key] = builder.add(step, after=tuple(other.starts))
    return [waits[key]]


def _is_met(item: Dependency, other: _Decision) -> bool:
    """Return whether what exists already is as a dependency wants it, untouched by this plan."""
    if other.starts or other.recreated or other.created:
        return False
    if item.condition == COMPLETED:
        return all(container.status == "exited" and container.exit_code == 0 for container, _ in other.kept)
    return all(container.status == "running" and container.health == "healthy" for container, _ in other.kept)
