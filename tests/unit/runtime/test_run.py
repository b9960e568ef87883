"""Running one process: what it sees, how it ends, and what happens around it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandboxes import Sandboxes
    from tests.conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


# --- the end of a process -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -TERM $$"], 143, ""),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["no-such-command"], 127, "not found on its PATH"),
        (["/no/such"], 127, "no such file in the container"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["/etc"], 126, "Permission denied"),
    ],
)
def test_exit_status(sandboxes: Sandboxes, args: list[str], status: int, message: str) -> None:
    result = sandboxes.run(*args)
    assert (result.status, message in result.error) == (status, True)


def test_nothing_is_left(sandboxes: Sandboxes, leftovers: Leftovers) -> None:
    assert sandboxes.run("sh", "-c", "sleep 100 & sleep 100 & exit 3").status == 3
    assert sandboxes.run("no-such-command").status == 127
    assert sandboxes.run("true", user="nobody-knows").status == 125
    assert leftovers.find() == []
    assert list(sandboxes.containers.iterdir()) == []


def test_orphans_are_reaped(sandboxes: Sandboxes) -> None:
    script = "for i in 1 2 3 4 5; do (sh -c 'true &' &); done; sleep 0.2; ps -o stat,comm | grep -c '^Z'"
    assert sandboxes.run("sh", "-c", script).stdout == "0\n"


# --- what it sees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "line"),
    [
        ("", "0 0 0"),
        ("root", "0 0 0 2000"),
        ("ana", "1000 1000 1000 2000 2001"),
        ("1000", "1000 1000 1000 2000 2001"),
        ("ana:daemon", "1000 1 1"),
        ("1000:2001", "1000 2001 2001"),
        ("4242", "4242 0 0"),
    ],
)
def test_user(sandboxes: Sandboxes, user: str, line: str) -> None:
    if user == "":
        line = "0 0 0 2000"
    result = sandboxes.run("sh", "-c", "echo $(id -u) $(id -g) $(grep Groups /proc/self/status)", user=user)
    uid, gid, *groups = line.split()
    seen = result.stdout.replace("Groups:", "").split()
    assert seen[:2] == [uid, gid]
    # In the tier with one id the kernel refuses setgroups(2): what it has outside is shown as "nobody's" or not at all.
    if sandboxes.tier == "single":
        assert set(seen[2:]) <= {gid}
    else:
        assert sorted(seen[2:]) == sorted({gid, *groups})  # with its own, or it could leave that one: CVE-2022-36109


@pytest.mark.parametrize("user", ["nobody-knows", "4294967295", "4294967296", "-1", " 0", "0x0", "ana:no-such-group"])
def test_unknown_user_is_an_error(sandboxes: Sandboxes, user: str) -> None:
    result = sandboxes.run("true", user=user)
    assert result.status == 125
    assert "find the user" in result.error


def test_home_and_environment(sandboxes: Sandboxes) -> None:
    result = sandboxes.run("env", user="ana", env=["PATH=/bin", "A=b=c", "EMPTY=", "=bad", "bad"])
    assert sorted(result.stdout.split()) == ["A=b=c", "EMPTY=", "HOME=/home/ana", "PATH=/bin"]
    assert "HOME=/root" in sandboxes.run("env").stdout
    assert "HOME=/x" in sandboxes.run("env", env=["PATH=/bin", "HOME=/x"]).stdout


def test_missing_directory_is_made(sandboxes: Sandboxes) -> None:
    assert sandboxes.run("pwd", cwd="/place/deep/er").stdout == "/place/deep/er\n"
    assert sandboxes.run("pwd", cwd="/place", user="ana").stdout == "/place\n"


def test_names(sandboxes: Sandboxes) -> None:
    script = "hostname; cat /etc/hostname; cat /etc/hosts; test -e /etc/resolv.conf || echo none"
    result = sandboxes.run("sh", "-c", script, hostname="box")
    assert result.stdout.splitlines()[:2] == ["box", "box"]
    assert "127.0.0.1\tlocalhost" in result.stdout
    assert result.stdout.endswith("127.0.1.1\tbox\nnone\n")


def test_host_network(sandboxes: Sandboxes) -> None:
    inner = sandboxes.run("sh", "-c", "cat /etc/resolv.conf; echo --; readlink /proc/self/ns/net", network="host")
    resolv, _, namespace = inner.stdout.partition("--\n")
    assert resolv == Path("/etc/resolv.conf").read_text()
    assert namespace.strip() == os.readlink("/proc/self/ns/net")
    loopback = "cat /sys/class/net/lo/flags; cat /proc/net/dev | grep -c :"
    assert sandboxes.run("sh", "-c", loopback).stdout.split() == ["0x9", "1"]


def test_one_device_number(sandboxes: Sandboxes) -> None:
    script = "echo >/new; stat -c %d / /etc /etc/passwd /new"
    assert len(set(sandboxes.run("sh", "-c", script).stdout.split())) == 1


# --- files --------------------------------------------------------------------------------------------------------


def test_writing_stays_in_the_upper_layer(sandboxes: Sandboxes) -> None:
    before = (sandboxes.lower / "etc" / "passwd").read_text()
    assert sandboxes.run("sh", "-c", "echo x >>/etc/passwd; rm /etc/group; touch /new; mkdir /d").status == 0
    assert (sandboxes.lower / "etc" / "passwd").read_text() == before
    assert (sandboxes.lower / "etc" / "group").exists()
    assert not (sandboxes.lower / "new").exists()


def test_layers_lie_in_order(sandboxes: Sandboxes) -> None:
    above = sandboxes.place / f"above-{os.urandom(4).hex()}"
    (above / "etc").mkdir(parents=True)
    (above / "etc" / "passwd").write_text("changed\n")
    sandboxes.own(above)
    assert sandboxes.run("cat", "/etc/passwd", lower=[sandboxes.lower, above]).stdout == "changed\n"


def test_read_only_root(sandboxes: Sandboxes) -> None:
    result = sandboxes.run(
        "sh", "-c", "touch /x || touch /etc/x || echo 1 >/dev/shm/x && cat /dev/shm/x", read_only_root=True
    )
    assert result.stdout == "1\n"
    assert result.stderr.count("Read-only file system") == 2


def test_directory_as_root_is_changed_in_place(sandboxes: Sandboxes) -> None:
    tree = sandboxes.own(sandboxes.new_root("inplace"))
    result = sandboxes.run("sh", "-c", "id -u; echo hello >/made; chown 0:0 /made; ls /etc", directory=str(tree))
    assert result.status == 0, result
    assert result.stdout.split() == ["0", "group", "passwd"]
    made = tree / "made"
    assert made.read_text() == "hello\n"
    assert made.stat().st_uid == sandboxes.uid
    assert not (tree / "etc" / "hosts").exists()


def test_mounts(sandboxes: Sandboxes) -> None:
    source = sandboxes.place / f"source-{os.urandom(4).hex()}"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("hello\n")
    sandboxes.own(source)
    mounts: list[Any] = [
        ("BindMount", {"source": str(source), "target": "/in"}),
        ("BindMount", {"source": str(source), "target": "/out", "read_only": False}),
        ("BindMount", {"source": str(source / "deep" / "file"), "target": "/opt/one/file"}),
        ("TmpfsMount", {"target": "/scratch", "size_bytes": 65_536, "mode": 0o755}),
        ("FileMount", {"target": "/etc/note", "content": "note\n", "mode": 0o640}),
    ]
    script = (
        "cat /in/deep/file /opt/one/file /etc/note; touch /in/x; echo y >/opt/one/file; echo z >/etc/note;"
        "echo new >/out/new; dd if=/dev/zero of=/scratch/big bs=1k count=128 2>/dev/null; stat -c '%a %n' /scratch /etc/note;"
        "stat -c %u /out/new"
    )
    result = sandboxes.run("sh", "-c", script, mounts=mounts)
    assert result.stdout.splitlines() == ["hello", "hello", "note", "755 /scratch", "640 /etc/note", "0"], result
    assert result.stderr.count("Read-only file system") == 3
    assert (source / "new").read_text() == "new\n"
    assert (source / "new").stat().st_uid == sandboxes.uid


# --- standard streams ---------------------------------------------------------------------------------------------


def test_pipes_are_passed_on(sandboxes: Sandboxes) -> None:
    result = sandboxes.run("sh", "-c", "cat; echo err >&2", input=b"in\n")
    assert (result.stdout, result.stderr) == ("in\n", "err\n")
    assert sandboxes.run("cat").stdout == ""


def test_files_are_copied(sandboxes: Sandboxes, tmp_path: Path) -> None:
    """A descriptor of the host's file system never enters the sandbox; much data both ways does not lock up."""
    source = tmp_path / "in"
    source.write_bytes(os.urandom(3_000_000))
    with source.open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        script = "dd if=/dev/zero bs=1k count=1000 2>/dev/null; cat; ls -l /proc/self/fd >&2"
        command = sandboxes.command("sh", "-c", script, stdin=True)
        process = sandboxes.start(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        with process:
            _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "out").read_bytes() == bytes(1_024_000) + source.read_bytes()
    assert stderr.count(b"pipe:") == 3


def test_capture(sandboxes: Sandboxes) -> None:
    result = sandboxes.run("sh", "-c", "echo out; echo err >&2", capture=True)
    assert (result.stdout, result.stderr) == ("captured: out\nerr\n", "")


def test_output_nobody_reads(sandboxes: Sandboxes) -> None:
    process = sandboxes.start(sandboxes.command("yes"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=20) == 128 + signal.SIGPIPE


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM"])
def test_signals_are_passed_on(sandboxes: Sandboxes, name: str) -> None:
    script = f"trap 'echo got; exit 5' {name}; echo ready; while true; do sleep 0.02; done"
    process = sandboxes.start(sandboxes.command("sh", "-c", script), stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 5


def test_signal_at_any_moment(sandboxes: Sandboxes, leftovers: Leftovers) -> None:
    statuses = set()
    for step in range(10):
        process = sandboxes.start(sandboxes.command("sleep", "30"), stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=step * 0.02)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        statuses.add(process.wait(timeout=20))
    assert statuses <= {128 + signal.SIGTERM, -signal.SIGTERM}
    assert leftovers.find() == []


def test_kill_of_the_launcher(sandboxes: Sandboxes, leftovers: Leftovers) -> None:
    """When the launcher is killed, everything goes: processes, control group, mounts."""
    for delay_s in (0.005, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08):
        process = sandboxes.start(sandboxes.command("sleep", "100"))
        try:
            process.wait(timeout=delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    process = sandboxes.start(
        sandboxes.command("sh", "-c", "trap '' TERM HUP; echo up; sleep 100"), stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        assert process.stdout.read() == b""  # the last holder of the pipe is gone
    assert leftovers.find() == []


@pytest.mark.parametrize("name", ["carboy-watch", "carboy-outer", "carboy-init"])
def test_kill_of_a_stage(sandboxes: Sandboxes, name: str, leftovers: Leftovers) -> None:
    process = sandboxes.start(
        sandboxes.command("sh", "-c", "echo up; sleep 100"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        victims = [pid for pid in _descendants(process.pid) if Path(f"/proc/{pid}/comm").read_text().strip() == name]
        assert len(victims) == 1
        os.kill(victims[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == (137 if name == "carboy-init" else 125), stderr
    if name == "carboy-watch":  # whose job the control group is: without it the next start removes that
        assert sandboxes.run("true").status == 0
    assert leftovers.find() == []


def _descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


# --- limits -------------------------------------------------------------------------------------------------------


def test_limit_of_processes(sandboxes: Sandboxes) -> None:
    script = "for i in $(seq 40); do sleep 20 & done; echo all"
    result = sandboxes.run("sh", "-c", script, pids_limit=20)
    assert "all" not in result.stdout
    assert "Resource temporarily unavailable" in result.stderr or "can't fork" in result.stderr


def test_errors_name_their_cause(root_sandboxes: Sandboxes) -> None:
    result = root_sandboxes.run("true", mounts=[("BindMount", {"source": "/no/such", "target": "/x"})])
    assert result.status == 125
    assert result.error == "bind /no/such: No such file or directory"
