"""The images that ``up`` needs first: pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from carboy.compose.document.paths import SERVICE
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
    builds = ImageBuilds(
        builder,
        project,
        why=lambda other: _why_build(other, options, here=bool(existing.image_id(image_name(project, other)))),
    )
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
                builds.add(maker, reason)
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


class ImageBuilds:
    """Adds the builds of services to a plan: each once, and after those whose images it takes files from.

    ``why`` returns why a service that another one takes files from is to be built, "" where it is not.
    """

    def __init__(
        self,
        builder: PlanBuilder,
        project: Project,
        *,
        why: Callable[[Service], str],
        pull: bool = False,
        no_cache: bool = False,
    ) -> None:
        self._builder = builder
        self._project = project
        self._why = why
        self._pull = pull
        self._no_cache = no_cache
        self._materials = {material.key: material for material in project.secrets}
        self._placed: dict[str, int] = {}

    def add(self, service: Service, reason: str, *, above: tuple[str, ...] = ()) -> int:
        """Add the build of a service and return its place. Raises ``ComposeError`` for builds that stand on each other."""
        build = service.build
        assert build is not None, service.name
        if service.name in above:
            shown = " -> ".join([*above, service.name])
            raise ComposeError(f"builds take files of each other in a circle: {shown}", hint="take one context away")
        if service.name in self._placed:
            return self._placed[service.name]
        contexts, after = [], []
        for name, value in build.additional_contexts:
            other = self._project.service(value.removeprefix(SERVICE)) if value.startswith(SERVICE) else None
            contexts.append((name, value if other is None else f"docker-image://{image_name(self._project, other)}"))
            why = self._why(other) if other is not None and other.build is not None else ""
            if other is not None and why:
                after.append(self.add(other, why, above=(*above, service.name)))
        build = replace(
            build,
            additional_contexts=tuple(contexts),
            pull=build.pull or self._pull,
            no_cache=build.no_cache or self._no_cache,
        )
        step = BuildImage(
            service=service.name,
            image=image_name(self._project, service),
            build=build,
            platform=service.platform,
            reason=reason,
            secrets=tuple((secret.id, self._materials[secret.source]) for secret in build.secrets),
        )
        self._placed[service.name] = self._builder.add(step, after=tuple(after))
        return self._placed[service.name]


def _why_build(service: Service, options: UpOptions, *, here: bool) -> str:
    if options.build:
        return "--build was given"
    if service.pull_policy == "build":
        return "its pull_policy is build"
    return "" if here else "it is not here"
