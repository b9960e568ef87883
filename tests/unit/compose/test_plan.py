"""What is done to bring a project up and down, decided from values alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.compose.document.files import MemoryReader
from carboy.compose.document.load import LoadRequest
from carboy.compose.errors import ComposeError
from carboy.compose.model import Project
from carboy.compose.parse import load_project
from carboy.compose.planning.container import changed_fields, config_hash, image_name, mount_text, service_container
from carboy.compose.planning.graph import select_services, start_order
from carboy.compose.planning.images import UpOptions, image_names, plan_images
from carboy.compose.planning.plan import plan_up
from carboy.compose.planning.state import Existing, ExistingContainer
from carboy.compose.planning.steps import Plan, StartContainer, WaitFor
from carboy.compose.planning.teardown import DownOptions, list_rows, plan_down, plan_stop

TEXT = """
services:
  web:
    image: web
    ports: ["8080-8090:80"]
    environment: {A: "1", B: "1"}
    depends_on: {db: {condition: service_healthy}, setup: {condition: service_completed_successfully}}
  db: {image: db, volumes: [data:/d], healthcheck: {test: x}}
  setup: {image: web, command: setup, depends_on: {db: {condition: service_healthy}}}
  tool: {image: tool, profiles: [tools], depends_on: [db]}
volumes: {data: }
"""
UP = UpOptions()


def load(text: str = TEXT, **request: object) -> Project:
    made = LoadRequest(cwd="/p", environment={}, **request)  # type: ignore[arg-type]
    return load_project(made, MemoryReader({"/p/compose.yaml": text}))


def exists(project: Project, *running: str, status: str = "running", **changes: object) -> Existing:
    """Return what exists after an ``up`` of the services named ``service`` or ``service:number``."""
    containers = []
    for name in running:
        service, _, number = name.partition(":")
        made = service_container(project, project.service(service), int(number or 1))
        labels = tuple((text.partition("=")[0], text.partition("=")[2]) for text in made.label)
        health = "healthy" if project.service(service).healthcheck and status == "running" else ""
        found = ExistingContainer(
            id=f"id-{made.name}",
            name=made.name,
            status=status,
            labels=labels,
            image=made.image,
            image_id="i1",
            health=health,
        )
        containers.append(replace(found, **changes))  # type: ignore[arg-type]
    images = tuple((name, "i1") for name in image_names(project))
    return Existing(
        containers=tuple(containers),
        networks=tuple(network.name for network in project.networks),
        volumes=tuple(volume.name for volume in project.volumes),
        images=images,
    )


def whats(plan: Plan) -> list[str]:
    return [step.what for step in plan.steps]


def groups(plan: Plan) -> list[list[str]]:
    return [[step.what for step in level] for level in plan.levels]


# --- up -----------------------------------------------------------------------------------------------------------


def test_a_first_up() -> None:
    assert groups(plan_up(load(), Existing(), UP)) == [
        ["create network p_default", "create volume p_data"],
        ["create container p-db-1", "create container p-setup-1", "create container p-web-1"],
        ["start container p-db-1"],
        ["wait until db is healthy"],
        ["start container p-setup-1"],
        ["wait until setup is finished"],
        ["start container p-web-1"],
    ]


def test_what_is_as_it_should_be_has_no_step() -> None:
    project = load()
    found = exists(project, "web", "db", "setup")
    assert whats(plan_up(project, found, UP)) == []
    assert whats(plan_images(project, found, UP)) == []


def test_a_finished_setup_runs_again_and_a_healthy_database_is_not_waited_for() -> None:
    project = load()
    done = exists(project, "setup", status="exited", exit_code=0).containers
    found = replace(exists(project, "db", "web"), containers=(*exists(project, "db", "web").containers, *done))
    assert whats(plan_up(project, found, UP)) == ["start container p-setup-1"]


def test_a_changed_service_is_made_anew_and_the_reason_says_what_changed() -> None:
    found = exists(load(), "web", "db", "setup")
    plan = plan_up(load(TEXT.replace('B: "1"', 'B: "2"').replace("8090:80", "8091:80")), found, UP)
    assert plan.describe()[0] == "recreate container p-web-1: changed: environment, ports"
    assert [step for step in whats(plan) if "create" not in step] == [
        "wait until setup is finished",
        "start container p-web-1",
    ]
    unlabelled = replace(
        found.containers[0], labels=tuple(pair for pair in found.containers[0].labels if "fields" not in pair[0])
    )
    other = replace(found, containers=(unlabelled, *found.containers[1:]))
    assert "its configuration changed" in plan_up(load(TEXT.replace('B: "1"', "B: x")), other, UP).describe()[0]


def test_a_newer_image_and_force() -> None:
    project = load()
    found = exists(project, "db")
    newer = replace(found, images=(("db", "i2"),))
    assert plan_up(project, newer, UpOptions(services=("db",))).describe()[0].endswith("the image db is a newer one")
    assert not plan_up(project, newer, UpOptions(services=("db",), no_recreate=True)).steps
    forced = plan_up(project, found, UpOptions(services=("db",), force_recreate=True))
    assert groups(forced) == [["recreate container p-db-1"], ["start container p-db-1"]]
    # Dependencies that were not named stay.
    assert "recreate container p-db-1" not in whats(
        plan_up(project, found, UpOptions(services=("web",), force_recreate=True))
    )


def test_scaling_up_keeps_numbers_and_scaling_down_removes_the_highest() -> None:
    project = load()
    found = exists(project, "web:1", "web:3", "db", "setup")
    more = whats(plan_up(project, found, UpOptions(scale=(("web", 4),))))
    assert more[:2] == ["create container p-web-2", "create container p-web-4"]
    assert whats(plan_up(project, found, UP)) == ["stop container p-web-3", "remove container p-web-3"]
    assert whats(plan_up(project, found, UpOptions(scale=(("web", 0),)))) == [
        "stop container p-web-3", "remove container p-web-3", "stop container p-web-1", "remove container p-web-1",
    ]  # fmt: skip


def test_an_outdated_container_goes_first_when_scaling_down() -> None:
    project = load()
    found = exists(project, "web:1", "web:2", "db", "setup")
    old = replace(found.containers[0], image_id="i0")
    plan = plan_up(project, replace(found, containers=(old, *found.containers[1:])), UP)
    assert whats(plan) == ["stop container p-web-1", "remove container p-web-1"]


def test_selection_and_no_deps() -> None:
    project = load()
    assert [item.name for item in select_services(project, ("setup",))] == ["db", "setup"]
    plan = plan_up(project, Existing(), UpOptions(services=("web",), no_deps=True))
    assert whats(plan) == ["create network p_default", "create container p-web-1", "start container p-web-1"]
    assert "p-tool-1" not in str(plan_up(project, Existing(), UP))
    assert "create container p-tool-1" in whats(plan_up(project, Existing(), UpOptions(services=("tool",))))
    assert "create container p-tool-1" in whats(plan_up(load(profiles=("tools",)), Existing(), UP))
    assert "create container p-tool-1" in whats(plan_up(load(profiles=("*",)), Existing(), UP))
    assert not [
        step
        for step in plan_up(project, Existing(), UpOptions(no_start=True)).steps
        if isinstance(step, StartContainer)
    ]


def test_an_inactive_dependency_is_refused_unless_it_is_optional() -> None:
    text = "services: {a: {image: i, depends_on: [b]}, b: {image: i, profiles: [p]}}"
    with pytest.raises(ComposeError, match="profile p is not active"):
        plan_up(load(text), Existing(), UP)
    optional = text.replace("[b]", "{b: {condition: service_healthy, required: false}}")
    assert "p-b-1" not in str(whats(plan_up(load(optional), Existing(), UP)))


def test_a_restart_goes_with_a_dependency_that_is_made_anew() -> None:
    text = "services: {a: {image: i, depends_on: {b: {condition: service_started, restart: true}}}, b: {image: i, tty: false}}"
    found = exists(load(text), "a", "b")
    plan = plan_up(load(text.replace("false", "true")), found, UP)
    assert groups(plan) == [
        ["stop container p-a-1"], ["recreate container p-b-1"], ["start container p-b-1"], ["start container p-a-1"],
    ]  # fmt: skip


def test_orphans() -> None:
    found = exists(load(), "web", "db", "setup", "tool")
    project = load("services: {db: {image: db, volumes: [data:/d], healthcheck: {test: x}}}\nvolumes: {data: }")
    kept = plan_up(project, found, UP)
    assert not kept.steps
    assert "p-setup-1, p-tool-1, p-web-1" in kept.warnings[0]
    assert len(plan_up(project, found, UpOptions(remove_orphans=True)).steps) == 6
    # A service whose profile is not active is no orphan.
    assert not plan_up(load(), found, UpOptions(remove_orphans=True)).steps


@pytest.mark.parametrize(
    ("text", "options", "part"),
    [
        ("services: {a: {image: i, container_name: xy, scale: 2}}", UP, "share one container_name"),
        ("services: {a: {image: i, ports: ['80:80']}}", UpOptions(scale=(("a", 2),)), "share the port 80"),
        ("services: {a: {image: i, env_file: no}}", UP, "does not exist"),
        ("services: {a: {image: i}}", UpOptions(scale=(("a", -1),)), "cannot be -1"),
        ("services: {a: {image: i, networks: [n]}}\nnetworks: {n: {external: true}}", UP, "carboy network create n"),
        ("services: {a: {image: i, volumes: [v:/v]}}\nvolumes: {v: {external: true}}", UP, "carboy volume create v"),
        (
            "services: {a: {image: i, depends_on: {b: {condition: service_healthy}}},"
            " b: {image: i, healthcheck: {disable: true}}}",
            UP, "is disabled",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_started(text: str, options: UpOptions, part: str) -> None:
    with pytest.raises(ComposeError) as caught:
        plan_up(load(text), Existing(), options)
    assert part in caught.value.details


def test_unknown_services_get_the_nearest_name() -> None:
    for call in (
        lambda: plan_up(load(), Existing(), UpOptions(services=("wbe",))),
        lambda: plan_up(load(), Existing(), UpOptions(scale=(("wbe", 2),))),
        lambda: plan_stop(load(), Existing(), services=("wbe",)),
        lambda: plan_down(load(), Existing(), DownOptions(services=("wbe",))),
    ):
        with pytest.raises(ComposeError) as caught:
            call()
        assert caught.value.hint == "did you mean web?"


def test_circles_are_named() -> None:
    text = "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [c]}, c: {image: i, depends_on: [a]}}"
    with pytest.raises(ComposeError, match=r"circle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"):
        start_order(load(text))


# --- images -------------------------------------------------------------------------------------------------------


def test_images() -> None:
    text = """
services:
  run: {image: app}
  make: {image: app, build: .}
  own: {build: ./own}
  far: {image: far, pull_policy: always}
  local: {image: local, pull_policy: never}
"""
    project = load(text)
    here = Existing(images=(("far", "1"), ("local", "1"), ("p-own", "1")))
    assert plan_images(project, here, UP).describe() == (
        "build image app: it is not here",
        "pull image far: it is to be pulled always",
    )
    assert "build image p-own: --build was given" in plan_images(project, here, UpOptions(build=True)).describe()
    assert (
        "pull image local: it is to be pulled always" in plan_images(project, here, UpOptions(pull="always")).describe()
    )
    with pytest.raises(ComposeError, match="missing"):
        plan_images(project, Existing(), UP)


# --- down, stop, ps -----------------------------------------------------------------------------------------------


def test_down() -> None:
    project = load()
    found = exists(project, "web", "db", "setup", "tool")
    assert groups(plan_down(project, found, DownOptions())) == [
        ["stop container p-web-1", "stop container p-tool-1"],
        ["remove container p-web-1", "remove container p-tool-1", "stop container p-setup-1"],
        ["remove container p-setup-1", "stop container p-db-1"],
        ["remove container p-db-1"],
        ["remove network p_default"],
    ]
    everything = plan_down(project, found, DownOptions(volumes=True, images="all"))
    assert whats(everything)[-4:] == [
        "remove volume p_data",
        "remove image web",
        "remove image db",
        "remove image tool",
    ]
    assert whats(plan_down(project, found, DownOptions(services=("web",)))) == [
        "stop container p-web-1",
        "remove container p-web-1",
    ]
    assert not plan_down(project, Existing(), DownOptions(volumes=True, images="local")).steps
    with pytest.raises(ComposeError):
        plan_down(project, found, DownOptions(images="some"))


def test_down_waits_through_services_that_have_no_containers() -> None:
    project = load("services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [c]}, c: {image: i}}")
    plan = plan_down(project, exists(project, "a", "c"), DownOptions())
    assert whats(plan).index("stop container p-a-1") in plan.after[whats(plan).index("stop container p-c-1")]


def test_stop_is_the_other_way_round() -> None:
    project = load()
    found = exists(project, "web:1", "web:2", "db", "setup")
    assert groups(plan_stop(project, found)) == [
        ["stop container p-web-2", "stop container p-web-1"], ["stop container p-setup-1"], ["stop container p-db-1"],
    ]  # fmt: skip
    assert whats(plan_stop(project, found, services=("db",))) == ["stop container p-db-1"]


def test_rows() -> None:
    project = load()
    found = exists(project, "web", "db")
    stopped = exists(project, "setup", status="exited", exit_code=3).containers
    oneoff = replace(
        found.containers[0], id="x", labels=(*found.containers[0].labels, ("com.docker.compose.oneoff", "True"))
    )
    everything = replace(found, containers=(*found.containers, *stopped, oneoff))
    assert [row.name for row in list_rows(project, everything)] == ["p-db-1", "p-web-1"]
    assert [(row.name, row.exit_code) for row in list_rows(project, everything, stopped=True)][1] == ("p-setup-1", 3)


# --- hashes and texts ---------------------------------------------------------------------------------------------


def test_the_hash_does_not_depend_on_order_number_or_secrets() -> None:
    project = load()
    one = service_container(project, project.service("web"), 1)
    assert one.config_hash == service_container(project, project.service("web"), 7).config_hash == config_hash(one)
    swapped = load(TEXT.replace('{A: "1", B: "1"}', '{B: "1", A: "1"}'))
    assert service_container(swapped, swapped.service("web"), 1).config_hash == one.config_hash
    labelled = load(TEXT.replace("image: web\n", "image: web\n    labels: {a: b}\n"))
    other = service_container(labelled, labelled.service("web"), 1)
    before = next(text.partition("=")[2] for text in one.label if text.startswith("carboy.compose.fields="))
    assert changed_fields(before, other) == ("labels",)
    assert changed_fields(before, one) == ()
    secret = "services: {s: {image: i, secrets: [x]}}\nsecrets: {x: {environment: X}}"
    made = [
        load_project(LoadRequest(cwd="/p", environment={"X": value}), MemoryReader({"/p/compose.yaml": secret}))
        for value in "ab"
    ]
    hashes = {service_container(item, item.services[0], 1).config_hash for item in made}
    assert len(hashes) == 1
    assert image_name(made[0], made[0].services[0]) == "i"


def test_mount_texts_quote_what_has_a_comma() -> None:
    made = load(
        "services: {s: {image: i, volumes: [{type: bind, source: '/a,\"b', target: /t, read_only: true}]}}"
    ).services[0]
    assert mount_text(made.mounts[0], made.mounts[0].source) == 'type=bind,"source=/a,""b",target=/t,readonly'


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from(["service_started", "service_healthy"])),
        max_size=14,
    )
)
def test_plans_of_any_graph_start_dependencies_first(edges: list[tuple[int, int, str]]) -> None:
    lines = ["services:"]
    for index in range(8):
        below = {f"s{high}": condition for low, high, condition in edges if low == index and high > low}
        needs = ", ".join(f"{name}: {{condition: {condition}}}" for name, condition in below.items())
        lines.append(f"  s{index}: {{image: i, depends_on: {{{needs}}}}}")
    project = load("\n".join(lines))
    plan = plan_up(project, Existing(), UP)
    started: set[str] = set()
    for step in plan.steps:
        if isinstance(step, StartContainer):
            assert {item.service for item in project.service(step.service).depends_on} <= started
            started.add(step.service)
        if isinstance(step, WaitFor):
            assert step.service in started
    assert len(started) == 8
    assert sorted(map(str, plan.steps)) == sorted(str(step) for level in plan.levels for step in level)
    down = plan_down(project, exists(project, *(f"s{index}" for index in range(8))), DownOptions())
    assert all(max(after, default=-1) < index for index, after in enumerate(down.after))
