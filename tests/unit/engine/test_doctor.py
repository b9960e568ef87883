"""What ``carboy doctor`` finds: each check on made-up machines, and all of them on this one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from carboy.engine import doctor
from carboy.linux import identity
from carboy.linux.identity import Facts, TierReport
from carboy.network import private

if TYPE_CHECKING:
    from pathlib import Path

HELPERS: dict[str, Any] = {"newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"}


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.1.0-18-amd64", (6, 1)), ("5.11", (5, 11)), ("6.18.44-fc-v657", (6, 18)), ("7-rc1", (7, 0)), ("odd", (0, 0))],
)
def test_parse_release(release: str, expected: tuple[int, int]) -> None:
    assert doctor.parse_release(release) == expected


@pytest.mark.parametrize(
    ("release", "tier", "status"),
    [
        ("5.10.0", "single", "missing"),
        ("5.11.0", "single", "ok"),
        ("5.15.0", "root", "missing"),
        ("5.19.0", "root", "ok"),
    ],
)
def test_kernel(release: str, tier: str, status: str) -> None:
    finding = doctor._check_kernel(release, tier)
    assert finding.status == status
    assert bool(finding.hint) == (status == "missing")


def test_no_tier_is_missing_and_says_how() -> None:
    report = TierReport("none", reasons=["not allowed"], missing=[("x is 0", "sudo sysctl x=1")])
    finding = doctor._check_tier(report, "")
    assert (finding.name, finding.status, finding.hint) == ("tier", "missing", "sudo sysctl x=1")


def test_a_tier_asked_for_in_vain_is_missing() -> None:
    report = identity.plan_tier(Facts(name="ada"), "subuid")
    finding = doctor._check_tier(report, "subuid")
    assert finding.status == "missing"
    assert "CARBOY_TIER asks for subuid" in finding.detail


def test_a_lower_tier_is_a_note_with_the_way_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "try_tier", lambda tier: "")
    finding = doctor._check_tier(identity.plan_tier(Facts(name="ada", **HELPERS)), "")
    assert finding.status == "note"
    assert "usermod" in finding.hint


def test_a_tier_that_fails_when_tried_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "try_tier", lambda tier: "Operation not permitted")
    finding = doctor._check_tier(identity.plan_tier(Facts()), "")
    assert finding.status == "missing"
    assert "Operation not permitted" in finding.detail


@pytest.mark.parametrize("given", [{"limit": 0}, {"restricted": "kernel.unprivileged_userns_clone=0"}, {"uid_map": ()}])
def test_user_namespaces_that_are_forbidden(given: dict[str, Any]) -> None:
    finding = doctor._check_user_namespaces(Facts(**given))
    assert finding.status == "missing"
    assert finding.hint


def test_ranges() -> None:
    wide, narrow = ((100_000, 65_536),), ((100_000, 10),)
    for given, statuses in (
        ({"uid_ranges": wide, "gid_ranges": wide, **HELPERS}, ["ok", "ok"]),
        ({"uid_ranges": wide, "gid_ranges": narrow, **HELPERS}, ["ok", "note"]),
        ({"uid_ranges": wide, "gid_ranges": wide}, ["note", "ok"]),
        ({**HELPERS}, ["ok", "note"]),
    ):
        findings = doctor._check_ranges(Facts(**given))
        assert [finding.status for finding in findings] == statuses
        assert all(bool(finding.hint) == (finding.status != "ok") for finding in findings)


def test_cgroup_versions(tmp_path: Path) -> None:
    found = doctor._check_cgroups("single", str(tmp_path))
    assert found.detail.startswith("none, no control groups are mounted")
    assert found.status == "note"
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "cgroup.procs").touch()
    assert doctor._check_cgroups("root", str(tmp_path)).detail == (
        "v1; limits for processes; not for cpus, cpuset, disks, memory"
    )
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").touch()
    assert doctor._check_cgroups("root", str(tmp_path)).detail.startswith("hybrid")
    (tmp_path / "pids" / "cgroup.procs").unlink()
    (tmp_path / "pids").rmdir()
    for name, text in (("controllers", "cpu cpuset io memory pids\n"), ("procs", ""), ("subtree_control", "")):
        (tmp_path / f"cgroup.{name}").write_text(text)
    found = doctor._check_cgroups("root", str(tmp_path))
    assert (found.status, found.detail) == ("ok", "v2; limits for memory, cpus, cpuset, processes, disks")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://ada:secret@proxy.example:3128/", "http://proxy.example:3128"),
        ("proxy.example:8080", "http://proxy.example:8080"),
        ("ada:secret@proxy.example", "http://proxy.example"),
        ("http://ada:secret@proxy.example:port", "(not an address)"),
    ],
)
def test_no_secret_of_a_proxy_is_shown(value: str, shown: str) -> None:
    detail = doctor._check_proxy({"https_proxy": value}).detail
    assert detail == f"https_proxy={shown}"
    assert "secret" not in detail


def test_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        f_frsize = 1000
        f_bavail = 0

    for free, status in ((5 * 10**6, "ok"), (10**6, "note"), (10**5, "missing")):
        Free.f_bavail = free
        monkeypatch.setattr(os, "statvfs", lambda path: Free)
        assert doctor._check_disk("/home", str(tmp_path)).status == status


@pytest.mark.slow
@pytest.mark.userns
def test_examine_this_machine(tmp_path: Path) -> None:
    before = os.stat("/proc/self/ns/user").st_ino, os.stat("/proc/self/ns/mnt").st_ino
    environ = {"CARBOY_HOME": str(tmp_path / "not" / "yet"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    findings = doctor.examine(environ)
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    for name in ("kernel", "tier", "user namespaces", "overlay", "seccomp", "cgroups", "disk space", "uv"):
        assert name in names
    assert {finding.status for finding in findings} <= {"ok", "note", "missing"}
    assert all(finding.detail for finding in findings)
    assert list(tmp_path.iterdir()) == []
    assert before == (os.stat("/proc/self/ns/user").st_ino, os.stat("/proc/self/ns/mnt").st_ino)


@pytest.mark.slow
@pytest.mark.userns
def test_examine_with_a_tier_asked_for(tmp_path: Path) -> None:
    findings = {
        finding.name: finding for finding in doctor.examine({"CARBOY_HOME": str(tmp_path), "CARBOY_TIER": "single"})
    }
    if findings["user namespaces"].status == "missing":
        pytest.skip("user namespaces are not allowed here")
    assert findings["tier"].detail.startswith("single")
    assert findings["overlay"].status == "ok"


@pytest.mark.parametrize(
    ("means", "environ", "status", "told"),
    [
        ("bridge", {}, "ok", "private is the default of run, by a bridge"),
        ("pasta", {}, "ok", "private is the default of run, by pasta"),
        (None, {}, "note", "none is the default of run, because there is no private network: no tun"),
        ("bridge", {"CARBOY_NETWORK": "none"}, "ok", "none is the default of run, as CARBOY_NETWORK"),
    ],
)
def test_the_default_network_is_said_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, means: str | None, environ: dict[str, str], status: str, told: str
) -> None:
    monkeypatch.setattr(private, "find_private_means", lambda tier: means)
    monkeypatch.setattr(private, "explain_private_means", lambda tier: [] if means else ["no tun"])
    finding = doctor._check_network(environ, str(tmp_path), "single")
    assert finding.status == status
    assert told in finding.detail
    assert bool(finding.hint) == (status == "note")
