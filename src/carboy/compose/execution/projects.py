"""The use cases on projects: what exists is looked at, a plan made of it, and the plan carried out."""

from __future__ import annotations

from carboy.compose.execution.backend import Containers, Resources
from carboy.compose.execution.executor import Executor, Listener, SilentListener
from carboy.compose.model import Project
from carboy.compose.planning.graph import select_services
from carboy.compose.planning.images import UpOptions, image_names, plan_images
from carboy.compose.planning.lifecycle import plan_wait
from carboy.compose.planning.plan import plan_up
from carboy.compose.planning.state import Existing
from carboy.compose.planning.steps import Plan


class ProjectEngine:
    """Carries out what people ask of one project."""

    def __init__(
        self, project: Project, containers: Containers, resources: Resources, *, listener: Listener | None = None
    ) -> None:
        self.project = project
        self.containers = containers
        self.resources = resources
        self._listener: Listener = listener or SilentListener()
        self._executor = Executor(containers, resources, listener=self._listener)

    def look(self) -> Existing:
        """Return what exists now."""
        return Existing(
            containers=self.containers.list(self.project.name),
            networks=self.resources.network_names(),
            volumes=self.resources.volume_names(),
            images=self.resources.image_ids(image_names(self.project)),
        )

    def carry_out(self, plan: Plan) -> None:
        """Carry out a plan of :meth:`look`. Raises ``CarboyError``."""
        self._executor.carry_out(plan)

    def preview_up(self, options: UpOptions) -> tuple[Plan, Plan]:
        """Return the two plans of :meth:`up` as of now; an image that is built first may still change the second one.

        Raises ``CarboyError``.
        """
        existing = self.look()
        return plan_images(self.project, existing, options), plan_up(self.project, existing, options)

    def up(self, options: UpOptions) -> None:
        """Bring services up. Raises ``CarboyError``; what was made until then stays, as with Compose."""
        self.carry_out(plan_images(self.project, self.look(), options))
        self.carry_out(plan_up(self.project, self.look(), options))

    def wait(self, options: UpOptions, *, timeout_s: float | None = None) -> None:
        """Wait until what :meth:`up` started runs, and is healthy where it is checked.

        Raises ``CarboyError``: something has ended or is unhealthy, or it takes longer than ``timeout_s``.
        """
        chosen = select_services(self.project, options.services, with_dependencies=not options.no_deps)
        plan = plan_wait(self.project, self.look(), tuple(service.name for service in chosen))
        self._executor.carry_out(plan, timeout_s=timeout_s)
