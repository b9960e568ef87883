"""``carboy compose`` as a person uses it: projects come up in order, answer, outlive a killed process, and go down clean."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import find_port
from small_image import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Carboy, Leftovers

CHECKOUT = Path(__file__).resolve().parents[2]

# What works in every tier: no network of its own, a published port, folders of the host's for nobody.
PROJECT = """
services:
  web:
    build: .
    image: shop-app
    network_mode: none
    ports: ["127.0.0.1:{port}:8000"]
    restart: always
    secrets: [word]
    depends_on:
      first: {{condition: service_healthy}}
      job: {{condition: service_completed_successfully}}
  first:
    image: shop-app
    network_mode: none
    command: python3 -c "import pathlib, time; time.sleep(0.5); pathlib.Path('/tmp/ready').touch(); time.sleep(600)"
    healthcheck: {{test: test -e /tmp/ready, interval: 200ms}}
  job:
    image: shop-app
    network_mode: none
    command: ["sh", "-c", "echo done; echo oops >&2"]
secrets:
  word: {{environment: WORD}}
"""
APP = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {open('/run/secrets/word').read()}".encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
print("serving", flush=True)
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""


def fetch(port: int, path: str = "/", data: bytes | None = None) -> str:
    """Return what the service answers; refused and cut connections are tried again for a while."""
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=data, timeout=10) as answer:
                return answer.read().decode()  # type: ignore[no-any-return]
        except (OSError, urllib.error.URLError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def wait_for(look: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Return what ``look`` returns, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return found


class Compose:
    """Calls ``carboy compose`` for one project of one person."""

    def __init__(self, carboy: Carboy, folder: Path, **variables: str) -> None:
        self.carboy = carboy.using(carboy.home, **variables)
        self.folder = folder

    def __call__(self, *words: str, **options: Any) -> str:
        done = self.carboy("compose", *words, cwd=self.folder, **options)
        return str(done.stdout)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what ``ps -a`` knows, by container."""
        return {row["Name"]: row for row in json.loads(self("ps", "-a", "--json"))}

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.carboy("inspect", name).stdout)[0]
        return found


@pytest.fixture
def shop(tier_carboy: Carboy, tmp_path: Path) -> Compose:
    folder = tier_carboy.home.parent / f"shop-{os.urandom(4).hex()}"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "compose.yaml").write_text(PROJECT.format(port=find_port()))
    for path in (folder, *folder.iterdir()):
        os.chown(path, tier_carboy.person.uid, tier_carboy.person.gid)
    return Compose(tier_carboy, folder, WORD="geheim", COMPOSE_PROJECT_NAME="shop")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.root
@pytest.mark.userns
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("shared-home")
def test_a_project_lives_in_every_tier(shop: Compose, leftovers: Leftovers) -> None:
    port = int((shop.folder / "compose.yaml").read_text().partition("127.0.0.1:")[2].partition(":")[0])
    try:
        planned = shop("--dry-run", "up").splitlines()
        assert "build image shop-app" in planned[0] or "create container" in planned[0]
        assert shop.rows() == {}
        shop("up", "-d", "--wait")
        rows = shop.rows()
        assert {name: row["State"] for name, row in rows.items()} == {
            "shop-web-1": "running",
            "shop-first-1": "running",
            "shop-job-1": "exited",
        }
        assert rows["shop-first-1"]["Health"] == "healthy"
        begun = {name: shop.inspect(name)["State"]["StartedAt"] for name in rows}
        assert begun["shop-web-1"] > begun["shop-first-1"]
        assert begun["shop-web-1"] > shop.inspect("shop-job-1")["State"]["FinishedAt"]
        assert fetch(port).endswith(" geheim")
        assert "geheim" not in json.dumps(shop.inspect("shop-web-1"))
        assert "geheim" not in shop("config")
        # Nothing has changed, so that nothing is made anew.
        before = {name: row["ID"] for name, row in rows.items()}
        shop("up", "-d")
        assert {name: row["ID"] for name, row in shop.rows().items()} == before

        os.kill(shop.inspect("shop-web-1")["State"]["Pid"], signal.SIGKILL)
        wait_for(lambda: shop.inspect("shop-web-1")["RestartCount"] == 1)
        assert fetch(port).endswith(" geheim")

        # A job that has ended is run again by each `up`, as with Compose.
        lines = sorted(shop("logs", "--no-color", "job").splitlines())
        assert lines == ["job-1  | done"] * 2 + ["job-1  | oops"] * 2
        assert shop("exec", "-T", "web", "cat", "/run/secrets/word") == "geheim"
        assert shop("run", "--rm", "--no-deps", "-T", "job", "echo", "once") == "once\n"
        assert shop("port", "web", "8000") == f"127.0.0.1:{port}\n"
        shop("restart", "-t", "1", "web")
        assert fetch(port).endswith(" geheim")
        shop("stop", "-t", "1")
        assert {row["State"] for row in shop.rows().values()} == {"exited"}
        shop("start")
        assert fetch(port).endswith(" geheim")
    finally:
        shop("down", "-t", "1", "--rmi", "all")
    assert shop.rows() == {}
    assert not (shop.carboy.home / "projects" / "shop").exists()
    assert leftovers.find() == []


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.userns
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("shared-home")
@pytest.mark.parametrize("interrupts", [1, 2])
def test_in_the_foreground_ctrl_c_stops_and_a_second_one_kills(
    shared_carboy: Carboy, tmp_path: Path, leftovers: Leftovers, interrupts: int
) -> None:
    ignores = "trap '' TERM; " if interrupts == 2 else ""
    script = f"{ignores}echo begun; while :; do sleep 0.1; done"
    (tmp_path / "compose.yaml").write_text(
        f"""
services:
  one: {{image: 'iris:test', network_mode: none, entrypoint: [], command: ["sh", "-c", "{script}"]}}
"""
    )
    compose = Compose(shared_carboy, tmp_path, COMPOSE_PROJECT_NAME=f"front{interrupts}")
    process = compose.carboy.start("compose", "up", "-t", "60", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline() == "one-1  | begun\n"
        for number in range(interrupts):
            os.killpg(process.pid, signal.SIGINT)
            if number == 0:
                while "stopping" not in process.stderr.readline():
                    pass
        assert process.wait(30) == 130, process.stderr.read()
        assert [row["State"] for row in compose.rows().values()] == ["exited"]
        assert "Traceback" not in process.stderr.read()
    finally:
        process.stdout.close()
        process.stderr.close()
        compose("down", "-t", "1")
    assert leftovers.find() == []


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.userns
@pytest.mark.network
@pytest.mark.xdist_group("shared-home")
def test_exit_statuses_and_messages(shared_carboy: Carboy, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        """
services:
  good: {image: 'iris:test', network_mode: none, entrypoint: [], command: sleep 600, restart: always, x-note: 1, colour: red}
  bad: {image: 'iris:test', network_mode: none, entrypoint: [], command: ["sh", "-c", "exit 3"]}
  lost: {image: 'registry.example.invalid/nowhere:1', network_mode: none, profiles: [lost]}
"""
    )
    compose = Compose(shared_carboy, tmp_path, COMPOSE_PROJECT_NAME="status")
    try:
        done = shared_carboy("compose", "up", "--exit-code-from", "bad", "-t", "1", cwd=tmp_path, expect=3)
        assert "colour" in done.stderr
        assert "x-note" not in done.stderr
        assert (
            "the registry registry.example.invalid cannot be reached"
            in shared_carboy("compose", "--profile", "lost", "up", "-d", cwd=tmp_path, expect=1).stderr
        )
        assert "did you mean good" in shared_carboy("compose", "up", "god", cwd=tmp_path, expect=1).stderr
        assert "no verb" in shared_carboy("compose", "upp", cwd=tmp_path, expect=2).stderr
        assert "no compose file" in shared_carboy("compose", "ps", cwd="/", expect=1).stderr
    finally:
        shared_carboy("compose", "down", "-t", "1", cwd=tmp_path)
        compose("down")


@pytest.fixture
def factors(shared_carboy: Carboy, tmp_path: Path) -> Compose:
    """Return examples/compose, copied, with a port of its own."""
    folder = tmp_path / "factors"
    shutil.copytree(CHECKOUT / "examples" / "compose", folder)
    return Compose(shared_carboy, folder, WEB_PORT=str(find_port()))


def ask_factors(port: int, number: int) -> str:
    """Send a number to the web server and return what the worker made of it."""
    job = json.loads(fetch(port, "/jobs", str(number).encode()))["id"]

    def find() -> str | None:
        return next((row["result"] for row in json.loads(fetch(port, "/jobs")) if row["id"] == job), None)

    return str(wait_for(find))


@pytest.mark.long
@pytest.mark.root
@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("shared-home")
def test_a_web_server_a_database_and_a_worker(factors: Compose, leftovers: Leftovers) -> None:
    """Must show 3 of the issue on containers: up in order, answers, survives kill -9 of each service, goes down clean."""
    port = int(factors.carboy.variables["WEB_PORT"])
    home = factors.carboy.home
    try:
        factors("up", "-d", "--wait", timeout_s=600)
        rows = factors.rows()
        assert {row["Service"]: row["State"] for row in rows.values()} == dict.fromkeys(
            ("db", "web", "worker"), "running"
        )
        database = factors.inspect("factors-db-1")["State"]
        assert database["Health"]["Status"] == "healthy"
        first_well = min(check["End"] for check in database["Health"]["Log"] if check["ExitCode"] == 0)
        for name in ("factors-web-1", "factors-worker-1"):
            assert factors.inspect(name)["State"]["StartedAt"] > first_well
        assert ask_factors(port, 360) == "2 x 2 x 2 x 3 x 3 x 5"
        for number, name in enumerate(rows):
            restarts = factors.inspect(name)["RestartCount"]
            os.kill(factors.inspect(name)["State"]["Pid"], signal.SIGKILL)
            wait_for(lambda name=name, restarts=restarts: factors.inspect(name)["RestartCount"] > restarts)
            wait_for(lambda: factors.rows()["factors-db-1"]["Health"] == "healthy")
            assert ask_factors(port, 77 + number)
        # What was kept in the volume is there again after the containers were made anew.
        factors("up", "-d", "--wait", "--force-recreate")
        assert json.loads(fetch(port, "/jobs"))[0]["result"] == "2 x 2 x 2 x 3 x 3 x 5"
        factors("up", "-d", "--wait", "--scale", "worker=3")
        assert len(factors.rows()) == 5
        assert factors("exec", "-T", "web", "python", "-c", "import socket; socket.gethostbyname('db')") == ""
    finally:
        factors("down", "--volumes", "-t", "5")
    assert factors.rows() == {}
    assert list((home / "networks").glob("*.json")) == []
    assert [path.name for path in (home / "volumes").iterdir() if path.name.startswith("factors")] == []
    assert leftovers.find() == []


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.userns
@pytest.mark.network
@pytest.mark.xdist_group("shared-home")
def test_where_networks_cannot_be_made_up_says_what_works(small_carboy: Carboy) -> None:
    if small_carboy.person.tier == "root":
        pytest.skip("root can make networks")
    folder = small_carboy.home.parent / f"net-{os.urandom(4).hex()}"
    folder.mkdir()
    (folder / "compose.yaml").write_text(f"services: {{web: {{image: '{SMALL}', pull_policy: never}}}}\n")
    os.chown(folder, small_carboy.person.uid, small_carboy.person.gid)
    done = small_carboy("compose", "up", "-d", cwd=folder, expect=1)
    assert "networks need root" in done.stderr
    assert "network_mode: host" in done.stderr


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.network
@pytest.mark.xdist_group("shared-home")
def test_services_find_those_on_their_own_networks_only(
    shared_carboy: Carboy, tmp_path: Path, leftovers: Leftovers
) -> None:
    service = "{image: 'iris:test', entrypoint: [], command: sleep 600, networks: "
    (tmp_path / "compose.yaml").write_text(
        f"""
services:
  web: {service} [front]}}
  proxy: {service} {{front: , back: {{aliases: [broker]}}}}}}
  db: {service} [back]}}
networks: {{front: , back: {{internal: true}}}}
"""
    )
    compose = Compose(shared_carboy, tmp_path, COMPOSE_PROJECT_NAME="walls")

    def sees(service: str, name: str) -> bool:
        command = ("compose", "exec", "-T", service, "getent", "ahostsv4", name)
        return compose.carboy(*command, cwd=tmp_path, expect=None).returncode == 0

    try:
        compose("up", "-d")
        assert [sees("web", name) for name in ("web", "proxy", "walls-proxy-1", "db")] == [True, True, True, False]
        assert [sees("proxy", name) for name in ("web", "db", "broker")] == [True, True, True]
        assert [sees("db", name) for name in ("proxy", "broker", "web")] == [True, True, False]
        networks = compose.inspect("walls-proxy-1")["NetworkSettings"]["Networks"]
        assert set(networks) == {"walls_front", "walls_back"}
        assert all(network["IPAddress"] for network in networks.values())
    finally:
        compose("down", "-t", "0")
    assert leftovers.find() == []


BUILDS = """
services:
  lib:
    image: {tag}-lib
    build: {{dockerfile_inline: "FROM small:test\\nRUN echo of-the-library > /lib.txt\\n"}}
  app:
    image: {tag}-app
    network_mode: none
    build:
      dockerfile: app.Dockerfile
      target: wanted
      args: [WHO]
      labels: {{kind: test}}
      tags: ["{tag}-other"]
      network: none
      shm_size: 8m
      ulimits: {{nofile: {{soft: 71, hard: 72}}}}
      extra_hosts: [far=10.9.8.7]
      secrets: [token, {{source: key, target: id}}]
      additional_contexts: {{lib: "service:lib", docs: ./docs}}
secrets:
  token: {{environment: TOKEN}}
  key: {{file: ./key}}
"""
BUILT = """FROM small:test AS wanted
ARG WHO
COPY --from=lib /lib.txt /lib.txt
COPY --from=docs text /docs.txt
RUN --mount=type=secret,id=token --mount=type=secret,id=id,env=KEY \
    (echo "$WHO"; cat /run/secrets/token | wc -c; echo ${#KEY}; ulimit -n; grep far /etc/hosts; \
     df -m /dev/shm | tail -1 | grep -o ' 8 ' | head -1; ls /sys/class/net 2>/dev/null; cat /lib.txt /docs.txt) > /said
FROM wanted
RUN exit 1
"""


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.userns
def test_all_keys_of_a_build(small_carboy: Carboy) -> None:
    folder = small_carboy.home.parent / f"builds-{os.urandom(4).hex()}"
    (folder / "docs").mkdir(parents=True)
    files = {"compose.yaml": BUILDS.format(tag=folder.name), "app.Dockerfile": BUILT, "docs/text": "of-the-docs\n"}
    for name, text in {**files, "key": "canary-of-the-file"}.items():
        (folder / name).write_text(text)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, small_carboy.person.uid, small_carboy.person.gid)
    compose = Compose(small_carboy, folder, TOKEN="canary-of-the-variable", WHO="you")
    compose("build")
    app = f"{folder.name}-app"
    said = small_carboy("run", "--rm", app, "cat", "/said").stdout.split()
    assert said[:6] == ["you", "22", "18", "71", "10.9.8.7", "far"]
    assert "8" in said
    assert said[-2:] == ["of-the-library", "of-the-docs"]
    inspected = json.loads(small_carboy("inspect", app).stdout)[0]
    assert inspected["Config"]["Labels"]["kind"] == "test"
    assert any(name.startswith(f"{folder.name}-other") for name in inspected["RepoTags"])
    for path in (small_carboy.home / "store").rglob("*"):
        assert not path.is_file() or b"canary-of-the" not in path.read_bytes(), path
    refused = small_carboy.using(small_carboy.home)("compose", "build", cwd=folder, expect=1)
    assert "the variable TOKEN, which holds token, is not set" in refused.stderr
    shutil.rmtree(folder)
