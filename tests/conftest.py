"""What the tests share: a place that lasts for one run, people of each tier, a runner for ``carboy``, a warm home.

Everything here is made on first use and once per run, however many workers there are, and removed by the process that
was started by hand (xdist's controller) when the run ends.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from once import made_once
from warm_interpreters import WARM, Kind, become_subreaper, is_warm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

pytest_plugins = [
    "older_kernel",
    "sandboxes",
    "small_image",
    "containers",
    "screens",
    "contracts",
    "dockerfiles",
    "registries",
]

CHECKOUT = Path(__file__).resolve().parent.parent
BASE_VARIABLE = "CARBOY_TEST_BASE"
KEPT_VARIABLES = (
    "PIP_",
    "UV_",
    "SSL_CERT_",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_",
    "HTTPS_",
    "NO_PROXY",
    "http",
)
IMAGE = "iris:test"
# What a warm interpreter loads for commands of carboy, and how it goes on.
ROOMS = (
    "cli",
    "engine",
    "build",
    "images",
    "layers",
    "runtime",
    "store",
    "containers",
    "network",
    "dockerfile",
    "compose",
)
# Commands that import so little that a fork of a large process costs as much.
LIGHT = {(), ("run",), ("exec",), ("version",)}
PROGRAM = "from carboy.cli.main import program; program()"


# --- the place of one run -----------------------------------------------------------------------------------------


# What these modules test is the same code in each tier; tests/security asks what the tiers differ in, every day.
SECOND_TIER_IS_LONG = frozenset(
    {
        "test_verify",
        "test_attestations",
        "test_build_output",
        "test_containers",
        "test_container_trouble",
        "test_container_processes",
        "test_container_memory",
        "test_dockerfile",
        "test_files_of_containers",
        "test_image_archives",
        "test_observing",
        "test_platforms",
        "test_registry_builds",
        "test_runs",
        "test_registries",
    }
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the place of this run, before any worker is started."""
    if not hasattr(config, "workerinput"):
        base = tempfile.mkdtemp(prefix="carboy-tests-")
        Path(base).chmod(0o711)  # the people of the user tiers pass through
        os.environ[BASE_VARIABLE] = base
    # Interpreters started by tests are measured and run as a person would run them.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End this process's warm interpreters; then remove the people and the place of this run."""
    WARM.close()
    if hasattr(config, "workerinput") or BASE_VARIABLE not in os.environ:
        return
    base = Path(os.environ.pop(BASE_VARIABLE))
    for record in base.glob("person-*.json"):
        subprocess.run(["userdel", "--force", json.loads(record.read_text())], capture_output=True, check=False)
    _remove(base)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # directories that their owner cannot enter, or ids that only a user namespace can remove
        subprocess.run(["chmod", "-R", "u+rwX", str(folder)], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def run_base() -> Path:
    """Return the folder that all workers of this run share."""
    return Path(os.environ[BASE_VARIABLE])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one home that has bases in one worker, and leave the second tier of whole modules to the long run."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        groups = _list_groups(item)
        if "shared_carboy" in names:
            item.add_marker(pytest.mark.xdist_group("shared-home"))
        elif "folders_carboy" in names:
            item.add_marker(pytest.mark.xdist_group("folders-home"))
        elif "tier_carboy" in parameters and item.get_closest_marker("network") and not groups:
            item.add_marker(pytest.mark.xdist_group(f"tier-{parameters['tier_carboy']}"))
        if len(_list_groups(item)) > 1:  # xdist takes two for a third, whose worker would remove another one's home
            raise pytest.UsageError(f"{item.nodeid} is of two groups: {', '.join(sorted(_list_groups(item)))}")
        if parameters.get("tier_carboy") == "subuid" and item.path.stem in SECOND_TIER_IS_LONG:
            item.add_marker(pytest.mark.long)


def _list_groups(item: pytest.Item) -> set[str]:
    return {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take the groups off the names of what failed, so that ``--last-failed`` finds it again where there are no groups."""
    plugin = session.config.pluginmanager.get_plugin("lfplugin")
    if plugin is not None:
        plugin.lastfailed = {re.sub(r"@[a-z-]+$", "", name): True for name in plugin.lastfailed}


# --- people -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who runs carboy: root, or a user made for this run."""

    tier: str
    name: str
    uid: int
    gid: int
    home: Path


@pytest.fixture(scope="session")
def tier_users(run_base: Path) -> dict[str, Person]:
    """Return one person for each tier: ``root``, ``subuid`` (with ranges) and ``single`` (without); needs root."""
    if os.getuid() != 0:
        pytest.skip("users can be made by root only")
    if shutil.which("useradd") is None:
        pytest.skip("useradd is not installed (Debian: passwd)")
    if shutil.which("newuidmap") is None:
        pytest.skip("newuidmap is not installed (Debian: uidmap)")
    root = Person(tier="root", name="root", uid=0, gid=0, home=Path("/root"))
    return {"root": root, "subuid": _make_person(run_base, "subuid"), "single": _make_person(run_base, "single")}


def _this_person(home: Path) -> Person:
    """Return whoever runs the tests."""
    entry = pwd.getpwuid(os.getuid())
    tier = "root" if entry.pw_uid == 0 else "user"
    return Person(tier=tier, name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=home)


def _make_person(base: Path, tier: str) -> Person:
    home = base / f"home-{tier}"
    with made_once(base, f"person-{tier}") as record:
        if not record.exists():
            name = f"carboy-{base.name[-8:].lower().replace('_', '-')}-{tier}"
            ranges = [] if tier == "subuid" else ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
            Path("/etc/subuid").touch()  # useradd hands out ranges only where the files exist
            Path("/etc/subgid").touch()
            command = ["useradd", "--create-home", "--home-dir", str(home), "--shell", "/bin/sh", *ranges, name]
            subprocess.run(command, check=True, capture_output=True)
            record.write_text(json.dumps(name))
        entry = pwd.getpwnam(json.loads(record.read_text()))
    has_range = any(line.startswith(f"{entry.pw_name}:") for line in Path("/etc/subuid").read_text().splitlines())
    assert has_range == (tier == "subuid")
    return Person(tier=tier, name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=home)


# --- carboy -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Carboy:
    """Starts ``carboy`` as one person with one home."""

    person: Person
    program: tuple[str, ...]
    home: Path
    temporary: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """Return the environment that carboy gets: the person's own, plus what this machine needs to reach archives."""
        kept = {key: value for key, value in os.environ.items() if key.startswith(KEPT_VARIABLES)}
        own = {
            "HOME": str(self.person.home),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.temporary),
            "CARBOY_HOME": str(self.home),
        }
        return {**kept, **own, **self.variables}

    def start(self, *arguments: str, prefix: Sequence[str] = (), **options: object) -> subprocess.Popen[str]:
        """Start one command in a session of its own, its output piped."""
        settings = {**self._settings(), **options}
        if self.person.uid != os.getuid():
            settings |= {"user": self.person.uid, "group": self.person.gid, "extra_groups": []}
        return subprocess.Popen([*prefix, *self.program, *arguments], **settings)  # type: ignore[call-overload, no-any-return]

    def _settings(self) -> dict[str, object]:
        return {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": self.environ(),
            "cwd": self.person.home,
            "start_new_session": True,
        }

    def _call(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start one command that is about what it does, not about how it starts: behind its imports, where that can be."""
        program, *words = self.program
        is_own = program.endswith("/carboy")
        code = PROGRAM if is_own else "".join(words[2:]) if words[:2] == ["-I", "-c"] else ""
        can = code and self.person.tier != "single" and options.keys() <= {"stdin", "cwd"}
        if not can or (is_own and arguments[:1] in LIGHT) or not is_warm(self.environ(), arguments):
            return self.start(*arguments, **options)  # type: ignore[arg-type]
        kind = Kind(
            python=str(Path(program).with_name("python")),
            uid=self.person.uid,
            gid=self.person.gid,
            packages=tuple(f"carboy.{room}" for room in ROOMS),
        )
        line = [program if is_own else "-c", *arguments]
        return WARM.start(kind, line, code=code, **{**self._settings(), **options})

    def __call__(
        self, *arguments: str, expect: int | None = 0, timeout_s: float = 280, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end and check its exit status (unless ``expect`` is None)."""
        text = options.pop("input", None)
        if text is not None:
            options["stdin"] = subprocess.PIPE
        process = self._call(*arguments, **options)
        try:
            stdout, stderr = process.communicate(text, timeout=timeout_s)  # type: ignore[arg-type]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"carboy {arguments} took too long:\n{stdout}\n{stderr}") from None
        done = subprocess.CompletedProcess([*self.program, *arguments], process.returncode, stdout, stderr)
        if expect is not None:
            assert done.returncode == expect, f"carboy {arguments} -> {done.returncode}\n{stdout}\n{stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def python(self, text: str, *arguments: str, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
        """Run a Python program under the interpreter that this carboy is installed for."""
        interpreter = Path(self.program[0]).with_name("python") if len(self.program) == 1 else Path(self.program[0])
        runner = Carboy(
            person=self.person, program=(str(interpreter),), home=self.home, temporary=self.temporary,
            variables=self.variables,
        )  # fmt: skip
        return runner("-c", text, *arguments, expect=None, timeout_s=timeout_s)

    def using(self, home: Path, **variables: str) -> Carboy:
        """Return the same runner with another home, and with these variables on top."""
        variables = {**self.variables, **variables}
        return Carboy(
            person=self.person, program=self.program, home=home, temporary=self.temporary, variables=variables
        )


@pytest.fixture(scope="session")
def own_program() -> tuple[str, ...]:
    """Return the command line that starts this checkout's carboy with the interpreter that runs the tests."""
    installed = Path(sys.executable).with_name("carboy")
    return (str(installed),) if installed.exists() else (sys.executable, "-m", "carboy")


@pytest.fixture(scope="session")
def public_program(own_program: tuple[str, ...], run_base: Path, tier_users: dict[str, Person]) -> tuple[str, ...]:
    """Return a command line that starts this checkout's carboy and that the people of the user tiers may execute."""
    person = tier_users["single"]
    command = [*own_program, "version"]
    try:
        subprocess.run(
            command, user=person.uid, group=person.gid, extra_groups=[], check=True, capture_output=True, cwd="/"
        )
        return own_program
    except (OSError, subprocess.CalledProcessError):
        pass  # this environment, or its interpreter, is below a folder of root's
    place = run_base / "environment"
    with made_once(run_base, "environment") as record:
        if not record.exists():
            python = "/usr/bin/python3"
            if subprocess.run(
                [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False
            ).returncode:
                pytest.skip("no Python 3.11 that every user may execute")
            script = [python, str(CHECKOUT / "scripts" / "try.py"), "version"]
            environ = {**os.environ, "CARBOY_VENV": str(place)}
            subprocess.run(script, check=True, capture_output=True, env=environ, timeout=280)
            record.write_text("true")
    return (str(place / "bin" / "carboy"),)


# The lasting homes of this process's tests: how many MB each held when it was last looked at, None for one used since.
LASTING_HOMES: dict[Path, int | None] = {}
BOUND_MB = 4_000


@pytest.fixture(autouse=True, scope="module")
def bounded_homes() -> Iterator[None]:
    """Remove the largest lasting homes when a module ends: what all tests build together fills a disk of 50 GB."""
    yield
    sizes = {home: _measure_mb(home) if size is None else size for home, size in LASTING_HOMES.items()}
    for home in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if sum(sizes.values()) > BOUND_MB and not any(home.glob("containers/*/control")):
            _remove(home)
            assert not home.exists()
            sizes[home] = 0
    LASTING_HOMES.update(sizes)


def _measure_mb(folder: Path) -> int:
    if not folder.exists():
        return 0
    return int(
        subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=False).stdout.split()[0]
    )


def _runner(person: Person, program: tuple[str, ...], home: Path) -> Carboy:
    temporary = home.with_name(home.name + "-tmp")
    for folder in (home.parent, temporary):
        if not folder.exists():
            folder.mkdir(mode=0o755, parents=True)
            os.chown(folder, person.uid, person.gid)
    return Carboy(person=person, program=program, home=home, temporary=temporary)


@pytest.fixture
def carboy(own_program: tuple[str, ...], tmp_path: Path) -> Carboy:
    """Return a runner for the person that runs the tests, with an empty home."""
    person = _this_person(tmp_path)
    return _runner(person, own_program, tmp_path / "carboy")


@pytest.fixture(params=["root", "subuid", pytest.param("single", marks=pytest.mark.long)])
def tier_carboy(
    request: pytest.FixtureRequest,
    worker_id: str,
    tier_users: dict[str, Person],
    own_program: tuple[str, ...],
    public_program: tuple[str, ...],
    run_base: Path,
) -> Carboy:
    """Return a runner for the person of each tier in turn, with a home that lasts for the whole run.

    Each worker has its own, for tests list, prune and remove what is in it.
    """
    person = tier_users[request.param]
    is_root = person.tier == "root"
    home = (run_base if is_root else person.home) / worker_id / "carboy"
    LASTING_HOMES[home] = None
    return _runner(person, own_program if is_root else public_program, home)


@pytest.fixture(scope="session")
def shared_carboy(own_program: tuple[str, ...], run_base: Path) -> Carboy:
    """Return a runner whose home holds ``iris:test``, so that not each test makes a base.

    The tests that use it run one after another (``pytest_collection_modifyitems``).
    """
    person = _this_person(run_base)
    runner = _runner(person, own_program, run_base / "shared" / "carboy")
    with made_once(run_base, "shared") as record:
        if not record.exists():
            runner("build", str(CHECKOUT / "examples" / "iris"), "-t", IMAGE)
            record.write_text("true")
    return runner


@pytest.fixture
def folders_carboy(own_program: tuple[str, ...], run_base: Path) -> Carboy:
    """Return a runner with a second warm home, for folders that only need the base with Python, beside the first one."""
    person = _this_person(run_base)
    home = run_base / "folders" / "carboy"
    LASTING_HOMES[home] = None
    return _runner(person, own_program, home)


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    """Return a copy of examples/iris that the test may change, in a folder named iris."""
    folder = tmp_path / "iris"
    shutil.copytree(CHECKOUT / "examples" / "iris", folder)
    return folder


# --- what is left behind ------------------------------------------------------------------------------------------


def _list_cgroups() -> set[str]:
    found = set()
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"{folder}/{name}" for name in folders if "carboy" in name or "carboy" in folder}
    return found


def _list_children() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@dataclass(slots=True)
class Leftovers:
    """What carboy left on the machine since the fixture was made: call :meth:`find`, and expect nothing."""

    places: tuple[str, ...]
    children: set[int]
    cgroups: set[str]
    namespaces: set[str]

    def find(self, *, patience_s: float = 10) -> list[str]:
        """Return what is left, after waiting up to ``patience_s`` for what is on its way out."""
        end = time.monotonic() + patience_s
        found = self._look()
        while found and time.monotonic() < end:
            time.sleep(0.05)  # the kernel tells nobody when a cgroup becomes empty or an orphan is gone
            # What is left behind is there at every look; what comes and goes is another test's, in another process.
            now = self._look()
            found = [item for item in found if item in now]
        return found

    def _look(self) -> list[str]:
        found = []
        for pid in sorted(_list_children() - self.children - WARM.pids()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                found.append(f"process {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
            else:
                os.waitpid(pid, 0)
        found += [f"cgroup {name}" for name in sorted(_list_cgroups() - self.cgroups) if not _is_anothers(name)]
        found += [f"network namespace {name}" for name in sorted(_list_namespaces() - self.namespaces)]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return found + [f"mount {line}" for line in mounts if any(place in line for place in self.places)]


def _is_anothers(cgroup: str) -> bool:
    """Return whether a control group holds processes, and none of them descends from this process.

    This process is a subreaper: whatever its own commands leave behind becomes its child. An empty group is nobody's.
    """
    try:
        pids = Path(cgroup, "cgroup.procs").read_text().split()
    except OSError:
        return False
    return bool(pids) and not any(_descends(int(pid)) for pid in pids)


def _descends(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _list_namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def leftovers(run_base: Path, tmp_path: Path) -> Leftovers:
    """Return a :class:`Leftovers`; orphans of processes that the test starts become children of the test's process."""
    become_subreaper()
    return Leftovers(
        places=(str(run_base), str(tmp_path)),
        children=_list_children(),
        cgroups=_list_cgroups(),
        namespaces=_list_namespaces(),
    )
