"""What images and processes in a sandbox try, and what must come of it: nothing. Rows of the hardening tables B to D."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sandboxes import HAS_OPENAT2

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandboxes import Result, Sandboxes
    from tests.conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

PREPARATION_S = 5.0


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, mode and modification time of everything below a folder."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_mtime_ns)
    return found


@pytest.fixture
def canary(sandboxes: Sandboxes) -> Path:
    """Return a folder of the host that the person may write, and that nothing may touch."""
    folder = sandboxes.place / f"canary-{os.urandom(4).hex()}"
    folder.mkdir()
    (folder / "secret").write_text("host\n")
    return sandboxes.own(folder)


# --- images whose own directories are links -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
@pytest.mark.parametrize("absolute", [True, False])
def test_system_directory_is_a_link(sandboxes: Sandboxes, canary: Path, name: str, absolute: bool) -> None:
    root = sandboxes.new_root("link")
    (root / name).rmdir()
    (root / name).symlink_to(canary if absolute else os.path.relpath(canary, root))
    before = snapshot(canary)
    result = sandboxes.run("true", lower=[sandboxes.own(root)])
    assert result.status == 125
    assert "symbolic link" in result.error or "Too many levels" in result.error
    assert snapshot(canary) == before


@pytest.mark.parametrize("target", ["{canary}/made", "../../../../../..{canary}/made", "/../..{canary}/made", "loop"])
def test_mount_over_a_dangling_link(sandboxes: Sandboxes, canary: Path, target: str) -> None:
    root = sandboxes.new_root("dangling")
    (root / "loop").symlink_to("loop")
    (root / "link").symlink_to(target.format(canary=canary))
    (root / "etc" / "hosts").symlink_to(target.format(canary=canary))
    sandboxes.own(root)
    before = snapshot(canary)
    for mount in (
        ("BindMount", {"source": "/usr", "target": "/link"}),
        ("BindMount", {"source": "/usr", "target": "/link/below"}),
        ("TmpfsMount", {"target": "/link"}),
    ):
        result = sandboxes.run("true", lower=[root], mounts=[mount])
        assert result.status == 125, mount
    shown = sandboxes.run("cat", "/etc/hosts", lower=[root])
    if not HAS_OPENAT2:
        assert "a symbolic link is in the way" in shown.error
    elif target != "loop":
        assert "127.0.0.1" in shown.stdout  # made below the container's own root
    assert snapshot(canary) == before


def test_mount_through_a_link(sandboxes: Sandboxes, canary: Path) -> None:
    root = sandboxes.new_root("through")
    (root / "out").symlink_to(canary)
    (root / "up").symlink_to("../../../../../../..")
    sandboxes.own(root)
    before = snapshot(canary)
    files = [
        ("FileMount", {"target": f"/up{canary}/new", "content": "x"}),
        ("FileMount", {"target": "/up/etc/new", "content": "inside\n"}),
    ]
    result = sandboxes.run("sh", "-c", f"cat /etc/new; cat {canary}/secret", lower=[root], mounts=files)
    assert (result.stdout == "inside\n") if HAS_OPENAT2 else ("a symbolic link is in the way" in result.error)
    assert snapshot(canary) == before


@pytest.mark.parametrize("kind", ["link", "file", "fifo", "missing"])
def test_images_null_device_is_not_used(sandboxes: Sandboxes, canary: Path, kind: str) -> None:
    root = sandboxes.new_root("null")
    null = root / "dev" / "null"
    {
        "link": lambda: null.symlink_to(canary / "secret"),
        "file": lambda: null.write_text("not null"),
        "fifo": lambda: os.mkfifo(null),
        "missing": lambda: None,
    }[kind]()
    result = sandboxes.run("sh", "-c", "echo x >/dev/null; cat /dev/null /proc/keys", lower=[sandboxes.own(root)])
    assert (result.status, result.stdout) == (0, "")
    assert (canary / "secret").read_text() == "host\n"


# --- the working directory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cwd",
    [
        "/proc/self/fd/0",
        "/proc/self/fd/3",
        "/proc/self/fd/7/../..",
        "/proc/1/cwd",
        "/proc/1/root/..",
        "../../../..",
        "/..",
    ],
)
def test_working_directory_stays_inside(sandboxes: Sandboxes, canary: Path, cwd: str) -> None:
    root = sandboxes.new_root("cwd")
    (root / "link").symlink_to(cwd)
    sandboxes.own(root)
    script = f"pwd; cat ./{canary}/secret ../../../../../../../{canary}/secret; ls"
    for path in (cwd, "/link"):
        result = sandboxes.run("sh", "-c", script, lower=[root], cwd=path)
        assert "host" not in result.stdout
        assert result.status == 125 or result.stdout.splitlines()[0] == "/"


# --- the interpreter ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["link", "script"])
def test_interpreter_cannot_be_changed(
    sandboxes: Sandboxes, tmp_path: Path, form: str, make_usr_root: Callable[[str], Path]
) -> None:
    """The command is the stage program's own interpreter (CVE-2019-5736), which belongs to the person."""
    python = sandboxes.place / f"python-{os.urandom(4).hex()}"
    shutil.copy(os.path.realpath(sandboxes.python), python)
    sandboxes.own(python.parent)
    before = hashlib.sha256(python.read_bytes()).hexdigest(), python.stat().st_mode
    root = make_usr_root("exe")
    if form == "link":
        (root / "run-me").symlink_to("/proc/self/exe")
    else:
        (root / "run-me").write_text("#!/proc/self/exe -S\n")
        (root / "run-me").chmod(0o755)
    (root / "attack.py").write_text(
        "import os\n"
        "fd = os.open('/proc/self/exe', os.O_PATH)\n"
        "os.set_inheritable(fd, True)\n"
        "sh = f'chmod 4777 /proc/self/fd/{fd}; echo evil >/proc/self/fd/{fd}; rm -f /proc/self/fd/{fd}; echo tried'\n"
        "os.execv('/usr/bin/sh', ['sh', '-c', sh])\n"
    )
    if form == "script":
        (root / "run-me").write_text("#!/proc/self/exe -S\nexec(open('/attack.py').read())\n")
    sandboxes.own(root)
    command = sandboxes.command(
        "/run-me", *(["/attack.py"] if form == "link" else []), lower=[root],
        mounts=[("BindMount", {"source": "/usr", "target": "/usr"})],
    )  # fmt: skip
    process = sandboxes.start([str(python), *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=30)
    assert b"tried" in stdout or process.returncode in (125, 126), stderr
    assert (hashlib.sha256(python.read_bytes()).hexdigest(), python.stat().st_mode) == before


def test_nothing_of_the_image_is_imported(sandboxes: Sandboxes) -> None:
    """The image has a Python library where the host has its own, full of traps (CVE-2019-14271)."""
    root = sandboxes.new_root("poison")
    trap = "open('/tmp/trapped', 'a').write(__name__ + '\\n')\n"
    places = [
        sysconfig.get_path("stdlib"),
        "/usr/lib/python3.11",
        "/usr/lib/python3",
        str(sandboxes.package / "carboy"),
    ]
    for place in places:
        folder = root / place.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name in (
            "json",
            "re",
            "enum",
            "traceback",
            "linecache",
            "types",
            "io",
            "codecs",
            "locale",
            "signal",
            "errors",
        ):
            (folder / f"{name}.py").write_text(trap)
        (folder / "encodings").mkdir(exist_ok=True)
        for name in ("__init__", "ascii", "idna", "latin_1", "aliases"):
            (folder / "encodings" / f"{name}.py").write_text(trap)
    sandboxes.own(root)
    for options in ({}, {"user": "ana"}, {"user": "no-such"}, {"cwd": "/etc/passwd"}, {"terminal": True}):
        for command in (["cat", "/tmp/trapped"], ["/no/such"]):
            assert "trapped" not in sandboxes.run(*command, lower=[root], **options).stdout.replace("/tmp/trapped", "")


def test_imports_are_impossible_afterwards(sandboxes: Sandboxes) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(sandboxes.package)!r});"
        "from carboy.runtime.native import inside; inside.forbid_imports()\n"
        "for name in ('json', 'carboy.errors', 'zlib', '_json', 'encodings.idna'):\n"
        "  try: __import__(name)\n"
        "  except ImportError: continue\n"
        "  assert name == 'carboy.errors', name\n"
    )
    subprocess.run([sandboxes.python, "-I", "-S", "-c", script], check=True)


# --- the image's accounts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["huge", "fifo", "device link", "link", "folder", "garbage"])
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_account_files(sandboxes: Sandboxes, canary: Path, kind: str, name: str) -> None:
    root = sandboxes.new_root("accounts")
    file = root / "etc" / name
    file.unlink()
    if kind == "huge":
        with file.open("wb") as out:
            out.truncate(10 * 2**30)
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "garbage":
        file.write_bytes(os.urandom(4096) + b"\0:x:\n::::::\nana:x:99999999999999999999:0:::\nana:x:-1:-1:::\n")
    else:
        file.symlink_to("/dev/zero" if kind == "device link" else canary / "secret")
    sandboxes.own(root)
    begin = time.monotonic()
    result = sandboxes.run("true", lower=[root], user="ana:docs")
    assert time.monotonic() - begin < PREPARATION_S
    assert result.status == 125
    assert sandboxes.run("true", lower=[root], user="7:7").status == (125 if kind == "huge" else 0)


# --- what is handed in --------------------------------------------------------------------------------------------


def test_descriptors_of_the_caller_stay_outside(sandboxes: Sandboxes) -> None:
    held = [os.open("/", os.O_RDONLY) for _ in range(48)]
    try:
        command = sandboxes.command("sh", "-c", "ls -l /proc/1/fd/; ls /proc/$$/fd; true")
        process = sandboxes.start(command, pass_fds=held, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        for fd in held:
            os.close(fd)
    # Of init's descriptors not more than the number can be seen: its report's socket and its lifeline.
    assert stdout.split()[-3:] == [b"0", b"1", b"2"]
    assert b"->" not in stdout
    assert stderr.count(b"cannot read link") <= 3


def test_command_line_of_init_tells_nothing(sandboxes: Sandboxes) -> None:
    shown = sandboxes.run("sh", "-c", "cat /proc/1/cmdline /proc/1/comm | tr '\\0' ' '").stdout
    assert shown.split() == ["carboy-init", "carboy-init"]


@pytest.mark.parametrize("path", ["mem", "environ", "exe", "root", "cwd", "map_files", "syscall", "stack"])
def test_init_is_closed(sandboxes: Sandboxes, path: str) -> None:
    result = sandboxes.run("sh", "-c", f"cat /proc/1/{path} || ls /proc/1/{path}/")
    assert result.stdout == ""


# --- what processes do --------------------------------------------------------------------------------------------


def test_kill_everything(sandboxes: Sandboxes) -> None:
    bystander = sandboxes.start(["/bin/sleep", "100"])
    try:
        # The kernel spares who asks, and init.
        result = sandboxes.run("sh", "-c", "(sleep 0.1; echo alive) & kill -9 -1; sleep 0.3; echo end")
        assert (result.status, result.stdout) == (0, "end\n")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_fork_bomb(sandboxes: Sandboxes, leftovers: Leftovers) -> None:
    command = sandboxes.command("sh", "-c", "b() { b | b & }; b; sleep 60", pids_limit=50)
    process = sandboxes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        begin = time.monotonic()
        subprocess.run(["/bin/true"], check=True)
        assert time.monotonic() - begin < 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert leftovers.find() == []
    for folder in sandboxes.containers.iterdir():
        shutil.rmtree(folder)


def test_input_cannot_be_pushed_to_a_terminal(sandboxes: Sandboxes, make_usr_root: Callable[[str], Path]) -> None:
    script = (
        "import fcntl\n"
        "for request, value in ((0x5412, b'x'), (0x541C, b'\\x02')):\n"
        "  for high in (0, 1 << 32):\n"
        "    try: fcntl.ioctl(0, request, value); print('pushed')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    result = sandboxes.run(
        "/usr/bin/python3", "-I", "-S", "-c", script, lower=[sandboxes.own(make_usr_root("tty"))], terminal=True,
        mounts=[("BindMount", {"source": "/usr", "target": "/usr"})],
    )  # fmt: skip
    assert set(result.stdout.split()) == {"1"}, result


@pytest.fixture
def make_usr_root(sandboxes: Sandboxes) -> Callable[[str], Path]:
    """Return a function that makes a root which borrows the host's /usr."""

    def make(name: str) -> Path:
        root = sandboxes.new_root(name)
        shutil.rmtree(root / "bin")
        (root / "usr").mkdir()
        for link in ("bin", "lib", "lib64"):
            (root / link).symlink_to(f"usr/{link}")
        shutil.copy("/etc/ld.so.cache", root / "etc" / "ld.so.cache")
        return root

    return make


# --- failing half-way ---------------------------------------------------------------------------------------------

FAILURES: dict[str, dict[str, Any]] = {
    "no such layer": {"lower": ["/no/such"]},
    "no such source": {"mounts": [("BindMount", {"source": "/no/such", "target": "/x"})]},
    "target in proc": {"mounts": [("TmpfsMount", {"target": "/proc/no/such"})]},
    "target with dots": {"mounts": [("TmpfsMount", {"target": "/missing/../../x"})]},
    "target below a file": {"mounts": [("TmpfsMount", {"target": "/etc/passwd/x"})]},
    "directory over a file": {"mounts": [("BindMount", {"source": "/usr", "target": "/etc/passwd"})]},
    "cwd is a file": {"cwd": "/etc/passwd"},
    "unknown user": {"user": "nobody-knows"},
    "long host name": {"hostname": "x" * 65},
    "not a command": {"env": ["PATH=/etc"]},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_nothing(sandboxes: Sandboxes, failure: str, leftovers: Leftovers) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    result = sandboxes.run("true", **FAILURES[failure])
    assert result.status in (125, 126, 127), result
    assert result.error
    assert leftovers.find() == []
    assert list(sandboxes.containers.iterdir()) == []
    assert Path("/proc/self/mountinfo").read_text() == before


# --- kernels that lack a call -------------------------------------------------------------------------------------

WITHOUT = r"""
import os, sys
sys.path.insert(0, sys.argv[1])
from carboy.linux import seccomp
numbers = seccomp.find_numbers(os.uname().machine)
steps = [(0x20, 0, 0, 0)]
for name in sys.argv[2].split(","):
    steps += [(0x15, 0, 1, numbers[name]), (0x06, 0, 0, 0x00050000 | 38)]
steps.append((0x06, 0, 0, 0x7FFF0000))
seccomp.load(b"".join(c.to_bytes(2, "little") + bytes((t, f)) + k.to_bytes(4, "little") for c, t, f, k in steps))
os.execv(sys.argv[3], sys.argv[3:])
"""


def run_without(sandboxes: Sandboxes, calls: str, *args: str, **options: Any) -> Result:
    """Run a sandbox on a kernel that answers ENOSYS to some calls."""
    command = [
        sandboxes.python,
        "-I",
        "-c",
        WITHOUT,
        str(sandboxes.package),
        calls,
        *sandboxes.command(*args, **options),
    ]
    process = sandboxes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=60)
    result: Result = type(sandboxes.run("true"))(
        status=process.returncode, stdout=stdout.decode(), stderr=stderr.decode()
    )
    return result


PROTECTED = (
    "touch /proc/sys/x /sys/x /usr/x /etc/hosts; cat /proc/keys /sys/firmware/*;"
    "for f in /proc/sys/kernel/core_pattern /proc/irq/default_smp_affinity /etc/hosts; do echo x >$f; done; echo end"
)


@pytest.mark.parametrize(
    "calls", ["clone3", "close_range", "openat2", "mount_setattr", "openat2,mount_setattr,close_range"]
)
def test_older_kernels(sandboxes: Sandboxes, calls: str) -> None:
    if sandboxes.tier == "subuid":
        pytest.skip(
            "the filter that plays the older kernel takes newuidmap's privilege: as in the single tier otherwise"
        )
    mounts = [("BindMount", {"source": "/usr", "target": "/usr"})]
    result = run_without(sandboxes, calls, "sh", "-c", PROTECTED, mounts=mounts)
    if "mount_setattr" in calls:
        # A mount that cannot be restricted, or mapped, is refused: never used as it is.
        assert result.status == 125
        assert "5.12" in result.stderr
        return
    assert result.stdout == "end\n", result
    listed = run_without(sandboxes, calls, "ls", "/proc/self/fd", mounts=mounts)
    assert listed.stdout.split() == ["0", "1", "2", "3"], listed  # the last one is of ls itself
    assert result.stderr.count("touch:") == 4
    assert result.stderr.count("sh:") + result.stderr.count("can't create") >= 3
