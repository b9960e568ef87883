"""The control group of a container, in trees that look like v1 and v2."""

from __future__ import annotations

from pathlib import Path

from carboy.runtime.native.cgroup import open_cgroup


def test_v1_is_joined_by_the_thread_itself(tmp_path: Path) -> None:
    (tmp_path / "pids" / "carboy").mkdir(parents=True)
    group = open_cgroup("c1", pids_limit=7, root=str(tmp_path))
    assert (group.procs, group.tasks) == ((), (f"{tmp_path}/pids/carboy/c1/tasks",))
    group.join()
    assert Path(group.tasks[0]).read_text() == "0"
    assert (tmp_path / "pids/carboy/c1/pids.max").read_text() == "7"


def test_v2_is_joined_by_whole_processes(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    group = open_cgroup("c1", pids_limit=7, root=str(tmp_path))
    assert (group.procs, group.tasks) == ((f"{tmp_path}/carboy/c1/cgroup.procs",), ())
    group.join()  # that is the watcher's to do
    assert not Path(group.procs[0]).exists()


def test_no_limit_or_no_controller_means_no_group(tmp_path: Path) -> None:
    for group in (open_cgroup("c1", pids_limit=7, root=str(tmp_path)), open_cgroup("c1", pids_limit=0)):
        assert (group.procs, group.tasks) == ((), ())
        group.join()
        group.remove()
