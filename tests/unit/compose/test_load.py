"""Files to one tree to values: merging, extends, include, names, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.compose.document.canonical import Canon, canonicalize
from carboy.compose.document.files import DiskReader, FileReader, MemoryReader
from carboy.compose.document.load import LoadRequest, normalize_name
from carboy.compose.document.merge import merge
from carboy.compose.document.nodes import List, Map, Node, Position, Scalar, plain
from carboy.compose.errors import ComposeError, Report
from carboy.compose.model import Project, Service
from carboy.compose.parse import load_project

AT = Position(file="f", line=1)


def load(
    files: dict[str, str] | str,
    *names: str,
    environment: dict[str, str] | None = None,
    cwd: str = "/p",
    **request: object,
) -> Project:
    texts = {"compose.yaml": files} if isinstance(files, str) else files
    absolute = {name if name.startswith("/") else f"/p/{name}": text for name, text in texts.items()}
    made = LoadRequest(cwd=cwd, environment=environment or {}, files=names, **request)  # type: ignore[arg-type]
    return load_project(made, MemoryReader(absolute))


def service(text: str, **request: object) -> Service:
    """Return the one service of a project; ``text`` is what stands below it."""
    body = "\n".join("    " + line for line in text.strip().splitlines())
    extra = "\nvolumes: {data: }\nnetworks: {net: }\n"
    return load(f"services:\n  s:\n    image: i\n{body}{extra}", **request).services[0]  # type: ignore[arg-type]


def failure(files: dict[str, str] | str, *names: str, **request: object) -> list[str]:
    with pytest.raises(ComposeError) as caught:
        load(files, *names, **request)  # type: ignore[arg-type]
    return [str(issue) for issue in caught.value.issues] or [caught.value.brief]


def refusal(text: str) -> list[str]:
    body = "\n".join("    " + line for line in text.strip().splitlines())
    found = failure(f"services:\n  s:\n    image: i\n{body}\n")
    return [text.replace("/p/compose.yaml:", "").replace("services.s.", "") for text in found]


# --- names and places ---------------------------------------------------------------------------------------------


def test_the_name_of_a_project() -> None:
    text = {
        "compose.yaml": "name: written-${X:-x}\nservices: {a: {image: i}}\n",
        "o.yaml": "name: last\nservices: {}\n",
    }
    assert load(text, project_name="given", environment={"COMPOSE_PROJECT_NAME": "env"}).name == "given"
    assert load(text, environment={"COMPOSE_PROJECT_NAME": "env"}).name == "env"
    assert load(text).name == "written-x"
    assert load(text, "compose.yaml", "o.yaml").name == "last"
    assert load({"/srv/My App (1)/compose.yaml": "services: {a: {image: i}}"}, cwd="/srv/My App (1)").name == "myapp1"
    assert load("services: {a: {image: 'x/$COMPOSE_PROJECT_NAME'}}", project_name="n").services[0].image == "x/n"
    assert "cannot be the name" in failure(text, project_name="No")[0]
    assert normalize_name("_-Ünïcode_9") == "ncode_9"


def test_files_are_found_upwards_and_named_by_variables() -> None:
    files = {"compose.yml": "services: {a: {image: i, build: ./b}}", "docker-compose.yml": "services: {no: {image: i}}"}
    found = load(files, cwd="/p/x/y")
    assert (found.directory, found.files) == ("/p", ("/p/compose.yml",))
    assert found.services[0].build is not None
    assert found.services[0].build.context == "/p/b"
    assert [item.name for item in load(files, environment={"COMPOSE_FILE": "docker-compose.yml"}).services] == ["no"]
    with_env = {**files, ".env": "COMPOSE_FILE=compose.yml:docker-compose.yml\nCOMPOSE_PROFILES=a,b\n"}
    assert [item.name for item in load(with_env).services] == ["a", "no"]
    assert load(with_env).profiles == ("a", "b")
    commented = {**files, ".env": "# COMPOSE_FILE=docker-compose.yml\nA=1\n"}
    assert [item.name for item in load(commented, cwd="/p/x").services] == ["a"]
    elsewhere = load(files, "compose.yml", project_directory="/q")
    assert elsewhere.services[0].build is not None
    assert elsewhere.services[0].build.context == "/q/b"
    assert "no compose file" in failure({"x": ""})[0]
    assert "there is no compose file /p/no.yaml" in failure(files, "no.yaml")[0]


def test_env_files_and_the_environment() -> None:
    files = {
        "compose.yaml": "services: {s: {image: '$A-$B', environment: [A, C, NO]}}",
        ".env": "A=file\nB=file\n", "other.env": "A=other\nB=$A\n",
    }  # fmt: skip
    assert load(files, environment={"B": "env", "C": "c"}).services[0].image == "file-env"
    assert load(files, environment={"C": "c"}).services[0].environment == (("A", "file"), ("C", "c"))
    assert load(files, env_files=("other.env",)).services[0].image == "other-other"
    assert "there is no environment file" in failure(files, env_files=("no.env",))[0]


def test_errors_of_all_files_come_at_once_with_path_and_line() -> None:
    files = {
        "compose.yaml": "services:\n  a:\n    image: i\n    ports: ['x', '1:2:3:4:5']\n  b:\n    image: ${V:?needed}\n",
        "o.yaml": "services:\n  a:\n    ports: {a: b}\n",
    }
    assert failure(files, "compose.yaml", "o.yaml") == [
        "/p/compose.yaml:4: services.a.ports[0]: 'x' is not [[IP:]PUBLISHED:]TARGET[/PROTOCOL]",
        "/p/compose.yaml:4: services.a.ports[1]: '1:2:3:4:5' is not [[IP:]PUBLISHED:]TARGET[/PROTOCOL]",
        "/p/compose.yaml:6: services.b.image: the required variable V is not set: needed",
        "/p/o.yaml:3: services.a.ports: a mapping cannot be merged with a list of /p/compose.yaml:4",
    ]


def test_unset_variables_and_unknown_keys_are_warnings() -> None:
    project = load(
        "x-mine: {a: 1}\nservices:\n  s: {image: 'i:$TAG', comand: x, x-own: 1, build: {contxt: .}}\nvolume: {}\n"
    )
    assert [str(item) for item in project.warnings] == [
        "/p/compose.yaml:3: services.s.image: the variable TAG is not set: an empty text stands in for it",
        "/p/compose.yaml:4: volume: this key is unknown and has no effect: did you mean volumes?",
        "/p/compose.yaml:3: services.s.build.contxt: this key is unknown and has no effect: did you mean context?",
        "/p/compose.yaml:3: services.s.comand: this key is unknown and has no effect: did you mean command?",
    ]


# --- keys of services ---------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_all_at_once() -> None:
    text = """
privileged: true
ipc: host
pid: ""
uts: private
volumes_from: [x]
network_mode: service:db
models: []
logging: {driver: syslog}
restart: sometimes
"""
    assert [line.partition(": ")[2].partition(":")[0] for line in refusal(text)] == [
        "privileged", "ipc", "volumes_from", "network_mode", "logging.driver", "restart",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "command: 'open \"quote'", "healthcheck: {test: [curl, x]}", "healthcheck: {test: [CMD]}",
        "healthcheck: {interval: 30}",
        "mem_limit: lots", "cpus: many", "scale: 2\ndeploy: {replicas: 3}",
        "mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g}}}",
        "depends_on: {x: {condition: ready}}", "depends_on: [nobody]", "depends_on: [s]", "volumes: ['named:/x']",
        "volumes: ['a:relative']", "volumes: [{type: npipe, target: /x}]", "volumes: ['./a:/b:rwx']",
        "volumes: [{type: bind, target: /x}]",
        "networks: [nowhere]", "network_mode: host\nports: ['80:80']", "network_mode: none\nnetworks: [default]",
        "secrets: [none]", "configs: [none]", "ports: ['0:80']", "ports: ['70000']", "ports: ['1-2:80-83']",
        "ports: ['80/sctp']",
        "ports: ['300.1.1.1:80:80']", "ports: [{published: 80}]", "working_dir: app", "container_name: /x",
        "ulimits: {nofile: {soft: 1}}",
        "ulimits: {nofile: many}", "links: [nobody]", "environment: [1, [a]]", "environment: {A: [1]}", "tty: perhaps",
        "build: {context: ., secrets: [x]}", "build: git@example.com", "build: {secrets: [{target: x}]}",
        "build: {additional_contexts: {lib: service:nobody}}", "build: {additional_contexts: {lib: service:s}}",
        "build: {additional_contexts: [lib]}", "build: {privileged: true}", "build: https://example.com/x.git?nonsense=1",
        "gpus: some", "dns: [example]",
        "pull_policy: daily",
        "build: {dockerfile: a, dockerfile_inline: b}", "deploy: {mode: fast}", "sysctls: 5",
        "devices: [{target: /x}]", "extra_hosts: [x]",
        "stop_grace_period: 10", "command: {a: b}", "labels: {'': x}", "cpu_quota: 5\ncpus: 1", "tmpfs: {a: b}",
    ],
)  # fmt: skip
def test_wrong_values_are_errors_with_a_path(text: str) -> None:
    for line in refusal(text):
        place, path, message = line.split(": ", 2)
        assert place.isdigit()
        assert path
        assert message


def test_commands() -> None:
    assert service("command: sh -c 'a b' # c").command == ("sh", "-c", "a b")
    assert service("command: [a, 5, '']").command == ("a", "5", "")
    assert service("command:").command is None
    assert service("command: ''").command == ()
    assert service("entrypoint: []").entrypoint == ()


def test_healthchecks() -> None:
    check = service("healthcheck: {test: curl x, interval: 1m30s, timeout: 500ms, retries: '3'}").healthcheck
    assert check is not None
    assert (check.test, check.interval_s, check.timeout_s, check.retries) == (("CMD-SHELL", "curl x"), 90.0, 0.5, 3)
    assert service("healthcheck: {disable: yes, test: x}").healthcheck.test == ("NONE",)  # type: ignore[union-attr]
    assert service("healthcheck: {test: [NONE]}").healthcheck.test == ("NONE",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3000", ["3000/tcp"]), ("3000-3001", ["3000/tcp", "3001/tcp"]), ("8000:80", ["8000:80/tcp"]),
        ("80:80/UDP", ["80:80/udp"]),
        ("127.0.0.1:1:2", ["127.0.0.1:1:2/tcp"]), ("127.0.0.1::2", ["127.0.0.1::2/tcp"]), ("'[::1]:1:2'", ["[::1]:1:2/tcp"]),
        ("3000-3005:80", ["3000-3005:80/tcp"]), ("1-2:3-4", ["1:3/tcp", "2:4/tcp"]), ("22:22", ["22:22/tcp"]),
    ],
)  # fmt: skip
def test_ports(text: str, expected: list[str]) -> None:
    assert [port.text for port in service(f"ports: [{text}]").ports] == expected


def test_volumes() -> None:
    text = "volumes: ['./a:/a:ro,z', '~/b:/b', data:/data:nocopy, /anon, /abs:/abs:rslave, '../c:/a']"
    made = service(text, environment={"HOME": "/home/x"})
    assert [(m.kind, m.source, m.target, m.read_only, m.nocopy, m.propagation, m.create_host_path) for m in made.mounts] == [
        ("bind", "/c", "/a", False, False, "", True), ("bind", "/home/x/b", "/b", False, False, "", True),
        ("volume", "data", "/data", False, True, "", False), ("volume", "", "/anon", False, False, "", False),
        ("bind", "/abs", "/abs", False, False, "rslave", True),
    ]  # fmt: skip


def test_restart_and_replicas() -> None:
    assert service("restart: no").restart == "no"
    assert service("restart: on-failure:5").restart == "on-failure:5"
    assert service("deploy: {restart_policy: {condition: any}}").restart == "always"
    assert service("restart: always\ndeploy: {restart_policy: {condition: none}}").restart == "always"
    assert service("deploy: {replicas: '${N:-3}'}").replicas == 3
    assert service("scale: 0").replicas == 0


def test_a_missing_env_file_is_a_problem_of_its_service_only() -> None:
    made = service("env_file: [no.env, {path: neither.env, required: false}]")
    assert made.problems == ("the env_file /p/no.env does not exist",)


def test_env_files_are_below_environment() -> None:
    files = {
        "compose.yaml": "services: {s: {image: i, env_file: [a.env, {path: b.env, format: raw}], environment: {B: own, E: }}}",
        "a.env": "A=1\nB=a\nC=${D:-d}$A\n", "b.env": "A='2'\n",
    }  # fmt: skip
    found = dict(load(files, environment={"D": "env"}).services[0].environment)
    assert found == {"A": "'2'", "B": "own", "C": "env1"}


def test_external_resources_and_names() -> None:
    text = """
services: {s: {image: i, volumes: [a:/a, b:/b, c:/c], networks: [n, m]}}
volumes: {a: {external: true}, b: {external: {name: old}}, c: {name: own}}
networks: {n: {external: true, name: shared}, m: }
"""
    project = load(text)
    assert [(item.name, item.external) for item in project.volumes] == [("a", True), ("old", True), ("own", False)]
    assert [(item.name, item.external) for item in project.networks] == [("shared", True), ("p_m", False)]


@pytest.mark.parametrize(
    "text",
    [
        "secrets: {a: {external: true}}", "secrets: {a: {}}", "secrets: {a: {file: x, environment: X}}",
        "configs: {a: {content: x, file: y}}",
        "volumes: {a: {driver: nfs}}", "volumes: {a: {driver_opts: {type: nfs}}}",
        "networks: {a: {driver: macvlan}}", "models: {a: {}}",
        "services: 5", "services: {}", "volumes: [a]", "include: x", "include: [{}]", "include: [no.yaml]",
    ],
)  # fmt: skip
def test_wrong_top_level(text: str) -> None:
    base = "" if text.startswith("services") else "services: {s: {image: i}}\n"
    assert failure(base + text)


# --- extends and include ------------------------------------------------------------------------------------------


def test_extends_in_circles_is_named() -> None:
    text = "services:\n  a: {extends: b, image: i}\n  b: {extends: {service: c}}\n  c: {extends: a}\n"
    assert any("a -> b -> c -> a" in line for line in failure(text))
    assert "there is no service x" in failure("services: {a: {extends: x, image: i}}")[0]
    assert "there is no file" in failure("services: {a: {extends: {file: x.yaml, service: b}, image: i}}")[0]


def test_include_in_circles_and_conflicts() -> None:
    circle = {
        "compose.yaml": "include: [b.yaml]\nservices: {a: {image: i}}",
        "b.yaml": "include: [compose.yaml]\nservices: {}",
    }
    assert "circle: compose.yaml -> b.yaml -> compose.yaml" in failure(circle)[0]
    conflict = {
        "compose.yaml": "include: [b.yaml]\nservices: {a: {image: i}}",
        "b.yaml": "services: {a: {image: other}}",
    }
    assert "has something else under this name" in failure(conflict)[0]
    same = {"compose.yaml": "include: [b.yaml]\nservices: {a: {image: i}}", "b.yaml": "services: {a: {image: i}}"}
    assert [item.name for item in load(same).services] == ["a"]


# --- merging ------------------------------------------------------------------------------------------------------


def merged(*texts: str) -> Service:
    files = {f"{index}.yaml": f"services: {{s: {{image: i, {text}}}}}" for index, text in enumerate(texts)}
    return load(files, *files).services[0]


@pytest.mark.parametrize(
    ("first", "second", "field", "expected"),
    [
        ("command: a b", "command: [c]", "command", ("c",)),
        ("command: a", "command: ", "command", None),
        ("environment: [A=1, B=1]", "environment: {B: 2, C: 3}", "environment", (("A", "1"), ("B", "2"), ("C", "3"))),
        ("environment: {A: 1}", "environment: !reset {}", "environment", ()),
        ("environment: {A: 1, B: 1}", "environment: {A: !reset null}", "environment", (("B", "1"),)),
        ("environment: {A: 1}", "environment: [A]", "environment", ()),
        ("dns: 1.1.1.1", "dns: [1.1.1.1, 9.9.9.9]", "dns", ("1.1.1.1", "9.9.9.9")),
        ("cap_add: [A]", "cap_add: !override [B]", "cap_add", ("B",)),
        ("labels: [a=1]", "labels: {b: 2}", "labels", (("a", "1"), ("b", "2"))),
        ("mem_limit: 1g", "mem_limit: 2g", "memory_bytes", 2 << 30),
        ("mem_limit: 1g", "mem_limit: ", "memory_bytes", 1 << 30),
        ("extra_hosts: [a=1.1.1.1]", "extra_hosts: {b: 2.2.2.2}", "extra_hosts", ("a=1.1.1.1", "b=2.2.2.2")),
        ("user: !reset a", "user: b", "user", "b"),
    ],
)
def test_merge_rules(first: str, second: str, field: str, expected: object) -> None:
    assert getattr(merged(first, second), field) == expected


def test_merge_of_dependencies_ulimits_and_ports() -> None:
    found = merged(
        "depends_on: [s2], ulimits: {nofile: {soft: 1, hard: 2}}, ports: ['80:80']}, s2: {image: i",
        "depends_on: {s2: {condition: service_healthy}}, ulimits: {nofile: 5}, ports: ['80:80/tcp', '80:80/udp']",
    )
    assert [item.condition for item in found.depends_on] == ["service_healthy"]
    assert [(item.soft, item.hard) for item in found.ulimits] == [(5, 5)]
    assert [port.text for port in found.ports] == ["80:80/tcp", "80:80/udp"]


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(alphabet="ab=:/$", max_size=5)
trees: st.SearchStrategy[object] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
flat: st.SearchStrategy[object] = st.recursive(
    scalars | st.lists(st.sampled_from("xyz"), unique=True),
    lambda deep: st.dictionaries(st.sampled_from("abc"), deep, max_size=3),
    max_leaves=9,
)
KEYS = ("image", "command", "environment", "ports", "volumes", "depends_on", "networks", "build", "secrets", "deploy", "labels",
        "healthcheck", "extends", "env_file", "ulimits", "logging", "extra_hosts", "gpus", "devices", "tmpfs",
        "restart")  # fmt: skip


def node(value: object) -> Node:
    if isinstance(value, dict):
        return Map(entries={key: node(item) for key, item in value.items()}, at=AT)
    if isinstance(value, list):
        return List(items=tuple(node(item) for item in value), at=AT)
    return Scalar(value=value, text=str(value), at=AT)  # type: ignore[arg-type]


@pytest.mark.slow
@given(trees, trees, trees)
def test_merging_is_associative(one: object, two: object, three: object) -> None:
    a, b, c = (node({"k": item}) for item in (one, two, three))
    report = Report()
    left, right = merge(merge(a, b, report), c, report), merge(a, merge(b, c, report), report)
    if not report.errors and None not in (one, two, three):
        assert plain(left) == plain(right)


@pytest.mark.slow
@given(flat, flat)
def test_merging_the_same_again_changes_nothing(one: object, two: object) -> None:
    once = merge(node({"k": one}), node({"k": two}), Report())
    assert plain(merge(once, node({"k": two}), Report())) == plain(once)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(KEYS), trees, max_size=6), st.dictionaries(st.sampled_from(KEYS), trees, max_size=6)
)
def test_any_tree_becomes_a_project_or_an_error_with_a_place(
    first: dict[str, object], second: dict[str, object]
) -> None:
    import json

    files = {f"{index}.yaml": json.dumps({"services": {"s": item}}) for index, item in enumerate((first, second))}
    with suppress(ComposeError):
        load(files, *files)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(KEYS), trees, max_size=6))
def test_long_forms_stay_as_they_are(service: dict[str, object]) -> None:
    canon = Canon(base="/p", home="", report=Report())
    once = canonicalize(node({"services": {"s": service}}), canon)  # type: ignore[arg-type]
    assert plain(canonicalize(once, canon)) == plain(once)


# --- the seam -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_readers_keep_the_contract(kind: str, tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "a").write_text("text")
    reader: FileReader = DiskReader() if kind == "disk" else MemoryReader({f"{folder}/a": "text"})
    assert reader.read(f"{folder}/a") == b"text"
    assert reader.read(f"{folder}/b") is None
    assert reader.read(f"{folder}/a/b") is None


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: object) -> None:
    with pytest.raises(ComposeError, match="cannot be read"):
        DiskReader().read(str(tmp_path))
