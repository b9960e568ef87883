"""Other runtimes as programs: where they are looked for, and what their words mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.runtime.kinds import check_kind, plan_exec
from carboy.runtime.oci.life import find_cover
from carboy.runtime.oci.program import FOLDERS, find_program, find_status, parse_failure, plan_flags

if TYPE_CHECKING:
    from typing import Any


def make_program(folder: Path, *, mode: int = 0o755) -> str:
    path = folder / "runc"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


@pytest.mark.root
def test_a_program_of_roots(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("root's files are made by root")
    path = make_program(tmp_path)
    assert find_program("runc", ["/nowhere", str(tmp_path)]) == path


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o644])
def test_a_program_that_others_may_change(tmp_path: Path, mode: int) -> None:
    make_program(tmp_path, mode=mode)
    with pytest.raises(CarboyError, match="the runtime runc is not on this machine") as caught:
        find_program("runc", [str(tmp_path)])
    assert caught.value.code == 125
    assert "apt-get install runc" in caught.value.hint


@pytest.mark.root
def test_a_program_of_somebody_elses(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("owners are changed by root")
    os.chown(make_program(tmp_path), 1000, 1000)
    with pytest.raises(CarboyError) as caught:
        find_program("runc", [str(tmp_path)])
    assert "others than root may change it" in caught.value.details


def test_the_callers_path_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_program(tmp_path)
    assert all(folder.startswith(("/usr/", "/bin", "/sbin")) for folder in FOLDERS)
    with pytest.raises(CarboyError):
        find_program("runc", [folder for folder in FOLDERS if not os.path.exists(f"{folder}/runc")])


@pytest.mark.parametrize("name", ["docker", "../runc", ""])
def test_unknown_kind(name: str) -> None:
    with pytest.raises(CarboyError, match="there is no runtime"):
        find_program(name)
    with pytest.raises(CarboyError, match="there is no runtime"):
        check_kind(name)


def make_flags(kind: str, **changes: Any) -> list[str]:
    program = {"kind": kind, "path": f"/bin/{kind}", "state": "/s", "network": "none", "net_raw": False, "own": True}
    return plan_flags({**program, **changes}, log="/l")


def test_flags() -> None:
    assert make_flags("runc") == ["/bin/runc", "--root", "/s", "--log", "/l", "--log-format", "json"]
    assert make_flags("runc", own=False)[-2:] == ["--rootless", "true"]
    assert "--ignore-cgroups" not in make_flags("runsc")
    assert "--net-raw" in make_flags("runsc", net_raw=True)
    assert make_flags("runsc", own=False)[-2:] == ["--rootless", "--ignore-cgroups"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ('runc create failed: unable to start container process: exec: "x": executable file not found in $PATH', 127),
        ('runc create failed: unable to start container process: exec: "/x": stat /x: no such file or directory', 127),
        ('runc create failed: unable to start container process: exec: "/etc": permission denied', 126),
        ("executable file `x` not found in $PATH: No such file or directory", 127),
        ("open executable: Permission denied", 126),
        ('starting sandbox: error finding executable "x" in PATH [/bin]: no such file or directory', 127),
        ("starting sandbox: creating process: failed to load /x: exec format error", 126),
        ("starting sandbox: creating process: failed to load /etc: permission denied", 126),
        ("error mounting x: no such file or directory", 125),
        ("exec failed: error starting setns process: fork/exec /proc/self/exe: no such file or directory", 125),
        ("", 125),
    ],
)
def test_status_of_words(words: str, status: int) -> None:
    assert find_status(words) == status


def test_log() -> None:
    text = (
        '{"level":"warning","msg":"a"}\nnoise {\n{"level":"error","msg":"first"}{"level":"error","msg":"last"} {"level"'
    )
    assert parse_failure(text) == "last"
    assert parse_failure("[1] {} true") == ""
    assert len(parse_failure('{"level":"error","msg":"' + "x" * 9999 + '"}')) == 1000


def test_cover_hides_nothing_that_is_needed() -> None:
    cover = find_cover("/run/home/run/oci/x")
    assert cover not in {"/", "/run"}
    assert not os.path.realpath(sys.executable).startswith(f"{cover}/")


def test_exec_takes_the_place_of_the_process() -> None:
    own = {"args": ["sh"], "env": ["A=1"], "cwd": "/", "user": "", "terminal": True, "capabilities": []}
    plan = {
        "id": "x", "idmap": True, "network": "none", "deny_setgroups": False, "root_uid": 0, "root_gid": 0, "process": own,
        "binds": [], "runtime": "runc", "oci": {"kind": "runc"}, "staging": "/run", "root": {},
    }  # fmt: skip
    found = plan_exec(plan, {"args": ("id",), "env": ("B=2",), "user": "ana"})
    assert found["process"] == {**own, "args": ["id"], "env": ["A=1", "B=2"], "user": "ana", "terminal": False}
    assert (found["keep"], found["oci"]) == (False, {"kind": "runc"})
    assert "oci" not in plan_exec({**plan, "runtime": "native"}, {"args": ["id"]})
