"""What every runtime does with the same specification. What one cannot do is listed in ``exceptions.toml``, with the reason."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carboy.linux import capabilities
from carboy.linux.seccomp import find_numbers
from carboy.runtime.spec import ROOT_TIER_COUNT, ROOT_TIER_FIRST_ID, RUN_CAPABILITIES

if TYPE_CHECKING:
    from contracts import Box
    from sandboxes import Sandboxes
    from screens import Screen

    from conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


def shell(box: Box, script: str, **options: Any) -> str:
    """Return what a script prints; it must succeed."""
    result = box.run("sh", "-c", script, **options)
    assert result.status == 0, result
    return result.stdout


# --- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status(box: Box, status: int) -> None:
    assert box.run("sh", "-c", f"exit {status}").status == status


def test_exit_status_of_the_quickest(box: Box) -> None:
    assert {box.run("false").status for _ in range(5)} == {1}


def test_death_by_signal(box: Box) -> None:
    assert box.run("sh", "-c", "sh -c 'kill -SEGV $$'; exit $?").status == 128 + signal.SIGSEGV


@pytest.mark.parametrize("name", ["nosuch", "/bin/nosuch"])
def test_command_not_found(box: Box, name: str) -> None:
    result = box.run(name)
    assert result.status == 127
    assert name in result.error


@pytest.mark.parametrize("path", ["/etc", "/etc/passwd"])
def test_command_not_executable(box: Box, path: str) -> None:
    result = box.run(path)
    assert result.status == 126
    assert path in result.error


def test_command_of_no_format(box: Box) -> None:
    root = box.sandboxes.new_root("format")
    (root / "bin" / "junk").write_bytes(b"\0junk")
    (root / "bin" / "junk").chmod(0o755)
    result = box.run("junk", lower=[root])
    assert result.status == 126
    assert "junk" in result.error


def test_environment(box: Box) -> None:
    lines = shell(box, "env", env=["PATH=/bin", "A=1 2", "B=ä"]).splitlines()
    assert {"PATH=/bin", "A=1 2", "B=ä", "HOME=/root"} <= set(lines)
    assert {line.partition("=")[0] for line in lines} <= {"PATH", "A", "B", "HOME", "PWD", "SHLVL"}


def test_working_directory_is_made(box: Box) -> None:
    assert shell(box, "pwd; stat -c '%u %a' /a/b", cwd="/a/b") == "/a/b\n0 755\n"


def test_host_name(box: Box) -> None:
    assert shell(box, "hostname; cat /etc/hostname; grep -c box /etc/hosts", hostname="box") == "box\nbox\n1\n"


# --- users --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "line"),
    [
        ("", "0 0 0 2000 /root"),
        ("ana", "1000 1000 1000 2000 2001 /home/ana"),
        ("ana:daemon", "1000 1 1 /home/ana"),
        ("1234:567", "1234 567 567 /"),
    ],
)
def test_user(box: Box, user: str, line: str) -> None:
    assert shell(box, "echo $(id -u) $(id -g) $(id -G) $HOME", user=user) == f"{line}\n"


def test_more_groups(box: Box) -> None:
    assert shell(box, "id -G", user="ana", groups=["daemon", "4000"]) == "1000 1 2000 2001 4000\n"
    assert box.run("true", groups=["nobody-knows"]).status == 125


def test_unknown_user(box: Box) -> None:
    result = box.run("true", user="nobody-knows")
    assert result.status == 125
    assert "nobody-knows" in result.error


def test_ids_on_disk_are_the_containers(box: Box) -> None:
    script = "touch /home/mine; chown 1000:1001 /home/mine; stat -c %u:%g /home/mine /etc/passwd"
    assert shell(box, script) == "1000:1001\n0:0\n"


def test_ids_are_mapped(box: Box) -> None:
    assert shell(box, "cat /proc/self/uid_map").split() == ["0", str(ROOT_TIER_FIRST_ID), str(ROOT_TIER_COUNT)]


def test_processes_belong_to_no_user_of_the_host(box: Box) -> None:
    """Seen from the host: what runs for the container has an id of the range, whatever runs it."""
    with box.start("sh", "-c", "echo up; sleep 50", id=f"owners-{box.runtime}") as process:
        assert process.stdout is not None
        process.stdout.readline()
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in _descendants(process.pid) if _is_inside(pid)}
        process.kill()
    assert owners
    assert all(ROOT_TIER_FIRST_ID <= owner < ROOT_TIER_FIRST_ID + ROOT_TIER_COUNT for owner in owners), owners


def _is_inside(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    except OSError:  # a process of the runtime's that has ended
        return False


def _read_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _descendants(pid: int) -> list[int]:
    """Return what descends from a process; what has ended meanwhile, a thread or a process of the runtime's, is left out."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found = []
    for thread in threads:
        try:
            children = Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += [int(child), *_descendants(int(child))]
    return found


# --- files --------------------------------------------------------------------------------------------------------


def test_read_only_root(box: Box) -> None:
    mounts = [("TmpfsMount", {"target": "/tmp", "size_bytes": 2**20})]
    script = "touch /etc/x && exit 9; touch /tmp/x /dev/shm/x && cat /etc/hostname"
    assert shell(box, script, read_only_root=True, mounts=mounts) == "carboy\n"


def test_writing_stays_in_the_upper_layer(box: Box) -> None:
    shell(box, "echo other >/etc/group; rm /etc/passwd; test ! -e /etc/passwd")
    assert (box.sandboxes.lower / "etc" / "passwd").exists()
    assert "docs" in (box.sandboxes.lower / "etc" / "group").read_text()


def test_tmpfs(box: Box) -> None:
    mounts = [("TmpfsMount", {"target": "/new/place", "size_bytes": 2**20, "mode": 0o1770, "noexec": True})]
    script = "stat -c '%a %u' /new/place; dd if=/dev/zero of=/new/place/x bs=65536 count=8 2>&1 | grep -c error"
    result = box.run("sh", "-c", script, mounts=mounts)
    assert result.stdout == "1770 0\n0\n"


def test_tmpfs_is_bounded(box: Box) -> None:
    mounts = [("TmpfsMount", {"target": "/new", "size_bytes": 2**20})]
    assert box.run("sh", "-c", "dd if=/dev/zero of=/new/x bs=65536 count=32", mounts=mounts).status == 1


def test_tmpfs_is_not_executable(box: Box) -> None:
    mounts = [("TmpfsMount", {"target": "/new", "noexec": True})]
    assert (
        box.run("sh", "-c", "cat /bin/busybox >/new/echo; chmod 755 /new/echo; /new/echo x", mounts=mounts).status
        == 126
    )


def test_bind_mount_read_only(box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    tmp_path.chmod(0o755)
    mounts = [("BindMount", {"source": str(tmp_path), "target": "/data"})]
    assert shell(box, "cat /data/file; touch /data/new && exit 9; true", mounts=mounts) == "content\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_bind_mount_of_a_file(box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    mounts = [("BindMount", {"source": str(tmp_path / "file"), "target": "/etc/deep/file"})]
    assert shell(box, "cat /etc/deep/file", mounts=mounts) == "content\n"


def test_bind_mount_ids_are_the_hosts(box: Box, tmp_path: Path) -> None:
    """uid N is uid N on both sides, by an id-mapped mount that the runtime need not know of."""
    tmp_path.chmod(0o777)
    (tmp_path / "own").touch()
    os.chown(tmp_path / "own", 1000, 1000)
    mounts = [("BindMount", {"source": str(tmp_path), "target": "/data", "read_only": False})]
    assert shell(box, "stat -c %u /data/own; touch /data/new; rm /data/own", mounts=mounts, user="ana") == "1000\n"
    assert [(path.name, path.stat().st_uid) for path in tmp_path.iterdir()] == [("new", 1000)]


def test_bind_mount_for_its_owner(box: Box, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 4321, 4321)
    mounts = [("BindMount", {"source": str(tmp_path), "target": "/data", "read_only": False, "idmap": "owner"})]
    assert shell(box, "stat -c %u /data; touch /data/new", mounts=mounts, user="ana") == "1000\n"
    assert (tmp_path / "new").stat().st_uid == 4321


def test_file_of_our_own(box: Box) -> None:
    mounts = [("FileMount", {"target": "/run/secrets/key", "content": "secret\n", "mode": 0o444})]
    script = "cat /run/secrets/key; stat -c '%a %u' /run/secrets/key; echo x >/run/secrets/key && exit 9; true"
    assert shell(box, script, mounts=mounts) == "secret\n444 0\n"


def test_file_for_the_user_alone(box: Box) -> None:
    fields = {"target": "/run/secrets/key", "content": "secret\n", "mode": 0o400, "private": True}
    assert shell(box, "cat /run/secrets/key", mounts=[("FileMount", fields)], user="ana") == "secret\n"
    assert (
        box.run("cat", "/run/secrets/key", mounts=[("FileMount", {**fields, "private": False})], user="ana").status == 1
    )


def test_optional_file_makes_nothing_on_the_host(box: Box, tmp_path: Path) -> None:
    mounts: list[tuple[str, dict[str, Any]]] = [
        ("BindMount", {"source": str(tmp_path), "target": "/data", "read_only": False}),
        ("FileMount", {"target": "/data/extra", "content": "x", "optional": True}),
    ]
    shell(box, "test ! -e /data/extra", mounts=mounts)
    assert list(tmp_path.iterdir()) == []


# --- streams ------------------------------------------------------------------------------------------------------


def test_streams_are_separate(box: Box) -> None:
    result = box.run("sh", "-c", "cat; echo err >&2; exit 4", input=b"in\n")
    assert (result.status, result.stdout, result.stderr) == (4, "in\n", "err\n")


@pytest.mark.parametrize("user", ["", "ana"])
def test_streams_can_be_opened_by_their_names(box: Box, user: str) -> None:
    script = "cat </dev/stdin; echo out >>/dev/stdout; echo err >/dev/stderr"
    result = box.run("sh", "-c", script, input=b"in\n", user=user)
    assert (result.status, result.stdout, result.stderr) == (0, "in\nout\n", "err\n")


def test_much_output(box: Box) -> None:
    assert box.run("seq", "100000").stdout.endswith("99999\n100000\n")


def test_no_input(box: Box) -> None:
    assert box.run("cat").status == 0


def test_terminal(box: Box, screen: Screen) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && echo all; stty size; echo direct >/dev/tty; exit 4"
    process = screen.start(box.sandboxes, "sh", "-c", script, runtime=box.runtime)
    for text in (b"all\r\n", b"33 101\r\n", b"direct\r\n"):
        screen.expect(text)
    assert process.wait(timeout=10) == 4


def test_terminal_has_a_name(box: Box) -> None:
    assert box.run("tty", terminal=True).stdout == "/dev/pts/0\r\n"


def test_terminal_keys_and_size(box: Box, screen: Screen) -> None:
    script = "read line; echo got $line; until stty size | grep '^20 60'; do sleep 0.02; done; while true; do sleep 0.02; done"
    process = screen.start(box.sandboxes, "sh", "-c", f"trap 'exit 130' INT; {script}", runtime=box.runtime)
    os.write(screen.master, b"hello\r")
    screen.expect(b"got hello\r\n")
    screen.resize(20, 60)
    process.send_signal(signal.SIGWINCH)
    screen.expect(b"20 60\r\n")
    os.write(screen.master, b"\x03")
    assert process.wait(timeout=10) == 130


# --- signals and the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HUP", "INT", "USR1", "TERM"])
def test_signals_are_passed_on(box: Box, name: str) -> None:
    script = f"trap 'echo got; exit 5' {name}; echo ready; while true; do sleep 0.02; done"
    with box.start("sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 5


def test_signals_begin_with_their_defaults(box: Box) -> None:
    """What the launcher's caller ignores (nohup, a keeper) is not ignored in the container."""
    command = box.sandboxes.command("sh", "-c", "trap 'exit 5' INT HUP; kill -INT $$; exit 6", runtime=box.runtime)
    with box.sandboxes.start(["/usr/bin/env", "--ignore-signal=INT,HUP,PIPE", *command]) as process:
        assert process.wait(timeout=30) == 5


def test_signal_without_a_handler(box: Box) -> None:
    with box.start("sh", "-c", "echo up; exec sleep 50") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.returncode == 128 + signal.SIGTERM


def test_nothing_is_left(box: Box, leftovers: Leftovers) -> None:
    assert box.run("sh", "-c", "sleep 50 & exit 2").status == 2
    assert leftovers.find() == []
    assert list((box.sandboxes.place / "run" / "oci").glob("*")) == []


@pytest.mark.parametrize("delay_s", [0.02, 0.1, 0.2, 0.3, 2.0])
def test_kill_of_the_launcher_leaves_nothing(box: Box, leftovers: Leftovers, delay_s: float) -> None:
    with box.start("sh", "-c", "trap '' TERM HUP; echo up; sleep 100") as process:
        try:
            process.wait(timeout=delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()  # returns when the last holder of its pipes is gone
    assert leftovers.find() == []
    assert list((box.sandboxes.place / "run" / "oci").glob("*")) == []


def test_kill_of_the_stage_leaves_nothing(box: Box, leftovers: Leftovers) -> None:
    with box.start("sh", "-c", "echo up; sleep 100") as process:
        assert process.stdout is not None
        process.stdout.readline()
        names = {"carboy-stage", "carboy-watch"}
        victims = [pid for pid in _descendants(process.pid) if _read_name(pid) in names]
        assert len(victims) == 1
        os.kill(victims[0], signal.SIGKILL)
        process.communicate()
    assert process.returncode == 125
    assert box.run("true").status == 0
    assert leftovers.find() == []


def test_kill_of_both_is_mended_by_the_next_start(box: Box, leftovers: Leftovers) -> None:
    with box.start("sh", "-c", "echo up; sleep 100") as process:
        assert process.stdout is not None
        process.stdout.readline()
        ours = [pid for pid in _descendants(process.pid) if _read_name(pid).startswith("carboy-")]
        for pid in (process.pid, *ours):
            os.kill(pid, signal.SIGSTOP)
        for pid in (process.pid, *ours):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    assert box.run("true", sweep=True).status == 0
    assert leftovers.find() == []
    assert list((box.sandboxes.place / "run" / "oci").glob("*")) == []


# --- one more process ---------------------------------------------------------------------------------------------


def enter(box: Box, *processes: dict[str, Any]) -> tuple[str, list[list[list[Any]]]]:
    """Return what processes in a running sandbox print, and the events of each."""
    result = box.run("sh", "-c", "sleep 60 & wait", exec=processes, env=["PATH=/bin", "OWN=1"])
    assert result.status == 128 + signal.SIGKILL, result
    lines = [line for line in result.stderr.splitlines() if line.startswith('{"exec"')]
    return result.stdout, [json.loads(line)["exec"] for line in lines]


def test_exec(box: Box) -> None:
    script = "echo $OWN $MORE; pwd; id -u; echo $HOME; exit 4"
    output, (events,) = enter(box, {"args": ["sh", "-c", script], "env": ["MORE=2"], "cwd": "/etc", "user": "ana"})
    assert output == "1 2\n/etc\n1000\n/home/ana\n"
    assert [event[0] for event in events] == ["pid", "started", "exit"]
    assert events[-1] == ["exit", 4]


def test_exec_joins_the_container(box: Box) -> None:
    # It may be there before the container's own command has started the other one.
    script = "hostname; until ps | grep -q '[ ]sleep 60$'; do sleep 0.1; done; ps | grep -c '[ ]sleep 60$'"
    output, _ = enter(box, {"args": ["sh", "-c", f"{script}; grep -c . /proc/net/dev"]})
    assert output == "carboy\n1\n3\n"


def test_exec_has_the_capabilities(box: Box) -> None:
    output, _ = enter(box, {"args": ["sh", "-c", "grep -E '^Cap(Eff|Bnd|Inh):' /proc/self/status"]})
    full = capabilities.mask(RUN_CAPABILITIES)
    assert dict(line.split(":\t") for line in output.splitlines()) == {
        "CapInh": f"{0:016x}", "CapEff": f"{full:016x}", "CapBnd": f"{full:016x}",
    }  # fmt: skip


def test_exec_has_the_filter(box: Box) -> None:
    output, _ = enter(box, {"args": ["grep", "^Seccomp:", "/proc/self/status"]})
    assert output.split() == ["Seccomp:", "2"]


def test_exec_terminal(box: Box) -> None:
    script = (
        "test -t 0 && test -t 1 && echo all; until stty size 2>/dev/null | grep '^20 60'; do sleep 0.02; done; exit 6"
    )
    output, (events,) = enter(box, {"args": ["sh", "-c", script], "terminal": True})
    assert output == "all\r\n20 60\r\n", events
    assert sorted(event[0] for event in events) == ["console", "exit", "pid", "started"]
    assert events[-1] == ["exit", 6]


def test_exec_not_found(box: Box) -> None:
    _, (first, second) = enter(box, {"args": ["nosuch"]}, {"args": ["/etc"]})
    assert [event[:3] for event in first if event[0] == "command"] == [["command", 127, "nosuch"]]
    assert [event[:3] for event in second if event[0] == "command"] == [["command", 126, "/etc"]]


def test_exec_after_exec(box: Box) -> None:
    """Each has its own exit status, and the container goes on."""
    _, events = enter(box, *({"args": ["sh", "-c", f"exit {status}"]} for status in (1, 2, 0)))
    assert [found[-1] for found in events] == [["exit", 1], ["exit", 2], ["exit", 0]]


# --- network ------------------------------------------------------------------------------------------------------


def test_no_network(box: Box) -> None:
    lines = shell(box, "cat /proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]


def test_loopback_is_up(box: Box) -> None:
    root = box.sandboxes.new_root("net")
    for name in ("nc", "timeout"):
        (root / "bin" / name).symlink_to("busybox")
    script = "(echo hello | timeout 10 nc -l -p 8080) & sleep 0.5; timeout 5 nc 127.0.0.1 8080 </dev/null"
    assert shell(box, script, lower=[root]) == "hello\n"


def test_network_of_the_host(box: Box) -> None:
    # The namespace itself, not its interfaces: those come and go beside this test.
    assert shell(box, "readlink /proc/self/ns/net", network="host") == f"{os.readlink('/proc/self/ns/net')}\n"


def test_network_is_shown_before_the_command(box: Box) -> None:
    result = box.run("readlink", "/proc/self/ns/net", announce_network=True)
    assert result.status == 0, result
    shown = json.loads(result.stderr.splitlines()[0])["netns"]
    assert result.stdout == f"net:[{shown}]\n"


def test_network_that_cannot_be_connected(box: Box, leftovers: Leftovers) -> None:
    result = box.run("echo", "ran", announce_network=True, problem="the cable is missing")
    assert (result.status, result.stdout) == (125, "")
    assert "the cable is missing" in result.error
    assert leftovers.find() == []


# --- walls --------------------------------------------------------------------------------------------------------


def test_processes_are_its_own(box: Box) -> None:
    pids = shell(box, "ls /proc | grep '^[0-9]'").split()
    assert 2 <= len(pids) <= 5


def _read_status(box: Box, **options: Any) -> dict[str, str]:
    lines = shell(box, "cat /proc/self/status", **options).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_capabilities(box: Box) -> None:
    found = _read_status(box)
    full = f"{capabilities.mask(RUN_CAPABILITIES):016x}"
    assert (found["CapEff"], found["CapPrm"], found["CapBnd"]) == (full, full, full)
    assert found["CapInh"] == f"{0:016x}"
    assert found.get("CapAmb", f"{0:016x}") == f"{0:016x}"


def test_capabilities_asked_for(box: Box) -> None:
    found = _read_status(box, capabilities=["KILL", "NET_RAW"])
    assert found["CapEff"] == f"{capabilities.mask(frozenset({'KILL', 'NET_RAW'})):016x}"


def test_capabilities_of_a_user(box: Box) -> None:
    found = _read_status(box, user="ana")
    assert (found["CapEff"], found["CapPrm"], found["CapInh"]) == (f"{0:016x}",) * 3


def test_no_new_privileges(box: Box) -> None:
    assert _read_status(box)["NoNewPrivs"] == "1"


def test_filter(box: Box) -> None:
    assert _read_status(box)["Seccomp"] == "2"


def test_filter_refuses_namespaces_and_mounts(box: Box) -> None:
    root = box.sandboxes.new_root("filter")
    (root / "bin" / "unshare").symlink_to("busybox")
    wide = ["SYS_CHROOT", "SETUID"]
    assert box.run("unshare", "-U", "true", lower=[root], capabilities=wide).status != 0
    assert box.run("mount", "-t", "tmpfs", "x", "/home", lower=[root], capabilities=wide).status != 0


def test_filter_that_was_asked_for(box: Box) -> None:
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
    result = box.run("mkdir", "/home/x", seccomp=profile)
    assert (result.status, "No space left" in result.stderr) == (1, True), result
    assert (
        box.run("sh", "-c", "mkdir /home/x && grep '^Seccomp:.0' /proc/self/status", seccomp="unconfined").status == 0
    )


def test_kernel_setting(box: Box) -> None:
    assert shell(box, "cat /proc/sys/kernel/msgmax", sysctls=[["kernel.msgmax", "4096"]]) == "4096\n"


@pytest.mark.parametrize("name", ["clone3", "epoll_pwait2", "futex_waitv"])
def test_calls_that_are_not_there_are_not_refused(box: Box, name: str) -> None:
    """C libraries fall back from ENOSYS to what they used before, and from EPERM to nothing."""
    python = Path("/usr/bin/python3").resolve()
    number = find_numbers(os.uname().machine)[name]
    script = f"import ctypes;c=ctypes.CDLL(None,use_errno=True);print(c.syscall({number},0,0,0,0,0),ctypes.get_errno())"
    mounts = [("BindMount", {"source": path, "target": path}) for path in _list_system_folders()]
    result = box.run(str(python), "-I", "-S", "-c", script, mounts=mounts)
    assert result.status == 0, result
    assert int(result.stdout.split()[1]) != errno.EPERM, result


def _list_system_folders() -> list[str]:
    """Return the folders of the host that its own Python needs."""
    return [path for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path)]


def test_set_user_id_gives_nothing(box: Box) -> None:
    root = box.sandboxes.new_root("suid")
    (root / "bin" / "idcopy").write_bytes((root / "bin" / "busybox").read_bytes())
    (root / "bin" / "idcopy").chmod(0o4755)
    (root / "bin" / "id").unlink()
    (root / "bin" / "id").symlink_to("idcopy")
    assert shell(box, "id -u", user="ana", lower=[root]) == "1000\n"


def test_masked_paths(box: Box) -> None:
    script = "for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do cat $path 2>/dev/null | head -c 9; done"
    assert shell(box, f"{script}; ls /sys/firmware 2>/dev/null; true") == ""


def test_kernel_settings_are_read_only(box: Box) -> None:
    script = "for path in /proc/sys/kernel/hostname /proc/sysrq-trigger; do echo x >$path && exit 9; done; true"
    shell(box, script)


def test_sys_is_read_only(box: Box) -> None:
    assert box.run("sh", "-c", "mkdir /sys/fs/cgroup/new || mkdir /sys/new").status != 0


def test_devices_are_the_harmless_ones(box: Box) -> None:
    known = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "console",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "fd",
        "core",
    }
    found = set(shell(box, "ls /dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx"} <= found
    assert found <= known | {"stdin", "stdout", "stderr"}


# --- limits -------------------------------------------------------------------------------------------------------


def test_limit_of_processes(box: Box) -> None:
    # A runtime in Go needs some threads of its own before the command is there.
    script = "for i in $(seq 60); do sleep 5 & done; echo all"
    result = box.run("sh", "-c", script, pids_limit=40)
    assert "fork" in result.stderr


def test_limit_of_memory(box: Box) -> None:
    limits = {"memory_bytes": 48 * 2**20, "memory_swap_bytes": 48 * 2**20}
    result = box.run("sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1; exit $?", limits=limits)
    assert result.status == 128 + signal.SIGKILL


def test_limits_of_the_process(box: Box) -> None:
    limits = {"ulimits": [["nofile", 100, 200]]}
    assert shell(box, "ulimit -n; ulimit -Hn; ulimit -c", limits=limits) == "100\n200\n0\n"


def test_shared_memory_has_its_size(box: Box) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=65536 count=32"
    assert box.run("sh", "-c", script, limits={"shm_bytes": 2**20}).status == 1


def test_device_of_the_host(box: Box) -> None:
    devices = [{"source": "/dev/zero", "target": "/dev/other", "permissions": "r"}]
    assert shell(box, "head -c 4 /dev/other | wc -c; echo x >/dev/other && exit 9; true", devices=devices) == "4\n"


# --- as a user ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["native", "runc", "runsc"])
def test_tiers(sandboxes: Sandboxes, runtime: str) -> None:
    """Each runtime makes the same of every tier; control groups are root's."""
    if runtime != "native" and shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed (Debian: {runtime})")
    script = "id -u; cat; hostname; echo x >/etc/new; stat -c %u /etc/new; grep -E 'CapEff|Seccomp:' /proc/self/status; exit 3"
    result = sandboxes.run("sh", "-c", script, input=b"in\n", runtime=runtime, hostname="box")
    full = capabilities.mask(RUN_CAPABILITIES)
    assert result.stdout == f"0\nin\nbox\n0\nCapEff:\t{full:016x}\nSeccomp:\t2\n", result
    assert result.status == 3
    assert sandboxes.run("nosuch", runtime=runtime).status == 127
