"""Control groups as planned and made in trees of plain files: v1, v2, hybrid, delegated and none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.errors import CarboyError
from carboy.runtime.native import cgroup
from carboy.runtime.native.cgroups import hierarchy as hierarchies
from carboy.runtime.native.cgroups import live
from carboy.runtime.native.cgroups.hierarchy import Hierarchy, read_hierarchy
from carboy.runtime.native.cgroups.plan import (
    Group,
    check_limits,
    find_obstacles,
    list_controllers,
    plan_cgroup,
    plan_update,
)
from carboy.runtime.spec import Limits

V2_FILES = frozenset(
    {"memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "pids.max",
     "io.weight"}
)  # fmt: skip
V1_FILES = frozenset(
    {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "cpu.cfs_quota_us",
     "cpu.cfs_period_us", "cpu.shares", "cpuset.cpus", "cpuset.mems", "pids.max", "blkio.bfq.weight"}
)  # fmt: skip
EVERYTHING = Limits(
    cpus=1.5, cpu_shares=512, cpuset_cpus="0", memory_bytes=2**29, memory_reservation_bytes=2**28, pids=100,
    blkio_weight=300,
)  # fmt: skip


def v2(**changes: object) -> Hierarchy:
    found = Hierarchy(
        version="v2", unified="/cg", v2=("blkio", "cpu", "cpuacct", "cpuset", "memory", "pids"), files=V2_FILES,
        cpus="0-3", mems="0",
    )  # fmt: skip
    return found.replace(**changes)


def v1(**changes: object) -> Hierarchy:
    names = ("blkio", "cpu", "cpuacct", "cpuset", "freezer", "memory", "pids")
    found = Hierarchy(
        version="v1", v1=tuple((name, f"/cg/{name}") for name in names), files=V1_FILES, cpus="0-3", mems="0"
    )
    return found.replace(**changes)


def settings(groups: tuple[Group, ...]) -> dict[str, str]:
    return {f"{group.folder}/{file}": value for group in groups for _, file, value in group.settings}


# --- plans --------------------------------------------------------------------------------------------------------


def test_plan_for_v2() -> None:
    (group,) = plan_cgroup(EVERYTHING, v2())
    assert group.folder == "/cg/carboy"
    assert group.enable == ("cpu", "cpuset", "io", "memory", "pids")
    assert {file: value for _, file, value in group.settings} == {
        "memory.max": str(2**29), "memory.swap.max": str(2**29), "memory.low": str(2**28), "cpu.max": "150000 100000",
        "cpu.weight": "20", "cpuset.cpus": "0", "pids.max": "102", "io.weight": "default 2930",
    }  # fmt: skip


def test_plan_for_v1() -> None:
    assert settings(plan_cgroup(EVERYTHING, v1())) == {
        "/cg/blkio/carboy/blkio.bfq.weight": "300",
        "/cg/cpu/carboy/cpu.cfs_period_us": "100000",
        "/cg/cpu/carboy/cpu.cfs_quota_us": "150000",
        "/cg/cpu/carboy/cpu.shares": "512",
        "/cg/cpuset/carboy/cpuset.cpus": "0",
        "/cg/cpuset/carboy/cpuset.mems": "0",
        "/cg/memory/carboy/memory.limit_in_bytes": str(2**29),
        "/cg/memory/carboy/memory.memsw.limit_in_bytes": str(2**30),
        "/cg/memory/carboy/memory.soft_limit_in_bytes": str(2**28),
        "/cg/pids/carboy/pids.max": "102",
    }


def test_plan_for_a_hybrid_takes_each_controller_where_it_is() -> None:
    mixed = Hierarchy(
        version="hybrid", v1=(("memory", "/cg/memory"), ("freezer", "/cg/freezer")), unified="/cg/unified",
        v2=("cpu", "cpuacct", "pids"), files=V1_FILES | V2_FILES, cpus="0-3",
    )  # fmt: skip
    groups = plan_cgroup(Limits(memory_bytes=2**30, cpus=1, pids=5), mixed, accounting=True)
    assert {group.folder: group.enable for group in groups} == {
        "/cg/memory/carboy": (), "/cg/freezer/carboy": (), "/cg/unified/carboy": ("cpu", "pids"),
    }  # fmt: skip
    assert settings(groups)["/cg/unified/carboy/cpu.max"] == "100000 100000"


def test_controllers_that_are_mounted_together_are_one_group() -> None:
    together = v1(v1=(("cpu", "/cg/cpu,cpuacct"), ("cpuacct", "/cg/cpu,cpuacct"), ("pids", "/cg/pids")))
    groups = plan_cgroup(Limits(cpus=1), together, accounting=True)
    assert [group.folder for group in groups] == ["/cg/cpu,cpuacct/carboy", "/cg/pids/carboy"]


@pytest.mark.parametrize("machine", [v1(), v2()])
def test_only_what_is_needed_is_touched(machine: Hierarchy) -> None:
    (group,) = plan_cgroup(Limits(), machine)
    assert [file for _, file, _ in group.settings] == ["pids.max"]
    assert plan_cgroup(Limits(pids=0), machine) == ()
    assert list_controllers(Limits(pids=0)) == ()


@pytest.mark.parametrize(
    ("swap", "v2_value", "v1_value"), [(0, 100, 200), (-1, "max", -1), (100, 0, 100), (150, 50, 150)]
)
def test_swap_counts_as_docker_does(swap: int, v2_value: object, v1_value: object) -> None:
    limits = Limits(memory_bytes=100, memory_swap_bytes=swap, pids=0)
    assert settings(plan_cgroup(limits, v2()))["/cg/carboy/memory.swap.max"] == str(v2_value)
    planned = settings(plan_cgroup(limits, v1()))
    assert planned["/cg/memory/carboy/memory.memsw.limit_in_bytes"] == str(v1_value)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000)])
def test_shares_become_weights(shares: int, weight: int) -> None:
    assert settings(plan_cgroup(Limits(cpu_shares=shares), v2()))["/cg/carboy/cpu.weight"] == str(weight)


# --- what a machine cannot set ------------------------------------------------------------------------------------


def test_a_machine_that_has_everything() -> None:
    assert find_obstacles(EVERYTHING, v1()) == find_obstacles(EVERYTHING, v2()) == []


def test_all_that_cannot_be_set_is_named() -> None:
    none = Hierarchy(version="none", reason="no control groups are mounted at /sys/fs/cgroup")
    with pytest.raises(CarboyError) as caught:
        check_limits(EVERYTHING, none)
    text = f"{caught.value.brief}\n{caught.value.details}"
    assert caught.value.code == 125
    assert caught.value.hint
    for words in ("--memory", "--cpus", "--cpuset-cpus", "--blkio-weight", "no control groups are mounted"):
        assert words in text
    check_limits(Limits(), none)  # the limit of processes falls back to RLIMIT_NPROC


def test_a_user_without_delegation_is_told_what_to_do() -> None:
    mine = Hierarchy(version="v2", reason="this session's control group is not delegated to you")
    with pytest.raises(CarboyError) as caught:
        check_limits(Limits(memory_bytes=2**30), mine)
    assert "systemd-run --user --scope -p Delegate=yes" in caught.value.hint


@pytest.mark.parametrize(
    ("limits", "machine", "words"),
    [
        (Limits(cpuset_cpus="2,7"), v2(), "--cpuset-cpus is 2,7: this machine has 0-3"),
        (Limits(cpuset_mems="1"), v1(), "--cpuset-mems is 1: this machine has 0"),
        (Limits(cpus=4.5), v1(), "--cpus is 4.5: this machine has 4"),
        (Limits(blkio_weight=100), v1(files=V1_FILES - {"blkio.bfq.weight"}), "--blkio-weight cannot be set"),
        (
            Limits(memory_bytes=2**30, memory_swap_bytes=2**31),
            v1(files=V1_FILES - {"memory.memsw.limit_in_bytes"}),
            "--memory-swap cannot be set",
        ),
        (
            Limits(memory_bytes=2**30, memory_swap_bytes=2**31),
            v2(files=V2_FILES - {"memory.swap.max"}),
            "--memory-swap cannot be set",
        ),
    ],
)
def test_what_this_machine_has_not(limits: Limits, machine: Hierarchy, words: str) -> None:
    (obstacle,) = find_obstacles(limits, machine)
    assert words in obstacle


def test_swap_that_was_not_asked_for_may_be_missing() -> None:
    assert find_obstacles(Limits(memory_bytes=2**30), v1(files=V1_FILES - {"memory.memsw.limit_in_bytes"})) == []


# --- changes while it runs ----------------------------------------------------------------------------------------


def test_update_touches_what_changes() -> None:
    before, after = Limits(cpus=1, memory_bytes=2**28), Limits(cpus=2, memory_bytes=2**28)
    assert plan_update(before, after, v2(), unified=True) == (("cpu", "cpu.max", "200000 100000"),)
    assert plan_update(before, before, v1(), unified=False) == ()


def test_update_lifts_limits() -> None:
    before = Limits(cpus=1, memory_bytes=2**28, pids=5, cpuset_cpus="1")
    lifted = plan_update(before, Limits(pids=0), v2(), unified=True)
    assert {file: value for _, file, value in lifted} == {
        "cpu.max": "max 100000", "memory.max": "max", "memory.swap.max": "max", "pids.max": "max", "cpuset.cpus": "0-3",
    }  # fmt: skip


def test_memory_of_v1_changes_in_the_order_that_the_kernel_accepts() -> None:
    small, large = Limits(memory_bytes=2**28), Limits(memory_bytes=2**30)
    sum_file, file = "memory.memsw.limit_in_bytes", "memory.limit_in_bytes"
    assert [item[1] for item in plan_update(small, large, v1(), unified=False)] == [sum_file, file]
    assert [item[1] for item in plan_update(large, small, v1(), unified=False)] == [file, sum_file]
    assert [item[1] for item in plan_update(small, Limits(), v1(), unified=False)] == [sum_file, file]
    assert [item[1] for item in plan_update(Limits(), small, v1(), unified=False)] == [file, sum_file]


# --- trees --------------------------------------------------------------------------------------------------------


def make_v2(path: Path, *, controllers: str = "cpu memory pids", enabled: str = "", procs: str = "") -> Path:
    """Make a directory look like a v2 group."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.controllers").write_text(controllers + "\n")
    (path / "cgroup.subtree_control").write_text(enabled)
    (path / "cgroup.procs").write_text(procs)
    return path


def make_v1(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).mkdir(parents=True)
        (path / name / "cgroup.procs").write_text("")
    return path


def own(tmp_path: Path, text: str) -> str:
    (tmp_path / "own").write_text(text)
    return str(tmp_path / "own")


def test_trees_of_root(tmp_path: Path) -> None:
    assert read_hierarchy(as_root=True, root=str(tmp_path / "none")).version == "none"
    found = read_hierarchy(as_root=True, root=str(make_v1(tmp_path / "one", "cpu", "pids")))
    assert (found.version, found.v1) == ("v1", (("cpu", f"{tmp_path}/one/cpu"), ("pids", f"{tmp_path}/one/pids")))
    found = read_hierarchy(as_root=True, root=str(make_v2(tmp_path / "two")))
    assert (found.version, found.unified, found.v2) == ("v2", f"{tmp_path}/two", ("cpu", "cpuacct", "memory", "pids"))
    make_v2(make_v1(tmp_path / "both", "memory") / "unified", controllers="cpu memory")
    found = read_hierarchy(as_root=True, root=str(tmp_path / "both"))
    assert (found.version, found.v1, found.v2) == (
        "hybrid",
        (("memory", f"{tmp_path}/both/memory"),),
        ("cpu", "cpuacct"),
    )


def test_the_short_cut_for_root_says_what_the_plan_says(tmp_path: Path) -> None:
    make_v1(tmp_path / "one", "cpu", "pids")
    make_v2(tmp_path / "two")
    make_v2(make_v1(tmp_path / "both", "memory") / "unified")
    make_v2(tmp_path / "poor", controllers="cpu")
    for name in ("one", "two", "both", "poor", "none"):
        root = str(tmp_path / name)
        planned = plan_cgroup(Limits(pids=7), read_hierarchy(as_root=True, names=("pids",), root=root))
        expected = [(item.folder, item.enable, item.evacuate, item.inherit, item.settings) for item in planned]
        assert cgroup.find_default_groups(9, root) == expected


@pytest.fixture
def user_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a v2 tree in which everything from user@1000.service down may be written."""
    root = make_v2(tmp_path / "cg", controllers="cpu io memory pids")
    for path in (
        "user.slice",
        "user.slice/user-1000.slice",
        "user.slice/user-1000.slice/session-3.scope",
        "user.slice/user-1000.slice/user@1000.service",
        "user.slice/user-1000.slice/user@1000.service/app.slice",
        "user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope",
    ):
        make_v2(root / path)
        (root / path / "cgroup.type").write_text("domain\n")
    delegated = str(root / "user.slice/user-1000.slice/user@1000.service")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(delegated) and os.path.exists(path))
    return root


def test_a_delegated_subtree_is_found_from_its_top(user_tree: Path, tmp_path: Path) -> None:
    inside = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n"
    found = read_hierarchy(as_root=False, root=str(user_tree), own=own(tmp_path, inside))
    assert found.unified == str(user_tree / "user.slice/user-1000.slice/user@1000.service")
    assert found.v2 == ("cpu", "cpuacct", "memory", "pids")
    assert not found.evacuate


def test_a_session_outside_of_it_has_nothing(user_tree: Path, tmp_path: Path) -> None:
    outside = "0::/user.slice/user-1000.slice/session-3.scope\n"
    found = read_hierarchy(as_root=False, root=str(user_tree), own=own(tmp_path, outside))
    assert (found.unified, found.v2) == ("", ())
    assert "not delegated" in found.reason


def test_a_group_of_another_namespace_is_not_followed(user_tree: Path, tmp_path: Path) -> None:
    lost = "0::/../user.slice/user-1000.slice/user@1000.service\n"
    assert read_hierarchy(as_root=False, root=str(user_tree), own=own(tmp_path, lost)).v2 == ()


def test_a_scope_that_holds_its_own_processes_is_cleared_first(tmp_path: Path) -> None:
    root = make_v2(tmp_path / "cg")
    make_v2(root / "job", procs=f"{os.getpid()}\n")
    (root / "job" / "cgroup.type").write_text("domain\n")
    found = read_hierarchy(as_root=False, root=str(root / "job"), own=own(tmp_path, "0::/\n"))
    assert found.evacuate
    make_v2(root / "job", procs="0\n")  # somebody's whom we cannot see: they stay where they are
    assert read_hierarchy(as_root=False, root=str(root / "job"), own=own(tmp_path, "0::/\n")).v2 == ()
    make_v2(root / "job", procs="0\n", enabled="memory")
    assert read_hierarchy(as_root=False, root=str(root / "job"), own=own(tmp_path, "0::/\n")).v2 == ("memory",)


def test_folders_of_v2_enable_what_is_missing(tmp_path: Path) -> None:
    root = make_v2(tmp_path / "cg", enabled="pids", procs="41\n42\n")
    make_v2(root / "carboy")
    (root / "carboy-callers").mkdir()
    (root / "carboy-callers" / "cgroup.procs").write_text("")
    (root / "cgroup.procs").write_text("41\n")
    cgroup.prepare_folder(str(root / "carboy"), ("memory", "pids"), evacuate=True)
    # Plain files keep what was there: only the beginning is replaced.
    assert (root / "cgroup.subtree_control").read_text().startswith("+memory")
    assert (root / "carboy" / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (root / "carboy-callers" / "cgroup.procs").read_text() == "41"


def test_v1_is_joined_by_the_thread_itself(tmp_path: Path) -> None:
    folder = tmp_path / "pids" / "carboy"
    folder.mkdir(parents=True)
    group = cgroup.open_cgroup("c1", [(str(folder), (), False, (), ())], required=True)
    assert (group.procs, group.tasks) == ((), (f"{folder}/c1/tasks",))
    Path(group.tasks[0]).write_text("")
    group.join()
    assert Path(group.tasks[0]).read_text() == "0"


def test_v2_is_joined_by_whole_processes(tmp_path: Path) -> None:
    make_v2(tmp_path / "carboy")
    make_v2(tmp_path)
    group = cgroup.open_cgroup("c1", [(str(tmp_path / "carboy"), ("pids",), False, (), ())], required=True)
    assert (group.procs, group.tasks) == ((f"{tmp_path}/carboy/c1/cgroup.procs",), ())
    group.join()  # that is the watcher's to do
    assert not Path(group.procs[0]).exists()


def test_no_limit_means_no_group() -> None:
    group = cgroup.open_cgroup("c1", [], required=False)
    assert (group.procs, group.tasks) == ((), ())
    group.join()
    group.remove()


def test_folders_of_v1_inherit_their_cpus(tmp_path: Path) -> None:
    for path, text in ((tmp_path, "0-3\n"), (tmp_path / "carboy", "\n")):
        path.mkdir(exist_ok=True)
        (path / "cpuset.cpus").write_text(text)
    cgroup.prepare_folder(str(tmp_path / "carboy"), (), inherit=("cpuset.cpus",))
    assert (tmp_path / "carboy" / "cpuset.cpus").read_text().strip() == "0-3"


def test_a_limit_that_the_kernel_refuses_is_an_error_or_leaves_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path / "memory" / "carboy")
    groups = [(folder, (), False, (), (("memory", "memory.max", "5"),))]
    with pytest.raises(OSError, match=r"memory.max cannot be set to 5: this kernel's groups have no such file"):
        cgroup.open_cgroup("abc", groups, required=True)
    assert cgroup.open_cgroup("abc", groups, required=False).procs == ()
    assert os.listdir(folder) == []


def test_details_are_those_of_groups_that_are_not_the_root(tmp_path: Path) -> None:
    make_v1(tmp_path, "memory", "cpuset")
    (tmp_path / "memory" / "carboy").mkdir()
    (tmp_path / "memory" / "carboy" / "memory.memsw.limit_in_bytes").write_text("")
    for name, text in (("cpuset.cpus", "0-1"), ("cpuset.mems", "0"), ("cpuset.effective_cpus", "0-1\n")):
        (tmp_path / "cpuset" / name).write_text(text)
    (tmp_path / "cpuset" / "carboy").mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset" / "carboy" / name).write_text("")
    found = hierarchies.read_details(read_hierarchy(as_root=True, root=str(tmp_path)))
    assert found.cpus == "0-1"
    assert {"memory.memsw.limit_in_bytes", "cpuset.cpus"} <= found.files
    assert (tmp_path / "cpuset" / "carboy" / "cpuset.cpus").read_text() == "0-1"


# --- what runs ----------------------------------------------------------------------------------------------------


def make_live(tmp_path: Path, lines: str) -> tuple[str, str]:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text(lines)
    return str(tmp_path / "cg"), str(tmp_path / "proc")


def test_groups_of_a_container_are_those_that_end_in_its_id(tmp_path: Path) -> None:
    root, proc = make_live(
        tmp_path,
        "5:memory:/carboy/abc\n4:cpu,cpuacct:/carboy/abc\n3:pids:/carboy/other\n2:devices:/\n0::/x/carboy/abc\n",
    )
    make_v2(tmp_path / "cg")
    found = live.find_groups("abc", pid=7, root=root, proc=proc)
    assert dict(found.v1) == {
        "memory": f"{root}/memory/carboy/abc", "cpu": f"{root}/cpu/carboy/abc", "cpuacct": f"{root}/cpuacct/carboy/abc",
    }  # fmt: skip
    assert found.unified == f"{root}/x/carboy/abc"
    assert live.find_groups("bc", pid=7, root=root, proc=proc) == live.Groups()
    with pytest.raises(ProcessLookupError):
        live.find_groups("abc", pid=8, root=root, proc=proc)


def write_files(path: Path, files: dict[str, str]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)


STATS = live.Stats(
    cpu_ns=1_234_567_000, memory_bytes=900, memory_limit_bytes=5000, pids=3, read_bytes=30, write_bytes=12, oom_kills=2,
    from_groups=frozenset({"cpu", "memory", "pids", "blkio"}),
)  # fmt: skip


def test_stats_of_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "group"
    files = {
        "cpu.stat": "usage_usec 1234567\nuser_usec 1\n", "memory.current": "1000\n", "memory.max": "5000\n",
        "memory.stat": "anon 5\ninactive_file 100\n", "pids.current": "3\n", "memory.events": "oom 2\noom_kill 2\n",
        "io.stat": "8:0 rbytes=10 wbytes=12 rios=1\n8:16 rbytes=20 wbytes=0\n",
    }  # fmt: skip
    write_files(path, files)
    monkeypatch.setattr(live, "find_groups", lambda *_, **__: live.Groups(unified=str(path)))
    assert live.read_stats("abc", pid=7) == STATS
    (path / "memory.max").write_text("max\n")
    assert live.read_stats("abc", pid=7).memory_limit_bytes == 0


def test_stats_of_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "group"
    files = {
        "cpuacct.usage": "1234567000\n", "memory.usage_in_bytes": "1000\n", "memory.limit_in_bytes": "5000\n",
        "memory.stat": "cache 5\ntotal_inactive_file 100\n", "pids.current": "3\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 12\n8:0 Total 22\n8:16 Read 20\nTotal 42\n",
    }  # fmt: skip
    write_files(path, files)
    names = ("cpuacct", "memory", "pids", "blkio")
    monkeypatch.setattr(
        live, "find_groups", lambda *_, **__: live.Groups(v1=tuple((name, str(path)) for name in names))
    )
    assert live.read_stats("abc", pid=7) == STATS
    (path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert live.read_stats("abc", pid=7).memory_limit_bytes == 0


def test_stats_without_groups_are_sums_over_proc() -> None:
    found = live.read_stats("no-such-container", pid=os.getpid())
    assert found.from_groups == frozenset()
    assert found.cpu_ns > 0
    assert found.memory_bytes > 0
    assert found.pids > 0
