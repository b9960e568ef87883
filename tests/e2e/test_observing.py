"""Looking at containers, and changing what they may use, as a person of each tier does."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from small_image import SMALL

if TYPE_CHECKING:
    from conftest import Carboy

# One worker: the containers have the same names in each test.
pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.xdist_group("observing")]


def wait_for(call: Callable[[], object], *, patience_s: float = 10) -> None:
    end = time.monotonic() + patience_s
    while not call():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def name(small_carboy: Carboy) -> Iterator[str]:
    """A running container with a busy process of user 1000."""
    small_carboy("rm", "-f", "watched")
    small_carboy("run", "-d", "--name", "watched", "--label", "a=b", SMALL, "sh", "-c", "while :; do :; done")
    yield "watched"
    small_carboy("rm", "-f", "watched", "renamed")


def test_top_and_stats(small_carboy: Carboy, name: str):
    small_carboy("exec", "-d", name, "sleep", "1000")
    rows = json.loads(small_carboy("top", "--json", name).stdout)
    commands = [row["command"] for row in rows]
    assert commands[0].startswith("sh -c while")
    assert any(command == "sleep 1000" for command in commands)
    assert all(row["uid"] == 0 and row["inner_pid"] < row["pid"] for row in rows)
    assert "INNER PID" in small_carboy("top", name).stdout
    (usage,) = map(json.loads, small_carboy("stats", "--no-stream", "--json", name).stdout.splitlines())
    assert usage["cpu_percent"] > 1
    assert usage["pids"] >= 2
    assert 0 < usage["memory_bytes"] < usage["memory_limit_bytes"]
    assert "MEM USAGE" in small_carboy("stats", "--no-stream").stdout
    small_carboy("stop", "-t", "0", name)
    assert "not running" in small_carboy("top", name, expect=1).stderr
    assert small_carboy("stats", "--no-stream", "--json", name).stdout.count('"running": false') <= 1


def test_a_stream_ends_with_the_container_or_ctrl_c(small_carboy: Carboy, name: str):
    stream = small_carboy.start("stats", "--json", name)
    assert stream.stdout is not None
    assert json.loads(stream.stdout.readline())["running"]
    small_carboy("rm", "-f", name)
    assert stream.wait(20) == 0
    stream.communicate()
    stream = small_carboy.start("stats")
    assert stream.stdout is not None
    assert stream.stdout.readline().startswith("CONTAINER")
    stream.send_signal(signal.SIGINT)
    assert stream.wait(20) == 0
    stream.communicate()


def test_no_observer_is_left_and_none_holds_the_lock(small_carboy: Carboy, name: str):
    stream = small_carboy.start("stats", "--json", name)
    assert stream.stdout is not None
    stream.stdout.readline()
    small_carboy("stop", "-t", "0", name)
    small_carboy("rm", name)
    os.killpg(stream.pid, signal.SIGKILL)
    stream.communicate()
    wait_for(lambda: b"carboy-observe" not in b"".join(_names(small_carboy.person.uid)))


def _names(uid: int) -> Iterator[bytes]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid:
                with open(f"/proc/{pid}/stat", "rb") as file:
                    name, _, rest = file.read().rpartition(b")")
                if not rest.startswith(b" Z"):  # one that has ended is its parent's: pid 1 may take its time
                    yield name
        except OSError:
            continue


def test_update_counts_now_or_is_refused_and_always_at_the_next_start(small_carboy: Carboy, name: str):
    small_carboy("update", "--restart", "on-failure:2", name)
    policy = small_carboy("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", name).stdout
    assert policy == "on-failure\n"
    done = small_carboy("update", "--pids-limit", "99", name, expect=None)
    limit = small_carboy("inspect", "-f", "{{.HostConfig.PidsLimit}}", name).stdout.strip()
    if small_carboy.person.tier == "root":
        assert (done.returncode, limit) == (0, "99")
    else:  # all of it or nothing, said
        assert (done.returncode, limit) in {(0, "99"), (1, "4096")}
        assert done.returncode == 0 or "control group" in done.stderr
    small_carboy("stop", "-t", "0", name)
    small_carboy("update", "--pids-limit", "88", name)
    small_carboy("start", name)
    assert small_carboy("inspect", "-f", ".HostConfig.PidsLimit", name).stdout == "88\n"
    assert small_carboy("update", "--memory", "many", name, expect=1).stderr
    assert small_carboy("update", name, expect=2).stderr


def test_ports_are_shown(small_carboy: Carboy):
    small_carboy("rm", "-f", "ported")
    small_carboy("run", "-d", "--name", "ported", "-p", "0:80", "-p", "0:53/udp", SMALL, "sleep", "1000")
    try:
        lines = small_carboy("port", "ported").stdout.splitlines()
        assert [line.split(" -> ")[0] for line in lines] == ["80/tcp", "53/udp"]
        assert small_carboy("port", "ported", "80").stdout.startswith("127.0.0.1:")
        assert "not published" in small_carboy("port", "ported", "81", expect=1).stderr
    finally:
        small_carboy("rm", "-f", "ported")


def test_events_of_a_life(small_carboy: Carboy, name: str):
    begin = time.time()
    container_id = small_carboy("inspect", "-f", "{{.Id}}", name).stdout.strip()
    small_carboy("exec", name, "true")
    small_carboy("rename", name, "renamed")
    small_carboy("stop", "-t", "0", "renamed")
    small_carboy("rm", "renamed")
    out = small_carboy(
        "events", "--since", str(begin), "--until", "now", "--json", "-f", f"container={container_id}"
    ).stdout
    actions = [json.loads(line)["action"] for line in out.splitlines()]
    assert actions == ["exec_create", "exec_die", "rename", "kill", "kill", "die", "stop", "destroy"] or actions == [
        "exec_create", "exec_die", "rename", "kill", "die", "stop", "destroy",
    ]  # fmt: skip
    follower = small_carboy.start("events", "--json", "-f", "event=start")
    assert follower.stdout is not None
    time.sleep(0.5)  # nobody tells when it listens
    small_carboy("run", "--rm", SMALL, "true")
    assert json.loads(follower.stdout.readline())["action"] == "start"
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=20)


def test_inspect_finds_containers_then_images(small_carboy: Carboy, name: str):
    done = small_carboy("inspect", name, SMALL, "nobody", expect=1)
    container, image = json.loads(done.stdout)
    assert container["Name"] == f"/{name}"
    assert container["State"]["Status"] == "running"
    assert container["Config"]["Labels"] == {"a": "b"}
    assert image["RepoTags"] == [SMALL]
    assert "nobody" in done.stderr
    assert small_carboy("inspect", "-f", ".State.Status", name).stdout == "running\n"
    assert "no container" in small_carboy("container", "inspect", SMALL, expect=1).stderr
    assert (
        small_carboy("ps", "--filter", f"name={name}", "--format", "{{.Names}} {{.State}}").stdout
        == f"{name} running\n"
    )


def test_prune_removes_what_has_ended(small_carboy: Carboy, name: str):
    small_carboy("run", "--name", "ended", SMALL, "true")
    assert "ended" in small_carboy("container", "prune").stdout.splitlines()
    assert name in small_carboy("container", "ls", "--format", "{{.Names}}").stdout


def test_logs_between_times_and_followed_to_one(small_carboy: Carboy):
    small_carboy("rm", "-f", "talker")
    small_carboy("run", "-d", "--name", "talker", SMALL, "sh", "-c", "while :; do echo line; sleep 0.2; done")
    try:
        wait_for(lambda: small_carboy("logs", "talker").stdout.count("line") > 2)
        assert small_carboy("logs", "--until", "1h", "talker").stdout == ""
        assert small_carboy("logs", "--since", "1h", "--tail", "2", "talker").stdout == "line\nline\n"
        until = str(time.time() + 1)
        assert "line" in small_carboy("logs", "-f", "--since", "now", "--until", until, "talker", timeout_s=20).stdout
    finally:
        small_carboy("rm", "-f", "talker")


def test_health_and_memory_are_events(small_carboy: Carboy):
    begin = str(time.time())
    small_carboy("rm", "-f", "healthy")
    small_carboy(
        "run", "-d", "--name", "healthy", "--health-cmd", "true", "--health-interval", "200ms", SMALL, "sleep", "1000"
    )
    try:
        past = ("events", "--since", begin, "--until", "now", "--json", "-f", "event=health_status")
        wait_for(lambda: '"health": "healthy"' in small_carboy(*past).stdout)
    finally:
        small_carboy("rm", "-f", "healthy")
