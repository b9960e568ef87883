"""Tiers: the choice (pure), and entering them for real in children and as users made for the test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carboy.errors import CarboyError
from carboy.linux import identity
from carboy.linux.capabilities import NUMBERS
from carboy.linux.identity import Facts, plan_tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADMIN = 1 << NUMBERS["SYS_ADMIN"]
HELPERS: dict[str, Any] = {"newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"}
RANGES: dict[str, Any] = {"uid_ranges": ((100_000, 65_536),), "gid_ranges": ((100_000, 65_536),)}

# --- the choice ---------------------------------------------------------------------------------------------------


def test_root() -> None:
    assert plan_tier(Facts(uid=0, capabilities=ADMIN)).tier == "root"


def test_uid_0_without_privilege_is_no_root() -> None:
    report = plan_tier(Facts(uid=0))
    assert report.tier == "single"


def test_uid_0_of_a_namespace() -> None:
    many = ((0, 1000, 1), (1, 100_000, 65_536))
    assert plan_tier(Facts(uid=0, capabilities=ADMIN, uid_map=many, gid_map=many)).tier == "subuid"
    one = ((0, 1000, 1),)
    assert plan_tier(Facts(uid=0, capabilities=ADMIN, uid_map=one, gid_map=many)).tier == "single"
    assert plan_tier(Facts(uid=0, capabilities=ADMIN, uid_map=many, gid_map=many), "single").tier == "single"


def test_user_with_ranges() -> None:
    report = plan_tier(Facts(**HELPERS, **RANGES))
    assert report.tier == "subuid"
    assert report.missing == ()
    assert plan_tier(Facts(**HELPERS, **RANGES), "single").tier == "single"


@pytest.mark.parametrize("absent", ["newuidmap", "newgidmap", "uid_ranges", "gid_ranges"])
def test_what_is_absent_is_named_with_the_way_to_get_it(absent: str) -> None:
    given = {**HELPERS, **RANGES, absent: ()}
    report = plan_tier(Facts(name="ada", **given))
    assert report.tier == "single"
    ((what, how),) = report.missing
    if absent.startswith("new"):
        assert absent in what
        assert "apt-get install" in how
        assert "uidmap" in how
    else:
        assert "ada" in what
        assert how.startswith(f"sudo usermod --add-sub{absent[0]}ids ")
        assert how.endswith(" ada")


def test_no_new_privileges_rules_out_newuidmap() -> None:
    assert plan_tier(Facts(no_new_privileges=True, **HELPERS, **RANGES)).tier == "single"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"limit": 0}, "user.max_user_namespaces"),
        ({"restricted": "kernel.unprivileged_userns_clone=0"}, "kernel.unprivileged_userns_clone=1"),
        ({"restricted": "kernel.apparmor_restrict_unprivileged_userns=1"}, "apparmor_restrict_unprivileged_userns=0"),
        ({"uid_map": ()}, "CONFIG_USER_NS"),
    ],
)
def test_no_tier_at_all(given: dict[str, Any], word: str) -> None:
    report = plan_tier(Facts(**{**HELPERS, **RANGES, **given}))
    assert report.tier == "none"
    assert word in " ".join(how for _, how in report.missing)


def test_wanted_but_impossible_or_unknown() -> None:
    assert plan_tier(Facts(), "subuid").tier == "single"
    assert plan_tier(Facts(), "root").tier == "single"
    with pytest.raises(CarboyError) as caught:
        plan_tier(Facts(), "superuser")
    assert caught.value.code == 2


def test_a_tier_is_frozen() -> None:
    tier = identity.Tier("single", uid_extents=((0, 5, 1),), gid_extents=((0, 5, 1),), owner=(5, 5))
    assert (tier.kind, tier.id_count, tier.owner_uid) == ("single", 1, 5)
    with pytest.raises(AttributeError):
        tier.name = "root"


# --- for real, in children ----------------------------------------------------------------------------------------

DESCRIBE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from carboy.errors import CarboyError
from carboy.linux import identity
modules = sorted(sys.modules)
import json
try:
    tier = identity.enter_tier(os.environ.get("CARBOY_TIER"))
except CarboyError as error:
    print(json.dumps({"error": error.brief, "details": error.details, "code": error.code}))
    raise SystemExit
again = identity.enter_tier()
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "name": tier.name, "kind": tier.kind, "ids": tier.id_count, "owner": [tier.owner_uid, tier.owner_gid],
    "uid": os.getuid(), "gid": os.getgid(), "same": again is tier, "caps": int(status["CapEff"], 16),
    "uid_map": [list(map(int, line.split())) for line in open("/proc/self/uid_map")],
    "setgroups": open("/proc/self/setgroups").read().strip(), "children": open("/proc/thread-self/children").read(),
    "fds": sorted(os.listdir("/proc/self/fd")), "modules": modules,
}))
"""


@pytest.fixture(scope="session")
def package_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the package that other users may read."""
    place = Path("/tmp") / f"carboy-identity-{uuid.uuid4().hex[:12]}"
    place.mkdir(mode=0o755)
    source = Path(identity.__file__).resolve().parents[1]
    shutil.copytree(source, place / "carboy", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
    yield place
    shutil.rmtree(place)


def find_public_python() -> str:
    for name in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        real = Path(name).resolve()
        if real.exists() and all(parent.stat().st_mode & 0o001 for parent in [real, *real.parents]):
            command = [name, "-I", "-S", "-c", "import sys; print(sys.version_info >= (3, 11))"]
            version = subprocess.run(command, check=False, capture_output=True, text=True)
            if version.stdout.strip() == "True":
                return name
    pytest.skip("there is no Python 3.11 that other users may run")


class Person:
    """A user made for the tests."""

    def __init__(self, name: str, package: Path) -> None:
        self.name = name
        self.package = package
        fields = subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True)
        self.uid = int(fields.stdout)

    def enter(self, *prefix: str, code: str = DESCRIBE, **environ: str) -> dict[str, Any]:
        """Enter a tier as this user and return what it looks like from inside."""
        done = subprocess.run(
            [*prefix, find_public_python(), "-I", "-S", "-c", code, str(self.package)],
            capture_output=True,
            text=True,
            check=True,
            env=environ,
            cwd="/",
            user=self.name,
            group=self.name,
            extra_groups=[],
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def locked(path: str) -> Iterator[Path]:
    """Hold the lock by which useradd and its kin keep each other off a file: path.lock, with the holder's pid."""
    lock = f"{path}.lock"
    while True:
        try:
            fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            time.sleep(0.01)
    os.write(fd, f"{os.getpid()}\0".encode())
    os.close(fd)
    try:
        yield Path(path)
    finally:
        os.unlink(lock)


@pytest.fixture
def make_person(package_copy: Path) -> Iterator[Callable[[str], Person]]:
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("users can be made by root only, with useradd")
    if shutil.which("newuidmap") is None:
        pytest.skip("newuidmap is not installed (Debian: uidmap)")
    made: list[str] = []

    def make(ranges: str) -> Person:
        """Make a user; ``ranges`` are the lines that /etc/subuid and /etc/subgid get, {} standing for the name."""
        name = f"cbt{uuid.uuid4().hex[:10]}"
        subprocess.run(
            ["useradd", "-m", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0", name], check=True, capture_output=True
        )
        made.append(name)
        uid = subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True).stdout.strip()
        for path in ("/etc/subuid", "/etc/subgid"):
            with locked(path) as file:
                old = file.read_text() if file.exists() else ""
                file.write_text(old + ranges.format(name=name, uid=uid))
        return Person(name, package_copy)

    yield make
    for name in made:
        uid = subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["userdel", "-r", name], check=False, capture_output=True)
        for path in ("/etc/subuid", "/etc/subgid"):
            with locked(path) as file:
                lines = file.read_text().splitlines(True)
                file.write_text("".join(line for line in lines if line.split(":")[0] not in {name, uid}))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("who", ["{name}", "{uid}"])
def test_subuid_by_name_and_by_uid(make_person: Callable[[str], Person], who: str) -> None:
    person = make_person(f"{who}:3000000:65536\n")
    found = person.enter()
    assert (found["name"], found["kind"], found["ids"]) == ("subuid", "multi", 65_537)
    assert found["uid_map"] == [[0, person.uid, 1], [1, 3_000_000, 65_536]]
    assert (found["uid"], found["gid"], found["owner"][0]) == (0, 0, person.uid)
    assert found["setgroups"] == "allow"
    assert found["caps"] & ADMIN
    assert found["same"]
    assert found["children"] == ""
    assert found["fds"] == ["0", "1", "2", "3"]  # 3 reads the folder itself
    assert not set(found["modules"]) & {"re", "enum", "json", "subprocess", "typing", "dataclasses"}


@pytest.mark.root
@pytest.mark.slow
def test_subuid_with_several_small_ranges(make_person: Callable[[str], Person]) -> None:
    found = make_person("{name}:3000000:1000\n{name}:3100000:500\n").enter()
    assert found["name"] == "subuid"
    assert found["ids"] == 1501
    assert found["uid_map"][1:] == [[1, 3_000_000, 1000], [1001, 3_100_000, 500]]


@pytest.mark.root
@pytest.mark.slow
def test_single_when_there_is_no_range_or_no_privilege(make_person: Callable[[str], Person]) -> None:
    person = make_person("")
    for found in (person.enter(), make_person("{name}:3000000:65536\n").enter("setpriv", "--no-new-privs")):
        assert (found["name"], found["kind"], found["ids"]) == ("single", "single", 1)
        assert (found["uid"], found["gid"]) == (0, 0)
        assert len(found["uid_map"]) == 1
        assert found["setgroups"] == "deny"
        assert found["caps"] & ADMIN


@pytest.mark.root
@pytest.mark.slow
def test_a_tier_can_be_asked_for(make_person: Callable[[str], Person]) -> None:
    person = make_person("{name}:3000000:65536\n")
    assert person.enter(CARBOY_TIER="single")["name"] == "single"
    assert person.enter(CARBOY_TIER="subuid")["name"] == "subuid"
    refused = person.enter(CARBOY_TIER="root")
    assert refused["code"] == 125
    assert "root" in refused["error"]
    assert make_person("").enter(CARBOY_TIER="subuid")["code"] == 125


@pytest.mark.root
@pytest.mark.slow
def test_a_failure_half_way_is_an_error_not_a_lower_tier(make_person: Callable[[str], Person]) -> None:
    person = make_person("{name}:3000000:65536\n")
    # newgidmap reads another file than carboy believes: /etc/subgid loses the line after carboy read it.
    code = DESCRIBE.replace(
        "try:\n", "identity.subids.plan_extents = lambda own, ranges: ((0, own, 1), (1, 7, 50))\ntry:\n", 1
    )
    found = person.enter(code=code)
    assert found["code"] == 125
    assert "newuidmap" in found["error"]
    assert "not allowed" in found["details"]


def test_read_facts_of_this_process() -> None:
    facts = identity.read_facts()
    assert facts.uid == os.geteuid()
    assert facts.uid_map


def test_probing_changes_nothing() -> None:
    before = os.stat("/proc/self/ns/user").st_ino
    identity.probe_tier({})
    identity.probe_tier({"CARBOY_TIER": "single"})
    assert os.stat("/proc/self/ns/user").st_ino == before


@pytest.mark.userns
def test_trying_happens_in_a_child() -> None:
    before = os.stat("/proc/self/ns/user").st_ino
    if identity.plan_tier(identity.read_facts("single"), "single").tier == "none":
        pytest.skip("user namespaces are not allowed here")
    assert identity.try_tier("single") == ""
    assert "no tier" in identity.try_tier("superuser")
    assert os.stat("/proc/self/ns/user").st_ino == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")
def test_root_stays_root() -> None:
    if not identity.read_facts().is_root:
        pytest.skip("this uid 0 is not root of the machine")
    tier = identity.enter_tier()
    assert (tier.name, tier.kind, tier.id_count) == ("root", "multi", 65_536)


def test_run_in_child_reports_errors() -> None:
    def fail() -> str:
        raise CarboyError("brief", details="details")

    assert identity.run_in_child(fail) == "error: brief: details"
    assert identity.run_in_child(lambda: "x" * 10) == "x" * 10
