"""Carries out a plan: each step when the steps that it waits for are done, waits and stops beside each other.

Making and starting are done one after the other, in this process: a start takes less time than a process to do it in would, and
the engine never forks with threads (ADR 6). What takes long (a container that is asked to end, one that becomes healthy) only
blocks what depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from carboy.compose.errors import ComposeError
from carboy.compose.execution.backend import Containers, Resources
from carboy.compose.model import HEALTHY, STARTED
from carboy.compose.planning.state import ExistingContainer
from carboy.compose.planning.steps import (
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Plan,
    PullImage,
    RecreateContainer,
    RemoveContainer,
    RemoveImage,
    RemoveNetwork,
    RemoveVolume,
    StartContainer,
    Step,
    StopContainer,
    WaitFor,
)
from carboy.errors import CarboyError

# How long at most until containers are looked at again: whoever tells of changes may be killed before it does.
LOOK_S = 1.0
# A container that its policy has started again so often will not become healthy by itself.
PATIENT_RESTARTS = 5

# A step under way: each ``next`` looks whether it is done, which is the end of the iteration.
Progressing = Iterator[None]


class Listener(Protocol):
    """Who is told how a plan goes."""

    def began(self, step: Step) -> None:
        """Take that a step is being done."""

    def ended(self, step: Step, seconds: float) -> None:
        """Take that a step is done."""

    def warned(self, text: str) -> None:
        """Take something that went wrong and may."""


class SilentListener:
    """Nobody listens."""

    def began(self, step: Step) -> None:
        """Take nothing of it."""

    def ended(self, step: Step, seconds: float) -> None:
        """Take nothing of it."""

    def warned(self, text: str) -> None:
        """Take nothing of it."""


class Executor:
    """Carries plans out with one engine. ``clock`` counts seconds."""

    def __init__(
        self,
        containers: Containers,
        resources: Resources,
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._containers = containers
        self._resources = resources
        self._listener: Listener = listener or SilentListener()
        self._clock = clock

    def carry_out(self, plan: Plan, *, timeout_s: float | None = None) -> None:
        """Carry out a plan; returns when all is done.

        When a step fails, no further one is begun, those under way are let go, and its error is raised. Raises
        ``CarboyError``; ``ComposeError`` also when it takes longer than ``timeout_s``.
        """
        for text in plan.warnings:
            self._listener.warned(text)
        end_s = None if timeout_s is None else self._clock() + timeout_s
        waiting = dict(enumerate(plan.steps))
        under_way: dict[int, Progressing] = {}
        began_s: dict[int, float] = {}
        done: set[int] = set()
        while waiting or under_way:
            progressed = False
            for place in [place for place in waiting if done.issuperset(plan.after[place])]:
                step = waiting.pop(place)
                self._listener.began(step)
                began_s[place] = self._clock()
                under_way[place] = self._do(step)
                progressed |= self._advance(plan, place, under_way, began_s, done)
            for place in list(under_way):
                progressed |= self._advance(plan, place, under_way, began_s, done)
            if not progressed and under_way:
                left_s = LOOK_S if end_s is None else end_s - self._clock()
                if left_s <= 0:
                    late = ", ".join(plan.steps[place].what for place in under_way)
                    raise ComposeError(f"it takes longer than {timeout_s:g} s: {late}", hint="carboy compose ps")
                self._containers.pause(min(LOOK_S, left_s))

    def _advance(
        self,
        plan: Plan,
        place: int,
        under_way: dict[int, Progressing],
        began_s: dict[int, float],
        done: set[int],
    ) -> bool:
        """Look whether a step is done, and note it."""
        step = plan.steps[place]
        progressing = under_way.get(place)
        if progressing is None:
            return False
        try:
            for _ in progressing:
                return False
        except ComposeError as error:
            if not isinstance(step, WaitFor) or step.required:
                raise
            self._listener.warned(f"{error.brief}; what depends on it is started all the same")
        except CarboyError as error:
            brief = f"cannot {step.what}: {error.brief}"
            raise CarboyError(brief, details=error.details, hint=error.hint) from error
        del under_way[place]
        done.add(place)
        self._listener.ended(step, self._clock() - began_s[place])
        return True

    def _do(self, step: Step) -> Progressing:
        match step:
            case BuildImage() | PullImage() | RemoveImage():
                self._do_image(step)
            case CreateNetwork() | CreateVolume() | RemoveNetwork() | RemoveVolume():
                self._do_resource(step)
            case CreateContainer():
                self._containers.create(step.container)
            case RecreateContainer():
                yield from self._stop(step.replaces, step.timeout_s)
                self._containers.create(step.container, replaces=step.replaces)
            case StartContainer():
                self._containers.start(step.name)
            case WaitFor():
                yield from self._wait(step)
            case StopContainer():
                yield from self._stop(step.id, step.timeout_s)
            case RemoveContainer():
                yield from self._wait_stopped(step.id)
                self._containers.remove(step.id, volumes=step.volumes)

    def _do_image(self, step: BuildImage | PullImage | RemoveImage) -> None:
        match step:
            case BuildImage():
                self._resources.build_image(step)
            case PullImage():
                self._resources.pull_image(step.image, platform=step.platform)
            case RemoveImage():
                self._resources.remove_image(step.image)

    def _do_resource(self, step: CreateNetwork | CreateVolume | RemoveNetwork | RemoveVolume) -> None:
        match step:
            case CreateNetwork():
                self._resources.create_network(step)
            case CreateVolume():
                self._resources.create_volume(step)
            case RemoveNetwork():
                self._resources.remove_network(step.name)
            case RemoveVolume():
                self._resources.remove_volume(step.name)

    def _stop(self, id: str, timeout_s: float | None) -> Progressing:
        self._containers.begin_stop(id, timeout_s=timeout_s)
        yield from self._wait_stopped(id)

    def _wait_stopped(self, id: str) -> Progressing:
        while not self._containers.is_stopped(id):
            yield

    def _wait(self, step: WaitFor) -> Progressing:
        met: set[str] = set()
        while True:
            for name in step.names:
                if name not in met and is_met(self._containers.view(name), name, step.condition):
                    met.add(name)
            if met.issuperset(step.names):
                return
            yield


def is_met(container: ExistingContainer | None, name: str, condition: str) -> bool:
    """Return whether a container is as a condition of ``depends_on`` wants it. Pure.

    Raises ``ComposeError`` when it will never be: it is gone, has ended (again and again), is unhealthy, or has no health
    check to wait for.
    """
    if container is None:
        raise ComposeError(f"the container {name} is gone", hint="somebody has removed it; try again")
    ended = container.status in {"exited", "dead"}
    if condition != HEALTHY:
        if ended and container.exit_code != 0:
            raise ComposeError(
                f"the container {name} has ended with status {container.exit_code}", hint=f"carboy logs {name}"
            )
        return container.status == "running" if condition == STARTED else ended
    if ended:
        raise ComposeError(
            f"the container {name} has ended with status {container.exit_code}, before it was healthy",
            hint=f"carboy logs {name}",
        )
    if container.status == "running" and not container.health:
        raise ComposeError(
            f"the container {name} has no health check, so that nobody can wait until it is healthy",
            hint=f"give the service {container.service} a healthcheck, or depend on service_started",
        )
    if container.status == "restarting" and container.restarts >= PATIENT_RESTARTS:
        raise ComposeError(
            f"the container {name} ends again and again, with status {container.exit_code}", hint=f"carboy logs {name}"
        )
    if container.health == "unhealthy":
        raise ComposeError(
            f"the container {name} is unhealthy", hint=f"carboy inspect {name} shows what its checks said"
        )
    return container.health == "healthy"
