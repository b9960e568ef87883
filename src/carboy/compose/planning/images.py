"""The images that ``up`` needs first: pure."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.compose.errors import ComposeError, Issue
from carboy.compose.model import Project, Service
from carboy.compose.planning.container import image_name
from carboy.compose.planning.graph import select_services
from carboy.compose.planning.state import Existing
from carboy.compose.planning.steps import BuildImage, Plan, PlanBuilder, PullImage


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """Options of ``up``; no ``services``: all active ones. ``pull`` is always, missing or never; empty: as the file says."""

    services: tuple[str, ...] = ()
    scale: tuple[tuple[str, int], ...] = ()
    build: bool = False
    no_build: bool = False
    pull: str = ""
    force_recreate: bool = False
    no_recreate: bool = False
    no_deps: bool = False
    no_start: bool = False
    remove_orphans: bool = False
    timeout_s: float | None = None


def image_names(project: Project) -> tuple[str, ...]:
    """Return the names of all images of a project, as it writes them: whoever fills ``Existing.images`` looks these up."""
    return tuple(dict.fromkeys(image_name(project, service) for service in project.services))


def plan_images(project: Project, existing: Existing, options: UpOptions) -> Plan:
    """Return the builds and pulls that must be done before containers are planned.

    Raises ``ComposeError`` with every image that is missing and may not be pulled.
    """
    builder, missing, done = PlanBuilder(), [], set()
    # One service often builds what others run under the same name.
    makers = {image_name(project, item): item for item in reversed(project.services) if item.build is not None}
    for service in select_services(project, options.services, with_dependencies=not options.no_deps):
        image = image_name(project, service)
        here = bool(existing.image_id(image))
        if image in done:
            continue
        done.add(image)
        maker = service if service.build is not None else makers.get(image)
        if maker is not None and maker.build is not None:
            reason = _why_build(maker, options, here=here)
            if reason and options.no_build:
                if not here:
                    missing.append(
                        Issue(
                            text=f"the image {image} is not here, and --no-build was given",
                            path=f"services.{maker.name}",
                        )
                    )
            elif reason:
                step = BuildImage(
                    service=maker.name, image=image, build=maker.build, platform=maker.platform, reason=reason
                )
                builder.add(step)
            continue
        policy = options.pull or service.pull_policy
        if not here and policy in {"never", "build"}:
            text = f"the image {image} is not here, and may not be pulled"
            missing.append(Issue(text=text, path=f"services.{service.name}"))
        elif not here or policy == "always":
            reason = "it is to be pulled always" if here else "it is not here"
            builder.add(PullImage(image=image, platform=service.platform, reason=reason))
    if missing:
        raise ComposeError("images are missing", issues=tuple(missing), hint="pull or build them first")
    return builder.finish()


def _why_build(service: Service, options: UpOptions, *, here: bool) -> str:
    if options.build:
        return "--build was given"
    if service.pull_policy == "build":
        return "its pull_policy is build"
    return "" if here else "it is not here"
