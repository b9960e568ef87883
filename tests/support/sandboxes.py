"""Sandboxes for tests: small root file systems, and a driver that runs one sandbox as root or as a plain user.

A sandbox is always made by a process of its own, because entering a user tier cannot be undone. That process runs a copy of
the package which every user may read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import older_kernel
import pytest
from once import made_once
from warm_interpreters import WARM, Kind, is_warm

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).resolve().parents[2]
TIERS = ("root", "subuid", "single")
APPLETS = (
    "cat", "chmod", "chown", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ln", "ls",
    "mkdir", "mount", "ps", "pwd", "readlink", "rm", "seq", "sh", "sleep", "stat", "stty", "tail", "test", "touch", "tr",
    "true", "tty", "umount", "wc", "whoami", "yes",
)  # fmt: skip
# On a kernel without it (see ``older_kernel``) a link on the way to a mount is not followed inside the root, but refused.
HAS_OPENAT2 = older_kernel.has("openat2")
# What a warm interpreter loads for the driver.
PACKAGES = ("carboy.errors", "carboy.linux", "carboy.runtime", "carboy.snapshots.snapshot")
PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nana:x:1000:1000:Ana:/home/ana:/bin/sh\n"
GROUP = "root:x:0:\ndaemon:x:1:\nana:x:1000:\ndocs:x:2000:ana,root\ndata:x:2001:ana\n"

DRIVER = r"""
import fcntl, json, marshal, os, socket, struct, sys
sys.path.insert(0, sys.argv[1])
from carboy.errors import CarboyError
from carboy.linux.identity import enter_tier
from carboy.runtime import spec as values
from carboy.runtime.hostfiles import read_host_files
from carboy.runtime.attend import Watcher, attend
from carboy.runtime.native.cgroup import remove_cgroup
from carboy.runtime.kinds import enter, launch, plan_exec, runtime_of
from carboy.runtime.passing import Passing
from carboy.runtime.stdio import Stdio
from carboy.snapshots.snapshot import open_container, remove_stale

job = json.loads(sys.argv[2])
tier = enter_tier(job["tier"])

class Home:
    containers = job["containers"]
    run = os.path.dirname(containers) + "/run"

kinds = {name: getattr(values, name) for name in ("BindMount", "TmpfsMount", "FileMount")}
options = job["spec"]
mounts = []
for kind, fields in options.pop("mounts", []):
    if "content" in fields:
        fields["content"] = fields["content"].encode()
    mounts.append(kinds[kind](**fields))
if "limits" in options:
    fields = options["limits"]
    options["limits"] = values.Limits(**{**fields, "ulimits": tuple(map(tuple, fields.get("ulimits", ())))})
options["devices"] = tuple(values.Device(**fields) for fields in options.get("devices", ()))
options["groups"] = tuple(options.get("groups", ()))
options["sysctls"] = tuple(map(tuple, options.get("sysctls", ())))
if "capabilities" in options:
    options["capabilities"] = frozenset(options["capabilities"])
options["env"] = tuple(options.get("env", ("PATH=/bin:/usr/bin",)))
if not job["directory"]:
    names = read_host_files(network=options.get("network", "none"), hostname=options.get("hostname", "carboy"))
    mounts = [*names, *mounts]
class Companion(Watcher):
    # Answers for the network, and starts processes in the sandbox once it runs; then ends it.

    def begin(self, sandbox, loop):
        self.sandbox, self.loop, self.events, self.left = sandbox, loop, [], list(job["exec"])

    def take(self, event):
        if event[0] == "netns":
            sys.stderr.write(json.dumps({"netns": os.fstat(event[2]).st_ino}) + "\n")
            os.close(event[2])
            self.sandbox.proceed(job["problem"])
        elif event[0] == "pid":
            self.pidfd = os.pidfd_open(event[1])
        elif event[0] == "started" and self.left:
            self.enter()

    def enter(self):
        if not self.left:
            self.sandbox.signal(9)
            return
        process = self.left.pop(0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        streams = {} if process.get("terminal") else {1: 1, 2: 2}
        child = enter(plan_exec(self.plan, process), {**streams, 4: theirs.fileno(), 5: self.pidfd})
        theirs.close()

        def receive(fd):
            data, fds, _, _ = socket.recv_fds(ours, 65536, 1)
            if data:
                self.events.append(marshal.loads(data))
                if fds:
                    self.console = fds[0]
                    size = struct.pack("4H", 20, 60, 0, 0)
                    fcntl.ioctl(self.console, 0x5414, size)
                return
            self.loop.forget(fd)
            ours.close()
            os.waitpid(child, 0)
            if any(event[0] == "console" for event in self.events):
                try:
                    while seen := os.read(self.console, 4096):
                        os.write(1, seen)
                except OSError:
                    pass
            sys.stderr.write(json.dumps({"exec": self.events}) + "\n")
            self.events = []
            self.enter()

        self.loop.watch(ours.fileno(), receive)


captured = []
stdio = Stdio(
    stdin=0 if job["stdin"] else None,
    terminal=bool(options.get("terminal")),
    capture=captured.append if job["capture"] else None,
)
container_id = job["id"] or os.urandom(16).hex()
if job["sweep"]:
    for stale in remove_stale(Home):
        remove_cgroup(stale)
try:
    with open_container(Home, container_id) as container:
        if job["directory"]:
            root = values.DirectoryRoot(path=job["directory"])
        else:
            root = container.prepare(job["lower"], userxattr=True)
        spec = values.SandboxSpec(
            id=container_id, root=root, tier=tier.name, id_count=tier.id_count, mounts=tuple(mounts), **options
        )
        runtime = runtime_of(job["runtime"], Home)
        if job["exec"] or spec.announce_network:
            companion = Companion()
            with Passing(stdio, terminal=spec.terminal) as passing:
                companion.plan = marshal.loads(marshal.dumps(runtime.plan(spec)))
                status = attend(lambda: launch(companion.plan, passing.child_fds), passing, watcher=companion)
        else:
            status = runtime.run(spec, stdio)
except CarboyError as error:
    sys.stderr.write(json.dumps({"error": str(error), "details": error.details, "hint": error.hint}) + "\n")
    status = error.code
if job["capture"]:
    sys.stdout.buffer.write(b"captured: " + b"".join(captured))
sys.exit(status)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a sandbox ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The message of the error that the runtime raised; empty when there was none."""
        line = self.stderr.rstrip().rpartition("\n")[2]
        found: str = json.loads(line)["error"] if line.startswith('{"error"') else ""
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandboxes:
    """Makes sandboxes of one tier, as one person."""

    tier: str
    uid: int
    gid: int
    place: Path
    package: Path
    lower: Path
    python: str
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> Path:
        return self.place / "containers"

    def new_root(self, name: str) -> Path:
        """Return a fresh copy of the root file system, for a test to change; give it back by :meth:`own`."""
        path = self.place / f"root-{name}-{os.urandom(4).hex()}"
        shutil.copytree(self.lower, path, symlinks=True)
        return path

    def own(self, path: Path) -> Path:
        """Make the tree the person's, links not followed."""
        if self.uid:
            for folder, folders, files in os.walk(path):
                for entry in ("", *folders, *files):
                    os.chown(os.path.join(folder, entry), self.uid, self.gid, follow_symlinks=False)
        return path

    def command(self, *args: str, **options: Any) -> list[str]:
        """Return the command line of a driver: options of the driver, the others are fields of the specification."""
        job = {
            "tier": self.tier,
            "id": options.pop("id", None),
            "containers": str(self.containers),
            "directory": options.pop("directory", None),
            "runtime": options.pop("runtime", "native"),
            "exec": options.pop("exec", []),
            "problem": options.pop("problem", ""),
            "sweep": options.pop("sweep", False),
            "lower": [str(path) for path in options.pop("lower", [self.lower])],
            "stdin": options.pop("stdin", False),
            "capture": options.pop("capture", False),
            "spec": {"args": args, **options},
        }
        return [self.python, "-I", "-c", DRIVER, str(self.package), json.dumps(job)]

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a driver as the person; the options are Popen's."""
        if self.uid != os.getuid():
            options |= {"user": self.uid, "group": self.gid, "extra_groups": [self.gid]}
        return subprocess.Popen(command, env=self._environ(), cwd="/", start_new_session=True, **options)

    def _environ(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self.environ}

    def _kind(self) -> Kind:
        paths = (str(self.package),)
        return Kind(python=self.python, uid=self.uid, gid=self.gid, paths=paths, packages=PACKAGES, isolated=True)

    def run(self, *args: str, input: bytes | None = None, timeout_s: float = 60, **options: Any) -> Result:
        """Run one sandbox to its end."""
        command = self.command(*args, stdin=options.pop("stdin", input is not None), **options)
        streams = {
            "stdin": subprocess.DEVNULL if input is None else subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        environ = self._environ()
        if is_warm(environ, command):
            process = WARM.start(self._kind(), ["-c", *command[4:]], code=DRIVER, env=environ, cwd="/", **streams)
        else:
            process = self.start(command, **streams)
        with process:
            stdout, stderr = process.communicate(input, timeout=timeout_s)
        return Result(status=process.returncode, stdout=stdout.decode(), stderr=stderr.decode())


def make_busybox_root(path: Path) -> None:
    """Fill a directory with what a shell needs."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed (Debian: busybox-static)")
    for name in ("bin", "etc", "root", "home", "opt", "proc", "sys", "dev", "run", "var"):
        (path / name).mkdir(mode=0o755, parents=True)
    (path / "tmp").mkdir()
    (path / "tmp").chmod(0o1777)
    shutil.copy(busybox, path / "bin" / "busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc" / "passwd").write_text(PASSWD)
    (path / "etc" / "group").write_text(GROUP)


def find_python() -> str:
    """Return an interpreter that every user may execute."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        if os.path.exists(path) and not path.startswith("/root/"):
            check = "import sys; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([path, "-c", check], check=False).returncode == 0:
                return path
    pytest.skip("there is no Python 3.11 that every user may execute")


def make_sandboxes(person: Any, base: Path, *, package: Path) -> Sandboxes:
    """Return the maker of one person's sandboxes, with a root file system of its own."""
    place = base / f"sandboxes-{person.tier}-{os.urandom(4).hex()}"
    for name in ("containers", "run"):
        (place / name).mkdir(parents=True)
    make_busybox_root(place / "root")
    sandboxes = Sandboxes(
        tier=person.tier,
        uid=person.uid,
        gid=person.gid,
        place=place,
        package=package,
        lower=place / "root",
        python=find_python(),
    )
    sandboxes.own(place)
    return sandboxes


def copy_package(base: Path) -> Path:
    """Return a folder with a copy of the package, compiled, that every user may read; all workers of a run share it."""
    place = base / "package"
    with made_once(base, "package") as record:
        if not record.exists():
            shutil.copytree(CHECKOUT / "src" / "carboy", place / "carboy", ignore=shutil.ignore_patterns("__pycache__"))
            subprocess.run([find_python(), "-m", "compileall", "-q", str(place)], check=True)
            subprocess.run(["chmod", "-R", "go+rX", str(place)], check=True)
            record.write_text("{}")
    return place


@pytest.fixture(scope="session")
def package(run_base: Path) -> Path:
    return copy_package(run_base)


@pytest.fixture(scope="module", params=TIERS)
def sandboxes(request: pytest.FixtureRequest, run_base: Path, package: Path, tier_users: dict[str, Any]) -> Sandboxes:
    """Return a maker of sandboxes for each tier in turn."""
    return make_sandboxes(tier_users[request.param], run_base, package=package)


@pytest.fixture(scope="module")
def root_sandboxes(run_base: Path, package: Path, tier_users: dict[str, Any]) -> Sandboxes:
    """Return a maker of sandboxes of root's."""
    return make_sandboxes(tier_users["root"], run_base, package=package)
