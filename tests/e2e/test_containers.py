"""The life of a container, as Docker's users know it, in each tier."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from containers import Containers, close_pipes, wait_for
from small_image import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

POLITE = 'trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.05; done'
STUBBORN = 'trap "" TERM; echo ready; while :; do sleep 0.05; done'


def test_a_container_from_its_start_to_its_removal(containers: Containers, leftovers: Leftovers) -> None:
    carboy = containers.carboy
    name = containers.sh("web", POLITE)
    containers.wait_logged(name, "ready")
    row = containers.find(name)
    assert (row["State"], row["Image"], row["Command"][:2]) == ("running", "docker.io/library/small:test", ["sh", "-c"])
    assert containers.status(name).startswith("Up ")
    assert name in carboy("ps").stdout
    assert carboy("stop", name).stdout == f"{name}\n"
    assert (containers.state(name), containers.exit_code(name)) == ("exited", 3)
    assert containers.status(name).startswith("Exited (3)")
    assert containers.logs(name) == "ready\nbye\n"
    assert name not in carboy("ps").stdout
    assert carboy("start", name).stdout == f"{name}\n"
    assert containers.state(name) == "running"
    containers.wait_logged(name, "ready\nbye\nready\n")
    assert "is running" in carboy("rm", name, expect=1).stderr
    carboy("rm", "-f", name)
    assert "no container" in carboy("inspect", name, expect=1).stderr
    assert leftovers.find() == []


def test_what_was_written_stays_from_one_run_to_the_next(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.sh("data", "cat /data; echo more >> /data")
    containers.wait_state(name, "exited")
    for count in range(1, 3):
        assert carboy("start", "-a", name).stdout == "more\n" * count


def test_a_stubborn_container_is_killed_when_its_time_is_over(containers: Containers) -> None:
    name = containers.sh("stubborn", STUBBORN)
    containers.wait_logged(name, "ready")
    containers.carboy("stop", "-t", "1", name)
    assert containers.exit_code(name) == 137
    again = containers.sh("again", POLITE, "--stop-signal", "INT")
    containers.wait_logged(again, "ready")
    containers.carboy("stop", "-t", "1", again)
    assert containers.exit_code(again) == 130


def test_a_terminal_s_signals_reach_a_container(containers: Containers) -> None:
    script = 'for s in HUP INT QUIT PIPE; do trap "echo $s" $s; done; echo ready; while :; do sleep 0.05; done'
    name = containers.sh("web", script)
    containers.wait_logged(name, "ready")
    for signal_name in ("HUP", "INT", "QUIT", "PIPE"):
        containers.carboy("kill", "-s", signal_name, name)
        containers.wait_logged(name, signal_name)


def test_kill_and_wait(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.sh("web", 'trap "echo hup" HUP; trap "exit 9" USR1; echo ready; while :; do sleep 0.05; done')
    containers.wait_logged(name, "ready")
    waiting = carboy.start("wait", name)
    carboy("kill", "-s", "HUP", name)
    containers.wait_logged(name, "hup")
    carboy("kill", "-s", "SIGUSR1", name)
    assert waiting.communicate(timeout=20)[0] == "9\n"
    assert carboy("wait", name).stdout == "9\n"
    assert "is not running" in carboy("kill", name, expect=1).stderr
    assert "no signal" in carboy("kill", "-s", "NOPE", name, expect=2).stderr
    other = containers.run("sleep", "sleep", "1000")
    carboy("kill", other)
    wait_for(lambda: containers.exit_code(other) == 137)


def test_restart(containers: Containers) -> None:
    name = containers.sh("web", POLITE)
    containers.wait_logged(name, "ready")
    before = containers.inspect(name)["State"]["Pid"]
    containers.carboy("restart", name)
    after = containers.inspect(name)["State"]
    assert after["Running"]
    assert after["Pid"] not in {0, before}
    containers.wait_logged(name, "ready\nbye\nready\n")


def test_pause_and_unpause(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.sh("busy", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
    containers.wait_logged(name, "3")
    paused = carboy("pause", name, expect=None)
    if paused.returncode:
        assert carboy.person.tier != "root", paused.stderr
        assert "hint:" in paused.stderr
        pytest.skip("this machine gives users no freezer, and says so")
    assert "(Paused)" in containers.status(name)
    count = containers.logs(name)
    assert "is paused" in carboy("exec", name, "true", expect=125).stderr
    assert containers.logs(name) == count
    carboy("unpause", name)
    wait_for(lambda: containers.logs(name) != count)
    assert "not paused" in carboy("unpause", name, expect=1).stderr
    carboy("pause", name)
    carboy("stop", "-t", "5", name)
    assert containers.state(name) == "exited"


def test_logs(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.sh("talker", "echo one; echo two >&2; sleep 0.2; echo three; printf end")
    containers.wait_state(name, "exited")
    done = carboy("logs", name)
    assert (done.stdout, done.stderr) == ("one\nthree\nend", "two\n")
    assert carboy("logs", "--tail", "1", name).stdout == "end"
    assert carboy("logs", "-n", "2", name).stdout == "three\nend"
    stamped = carboy("logs", "-t", name).stdout.splitlines()
    moments = [line.partition(" ")[0] for line in stamped]
    assert moments == sorted(moments)
    assert stamped[0].endswith("Z one")
    assert carboy("logs", "--since", moments[1], name).stdout == "three\nend"
    assert carboy("logs", "--until", moments[0][:26] + "Z", name).stdout == "one\n"
    assert carboy("logs", "--since", "1h", name).stdout == done.stdout
    assert carboy("logs", "--since", "2100-01-01T00:00:00Z", name).stdout == ""
    assert "no time" in carboy("logs", "--since", "soon", name, expect=2).stderr


def test_logs_are_followed_to_the_end_and_through_restarts(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.sh("talker", "echo begin; cat /fifo 2>&1; while ! test -e /go; do sleep 0.02; done; echo end")
    follower = carboy.start("logs", "-f", name)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begin\n"
    carboy("exec", name, "touch", "/go")
    assert follower.communicate(timeout=20)[0].endswith("end\n")
    assert follower.returncode == 0
    again = containers.sh(
        "again", "echo run; test -e /once || { touch /once; exit 1; }; sleep 0.3", "--restart", "on-failure"
    )
    assert carboy("logs", "-f", again, timeout_s=30).stdout == "run\nrun\n"


def test_logs_are_bounded(containers: Containers) -> None:
    options = ("--log-opt", "max-size=50k", "--log-opt", "max-file=2")
    name = containers.run("loud", "sh", "-c", "seq 100000; echo last", options=options)
    containers.wait_state(name, "exited")
    lines = containers.logs(name).split()
    assert lines[-1] == "last"
    folder = containers.carboy.home / "containers" / containers.find(name)["Id"]
    assert sum(path.stat().st_size for path in folder.glob("log*")) <= 100 * 1024
    numbers = [int(line) for line in lines[:-1]]
    assert numbers == list(range(numbers[0], 100_001))
    silent = containers.run("silent", "echo", "x", options=("--log-driver", "none"))
    assert "keeps no log" in containers.carboy("logs", silent, expect=1).stderr


def test_names(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.run("web", "sleep", "1000")
    taken = carboy("run", "-d", "--name", name, SMALL, "true", expect=125)
    assert f"the name {name} is in use by the container {containers.find(name)['Id'][:12]}" in taken.stderr
    assert "cannot be a container's name" in carboy("create", "--name", "a/b", SMALL, expect=125).stderr
    other = containers.name("front")
    carboy("rename", name, other)
    assert containers.state(other) == "running"
    near = carboy("stop", f"{other}x", expect=1)
    assert f"there is no container {other}x" in near.stderr
    assert f"did you mean {other}?" in near.stderr
    assert carboy("stop", "-t0", containers.find(other)["Id"][:10]).returncode == 0
    made_up = carboy("create", SMALL, "true").stdout.strip()
    found = next(r for r in json.loads(carboy("ps", "-a", "--json").stdout) if r["Id"] == made_up)
    assert "_" in found["Name"]
    carboy("rm", made_up)


def test_create_then_start_attached(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.name("made")
    carboy("create", "-i", "--name", name, SMALL, "sh", "-c", "cat; echo done >&2; exit 4")
    assert containers.status(name) == "Created"
    done = carboy("start", "-a", "-i", name, input="hello\n", expect=4)
    assert (done.stdout, done.stderr) == ("hello\n", "done\n")
    assert containers.exit_code(name) == 4
    assert containers.logs(name) == "hello\n"


def test_a_foreground_run_without_rm_keeps_its_container(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.name("kept")
    done = carboy("run", "--name", name, SMALL, "sh", "-c", "echo out; echo err >&2; exit 6", expect=6)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert (containers.state(name), containers.exit_code(name)) == ("exited", 6)
    assert containers.logs(name) == "out\n"


def test_a_foreground_run_with_rm_is_a_container_like_others_while_it_lasts(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.name("brief")
    running = carboy.start("run", "--rm", "--name", name, SMALL, "sh", "-c", POLITE)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    assert containers.state(name) == "running"
    assert carboy("exec", name, "echo", "inside").stdout == "inside\n"
    carboy("stop", name)
    assert running.wait(20) == 3
    close_pipes(running)
    assert name not in carboy("ps", "-a").stdout
    second = carboy.start("run", "--rm", "--name", name, SMALL, "sleep", "1000")
    wait_for(lambda: name in carboy("ps").stdout)
    carboy("rm", "-f", name)
    assert second.wait(20) == 137
    close_pipes(second)


def test_a_detached_container_with_rm_goes_by_itself(containers: Containers) -> None:
    name = containers.run("brief", "true", options=("--rm",))
    wait_for(lambda: name not in containers.carboy("ps", "-a").stdout)
    assert not list((containers.carboy.home / "names").glob(f"{name}*"))


@pytest.mark.parametrize(("command", "code", "text"), [("nope", 127, "not found"), ("/etc/passwd", 126, "denied")])
def test_a_command_that_cannot_be_run(containers: Containers, command: str, code: int, text: str) -> None:
    carboy = containers.carboy
    for number, options in enumerate((["-d"], [], ["--rm"], ["-d", "--rm"])):
        name = containers.name(f"broken{number}")
        done = carboy("run", *options, "--name", name, SMALL, command, expect=code)
        assert text in done.stderr.lower()
        if "--rm" in options:
            assert name not in carboy("ps", "-a").stdout
        else:
            assert (containers.status(name), containers.exit_code(name)) == ("Created", code)


def test_restart_policies(containers: Containers) -> None:
    failing = containers.sh("failing", "echo try; exit 5", "--restart", "on-failure:2")
    wait_for(lambda: containers.state(failing) == "exited" and containers.logs(failing) == "try\n" * 3)
    assert containers.exit_code(failing) == 5
    assert containers.inspect(failing)["RestartCount"] == 2
    fine = containers.sh("fine", "echo try", "--restart", "on-failure")
    containers.wait_state(fine, "exited")
    assert containers.logs(fine) == "try\n"
    always = containers.sh("always", "echo try; sleep 0.1", "--restart", "always")
    wait_for(lambda: containers.logs(always).count("try") >= 3)
    containers.carboy("stop", always)
    count = containers.logs(always).count("try")
    assert containers.state(always) == "exited"
    assert containers.logs(always).count("try") == count
    containers.carboy("restart", always)
    assert containers.state(always) in {"running", "restarting"}
    assert "no restart policy" in containers.carboy("create", "--restart", "often", SMALL, expect=125).stderr
    assert "both be removed" in containers.carboy("create", "--rm", "--restart", "always", SMALL, expect=125).stderr


def test_a_killed_container_of_always_comes_back(containers: Containers) -> None:
    name = containers.run("always", "sleep", "1000", options=("--restart", "always"))
    before = containers.inspect(name)["State"]["Pid"]
    assert before > 0
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: containers.inspect(name)["State"]["Pid"] not in {0, before})


def test_health(containers: Containers) -> None:
    options = ("--health-cmd", "cat /well", "--health-interval", "100ms", "--health-retries", "2")
    name = containers.run("sick", "sleep", "1000", options=options)
    wait_for(lambda: "(unhealthy)" in containers.status(name))
    log = containers.inspect(name)["State"]["Health"]["Log"]
    assert log[-1]["ExitCode"] == 1
    assert "/well" in log[-1]["Output"]
    containers.carboy("exec", name, "touch", "/well")
    wait_for(lambda: "(healthy)" in containers.status(name))
    assert name in containers.carboy("ps", "--filter", "health=healthy").stdout
    containers.carboy("stop", "-t0", name)
    assert "health" not in containers.status(name)


def test_a_published_port_in_mode_none(containers: Containers) -> None:
    script = "while :; do echo hello | busybox nc -l -p 8000; done"
    if subprocess.run(["busybox", "nc", "--help"], capture_output=True, check=False).returncode not in {0, 1}:
        pytest.skip("busybox has no nc")
    name = containers.sh("web", script, "--network", "none", "-p", "0:8000")
    port = int(containers.carboy("port", name, "8000").stdout.strip().rpartition(":")[2])

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as talk:
                return talk.recv(99) == b"hello\n"
        except OSError:
            return False

    wait_for(answers)
    taken = containers.carboy(
        "run", "-d", "-p", f"{port}:1", "--name", containers.name("two"), SMALL, "true", expect=125
    )
    assert str(port) in taken.stderr
    containers.carboy("restart", "-t0", name)
    containers.carboy("stop", "-t0", name)
    assert not answers()


def test_running_out_of_memory_is_shown(containers: Containers) -> None:
    carboy = containers.carboy
    name = containers.name("hungry")
    script = "x=y; while :; do x=$x$x; done"
    done = carboy("run", "-m", "16m", "--name", name, SMALL, "sh", "-c", script, expect=None)
    if carboy.person.tier != "root":
        assert done.returncode == 125
        assert "hint:" in done.stderr
        return
    assert done.returncode == 137
    assert "memory" in done.stderr
    assert "out of memory" in containers.status(name)
    assert containers.inspect(name)["State"]["OOMKilled"]


def test_prune_keeps_what_containers_stand_on_and_rmi_asks(containers: Containers, tmp_path: Path) -> None:
    carboy = containers.carboy
    other = f"other:{containers.prefix}"
    carboy("tag", SMALL, other)
    name = containers.run("kept", "sleep", "1000", image=other)
    carboy("rmi", other)  # another name is left
    refused = carboy("rmi", SMALL, expect=1)
    assert "conflict: unable to remove repository reference 'small:test' (must force)" in refused.stderr
    assert "is using its referenced image" in refused.stderr
    carboy("stop", "-t0", name)
    assert "conflict" in carboy("rmi", SMALL, expect=1).stderr
    carboy("tag", SMALL, other)
    carboy("rmi", "-f", SMALL)
    carboy("rmi", "-f", other)
    carboy("system", "prune", "--all", expect=None)
    carboy("system", "prune")
    carboy("start", name)
    assert carboy("exec", name, "echo", "still here").stdout == "still here\n"


def test_filters_and_forms_of_ps(containers: Containers) -> None:
    carboy = containers.carboy
    one = containers.run("one", "sleep", "1000", options=("-l", "kind=a", "-l", "x=1"))
    two = containers.run("two", "true", options=("-l", "kind=b"))
    containers.wait_state(two, "exited")

    def names(*options: str) -> list[str]:
        return carboy("ps", "--filter", f"name={containers.prefix}", "--format", "{{.Names}}", *options).stdout.split()

    assert names() == [one]
    assert names("-a") == [two, one]
    assert names("-a", "--filter", "label=kind=b") == [two]
    assert names("-a", "--filter", "label=kind", "--filter", "label=x=1") == [one]
    assert names("--filter", "status=exited") == [two]
    assert names("--filter", "exited=0") == [two]
    ids = carboy("ps", "-aq", "--no-trunc", "--filter", f"name={containers.prefix}").stdout.split()
    assert [len(item) for item in ids] == [64, 64]
    assert "no filter" in carboy("ps", "--filter", "colour=red", expect=2).stderr
