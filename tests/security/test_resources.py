"""What a container takes from the machine is bounded: table D of the hardening tables (rows 55 to 60), H1 to H3.

Also that limits are never weaker than asked, and that devices give no more than was given.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sandboxes import HAS_OPENAT2

from carboy.runtime.native.cgroups.processes import _list_descendants, _read

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandboxes import Sandboxes
    from tests.conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

MEBIBYTE = 2**20


def wait_until(answer: Callable[[], Any], *, patience_s: float = 10) -> Any:
    end = time.monotonic() + patience_s
    while not (found := answer()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return found


def measure_fork_s() -> float:
    """Return the shortest time of some that a process of the host takes to start and end."""
    times = []
    for _ in range(20):
        begin = time.monotonic()
        subprocess.run(["/bin/true"], check=True)
        times.append(time.monotonic() - begin)
    return min(times)


# --- H1 and H3: memory --------------------------------------------------------------------------------------------


EVENTS = r"""
import json, os, sys
sys.path.insert(0, sys.argv[1])
from carboy.linux.identity import enter_tier
from carboy.runtime import spec as values
from carboy.runtime.native.launch import NativeRuntime

tier = enter_tier("root")

class Home:
    containers = run = sys.argv[2]

spec = values.SandboxSpec(
    id=os.urandom(8).hex(), root=values.DirectoryRoot(path=sys.argv[3]), tier=tier.name, env=("PATH=/bin",),
    args=("sh", "-c", sys.argv[4]), limits=values.Limits(**json.loads(sys.argv[5])),
)
runtime = NativeRuntime(Home)
sandbox = runtime.launch(runtime.plan(spec), {})
events = []
while (event := sandbox.receive()) is not None:
    events.append(event)
sandbox.wait()
print(json.dumps(events))
"""


def test_h1_an_oom_kill_hits_the_container_only_and_is_reported(
    root_sandboxes: Sandboxes, leftovers: Leftovers
) -> None:
    bystander = root_sandboxes.start(["/bin/sleep", "100"])
    try:
        command = [
            root_sandboxes.python, "-I", "-c", EVENTS, str(root_sandboxes.package), str(root_sandboxes.containers),
            str(root_sandboxes.own(root_sandboxes.new_root("oom"))), "tail /dev/zero; exit $?",
            json.dumps({"memory_bytes": 32 * MEBIBYTE}),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        events = json.loads(done.stdout)
        assert ["exit", 137] in events
        assert events[-1][0] == "oom"
        assert events[-1][1] >= 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    for folder in root_sandboxes.containers.iterdir():
        shutil.rmtree(folder)
    assert leftovers.find() == []


def test_h1_a_process_that_ends_by_itself_is_no_oom(root_sandboxes: Sandboxes) -> None:
    assert root_sandboxes.run("sh", "-c", "kill -9 $$", limits={"memory_bytes": 64 * MEBIBYTE}).status == 137
    assert root_sandboxes.run("true", limits={"memory_bytes": 6 * MEBIBYTE}).status == 0


@pytest.mark.parametrize("bomb", ["tail /dev/zero", "yes | tr '\\n' x | head -c 400m | tail -c 390m >/dev/null"])
def test_h3_memory_is_bounded(root_sandboxes: Sandboxes, leftovers: Leftovers, bomb: str) -> None:
    result = root_sandboxes.run("sh", "-c", f"{bomb}; exit $?", limits={"memory_bytes": 48 * MEBIBYTE})
    assert result.status == 137
    assert leftovers.find() == []


def test_h3_swap_is_bounded(root_sandboxes: Sandboxes) -> None:
    limits = {"memory_bytes": 32 * MEBIBYTE, "memory_swap_bytes": 32 * MEBIBYTE}
    assert root_sandboxes.run("tail", "/dev/zero", limits=limits).status == 137


def test_h3_shared_memory_is_bounded_by_its_size_and_by_the_limit(root_sandboxes: Sandboxes) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=80 2>&1 | grep -o 'No space left'; exit 0"
    limits: dict[str, object] = {"memory_bytes": 200 * MEBIBYTE, "shm_bytes": 16 * MEBIBYTE}
    assert root_sandboxes.run("sh", "-c", script, limits=limits).stdout == "No space left\n"
    assert root_sandboxes.run("sh", "-c", script).stdout == "No space left\n"  # 64 MiB unless said otherwise
    limits = {"memory_bytes": 32 * MEBIBYTE, "shm_bytes": 500 * MEBIBYTE}
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=400; exit $?"
    assert root_sandboxes.run("sh", "-c", script, limits=limits).status == 137


def test_row_60_memory_of_ipc_ends_with_the_container(root_sandboxes: Sandboxes) -> None:
    def read_shared() -> int:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(rows["Shmem"].split()[0]) * 1024

    before = read_shared()
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=200 2>/dev/null; exec tail /dev/zero"
    limits = {"memory_bytes": 300 * MEBIBYTE, "shm_bytes": 300 * MEBIBYTE}
    assert root_sandboxes.run("sh", "-c", script, limits=limits).status == 137
    wait_until(lambda: read_shared() < before + 100 * MEBIBYTE)


def test_row_60_inodes_of_memory_are_bounded(root_sandboxes: Sandboxes) -> None:
    script = "i=0; while [ $i -lt 3000 ] && true > /dev/f$i; do i=$((i+1)); done; echo $i"
    made = int(root_sandboxes.run("sh", "-c", script, limits={"memory_bytes": 64 * MEBIBYTE}).stdout)
    assert made < 1100
    script = "i=0; while [ $i -lt 30000 ] && true > /dev/shm/f$i; do i=$((i+1)); done; echo $i"
    assert int(root_sandboxes.run("sh", "-c", script).stdout) <= 16_384  # one for each page of its 64 MiB
    script = "cd /dev/shm; i=0; while [ $i -lt 2000000 ] && true > f$i; do i=$((i+1)); done; exit 3"
    result = root_sandboxes.run("sh", "-c", script, limits={"memory_bytes": 24 * MEBIBYTE, "shm_bytes": 2**33})
    assert result.status == 137  # inodes are charged to the group


def test_row_60_descriptors_are_bounded(sandboxes: Sandboxes) -> None:
    script = "ulimit -n 2000 2>/dev/null; ulimit -n; ulimit -Hn"
    result = sandboxes.run("sh", "-c", script, limits={"ulimits": [("nofile", 64, 128)]})
    assert result.stdout.split() == ["64", "128"]


@pytest.mark.parametrize("terminal", [False, True])
def test_row_59_output_that_nobody_reads_is_not_kept(sandboxes: Sandboxes, terminal: bool) -> None:
    def read_resident() -> int:
        pids = [process.pid, *_list_descendants(process.pid)]
        fields = [line.split() for pid in pids for line in _read(f"/proc/{pid}/status").splitlines()]
        return sum(int(row[1]) for row in fields if row and row[0] == "RssAnon:") * 1024

    command = sandboxes.command("yes", "x" * 1000, terminal=terminal)
    process = sandboxes.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: any(_read(f"/proc/{pid}/comm").strip() == "yes" for pid in _list_descendants(process.pid)))
        time.sleep(0.3)
        before = read_resident()
        time.sleep(1)  # a gigabyte, if somebody took it
        assert read_resident() < before + 8 * MEBIBYTE
    finally:
        process.kill()
        process.communicate()
    for folder in sandboxes.containers.iterdir():
        shutil.rmtree(folder, ignore_errors=True)


# --- H2: processes ------------------------------------------------------------------------------------------------


def was_full(group: Path, count: int) -> bool:
    """Return whether a group has once had so many processes, or was refused one: most of a bomb's live for no time at all."""
    peak = group / "pids.peak"  # since Linux 6.6
    refused = int((group / "pids.events").read_text().split()[1])
    return refused > 0 or (peak.exists() and int(peak.read_text()) >= count)


@pytest.mark.parametrize("accounting", [False, True])
def test_h2_a_fork_bomb_stops_at_its_limit(root_sandboxes: Sandboxes, leftovers: Leftovers, accounting: bool) -> None:
    calm_s = measure_fork_s()
    name = os.urandom(8).hex()
    script = "b() { b | b & }; b; sleep 60"
    command = root_sandboxes.command("sh", "-c", script, id=name, pids_limit=40, accounting=accounting)
    process = root_sandboxes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (group,) = wait_until(
            lambda: {
                path.parent
                for path in Path("/sys/fs/cgroup").glob(f"**/carboy/{name}/pids.max")
                if was_full(path.parent, 40)
            }
        )
        assert (group / "pids.max").read_text() == "42\n"  # two are carboy's own
        assert max(int((group / "pids.current").read_text()) for _ in range(100)) <= 42
        assert measure_fork_s() < max(2 * calm_s, 0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert leftovers.find() == []
    for folder in root_sandboxes.containers.iterdir():
        shutil.rmtree(folder)


def test_h2_the_limit_is_what_was_asked_for(sandboxes: Sandboxes) -> None:
    assert sandboxes.run("true", pids_limit=1).status == 0
    script = "for i in 1 2 3; do sleep 20 & done; echo all"
    assert sandboxes.run("sh", "-c", script, pids_limit=4).stdout == "all\n"
    assert sandboxes.run("sh", "-c", script, pids_limit=3).stdout == ""


# --- rows 55 to 58, assertions 40 and 42 --------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["none", "host"])
def test_row_55_no_file_of_control_groups_is_writable(sandboxes: Sandboxes, network: str) -> None:
    script = (
        "find() { for f in $1/* $1/.*; do case $f in */.|*/..) ;; *) if [ -d $f ] && [ ! -L $f ]; then find $f $2; "
        "else case $f in */release_agent|*/cgroup.procs|*/tasks|*/*.max|*/devices.allow|*/*limit_in_bytes) "
        "if (: >> $f) 2>/dev/null; then echo $f; fi;; esac; fi;; esac; done; }; find /sys/fs/cgroup; echo end"
    )
    result = sandboxes.run("sh", "-c", script, network=network)
    assert result.stdout == "end\n"


def test_row_55_what_is_shown_of_the_limits_is_the_container_own_and_read_only(root_sandboxes: Sandboxes) -> None:
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us memory.max cpu.max 2>/dev/null; "
        "ls; (echo 1 > memory/memory.limit_in_bytes || echo max > memory.max) 2>/dev/null && echo written; "
        "ls */release_agent release_agent */carboy carboy 2>/dev/null; mkdir x memory/x 2>/dev/null && echo made; "
        "umount /sys/fs/cgroup 2>/dev/null && echo uncovered; mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo opened; "
        "echo end"
    )
    limits = {"memory_bytes": 2**26, "cpus": 0.5}
    for network in ("none", "host"):
        lines = root_sandboxes.run("sh", "-c", script, limits=limits, network=network).stdout.split()
        assert lines[:2] in (["67108864", "50000"], ["67108864", "50000 100000"]), lines
        assert not {"written", "made", "uncovered", "opened", "carboy"} & set(lines), lines
        assert not [line for line in lines if "release_agent" in line]
        assert lines[-1] == "end"


def test_row_55_the_groups_of_the_machine_are_not_shown(sandboxes: Sandboxes) -> None:
    for network in ("none", "host"):
        assert sandboxes.run("ls", "/sys/fs/cgroup", network=network).stdout == ""


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_row_56_control_groups_cannot_be_mounted(sandboxes: Sandboxes, kind: str) -> None:
    options = ["-o", "memory"] if kind == "cgroup" else []
    result = sandboxes.run("mount", "-t", kind, *options, "none", "/opt")
    assert result.status != 0
    assert "ermitted" in result.stderr or "denied" in result.stderr


def test_row_57_every_process_is_in_the_groups_of_its_container(root_sandboxes: Sandboxes) -> None:
    name = os.urandom(8).hex()
    limits = {"memory_bytes": 64 * MEBIBYTE, "cpus": 1}
    command = root_sandboxes.command("sh", "-c", "sleep 61 & sleep 62; true", id=name, limits=limits, accounting=True)
    process = root_sandboxes.start(command)
    try:

        def find(*names: str) -> list[int]:
            return [pid for pid in _list_descendants(process.pid) if _read(f"/proc/{pid}/comm").strip() in names]

        wait_until(lambda: len(find("sleep")) == 2)
        paths = []
        for pid in find("sh", "sleep", "carboy-init"):
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            paths.append({line.partition(":")[2] for line in lines if line.endswith(f"/carboy/{name}")})
        assert len(paths) == 4
        assert all(found == paths[0] for found in paths)
        assert {"memory", "cpu", "pids"} <= {
            part for path in paths[0] for part in path.partition(":")[0].split(",")
        } or any(path.startswith(":") for path in paths[0])
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not list(Path("/sys/fs/cgroup").glob(f"*/carboy/{name}")))
    shutil.rmtree(root_sandboxes.containers / name)


def test_row_58_a_device_node_can_neither_be_made_nor_opened(sandboxes: Sandboxes) -> None:
    folder = sandboxes.place / f"nodes-{os.urandom(4).hex()}"
    folder.mkdir()
    os.mknod(folder / "null", 0o020666, os.makedev(1, 3))
    os.chmod(folder / "null", 0o666)
    busybox = "/bin/busybox"
    script = (
        f"{busybox} mknod /tmp/n c 1 3; {busybox} mknod /dev/n b 7 0; test -c /tmp/n && echo made; "
        "test -b /dev/n && echo made; "  # where owners are emulated, the calls succeed without effect
        "(: < /data/null) && echo opened; (: < /opt/null) && echo opened; echo end"
    )
    root = sandboxes.new_root("nodes")
    os.mknod(root / "opt" / "null", 0o020666, os.makedev(1, 3))
    mount = ("BindMount", {"source": str(folder), "target": "/data", "read_only": True})
    result = sandboxes.run("sh", "-c", script, lower=[sandboxes.own(root)], mounts=[mount])
    assert result.stdout == "end\n", result
    assert "ermission denied" in result.stderr or "ermitted" in result.stderr


def test_40_the_oom_score_is_not_lowered(sandboxes: Sandboxes) -> None:
    script = "echo -1 > /proc/self/oom_score_adj && echo lowered; cat /proc/self/oom_score_adj"
    start = int(Path("/proc/self/oom_score_adj").read_text())
    assert sandboxes.run("sh", "-c", script).stdout == f"{start}\n"
    result = sandboxes.run("cat", "/proc/self/oom_score_adj", limits={"oom_score_adj": start + 500})
    assert result.stdout == f"{start + 500}\n"


def test_limits_without_the_right_stop_the_start(sandboxes: Sandboxes) -> None:
    import resource

    if sandboxes.tier == "root" and "CapEff:\t000001ff" in Path("/proc/self/status").read_text():
        pytest.skip("this machine's root may raise every limit")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    result = sandboxes.run("true", limits={"ulimits": [("nofile", 10, hard + 1)], "oom_score_adj": -999})
    assert result.status == 125
    assert f"its hard limit here is {hard}" in result.error


# --- devices ------------------------------------------------------------------------------------------------------


def test_a_device_is_given_as_asked(sandboxes: Sandboxes) -> None:
    devices = [{"source": "/dev/zero", "target": "/dev/my/zero", "permissions": "rw"}]
    script = "head -c 3 /dev/my/zero | wc -c; echo x > /dev/my/zero && echo written; chmod 600 /dev/my/zero; ls /dev"
    result = sandboxes.run("sh", "-c", script, devices=devices)
    words = result.stdout.split()
    assert words[:2] == ["3", "written"]
    assert "my" in words


@pytest.mark.parametrize("user", ["", "ana"])
def test_root_gives_a_device_for_reading_only(root_sandboxes: Sandboxes, user: str) -> None:
    devices = [{"source": "/dev/zero", "target": "/dev/z", "permissions": "r"}]
    script = (
        "head -c 3 /dev/z | wc -c; (echo x > /dev/z) && echo written; chmod 666 /dev/z && echo changed; "
        "rm /dev/z && echo removed; echo end"
    )
    result = root_sandboxes.run("sh", "-c", script, devices=devices, user=user)
    assert result.stdout.split() == ["3", "end"]


def test_a_device_that_a_user_may_not_open_is_refused(sandboxes: Sandboxes) -> None:
    node = sandboxes.place / f"device-{os.urandom(4).hex()}"
    os.mknod(node, 0o020600, os.makedev(1, 5))
    result = sandboxes.run("sh", "-c", "head -c 1 /dev/x | wc -c", devices=[{"source": str(node), "target": "/dev/x"}])
    if sandboxes.tier == "root":
        assert result.stdout == "1\n"
    else:
        assert result.status == 125
        assert result.error.startswith(f"you may not read the device {node}")


def test_a_device_target_does_not_leave_the_root(sandboxes: Sandboxes) -> None:
    root = sandboxes.new_root("device")
    (root / "out").symlink_to("/../../../../../../tmp")
    place = f"made-{os.urandom(4).hex()}"
    devices = [{"source": "/dev/null", "target": f"/out/{place}"}]
    result = sandboxes.run("test", "-c", f"/tmp/{place}", lower=[sandboxes.own(root)], devices=devices)
    assert result.status == 0 if HAS_OPENAT2 else "a symbolic link is in the way" in result.error
    assert not Path(f"/tmp/{place}").exists()


def test_what_is_no_device_is_refused(sandboxes: Sandboxes) -> None:
    result = sandboxes.run("true", devices=[{"source": "/etc/passwd", "target": "/dev/x"}])
    assert (result.status, result.error) == (125, "/etc/passwd is not a device")
    result = sandboxes.run("true", devices=[{"source": "/dev/no-such", "target": "/dev/x"}])
    assert (result.status, result.error) == (125, "there is no device /dev/no-such on this machine")
