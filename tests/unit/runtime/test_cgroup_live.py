"""Containers that run: paused, counted, killed and limited anew, with the control groups of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carboy.errors import CarboyError
from carboy.runtime.native import cgroup
from carboy.runtime.native.cgroups import live, processes
from carboy.runtime.native.cgroups.hierarchy import read_details, read_hierarchy
from carboy.runtime.spec import Limits

if TYPE_CHECKING:
    from sandboxes import Sandboxes
    from tests.conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

COUNT = "i=0; while true; do i=$((i+1)); echo $i > /tmp/count; done"


def wait_until(answer: Callable[[], Any], *, patience_s: float = 10) -> Any:
    """Return the first true answer; the kernel tells nobody when most of these things happen."""
    end = time.monotonic() + patience_s
    while not (found := answer()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return found


def find_init(pid: int) -> int | None:
    """Return the first process of the sandbox that the driver ``pid`` has started, once its command runs."""
    for current in processes._list_descendants(pid):
        if processes._read(f"/proc/{current}/comm").strip() == "carboy-init":
            for child in processes._list_descendants(current) - {current}:
                if not processes._read(f"/proc/{child}/comm").startswith("carboy"):
                    return current
    return None


class Running:
    """A sandbox that runs."""

    def __init__(self, name: str, pid: int, driver: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.pid = pid
        self.driver = driver
        self.root = Path(f"/proc/{pid}/root")

    def count(self) -> int:
        path = self.root / "tmp/count"
        return int(path.read_text().strip() or 0) if path.exists() else 0

    def moves(self) -> bool:
        before = wait_until(self.count)
        return bool(wait_until(lambda: self.count() not in {0, before}))

    def stands_still(self) -> bool:
        before = self.count()
        time.sleep(0.2)  # nothing is what is waited for
        return self.count() == before


@contextmanager
def start(sandboxes: Sandboxes, script: str, **options: Any) -> Iterator[Running]:
    name = os.urandom(8).hex()
    driver = sandboxes.start(sandboxes.command("sh", "-c", script, id=name, **options), stderr=subprocess.PIPE)
    try:
        pid = wait_until(lambda: find_init(driver.pid) or driver.poll() is not None)
        assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
        yield Running(name, pid, driver)
    finally:
        driver.kill()
        driver.communicate()


# --- pause and unpause --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounting", [True, False])
def test_pause(root_sandboxes: Sandboxes, leftovers: Leftovers, accounting: bool) -> None:
    with start(root_sandboxes, f"({COUNT}) & wait", accounting=accounting) as running:
        assert running.moves()
        assert not live.is_frozen(running.name, pid=running.pid)
        live.freeze(running.name, pid=running.pid)
        live.freeze(running.name, pid=running.pid)
        assert live.is_frozen(running.name, pid=running.pid)
        assert running.stands_still()
        live.thaw(running.name, pid=running.pid)
        live.thaw(running.name, pid=running.pid)
        assert running.moves()
    assert leftovers.find() == []


def test_a_paused_container_dies_with_its_launcher(root_sandboxes: Sandboxes, leftovers: Leftovers) -> None:
    with start(root_sandboxes, COUNT, accounting=True) as running:
        live.freeze(running.name, pid=running.pid)
        running.driver.kill()
        running.driver.wait()
        assert leftovers.find() == []


def test_a_paused_container_can_be_killed(root_sandboxes: Sandboxes, leftovers: Leftovers) -> None:
    with start(root_sandboxes, COUNT, accounting=True) as running:
        live.freeze(running.name, pid=running.pid)
        live.kill_all(running.name, signal.SIGKILL, pid=running.pid)
        assert running.driver.wait(10) == 137
        live.kill_all(running.name, signal.SIGTERM, pid=running.pid)
    assert leftovers.find() == []


def test_pause_without_a_group_stops_every_process(sandboxes: Sandboxes) -> None:
    with start(sandboxes, f"({COUNT}) & sleep 100", pids_limit=0) as running:
        assert live.find_groups(running.name, pid=running.pid) == live.Groups()
        assert running.moves()
        live.freeze(running.name, pid=running.pid)
        assert live.is_frozen(running.name, pid=running.pid)
        assert running.stands_still()
        live.thaw(running.name, pid=running.pid)
        assert not live.is_frozen(running.name, pid=running.pid)
        assert running.moves()


def test_pause_without_a_group_catches_what_forks(root_sandboxes: Sandboxes) -> None:
    script = "f() { while true; do true & sleep 0.01; done; }; f & f & f & wait"
    with start(root_sandboxes, script, pids_limit=0) as running:
        live.freeze(running.name, pid=running.pid)
        before = processes.list_pids(running.pid)
        assert processes.has_stopped(running.pid)
        time.sleep(0.1)  # nothing of it may run: nothing is what is waited for
        assert processes.list_pids(running.pid) == before


@pytest.fixture
def unified() -> Iterator[Path]:
    """Return carboy's folder of a real v2 hierarchy."""
    mount = next(
        (Path(path) for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if (Path(path) / "cgroup.procs").exists()),
        None,
    )
    if mount is None or not os.access(mount, os.W_OK):
        pytest.skip("no v2 hierarchy that may be written")
    folder = mount / f"carboy-{os.urandom(4).hex()}" / "carboy"
    folder.mkdir(parents=True)
    yield folder
    folder.rmdir()
    folder.parent.rmdir()


def test_pause_by_v2(root_sandboxes: Sandboxes, unified: Path) -> None:
    with start(root_sandboxes, COUNT, pids_limit=0) as running:
        group = unified / running.name
        group.mkdir()
        try:
            for pid in processes.list_pids(running.pid):
                cgroup.write(f"{group}/cgroup.procs", str(pid))
            live.freeze(running.name, pid=running.pid)
            assert live.is_frozen(running.name, pid=running.pid)
            assert running.stands_still()
            live.thaw(running.name, pid=running.pid)
            assert running.moves()
            live.freeze(running.name, pid=running.pid)
            live.kill_all(running.name, signal.SIGKILL, pid=running.pid)
            assert running.driver.wait(10) == 137
        finally:
            running.driver.kill()
            wait_until(lambda: "populated 0" in (group / "cgroup.events").read_text())
            group.rmdir()


def test_a_delegated_group_is_cleared_before_it_enables_controllers(unified: Path) -> None:
    mount = unified.parent.parent
    offered = (mount / "cgroup.controllers").read_text().split()
    if not offered:
        pytest.skip("the v2 hierarchy has no controller to enable")
    before = (mount / "cgroup.subtree_control").read_text().split()
    scope = unified / "scope"
    scope.mkdir()
    for folder in (mount, unified.parent, unified):
        cgroup.write(f"{folder}/cgroup.subtree_control", f"+{offered[0]}")
    sleeper = subprocess.Popen(["/bin/sleep", "100"])
    try:
        cgroup.write(f"{scope}/cgroup.procs", str(sleeper.pid))
        cgroup.prepare_folder(f"{scope}/carboy", (offered[0],), evacuate=True)
        assert (scope / "carboy-callers" / "cgroup.procs").read_text().split() == [str(sleeper.pid)]
        assert (scope / "carboy" / "cgroup.subtree_control").read_text().split() == [offered[0]]
    finally:
        sleeper.kill()
        sleeper.wait()
        for folder in (scope / "carboy", scope / "carboy-callers", scope):
            wait_until(lambda folder=folder: "populated 0" in (folder / "cgroup.events").read_text())
            folder.rmdir()
        if offered[0] not in before:
            for folder in (unified, unified.parent, mount):
                cgroup.write(f"{folder}/cgroup.subtree_control", f"-{offered[0]}")


# --- stats and top ------------------------------------------------------------------------------------------------


def test_stats(root_sandboxes: Sandboxes) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null; sleep 100 & sleep 100; true"
    with start(root_sandboxes, script, accounting=True, limits={"memory_bytes": 2**28, "cpus": 1}) as running:
        wait_until(lambda: live.read_stats(running.name, pid=running.pid).pids >= 5)
        stats = live.read_stats(running.name, pid=running.pid)
        assert stats.from_groups == {"cpu", "memory", "pids", "blkio"}
        assert stats.memory_limit_bytes == 2**28
        assert 30 * 2**20 < stats.memory_bytes < 100 * 2**20
        assert stats.cpu_ns > 0
        assert stats.oom_kills == 0

        def name() -> list[str]:
            return [item.name for item in live.read_processes(running.name, pid=running.pid)]

        wait_until(lambda: name() == ["sh", "sleep", "sleep"])


def test_processes_of_each_tier(sandboxes: Sandboxes) -> None:
    with start(sandboxes, "sleep 77 & sleep 78; true") as running:
        commands = [("sleep", "77"), ("sleep", "78")]

        def read() -> list[processes.Process]:
            return list(live.read_processes(running.name, pid=running.pid))

        wait_until(lambda: [item.command for item in read()[1:]] == commands)
        found = read()
        assert [item.inner_pid for item in found] == [2, 3, 4]
        assert all(item.parent == found[0].pid for item in found[1:])
        stats = live.read_stats(running.name, pid=running.pid)
        assert stats.pids >= 4
        assert stats.memory_bytes > 0


def test_one_more_process_joins_every_group(root_sandboxes: Sandboxes) -> None:
    with start(root_sandboxes, "sleep 100", accounting=True, limits={"cpus": 1}) as running:
        first = os.pidfd_open(running.pid)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                cgroup.join("another", first)
                unmoved = live.find_groups(running.name, pid=os.getpid()) == live.Groups()
                cgroup.join(running.name, first)
                moved = live.find_groups(running.name, pid=os.getpid()) == live.find_groups(
                    running.name, pid=running.pid
                )
                status = 0 if unmoved and moved else 2
            finally:
                os._exit(status)
        os.close(first)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- kill and update ----------------------------------------------------------------------------------------------


def test_a_signal_reaches_every_process(sandboxes: Sandboxes) -> None:
    script = "trap 'exit 5' TERM; sleep 100 & sleep 100 & echo 1 > /tmp/count; while true; do sleep 0.05; done"
    with start(sandboxes, script) as running:
        wait_until(running.count)
        live.kill_all(running.name, signal.SIGTERM, pid=running.pid)
        assert running.driver.wait(10) == 5


def test_update(root_sandboxes: Sandboxes) -> None:
    before = Limits(memory_bytes=2**27)
    with start(root_sandboxes, "sleep 100", accounting=True, limits={"memory_bytes": 2**27}) as running:
        groups = live.find_groups(running.name, pid=running.pid)
        after = before.replace(memory_bytes=2**28, pids=50, cpus=0.5, cpuset_cpus="0")
        live.update(running.name, before, after, pid=running.pid)

        def read(controller: str, file: str) -> str:
            current = live.find_groups(running.name, pid=running.pid)
            return Path(current.find(controller, file)).read_text().strip()

        if groups.v1:
            assert read("memory", "memory.limit_in_bytes") == str(2**28)
            assert read("memory", "memory.memsw.limit_in_bytes") == str(2**29)
            assert read("cpu", "cpu.cfs_quota_us") == "50000"
        else:
            assert read("memory", "memory.max") == str(2**28)
            assert read("cpu", "cpu.max") == "50000 100000"
        assert read("pids", "pids.max") == "52"
        assert read("cpuset", "cpuset.cpus") == "0"
        assert os.sched_getaffinity(running.pid) == {0}
        live.update(running.name, after, before, pid=running.pid)
        assert read("pids", "pids.max") == str(before.pids + 2)
        assert os.sched_getaffinity(running.pid) == os.sched_getaffinity(0)


def test_update_is_all_or_nothing(root_sandboxes: Sandboxes) -> None:
    before = Limits(memory_bytes=2**27)
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null; sleep 100"
    with start(root_sandboxes, script, accounting=True, limits={"memory_bytes": 2**27, "shm_bytes": 2**27}) as running:
        wait_until(lambda: live.read_stats(running.name, pid=running.pid).memory_bytes > 60 * 2**20)
        if not live.find_groups(running.name, pid=running.pid).v1:
            pytest.skip("v2 makes room by killing, and refuses nothing")
        with pytest.raises(CarboyError, match=r"memory.* cannot be set"):
            live.update(running.name, before, before.replace(memory_bytes=2**24, pids=9), pid=running.pid)
        assert live.read_stats(running.name, pid=running.pid).memory_limit_bytes == 2**27
        path = live.find_groups(running.name, pid=running.pid).find("pids", "pids.max")
        assert Path(path).read_text().strip() == str(before.pids + 2)
        with pytest.raises(CarboyError, match="--shm-size cannot be changed"):
            live.update(running.name, before, before.replace(shm_bytes=1), pid=running.pid)


def test_memory_of_a_container_that_was_not_counted_cannot_be_limited(root_sandboxes: Sandboxes) -> None:
    with start(root_sandboxes, "sleep 100") as running:
        if not live.find_groups(running.name, pid=running.pid).v1:
            pytest.skip("the groups of v2 are one")
        with pytest.raises(CarboyError, match="without a control group for memory"):
            live.update(running.name, Limits(), Limits(memory_bytes=2**27), pid=running.pid)


def test_limits_that_this_machine_has_not(root_sandboxes: Sandboxes) -> None:
    cpus = read_details(read_hierarchy(as_root=True)).cpus
    result = root_sandboxes.run("true", limits={"cpuset_cpus": "4000", "cpus": 8000})
    assert result.status == 125
    assert result.error == f"--cpuset-cpus is 4000: this machine has {cpus}"


def test_a_user_without_groups_is_refused(sandboxes: Sandboxes) -> None:
    if sandboxes.tier == "root":
        pytest.skip("root has groups")
    if read_hierarchy(as_root=False, own="/dev/null").v2:
        pytest.skip("this machine's v2 is everybody's")
    result = sandboxes.run("true", limits={"memory_bytes": 2**28})
    assert result.status == 125
    assert result.error.startswith("--memory and --memory-reservation cannot be set")
