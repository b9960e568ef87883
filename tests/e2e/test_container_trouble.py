"""What goes wrong with containers: killed keepers, full disks, readers that do not read, commands killed at any moment."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import Containers, close_pipes, wait_for
from small_image import SMALL, make_small_image

from carboy.containers import control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

RSS_GROWTH_BYTES = 32 * 2**20


def folder_of(containers: Containers, name: str) -> Path:
    return containers.carboy.home / "containers" / str(containers.find(name)["Id"])


def keeper_of(containers: Containers, name: str) -> int:
    return int(json.loads((folder_of(containers, name) / "state.json").read_text())["supervisor"])


def rss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_keeper_takes_the_container_along_and_ps_says_so(containers: Containers, leftovers: Leftovers) -> None:
    """H5: never an orphan."""
    carboy = containers.carboy
    name = containers.run("web", "sleep", "1000", options=("--restart", "always"))
    pid, keeper = containers.inspect(name)["State"]["Pid"], keeper_of(containers, name)
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    wait_for(lambda: containers.state(name) == "exited")
    assert containers.exit_code(name) == 137
    assert "was killed" in containers.inspect(name)["State"]["Error"]
    assert "is not running" in carboy("exec", name, "true", expect=125).stderr
    assert carboy("wait", name).stdout == "137\n"
    assert leftovers.find() == []
    carboy("start", name)
    assert carboy("exec", name, "echo", "back").stdout == "back\n"
    carboy("rm", "-f", name)
    assert leftovers.find() == []


@pytest.mark.parametrize("victim", ["carboy-outer", "carboy-init", "carboy-watch"])
def test_any_process_of_ours_that_is_killed_ends_the_container_cleanly(
    containers: Containers, leftovers: Leftovers, victim: str
) -> None:
    name = containers.run("web", "sleep", "1000")
    pids = [keeper_of(containers, name)]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += [int(child) for child in (task / "children").read_text().split()]
    found = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == victim]
    if not found:
        assert victim == "carboy-watch"
        pytest.skip("the keeper watches by itself")
    os.kill(found[0], signal.SIGKILL)
    wait_for(lambda: containers.state(name) == "exited")
    assert containers.exit_code(name) == 137
    containers.carboy("rm", name)
    assert leftovers.find() == []


def test_after_a_reboot_ps_tells_the_truth(containers: Containers) -> None:
    name = containers.run("web", "sleep", "1000")
    path = folder_of(containers, name) / "state.json"
    state = json.loads(path.read_text())
    os.kill(keeper_of(containers, name), signal.SIGKILL)
    wait_for(lambda: containers.state(name) == "exited")
    path.write_text(json.dumps({**state, "boot": "00000000-0000-0000-0000-000000000000", "pid": 1}))
    assert containers.inspect(name)["State"]["Error"] == "the machine was restarted"
    assert containers.inspect(name)["State"]["Pid"] == 0
    containers.carboy("start", name)
    assert containers.state(name) == "running"


def test_what_the_end_of_the_machine_ended_is_resumed(containers: Containers) -> None:
    names = {}
    for policy in ("always", "unless-stopped", "on-failure", "no"):
        for stopped in (False, True):
            name = containers.run(f"{policy}-{stopped}", "sleep", "1000", options=("--restart", policy))
            names[policy, stopped] = name
            if stopped:
                containers.carboy("stop", "-t0", name)
            else:
                os.kill(keeper_of(containers, name), signal.SIGKILL)
            wait_for(lambda name=name: containers.state(name) == "exited")
            path = folder_of(containers, name) / "state.json"
            path.write_text(
                json.dumps({**json.loads(path.read_text()), "boot": "00000000-0000-0000-0000-000000000000"})
            )
    containers.carboy("create", "--name", "never", "--restart", "always", SMALL, "sleep", "1000")
    resumed = containers.carboy("system", "resume").stdout.split()
    assert resumed == [names["always", False], names["always", True], names["unless-stopped", False]]
    assert {containers.state(name) for name in resumed} == {"running"}
    assert not containers.carboy("system", "resume").stdout
    containers.carboy("rm", "-f", "never")


def test_a_unit_for_the_next_boot(containers: Containers) -> None:
    unit = containers.carboy("system", "resume", "--unit").stdout
    assert f"CARBOY_HOME={containers.carboy.home}" in unit
    assert " -m carboy system resume\n" in unit


def test_a_reader_that_does_not_read_costs_no_memory(containers: Containers) -> None:
    """Row 59: `yes`, a stalled reader, and a keeper that stays small; the log is bounded."""
    carboy = containers.carboy
    options = ("--log-opt", "max-size=1m", "--log-opt", "max-file=2")
    name = containers.run("loud", "sh", "-c", "sleep 0.5; exec yes", options=options)
    keeper = keeper_of(containers, name)
    before = rss_bytes(keeper)
    reader = carboy.start("attach", "--no-stdin", name)
    inside = carboy.start("exec", name, "yes")
    peak = 0
    for _ in range(20):
        peak = max(peak, rss_bytes(keeper))
        time.sleep(0.1)  # for as long as it takes to fill a memory that would grow
    assert peak - before < RSS_GROWTH_BYTES, (before, peak)
    assert sum(path.stat().st_size for path in folder_of(containers, name).glob("log*")) <= 2 * 2**20
    begin = time.monotonic()
    carboy("stop", "-t0", name)
    assert time.monotonic() - begin < 10, "a stalled reader does not hold the end back"
    assert containers.state(name) == "exited"
    for process in (reader, inside):
        assert process.stdout is not None
        process.stdout.read()
        assert process.wait(20) in {137, 143}
        close_pipes(process)


def test_loud_containers_without_readers_stay_small(containers: Containers) -> None:
    name = containers.run("loud", "yes", options=("--log-opt", "max-size=1m", "--log-opt", "max-file=2"))
    keeper = keeper_of(containers, name)
    before = rss_bytes(keeper)
    wait_for((folder_of(containers, name) / "log.1").exists)
    assert rss_bytes(keeper) - before < RSS_GROWTH_BYTES // 2


def test_of_two_who_remove_at_once_one_does(containers: Containers, leftovers: Leftovers) -> None:
    for _ in range(4):
        name = containers.run("twice", "sleep", "1000")
        both = [containers.carboy.start("rm", "-f", name) for _ in range(3)]
        said = [process.communicate(timeout=60) for process in both]
        assert all("Traceback" not in stderr for _, stderr in said), said
        assert name not in containers.carboy("ps", "-a").stdout
    assert leftovers.find() == []


def test_who_asks_for_a_process_and_leaves_at_once_does_not_keep_the_container_from_its_end(
    containers: Containers, leftovers: Leftovers
) -> None:
    """The process between must reap its child: an orphan that nobody reaps would hold the container's namespace.

    ``leftovers`` is needed here, because it makes this process the one that orphans go to, and it reaps late.
    """
    if containers.carboy.person.tier != "root":
        pytest.skip("the keeper of another user does not talk with root")
    name = containers.run("host", "sleep", "1000")
    null = os.open(os.devnull, os.O_RDWR)
    for unread in (True, False) * 3:
        connection = control.connect(str(folder_of(containers, name)))
        assert connection is not None
        connection.send(("exec", {"args": ["sleep", "500"]}), [null] * 3)
        if unread:  # what it was told is lost, and the kernel says so at the other end
            wait_for(lambda talk=connection: select.select([talk.fileno()], [], [], 0)[0])
            wait_for(lambda: containers.carboy("exec", name, "ps").stdout.count("sleep 500") == 1)
        connection.close()
        wait_for(lambda: "sleep 500" not in containers.carboy("exec", name, "ps").stdout)
    os.close(null)
    begin = time.monotonic()
    containers.carboy("rm", "-f", name, timeout_s=30)
    assert time.monotonic() - begin < 10
    assert leftovers.find() == []


@pytest.mark.parametrize("moment", ["release_volumes", "forsake", "release_name"])
def test_a_removal_that_is_killed_is_finished_by_the_next(containers: Containers, moment: str) -> None:
    carboy = containers.carboy
    name = containers.run("half", "true")
    containers.wait_state(name, "exited")
    folder = folder_of(containers, name)
    if moment != "release_volumes":
        (folder / "kept").unlink()  # what `rm` does, one after the other
        assert name not in carboy("ps", "-a").stdout
        assert "no container" in carboy("inspect", name, expect=1).stderr
    if moment == "release_name":
        # Other tests share the home, and whatever they start next finishes the removal, too.
        (carboy.home / "names" / name).unlink(missing_ok=True)
    if moment == "release_volumes":
        carboy("rm", name)
    again = containers.run("half", "true")
    containers.wait_state(again, "exited")
    assert not folder.exists()


@pytest.fixture
def small_disk(small_root_carboy: Carboy) -> Iterator[Carboy]:
    """Return root's runner whose containers lie on a disk of 2 MB."""
    place = small_root_carboy.home / "containers"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "carboy-test", str(place)], check=True)
    yield small_root_carboy
    small_root_carboy("rm", "-f", "full", "more", expect=None)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_below_the_log(small_disk: Carboy) -> None:
    carboy = small_disk
    script = "echo begin; while ! test -e /dev/shm/go; do echo filler filler filler; done; echo end; sleep 1000"
    carboy("run", "-d", "--name", "full", "--log-opt", "max-size=100m", SMALL, "sh", "-c", script)
    disk = carboy.home / "containers"
    wait_for(lambda: os.statvfs(disk).f_bavail * 4096 < 200_000)
    with (disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        deque(iter(lambda: file.write(bytes(4096)), None), maxlen=0)
    assert "full" in carboy("ps").stdout, "the container lives on"
    assert "disk is full" in carboy("run", "-d", "--name", "more", SMALL, "true", expect=125).stderr
    assert list((carboy.home / "names").iterdir()) == [carboy.home / "names" / "full"]
    assert carboy("exec", "full", "touch", "/dev/shm/go").returncode == 0
    carboy("stop", "-t0", "full")
    lines = carboy("logs", "full").stdout.splitlines()
    assert lines[0] == "begin"
    assert set(lines[1:]) <= {"filler filler filler", "end"}
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    carboy("start", "full")
    carboy("exec", "full", "touch", "/dev/shm/go")
    wait_for(lambda: "end" in carboy("logs", "full").stdout)
    carboy("rm", "-f", "full")
    (disk / "filler").unlink()
    assert list(disk.iterdir()) == []


# --- commands that are killed ---------------------------------------------------------------------------------------

VERBS = (
    "run",
    "run -d",
    "create",
    "start",
    "start -a",
    "stop",
    "restart",
    "exec",
    "attach",
    "logs -f",
    "rm -f",
    "ps",
    "wait",
    "rename",
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_commands_that_are_killed_at_any_moment(
    containers: Containers, leftovers: Leftovers, number: signal.Signals, rounds: int
) -> None:
    carboy = containers.carboy
    chance = random.Random(f"{carboy.person.tier}{number}{rounds}")
    for round_, verb in enumerate(VERBS * rounds):
        name = containers.name(f"{round_}")
        words = verb.split()
        if words[0] in {"run", "create"}:
            arguments = [*words, "--name", name, SMALL, "sleep", "1000"]
        else:
            carboy("create" if words[0] == "start" else "run", *(() if words[0] == "start" else ("-d",)),
                   "--name", name, SMALL, "sleep", "1000")  # fmt: skip
            rest = {"exec": [name, "sleep", "500"], "ps": [], "rename": [name, f"{name}-new"], "stop": ["-t1", name]}
            arguments = [*words, *rest.get(words[0], [name])]
        process = carboy.start(*arguments)
        try:
            process.wait(chance.uniform(0, 0.15))
        except subprocess.TimeoutExpired:
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.kill()
        if process.poll() is None:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:  # Ctrl-C is the container's affair; `sleep` as pid 2 dies of it
                process.kill()
                process.wait()
        assert process.stderr is not None
        close_pipes(process)
        # Whatever there is now can be seen and removed.
        carboy("ps", "-a")
    containers.remove_all()
    assert leftovers.find() == []
    # What nobody sees any more, because its remover was killed as well, goes with the next that is made.
    carboy("create", "--name", containers.name("last"), SMALL, "true")
    containers.remove_all()
    assert containers.prefix not in carboy("ps", "-a").stdout
    assert not list((carboy.home / "names").glob(f"{containers.prefix}*"))
    carboy("system", "check")


def test_ctrl_c_when_a_container_is_all_but_made_leaves_none(carboy: Carboy) -> None:
    """It comes behind the mark that keeps the folder: a container would stay that has no name."""
    make_small_image(carboy)
    script = """
import sys
from carboy.cli.main import program
from carboy.engine.containers import create

def press_ctrl_c(*arguments, **options):
    raise KeyboardInterrupt

create.write_container_event = press_ctrl_c
sys.argv = ["carboy", *sys.argv[1:]]
program()
"""
    python = str(Path(carboy.program[0]).with_name("python"))
    replace(carboy, program=(python, "-I", "-c", script))("create", "--name", "web", SMALL, "true", expect=130)
    assert [list((carboy.home / place).iterdir()) for place in ("containers", "names")] == [[], []]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_lives_leave_nothing_behind(small_carboy: Carboy, leftovers: Leftovers) -> None:
    """H9: mounts, groups, namespaces, descriptors, processes and files as before, in a home that nobody else uses."""
    carboy = small_carboy.using(small_carboy.home.with_name("lives"))
    make_small_image(carboy)
    containers = Containers(carboy)
    host = containers.run("host", "sleep", "1000")
    keeper = keeper_of(containers, host)

    def count() -> dict[str, int]:
        return {
            "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
            "keeper's descriptors": len(os.listdir(f"/proc/{keeper}/fd")),
            "keeper's children": len(Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()),
            "containers": len(list((carboy.home / "containers").iterdir())),
            "names": len(list((carboy.home / "names").iterdir())),
            "run": sum(len(files) + len(folders) for _, folders, files in os.walk(carboy.home / "run")),
        }

    for cycle in range(200):
        name = containers.run(f"c{cycle}", "sh", "-c", "echo hello > /data; sleep 1000")
        carboy("exec", host, "true")
        carboy("exec", name, "true")
        if cycle % 3 == 0:
            carboy("stop", "-t0", name)
            carboy("rm", name)
        elif cycle % 3 == 1:
            os.kill(keeper_of(containers, name), signal.SIGKILL)
            carboy("rm", "-f", name)
        else:
            carboy("rm", "-f", name)
        if cycle == 4:
            before, size = count(), rss_bytes(keeper)
    wait_for(lambda: count() == before)
    assert rss_bytes(keeper) - size < 2**20
    carboy("rm", "-f", host)
    assert leftovers.find() == []
