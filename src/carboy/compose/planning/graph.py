"""The order of services: pure."""

from __future__ import annotations

from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from carboy.compose.errors import ComposeError
from carboy.compose.model import Project, Service


def start_order(project: Project) -> tuple[str, ...]:
    """Return the names of all services, each behind those that it depends on, otherwise in the file's order.

    Raises ``ComposeError`` that names the services of a circle.
    """
    names = [service.name for service in project.services]
    place = {name: index for index, name in enumerate(names)}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for service in project.services:
        sorter.add(service.name, *(item.service for item in service.depends_on if item.service in place))
    try:
        sorter.prepare()
    except CycleError as error:
        shown = " -> ".join(reversed(error.args[1]))
        hint = "take one depends_on of the circle away"
        raise ComposeError(f"services depend on each other in a circle: {shown}", hint=hint) from error
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=place.__getitem__)
        order += ready
        sorter.done(*ready)
    return tuple(order)


def select_services(project: Project, names: tuple[str, ...], *, with_dependencies: bool = True) -> tuple[Service, ...]:
    """Return what a command means by ``names`` (none: all active services), with what they depend on, in starting order.

    Naming a service activates its profiles. Raises ``ComposeError`` for a name that is none, and for a dependency whose
    profile is not active.
    """
    known = {service.name: service for service in project.services}
    check_names(project, names)
    profiles = {profile for name in names for profile in known[name].profiles} | set(project.profiles)
    active = {
        name for name, item in known.items() if not item.profiles or "*" in profiles or profiles & set(item.profiles)
    }
    waiting = list(names) or [name for name in known if name in active]
    chosen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in chosen:
            continue
        chosen.add(name)
        if with_dependencies:
            waiting += _dependencies(known, active, known[name])
    return tuple(known[name] for name in start_order(project) if name in chosen)


def check_names(project: Project, names: tuple[str, ...]) -> None:
    """Raise ``ComposeError`` when a name is no service of the project."""
    known = [service.name for service in project.services]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise ComposeError(f"the project {project.name} has no service {name}", hint=hint)


def _dependencies(known: dict[str, Service], active: set[str], service: Service) -> list[str]:
    found = []
    for item in service.depends_on:
        if item.service in active:
            found.append(item.service)
        elif item.required:
            profile = known[item.service].profiles[0]
            raise ComposeError(
                f"the service {service.name} depends on {item.service}, whose profile {profile} is not active",
                hint=f"add --profile {profile}",
            )
    return found


def dependents(project: Project, name: str) -> tuple[str, ...]:
    """Return the services that depend on a service directly."""
    return tuple(
        service.name for service in project.services if any(item.service == name for item in service.depends_on)
    )
