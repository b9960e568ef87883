"""What ``run`` makes: one more container of a service, for one command: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from carboy.compose.model import Project
from carboy.compose.planning.container import (
    NUMBER_LABEL,
    ONEOFF_LABEL,
    SEPARATOR,
    ServiceContainer,
    service_container,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What differs from the service's containers. Empty ``command``: the service's own; None elsewhere: the same.

    ``publish``, ``mount``, ``env`` and ``label`` are added; ``ports``: the service's own are published, too. ``slug`` makes the
    name a new one.
    """

    slug: str
    command: tuple[str, ...] = ()
    name: str = ""
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    tty: bool = False
    interactive: bool = False
    ports: bool = False
    aliases: bool = False


def oneoff_container(project: Project, service_name: str, options: RunOptions) -> ServiceContainer:
    """Return the container of one ``run``: it has no restart policy, and answers to no name of the service unless asked."""
    made = service_container(project, project.service(service_name), 1)
    own = {f"{ONEOFF_LABEL}=False", f"{NUMBER_LABEL}=1"}
    labels = tuple(text for text in made.label if text not in own)
    added = {text.partition("=")[0] for text in options.env}
    return replace(
        made,
        name=options.name or SEPARATOR.join((project.name, service_name, "run", options.slug)),
        number=0,
        command=options.command or (None if options.entrypoint is not None else made.command),
        entrypoint=made.entrypoint if options.entrypoint is None else options.entrypoint,
        env=(*(text for text in made.env if text.partition("=")[0] not in added), *options.env),
        label=(*labels, f"{ONEOFF_LABEL}=True", *options.label),
        publish=(*(made.publish if options.ports else ()), *options.publish),
        mount=(*made.mount, *options.mount),
        networks=made.networks if options.aliases else tuple(replace(item, aliases=()) for item in made.networks),
        restart="",
        user=options.user or made.user,
        workdir=options.workdir or made.workdir,
        cap_add=(*made.cap_add, *options.cap_add),
        cap_drop=(*made.cap_drop, *options.cap_drop),
        tty=options.tty,
        interactive=options.interactive,
    )
