"""Plans are carried out in the order of what they wait for, with an engine that keeps all in its memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carboy.compose.document.files import MemoryReader
from carboy.compose.document.load import LoadRequest
from carboy.compose.errors import ComposeError
from carboy.compose.execution.executor import Executor, is_met
from carboy.compose.execution.memory import MemoryEngine
from carboy.compose.execution.projects import ProjectEngine
from carboy.compose.model import COMPLETED, HEALTHY, Project
from carboy.compose.parse import load_project
from carboy.compose.planning.images import UpOptions
from carboy.compose.planning.lifecycle import plan_builds, plan_conditions, plan_remove, plan_restart, plan_start
from carboy.compose.planning.plan import plan_up
from carboy.compose.planning.state import Existing, ExistingContainer
from carboy.compose.planning.steps import Step
from carboy.compose.planning.teardown import DownOptions, plan_down, plan_stop
from carboy.errors import CarboyError

TEXT = """
services:
  web: {build: ./web, depends_on: {db: {condition: service_healthy}, job: {condition: service_completed_successfully}}}
  db: {image: db, volumes: ["data:/d"], healthcheck: {test: x}}
  job: {build: ./web, image: shop-web, depends_on: {db: {condition: service_healthy}}}
volumes: {data: }
"""


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.ended_steps: list[str] = []

    def began(self, step: Step) -> None:
        pass

    def ended(self, step: Step, seconds: float) -> None:
        self.ended_steps.append(step.what)

    def warned(self, text: str) -> None:
        self.warnings.append(text)


def load(text: str = TEXT) -> Project:
    return load_project(LoadRequest(cwd="/shop", environment={}), MemoryReader({"/shop/compose.yaml": text}))


def shop(text: str = TEXT, **images: str) -> tuple[ProjectEngine, MemoryEngine, Notes]:
    engine = MemoryEngine(images={"db": "i0", **images})
    notes = Notes()
    return ProjectEngine(load(text), engine, engine, listener=notes), engine, notes


def come_up(engine: MemoryEngine) -> None:
    """Let the things happen that the file above waits for."""
    engine.events += [
        lambda: engine.change("shop-db-1", health="healthy"),
        lambda: engine.change("shop-job-1", status="exited", exit_code=0),
    ]


def test_up_waits_for_what_services_depend_on() -> None:
    project, engine, notes = shop()
    come_up(engine)
    project.up(UpOptions())
    assert engine.calls == [
        "build shop-web",
        "create network shop_default",
        "create volume shop_data",
        "create shop-db-1",
        "create shop-job-1",
        "create shop-web-1",
        "start shop-db-1",
        "start shop-job-1",
        "start shop-web-1",
    ]
    assert "wait until db is healthy" in notes.ended_steps


def test_a_second_up_does_nothing() -> None:
    project, engine, _ = shop()
    come_up(engine)
    project.up(UpOptions())
    engine.calls.clear()
    project.up(UpOptions())
    # The job has ended: it is started again, as Compose does.
    assert engine.calls in ([], ["start shop-job-1"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"health": "unhealthy"}, "is unhealthy"),
        ({"status": "exited", "exit_code": 3, "health": ""}, "has ended with status 3, before it was healthy"),
        ({"health": ""}, "has no health check"),
    ],
)
def test_what_never_becomes_healthy_ends_the_wait(change: dict[str, object], told: str) -> None:
    project, engine, _ = shop()
    engine.events.append(lambda: engine.change("shop-db-1", **change))
    with pytest.raises(ComposeError, match=told):
        project.up(UpOptions())
    assert "start shop-web-1" not in engine.calls


def test_a_dependency_that_is_not_required_costs_a_warning() -> None:
    project, engine, notes = shop(
        """
services:
  web: {image: db, depends_on: {db: {condition: service_healthy, required: false}}}
  db: {image: db, healthcheck: {test: x}}
"""
    )
    engine.events.append(lambda: engine.change("shop-db-1", health="unhealthy"))
    project.up(UpOptions())
    assert engine.calls[-1] == "start shop-web-1"
    assert notes.warnings == ["the container shop-db-1 is unhealthy; what depends on it is started all the same"]


def test_a_failure_begins_no_further_step() -> None:
    project, engine, _ = shop()
    engine.failing.add("start shop-db-1")
    with pytest.raises(CarboyError, match="it cannot: start shop-db-1"):
        project.up(UpOptions())
    assert engine.calls[-1] == "start shop-db-1"


def test_recreation_stops_first_and_keeps_the_name() -> None:
    project, engine, _ = shop("services: {web: {image: db}}")
    project.up(UpOptions())
    engine.calls.clear()
    project.up(UpOptions(force_recreate=True, timeout_s=3))
    assert engine.calls == ["stop shop-web-1 3", "recreate shop-web-1", "remove shop-web-1", "start shop-web-1"]


def test_down_stops_in_reverse_order_and_leaves_nothing() -> None:
    project, engine, _ = shop()
    come_up(engine)
    project.up(UpOptions())
    engine.calls.clear()
    project.carry_out(plan_down(project.project, project.look(), DownOptions(volumes=True)))
    assert engine.calls[:2] == ["stop shop-web-1", "remove shop-job-1"] or engine.calls[0] == "stop shop-web-1"
    assert engine.calls.index("stop shop-web-1") < engine.calls.index("stop shop-db-1")
    assert (engine.containers, engine.networks, engine.volumes) == ({}, [], [])


def test_stops_of_independent_services_run_beside_each_other() -> None:
    project, engine, _ = shop("services: {a: {image: db}, b: {image: db}}")
    project.up(UpOptions())
    engine.now_s = 0
    project.carry_out(plan_stop(project.project, project.look()))
    assert engine.now_s <= 1  # both ended in one pause


def test_start_and_restart() -> None:
    project, engine, _ = shop()
    come_up(engine)
    project.up(UpOptions())
    project.carry_out(plan_stop(project.project, project.look()))
    engine.calls.clear()
    come_up(engine)
    project.carry_out(plan_start(project.project, project.look()))
    assert engine.calls == ["start shop-db-1", "start shop-job-1", "start shop-web-1"]
    engine.calls.clear()
    project.carry_out(plan_restart(project.project, project.look(), services=("web",), timeout_s=1))
    assert engine.calls == ["stop shop-web-1 1", "start shop-web-1"]


def test_start_of_a_service_without_containers_says_what_to_do() -> None:
    project, _, _ = shop()
    with pytest.raises(ComposeError, match="no container was made for web yet"):
        plan_start(project.project, project.look(), services=("web",))


def test_a_run_waits_for_the_conditions_of_its_service() -> None:
    project, engine, _ = shop()
    come_up(engine)
    project.up(UpOptions())
    plan = plan_conditions(project.project, project.look(), "web")
    assert [step.what for step in plan.steps] == ["wait until db is healthy", "wait until job is finished"]
    assert plan_conditions(project.project, project.look(), "db").steps == ()


def test_rm_leaves_what_runs_unless_it_is_to_be_stopped() -> None:
    project, engine, _ = shop("services: {a: {image: db}, b: {image: db}}")
    project.up(UpOptions())
    engine.change("shop-a-1", status="exited", exit_code=0)
    plan = plan_remove(project.project, project.look())
    assert [step.what for step in plan.steps] == ["remove container shop-a-1"]
    plan = plan_remove(project.project, project.look(), stop=True, volumes=True)
    assert [step.what for step in plan.steps] == [
        "remove container shop-a-1",
        "stop container shop-b-1",
        "remove container shop-b-1",
    ]


def test_builds_are_made_once_for_each_image() -> None:
    plan = plan_builds(load(), pull=True)
    assert [step.what for step in plan.steps] == ["build image shop-web"]
    assert all(step.build.pull for step in plan.steps)  # type: ignore[union-attr]
    assert plan_builds(load(), services=("db",)).steps == ()


def test_wait_ends_when_all_is_well_or_time_is_up() -> None:
    project, engine, _ = shop("services: {db: {image: db, healthcheck: {test: x}}}")
    project.up(UpOptions())
    with pytest.raises(ComposeError, match="takes longer than"):
        Executor(engine, engine, clock=lambda: engine.now_s).carry_out(_wait(project), timeout_s=5)
    engine.events.append(lambda: engine.change("shop-db-1", health="healthy"))
    project.wait(UpOptions())


def _wait(project: ProjectEngine):  # type: ignore[no-untyped-def]
    from carboy.compose.planning.lifecycle import plan_wait

    return plan_wait(project.project, project.look(), ("db",))


def test_conditions() -> None:
    base = ExistingContainer(id="i", name="n", status="running", labels=(), health="starting")
    assert not is_met(base, "n", HEALTHY)
    assert is_met(replace(base, health="healthy"), "n", HEALTHY)
    assert not is_met(base, "n", COMPLETED)
    assert is_met(replace(base, status="exited", exit_code=0), "n", COMPLETED)
    with pytest.raises(ComposeError, match="status 2"):
        is_met(replace(base, status="exited", exit_code=2), "n", COMPLETED)
    with pytest.raises(ComposeError, match="is gone"):
        is_met(None, "n", HEALTHY)
    again = replace(base, status="restarting", exit_code=1, health="", restarts=4)
    assert not is_met(again, "n", HEALTHY)
    with pytest.raises(ComposeError, match="again and again, with status 1"):
        is_met(replace(again, restarts=5), "n", HEALTHY)


def test_plans_of_the_whole_are_carried_out_whatever_exists() -> None:
    project = load()
    engine = MemoryEngine(images={"db": "i0", "shop-web": "i1"})
    come_up(engine)
    Executor(engine, engine).carry_out(plan_up(project, Existing(), UpOptions()))
    assert {item.status for item in engine.containers.values()} == {"running", "exited"}
