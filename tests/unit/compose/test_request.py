"""How a service's container is asked for, and what is refused rather than left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.build.front import Choice
from carboy.compose.document.files import MemoryReader
from carboy.compose.document.load import LoadRequest
from carboy.compose.errors import ComposeError
from carboy.compose.execution.materials import Materials
from carboy.compose.execution.request import carry_volumes, check_supported, find_anonymous, plan_request
from carboy.compose.execution.resources import check_build, check_network, request_build
from carboy.compose.model import Build, Project
from carboy.compose.parse import load_project
from carboy.compose.planning.container import ServiceContainer, service_container
from carboy.compose.planning.lifecycle import plan_builds
from carboy.compose.planning.oneoff import RunOptions, oneoff_container
from carboy.compose.planning.steps import BuildImage
from carboy.engine.containers.request import RunRequest
from carboy.engine.launch import LaunchRecord
from carboy.errors import CarboyError
from carboy.runtime.mounts import parse_mount

RECORD = LaunchRecord(
    manifest="m", layers=(), env=(), entrypoint=("entry",), cmd=("own",), workdir="/", user="",
    health=("5.0", "6.0", "7.0", "1.0", "8", "check"),
)  # fmt: skip


def load(service: str, rest: str = "", **environment: str) -> Project:
    text = f"services: {{web: {{image: web, {service}}}}}\n{rest}"
    return load_project(LoadRequest(cwd="/p", environment=environment), MemoryReader({"/p/compose.yaml": text}))


def container(service: str, rest: str = "", **environment: str) -> ServiceContainer:
    project = load(service, rest, **environment)
    return service_container(project, project.service("web"), 1)


def ask(service: str, rest: str = "", **environment: str) -> RunRequest:
    made = container(service, rest, **environment)
    return plan_request(made, RECORD, name=made.name, sources={grant: f"/s/{grant.target}" for grant in made.files})


def test_options_arrive_as_run_takes_them() -> None:
    made = ask(
        "ports: ['80:8000'], environment: {A: b}, restart: always, user: '7', working_dir: /w, hostname: h, read_only: true,"
        " tmpfs: [/t], cap_add: [SYS_PTRACE], stop_grace_period: 1500ms, stop_signal: SIGINT, tty: true, stdin_open: true,"
        " mem_limit: 64m, cpus: 1.5, pids_limit: 9, ulimits: {nofile: 10}, sysctls: {net.core.somaxconn: 1},"
        " volumes: ['/host:/in:ro'], logging: {options: {max-size: 1m, max-file: '2'}}"
    )
    assert made.publish == ("80:8000/tcp",)
    assert made.env == ("A=b",)
    assert (made.restart, made.user, made.workdir, made.hostname, made.read_only) == ("always", "7", "/w", "h", True)
    assert [kind for kind, _ in made.mounts] == ["mount", "tmpfs"]
    bind = parse_mount(made.mounts[0][1])
    assert (bind.kind, bind.source, bind.target, bind.read_only) == ("bind", "/host", "/in", True)
    assert (made.stop_timeout_s, made.stop_signal, made.terminal, made.interactive) == (2, "SIGINT", True, True)
    limits = dict(made.limits)
    assert limits == {"cpus": "1.5", "memory": str(64 * 2**20), "pids-limit": "9", "ulimit": "nofile=10:10"}
    assert made.sysctls == (("net.core.somaxconn", "1"),)
    assert (made.log_bytes, made.log_files) == (2**20, 2)
    assert made.network == "p_default"
    assert made.network_aliases == ("web",)


@pytest.mark.parametrize(
    ("service", "entrypoint", "arguments"),
    [
        ("restart: 'no'", None, ()),
        ("command: a b", None, ("a", "b")),
        ("entrypoint: e", ("e",), ()),
        ("entrypoint: []", (), ("own",)),
        ("entrypoint: [], command: c", (), ("c",)),
    ],
)
def test_commands(service: str, entrypoint: tuple[str, ...] | None, arguments: tuple[str, ...]) -> None:
    made = ask(service)
    assert (made.entrypoint, made.arguments) == (entrypoint, arguments)


@pytest.mark.parametrize(
    ("check", "health"),
    [
        ("restart: 'no'", None),
        ("healthcheck: {disable: true}", ()),
        ("healthcheck: {interval: 1s}", ("1.0", "6.0", "7.0", "1.0", "8", "check")),
        ("healthcheck: {test: x y, retries: 2}", ("5.0", "6.0", "7.0", "1.0", "2", "/bin/sh", "-c", "x y")),
        ("healthcheck: {test: [CMD, x, y]}", ("5.0", "6.0", "7.0", "1.0", "8", "x", "y")),
        ("healthcheck: {start_interval: 2s}", ("5.0", "6.0", "7.0", "2.0", "8", "check")),
    ],
)
def test_health_checks(check: str, health: tuple[str, ...] | None) -> None:
    assert ask(check).health == health


@pytest.mark.parametrize(
    ("service", "rest", "told"),
    [
        ("networks: {a: {ipv6_address: 'fd00::7'}}", "networks: {a: }", "carboy chooses IPv6 addresses"),
        ("extra_hosts: ['h:host-gateway']", "", "host-gateway"),
        ("platform: linux/s390x", "", "this machine runs linux/amd64 only"),
        ("secrets: [s]", "secrets: {s: {environment: NONE}}", "NONE, which holds it, is not set"),
        ("secrets: [{source: s, uid: '7'}]", "secrets: {s: {environment: HOME}}", "belongs to the container's user"),
    ],
)
def test_what_cannot_be_done_is_refused(service: str, rest: str, told: str) -> None:
    made = container(service, rest, HOME="/h")
    with pytest.raises(ComposeError) as caught:
        check_supported(made, platform="linux/amd64")
    assert told in caught.value.details


def test_what_can_be_done_is_not_refused() -> None:
    check_supported(
        container("platform: linux/amd64, networks: {a: {aliases: [x]}}", "networks: {a: }"), platform="linux/amd64"
    )


def test_a_service_on_several_networks_has_its_names_on_each() -> None:
    made = ask("networks: {a: {aliases: [x]}, b: }", "networks: {a: , b: {name: other}}")
    assert (made.network, made.network_aliases) == ("p_a", ("web", "x"))
    assert made.more_networks == (("other", "web"),)
    fixed = ask("networks: {a: {ipv4_address: 10.5.0.7}, b: }", "networks: {a: , b: }")
    assert fixed.network_ips == (("p_a", "10.5.0.7"),)


def test_anonymous_volumes_are_carried_over() -> None:
    mounts = ("type=volume,target=/own", "type=volume,source=named,target=/named", "type=bind,source=/h,target=/bind")
    anonymous = {"/own": "11", "/image": "22", "/bind": "33", "/gone": "44"}
    pairs = carry_volumes(mounts, anonymous, image_volumes=("/image", "/new", "/bind"))
    made = {parse_mount(text).target: parse_mount(text).source for _, text in pairs}
    assert made == {"/own": "11", "/named": "named", "/bind": "/h", "/image": "22"}
    assert find_anonymous(pairs, frozenset({"11", "22"})) == {"/own": "11", "/image": "22"}


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("{a: {ipam: {config: [{subnet: 10.0.0.0/24}, {subnet: 10.1.0.0/24}]}}}", "more than one range"),
        ("{a: {ipam: {config: [{subnet: 'fd00::/64'}]}}}", "more than one range"),
    ],
)
def test_networks_that_are_refused(rest: str, told: str) -> None:
    with pytest.raises(CarboyError, match=told):
        check_network(load("networks: [a]", f"networks: {rest}").networks[0])


def test_options_of_networks_without_effect_are_named() -> None:
    rest = "networks: {a: {driver_opts: {x: 1}, ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.9}]}}}"
    found = check_network(load("networks: [a]", rest).networks[0])
    assert [text.split()[0] for text in found] == ["networks.a.ipam.config.gateway", "networks.a.driver_opts.x"]


def test_a_secrets_value_is_in_a_file_and_nowhere_else(tmp_path: Path) -> None:
    made = container("secrets: [{source: s, mode: 0400}]", "secrets: {s: {environment: TOKEN}}", TOKEN="geheim")
    materials = Materials(str(tmp_path))
    sources = materials.write(made)
    request = plan_request(made, RECORD, name="n", sources=sources)
    (path,) = sources.values()
    assert Path(path).read_text() == "geheim"
    assert os.stat(path).st_mode & 0o7777 == 0o600
    assert "geheim" not in repr(request) + repr(made)
    assert request.mounts == (("secret", f"src={path},target=/run/secrets/s,mode=0400"),)
    materials.sweep("p", {text for _, text in request.mounts})
    assert Path(path).exists()
    materials.sweep("p", set())
    assert list((tmp_path / "projects").iterdir()) == []


def build(**fields: object) -> BuildImage:
    return BuildImage(service="web", image="web", build=Build(context="/w", **fields), platform="", reason="")  # type: ignore[arg-type]


PYTHON = Choice(front="python", file="", reason="there is no Dockerfile")
DOCKERFILE = Choice(front="dockerfile", file="Dockerfile", reason="there is a Dockerfile")


@pytest.mark.parametrize(
    ("step", "choice", "told"),
    [
        (build(platforms=("linux/s390x",)), PYTHON, "builds for linux/amd64 only"),
        (build(platforms=("linux/s390x",)), DOCKERFILE, "builds for linux/amd64 only"),
        (build(network="shop"), DOCKERFILE, "not on the network shop"),
        (build(network="none"), PYTHON, "not on the network none"),
    ],
)
def test_builds_that_are_refused(step: BuildImage, choice: Choice, told: str) -> None:
    with pytest.raises(CarboyError, match=told):
        check_build(step, choice, platform="linux/amd64")


def test_what_means_nothing_for_a_folder_of_python_is_remarked() -> None:
    asked = build(args=(("A", "b"),), target="t", no_cache=True)
    remarks = check_build(asked, PYTHON, platform="linux/amd64")
    assert [text.split()[0] for text in remarks] == [
        f"services.web.build.{key}" for key in ("args", "target", "no_cache")
    ]
    assert check_build(asked, DOCKERFILE, platform="linux/amd64") == ()


def test_a_build_with_a_dockerfile() -> None:
    step = build(args=(("A", "b"), ("NONE", None)), target="t", labels=(("l", "v"),), tags=("other",), network="none")
    request = request_build(step, Choice(front="dockerfile", file="docker/web", reason="-f names it"), {})
    assert (request.context, request.file, request.text) == ("/w", "/w/docker/web", None)
    assert (request.names, request.build_args, request.labels) == (("web", "other"), {"A": "b"}, {"l": "v"})
    assert (request.target, request.network, request.no_cache) == ("t", "none", False)
    inline = request_build(build(dockerfile_inline="FROM x\n"), DOCKERFILE, {})
    assert (inline.file, inline.text, inline.network) == ("dockerfile_inline", b"FROM x\n", "default")


def read_project(text: str, *, variables: dict[str, str] | None = None) -> Project:
    request = LoadRequest(cwd="/p", environment=variables or {})
    return load_project(request, MemoryReader({"/p/compose.yaml": text}))


BUILDING = """
services:
  lib: {build: ./lib}
  web:
    build:
      context: https://example.com/app.git#main
      dockerfile: docker/Dockerfile
      secrets: [token, {source: key, target: id}]
      ssh: [default, git=./agent.sock]
      additional_contexts: [docs=../docs, base=docker-image://debian, "lib=service:lib", far=https://example.com/x.git]
      entitlements: network.host
      extra_hosts: {far: 10.0.0.5}
      shm_size: 64m
      ulimits: {nofile: {soft: 10, hard: 20}, core: -1}
      no_cache_filter: [Tests]
      network: host
      cache_from: ["type=local,src=../cache", "registry.example/app:cache", "type=s3,bucket=b"]
      cache_to: ["type=local,dest=cache,mode=max", "type=gha"]
secrets: {token: {environment: TOKEN}, key: {file: ./id}}
"""


def test_all_of_a_build() -> None:
    project = read_project(BUILDING, variables={"TOKEN": "geheim"})
    first, second = plan_builds(project, services=("web",)).steps
    assert isinstance(first, BuildImage)
    assert isinstance(second, BuildImage)
    assert (first.service, second.service) == ("lib", "web")
    assert "geheim" not in repr(second)
    asked = request_build(
        second, Choice(front="dockerfile", file=second.build.dockerfile, reason=""), {"SSH_AUTH_SOCK": "/run/agent"}
    )
    assert (asked.context, asked.file) == ("https://example.com/app.git#main", "docker/Dockerfile")
    assert [(item.id, item.path, item.value) for item in asked.secrets] == [
        ("token", "", b"geheim"),
        ("id", "/p/id", None),
    ]
    assert asked.ssh == {"default": "/run/agent", "git": "/p/agent.sock"}
    assert {name: (item.kind, item.value) for name, item in asked.contexts.items()} == {
        "docs": ("folder", "/docs"),
        "base": ("image", "debian"),
        "lib": ("image", "p-lib"),
        "far": ("git", "https://example.com/x.git"),
    }
    assert (asked.allow, asked.network, asked.add_hosts) == (
        frozenset({"network.host"}),
        "host",
        (("far", "10.0.0.5"),),
    )
    assert (asked.shm_bytes, asked.no_cache_stages) == (64 * 2**20, frozenset({"tests"}))
    assert set(asked.ulimits) == {("nofile", 10, 20), ("core", -1, -1)}
    assert [origin.where for origin in asked.cache_from] == ["local:/cache", "registry.example/app:cache"]
    assert [(target.folder, target.mode) for target in asked.cache_to] == [("/p/cache", "max")]
    remarks = check_build(second, DOCKERFILE, platform="linux/amd64")
    assert [text.partition(" has no effect: ")[0] for text in remarks] == [
        "services.web.build.cache_from",
        "services.web.build.cache_to",
    ]
    unset = plan_builds(read_project(BUILDING), services=("web",)).steps[1]
    assert isinstance(unset, BuildImage)
    with pytest.raises(CarboyError, match="the variable TOKEN, which holds token, is not set"):
        check_build(unset, DOCKERFILE, platform="linux/amd64")


def test_builds_that_stand_on_each_other() -> None:
    text = "services: {a: {build: {additional_contexts: {x: service:b}}}, b: {build: {additional_contexts: {x: service:a}}}}"
    with pytest.raises(ComposeError, match="a -> b -> a"):
        plan_builds(read_project(text))


def test_a_oneoff_is_one_more_container_without_the_services_names() -> None:
    project = load("ports: ['80:80'], restart: always, environment: {A: '1', B: '2'}, container_name: fixed")
    made = oneoff_container(project, "web", RunOptions(slug="x", command=("sh",), env=("A=9",), publish=("1:1",)))
    assert (made.name, made.restart, made.publish, made.command) == ("p-web-run-x", "", ("1:1",), ("sh",))
    assert made.env == ("B=2", "A=9")
    assert made.networks[0].aliases == ()
    assert "com.docker.compose.oneoff=True" in made.label
    assert "com.docker.compose.oneoff=False" not in made.label
    shown = oneoff_container(project, "web", RunOptions(slug="x", ports=True, aliases=True))
    assert (shown.publish, shown.networks[0].aliases) == (("80:80/tcp",), ("web",))
