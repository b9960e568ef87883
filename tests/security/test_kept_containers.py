"""Kept containers: the eighty assertions for ``exec`` and after a restart, and what a container may do to its keeper."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import Containers, wait_for
from sandboxes import make_busybox_root
from small_image import SMALL, has_image, make_image

if TYPE_CHECKING:
    from conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

PROBE = Path(__file__).with_name("probe.py")
COUNT = 80
PROBED = "probed:test"
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup")
# (tier or "", assertion): why it does not hold there; the same as in test_sandbox_assertions.
EXCEPTIONS = {
    ("", 75): "carboy brings no profile for a security module",
    ("root", 80): "setgroups is allowed: the container has many groups and needs it to drop them",
    ("subuid", 80): "setgroups is allowed: newgidmap gave the right to it with the range of ids",
}


# --- the eighty assertions ------------------------------------------------------------------------------------------


def add_python(root: Path) -> None:
    """Copy the machine's own Python into a root, and `id` as a set-user-id program, with the libraries that they need."""
    program = Path("/usr/bin/python3").resolve()
    library = Path("/usr/lib") / program.name
    if not library.is_dir():
        pytest.fail("the probe needs a machine with a Python of its own (Debian 12)")
    unneeded = ("__pycache__", "test", "idlelib", "lib2to3", "ensurepip", "*-packages", "config-*", "pydoc_data")
    shutil.copytree(library, root / "usr/lib" / program.name, ignore=shutil.ignore_patterns(*unneeded))
    (root / "usr/bin").mkdir()
    shutil.copy(program, root / "usr/bin/python3")
    shutil.copy("/usr/bin/id", root / "setuid-id")
    needed = [str(program), "/usr/bin/id", *map(str, library.glob("lib-dynload/_ctypes.*.so"))]
    for line in subprocess.run(["ldd", *needed], capture_output=True, text=True, check=True).stdout.splitlines():
        path = next((word for word in line.split() if word.startswith("/") and not word.endswith(":")), None)
        if path is not None and not (root / path[1:]).exists():
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path[1:])


def make_probed(carboy: Carboy, source: Path) -> None:
    """Make the image in a folder that is not needed any more then."""
    make_busybox_root(source)
    add_python(source)
    shutil.copy(PROBE, source / "probe.py")
    subprocess.run(["chmod", "-R", "go+rX", str(source)], check=True)
    (source / "setuid-id").chmod(0o6755)
    make_image(carboy, source, PROBED)
    shutil.rmtree(source)


@pytest.fixture
def facts(containers: Containers, tmp_path: Path) -> dict[str, Any]:
    """Make the image of the probe, and return what the probe must know of the host."""
    carboy = containers.carboy
    if not has_image(carboy, PROBED):
        make_probed(carboy, carboy.temporary / f"probe-{os.getpid()}")
    canary = tmp_path / "canary"
    canary.write_text("host\n")
    script = "import json, os; from carboy.linux import seccomp as s; print(json.dumps(dict(s.find_numbers(os.uname().machine))))"
    numbers = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    single = carboy.person.tier == "single"
    return {
        "canary": str(canary),
        "environment": f"canary-{os.urandom(8).hex()}",
        "groups": [] if single else ["0", "2000"],
        "many_ids": not single,
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
        "numbers": json.loads(numbers),
    }


def check(carboy: Carboy, output: str, facts: dict[str, Any]) -> None:
    """Check the answers of one probe."""
    identity, line = output.strip().splitlines()
    assert identity == ("1000" if facts["many_ids"] else "0"), "set-user-id or not: it ran as who started it"
    answers = {int(number): (holds, seen) for number, (holds, seen) in json.loads(line).items()}
    assert sorted(answers) == list(range(1, COUNT + 1))
    failed = {number: seen for number, (holds, seen) in answers.items() if not holds}
    expected = {number for tier, number in EXCEPTIONS if tier in {"", carboy.person.tier}}
    assert {number: seen for number, seen in failed.items() if number not in expected} == {}
    assert set(failed) == expected, "an exception holds now: take it out of the table"


def probe_words(facts: dict[str, Any]) -> tuple[str, ...]:
    return ("/usr/bin/python3", "-I", "-S", "/probe.py", json.dumps(facts))


OPTIONS = ("--network", "none")


def test_assertions_hold_for_exec(containers: Containers, facts: dict[str, Any]) -> None:
    carboy = containers.carboy.using(containers.carboy.home, CANARY=facts["environment"])
    name = containers.name("host")
    carboy("run", "-d", "--name", name, *OPTIONS, PROBED, "sleep", "1000")
    done = carboy("exec", name, *probe_words({**facts, "beside": [2]}))
    check(carboy, done.stdout, facts)


def test_assertions_hold_in_every_run(containers: Containers, facts: dict[str, Any]) -> None:
    """H13: a container that is started again, by hand or by its keeper, is as confined as it was at first."""
    carboy = containers.carboy.using(containers.carboy.home, CANARY=facts["environment"])
    name = containers.name("self")
    words = ("sh", "-c", 'exec "$@"; ', "-", *probe_words(facts))
    carboy("run", "-d", "--name", name, *OPTIONS, PROBED, *words)
    containers.wait_state(name, "exited")
    carboy("restart", name)
    containers.wait_state(name, "exited")
    lines = containers.logs(name).splitlines()
    assert len(lines) == 4
    for start in (0, 2):
        check(carboy, "\n".join(lines[start : start + 2]), facts)
    again = containers.name("policy")
    words = ("sh", "-c", 'test -e /once && exec "$@"; : > /once; exit 1', "-")
    carboy("run", "-d", "--restart", "on-failure", "--name", again, *OPTIONS, PROBED, *words, *probe_words(facts))
    containers.wait_state(again, "exited")
    check(carboy, containers.logs(again), facts)


# --- table B and C --------------------------------------------------------------------------------------------------


def test_row_17_no_descriptor_of_ours_or_of_the_caller_is_inside(containers: Containers) -> None:
    """CVE-2024-21626, CVE-2016-9962: the caller has many files and folders of the host open."""
    carboy = containers.carboy
    name = containers.name("host")
    held = [os.open("/", os.O_RDONLY) for _ in range(48)]
    for fd in held:
        os.set_inheritable(fd, True)
    try:
        script = "ls /proc/self/fd | wc -l; for fd in /proc/self/fd/*; do readlink $fd; done; sleep 1000"
        carboy("run", "-d", "--name", name, SMALL, "sh", "-c", script, close_fds=False)
        inside = carboy(
            "exec", name, "sh", "-c", "ls -l /proc/self/fd /proc/1/fd 2>/dev/null", close_fds=False, expect=None
        ).stdout
    finally:
        for fd in held:
            os.close(fd)
    wait_for(lambda: containers.logs(name).count("\n") >= 4)
    links = containers.logs(name).split()[1:]
    assert all(link == "/dev/null" or link.startswith(("pipe:", "/proc/")) for link in links), links
    targets = [line.partition(" -> ")[2] for line in inside.splitlines() if " -> " in line]
    assert targets
    allowed = ("pipe:", "/proc/", "/dev/null", "socket:", "anon_inode:", "/dev/pts/")
    assert all(target.startswith(allowed) for target in targets), targets
    state = containers.inspect(name)["State"]
    for fd in Path(f"/proc/{state['Pid']}/fd").iterdir():
        target = os.readlink(fd)
        assert target.startswith(("pipe:", "/dev/null", "socket:", "anon_inode:")), target


@pytest.mark.parametrize(
    ("user", "groups"),
    [("", "0 2000"), ("ana", "1000 2000 2001"), ("1000", "1000 2000 2001"), ("1000:2001", "2001"), ("ana:docs", "2000"),
     ("4321", "0"), ("0", "0 2000")],
)  # fmt: skip
def test_row_42_groups_of_exec_are_those_of_its_user(containers: Containers, user: str, groups: str) -> None:
    """CVE-2022-36109 and kin: what the image says of the user, and nothing of the caller's."""
    if containers.carboy.person.tier == "single":
        if user not in {"", "0"}:
            pytest.skip("there is one id, which has the caller's groups (shown as 0)")
        groups = "0"
    name = containers.run("host", "sleep", "1000")
    options = ("-u", user) if user else ()
    found = containers.carboy("exec", *options, name, "id", "-G").stdout.split()
    assert sorted(found) == sorted(groups.split())


def test_row_44_no_capability_is_inherited(containers: Containers) -> None:
    """CVE-2022-24769 and kin: in run, exec, and exec as another user."""
    carboy = containers.carboy
    name = containers.sh("host", "grep Cap /proc/self/status; sleep 1000")
    containers.wait_logged(name, "CapAmb")
    outputs = [containers.logs(name), carboy("exec", name, "grep", "Cap", "/proc/self/status").stdout]
    if carboy.person.tier != "single":
        as_user = carboy("exec", "-u", "ana", name, "grep", "Cap", "/proc/self/status").stdout
        assert "CapEff:\t0000000000000000" in as_user
        assert "CapPrm:\t0000000000000000" in as_user
        outputs.append(as_user)
    for output in outputs:
        sets = dict(line.split() for line in output.splitlines())
        assert sets["CapInh:"] == sets["CapAmb:"] == "0" * 16
        assert int(sets["CapBnd:"], 16) & ~0xA80425FB == 0


TRACER = r"""
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
known = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()}
caught, tried = [], 0

def ptrace(request, pid):
    return libc.ptrace(ctypes.c_long(request), ctypes.c_long(int(pid)), None, None) == 0

def is_ours(pid):
    # Still the program that joined, and not yet the command: asked after each look, because the look takes time.
    try:
        if not open(f"/proc/{pid}/comm").read().startswith("carboy"):
            return False
    except OSError:
        return False
    try:
        exe = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return True
    return "busybox" not in exe

end = time.monotonic() + float(sys.argv[1])
print("ready", flush=True)
while time.monotonic() < end:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) in known:
            continue
        tried += 1
        # The numbers of its descriptors may be listed, what is behind them not.
        for path in ("exe", "root", "cwd", "fd/0", "fd/3", "fd/4", "fd/5", "ns/mnt"):
            try:
                seen = os.readlink(f"/proc/{pid}/{path}")
            except OSError:
                continue
            if is_ours(pid):
                caught.append((path, seen))
        for path in ("environ", "maps"):
            try:
                seen = open(f"/proc/{pid}/{path}").read()
            except OSError:
                continue
            if seen and is_ours(pid):
                caught.append((path, seen[:99]))
        if ptrace(SEIZE, pid):
            if is_ours(pid):
                caught.append(("ptrace", open(f"/proc/{pid}/comm").read()))
            ptrace(INTERRUPT, pid)
            try:
                os.waitpid(int(pid), WALL)
            except ChildProcessError:
                pass
            ptrace(DETACH, pid)
print(tried > 0, caught[:5], flush=True)
"""


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.long)])
def test_row_46_a_process_that_joins_cannot_be_traced(
    containers: Containers, facts: dict[str, Any], seconds: int
) -> None:
    """CVE-2016-9962: the container's root looks for new processes and seizes them, while exec brings some in."""
    carboy = containers.carboy
    name = containers.name("hunter")
    words = ("/usr/bin/python3", "-I", "-S", "-c", TRACER, str(seconds))
    carboy("run", "-d", "--name", name, "--cap-add", "SYS_PTRACE", *OPTIONS, PROBED, *words)
    containers.wait_logged(name, "ready")
    count = 0
    while containers.state(name) == "running" and count < 400:
        carboy("exec", name, "true", expect=None)
        count += 1
    containers.wait_state(name, "exited")
    assert count >= seconds, "there was something to hunt"
    assert containers.logs(name).splitlines()[-1].endswith("[]"), containers.logs(name)


def test_row_52_the_control_socket_is_the_owner_s_alone(containers: Containers, tier_users: dict[str, Any]) -> None:
    """CVE-2020-15257: not in the abstract namespace, not for other users, not from inside with the host's network."""
    carboy = containers.carboy
    name = containers.run("host", "sleep", "1000", options=("--network", "host"))
    folder = carboy.home / "containers" / containers.find(name)["Id"]
    control = folder / "control"
    assert control.stat().st_mode & 0o077 == 0 or (carboy.home.stat().st_mode & 0o077) == 0
    abstract = [line for line in Path("/proc/net/unix").read_text().splitlines() if "@" in line and "carboy" in line]
    assert abstract == []
    inside = carboy("exec", name, "sh", "-c", f"cat /proc/net/unix; ls {folder} 2>&1", expect=None).stdout
    assert "No such file" in inside
    other = tier_users["subuid" if carboy.person.tier == "single" else "single"]
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(other.gid, other.gid, other.gid)
            os.setresuid(other.uid, other.uid, other.uid)
            talk = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                talk.connect(str(control)[-100:] if len(str(control)) > 100 else str(control))
            except OSError:
                os._exit(0)
            os._exit(1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


# --- harness side ---------------------------------------------------------------------------------------------------


def test_h4_killing_everybody_inside_kills_nobody_outside(containers: Containers) -> None:
    carboy = containers.carboy
    bystander, name = containers.run("by", "sleep", "1000"), containers.run("host", "sleep", "1000")
    carboy("exec", name, "sh", "-c", "kill -9 -1", expect=None)
    wait_for(lambda: containers.state(name) == "exited")
    assert containers.exit_code(name) == 137
    assert containers.state(bystander) == "running"
    assert carboy("exec", bystander, "echo", "fine").stdout == "fine\n"


def test_h11_interpreter_and_library_are_what_they_were(containers: Containers) -> None:
    """CVE-2019-5736: a container whose command is our own interpreter, in run and exec, changes nothing of it."""
    carboy = containers.carboy
    program = Path(os.path.realpath(shutil.which("python", path=os.path.dirname(carboy.program[0])) or sys.executable))
    before = (program.read_bytes(), program.stat().st_mode, program.stat().st_mtime_ns)
    script = (
        "ln -sf /proc/self/exe /self; for pid in /proc/[0-9]*; do chmod 777 $pid/exe; "
        "( echo broken > $pid/exe ); done; true"
    )
    name = containers.run("host", "sleep", "1000")
    carboy("exec", name, "sh", "-c", script, expect=None)
    for _ in range(3):
        carboy("exec", name, "/self", expect=None)
        carboy("exec", name, "/proc/self/exe", expect=None)
    carboy("exec", name, "sh", "-c", script, expect=None)
    assert (program.read_bytes(), program.stat().st_mode, program.stat().st_mtime_ns) == before


def test_h14_a_container_cannot_reach_another(containers: Containers) -> None:
    """Two of one person: neither processes, files, signals nor sockets of one are the other's."""
    carboy = containers.carboy
    one, two = (containers.sh(text, f"echo {text} > /secret; exec sleep 10{text}") for text in ("1", "2"))
    for name, other in ((one, "102"), (two, "101")):
        seen = carboy("exec", name, "sh", "-c", "ps; cat /proc/[0-9]*/root/secret 2>/dev/null").stdout
        assert f"sleep {other}" not in seen
        assert other[-1] not in seen.splitlines()[-1:]
    pid = containers.inspect(two)["State"]["Pid"]
    carboy("exec", one, "sh", "-c", f"kill -9 {pid}", expect=None)
    assert containers.state(two) == "running"


def test_what_a_container_writes_cannot_drive_the_terminal_of_ps(containers: Containers) -> None:
    name = containers.run("host", "sh", "-c", "sleep 1000", "\x1b]52;c;ZXZpbA==\x07\n\x1b[2J")
    table = containers.carboy("ps", "--no-trunc", "--filter", f"name={name}").stdout
    assert "\x1b" not in table
    assert "\x07" not in table
    assert len(table.splitlines()) == 2


def test_h5_with_a_stopped_keeper_nothing_hangs_for_ever(containers: Containers, leftovers: Leftovers) -> None:
    """A keeper that is stopped and then killed: the container goes with it."""
    name = containers.run("host", "sleep", "1000")
    folder = containers.carboy.home / "containers" / containers.find(name)["Id"]
    keeper = json.loads((folder / "state.json").read_text())["supervisor"]
    os.kill(keeper, signal.SIGSTOP)
    assert containers.state(name) == "running"
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: containers.state(name) == "exited")
    containers.carboy("rm", name)
    assert leftovers.find() == []
