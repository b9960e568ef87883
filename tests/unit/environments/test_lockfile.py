"""``carboy.lock``: written, read, compared; and what a plan makes of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carboy.build.plan import BaseStep, EnvironmentStep, choose_lock, plan_project
from carboy.build.project import ProjectFacts
from carboy.environments.lockfile import (
    LockFile,
    compare_versions,
    explain_drift,
    keep_tools,
    keep_versions,
    parse_lockfile,
    parse_tools,
    render_lockfile,
    render_tools,
)
from carboy.errors import CarboyError
from carboy.oci.platform import Platform

FOREIGN = Platform(os="linux", architecture="arm64" if Platform.current().architecture == "amd64" else "amd64")
A, B = "a" * 64, "b" * 64
COMMIT = "c0ffee00" * 5
LOCK = LockFile(
    inputs="sha256:1",
    base="debian:bookworm",
    base_packages=(f"base-files 12.4+deb12u1 sha256:{A}", f"jq 1.6-2.1 sha256:{B}"),
    python=(f"Flask_Login==1.0 --hash=sha256:{A}", f"numpy==2.1.3 --hash=sha256:{A} --hash=sha256:{B}"),
)


def facts(**texts: str) -> ProjectFacts:
    files = {"main.py": "", **{name.replace("__", "."): text for name, text in texts.items()}}
    return ProjectFacts(folder="/f", files=tuple(sorted(files)), texts=files, scripts={"main.py": False})


def test_what_is_written_is_read_again() -> None:
    text = render_lockfile(LOCK)
    assert parse_lockfile(text) == LOCK
    assert render_lockfile(parse_lockfile(text)) == text
    assert f'    "numpy==2.1.3 --hash=sha256:{A} --hash=sha256:{B}",' in text.splitlines()
    tools = (("own", (f"setuptools==80.9.0 --hash=sha256:{A}",)), ("x", ()))
    built = replace(LOCK, python=(f"own @ git+https://x.example/own@{COMMIT} --hash=sha256:{A}",), tools=tools)
    assert parse_lockfile(render_lockfile(built)) == built
    assert parse_tools(render_tools(tools)) == tools[:1]
    assert keep_tools(built, upgrade=("Own",)) == tools[1:]
    inner = replace(built, tools=(*tools, ("x/own", ()), ("x/own/y", ())))
    assert keep_tools(inner, upgrade=("own",)) == tools[1:]
    assert keep_tools(inner, upgrade=("x",)) == tools[:1]
    assert keep_versions(built, upgrade=()) == f"own @ git+https://x.example/own@{COMMIT}\n"
    assert not keep_versions(built, upgrade=("own",))
    other = tuple(line.replace(COMMIT, "b" * 40) for line in built.python)
    assert compare_versions(built.python, other) == [("own", COMMIT[:12], "b" * 12)]
    with pytest.raises(CarboyError, match="names no package"):
        parse_lockfile(render_lockfile(replace(built, tools=(("own", ("setuptools",)),))))
    empty = replace(LOCK, python=(), base_packages=())
    assert parse_lockfile(render_lockfile(empty)) == empty


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "of version 2"),
        ("version = 1", "version = ", "cannot be read"),
        ("[python]", "[other]", "cannot be read"),
        ("numpy==2.1.3 --hash", "numpy==2.1.3 --index-url=x --hash", "names no package"),
        ("numpy==2.1.3", "-r other.txt", "names no package"),
        ("jq 1.6-2.1 sha256", "jq sha256", "names no package"),
    ],
)
def test_what_somebody_has_changed_by_hand(old: str, new: str, message: str) -> None:
    with pytest.raises(CarboyError, match=message) as caught:
        parse_lockfile(render_lockfile(LOCK).replace(old, new))
    assert "remove it: `carboy lock`" in caught.value.hint  # which reads it, too


def test_differences_are_told() -> None:
    now = [f"jq 1.7 sha256:{A}", f"curl 8 sha256:{A}"]
    assert explain_drift(LOCK.base_packages, now) == ["base-files is gone", "curl is new", "jq 1.6-2.1 is 1.7 now"]
    assert explain_drift([f"jq 1 sha256:{A}"], [f"jq 1 sha256:{B}"]) == ["jq 1 has other bytes"]
    assert explain_drift(now, now) == []
    assert explain_drift([], [f"p{n} 1 sha256:{A}" for n in range(12)])[-1] == "and 2 more"
    assert compare_versions(["a==1 --hash=x", "b==1"], ["b==2 --hash=y", "c==3"]) == [
        ("a", "1", ""),
        ("b", "1", "2"),
        ("c", "", "3"),
    ]


def test_versions_are_kept_but_for_those_that_are_to_be_newer() -> None:
    assert keep_versions(LOCK, upgrade=()) == "Flask_Login==1.0\nnumpy==2.1.3\n"
    assert keep_versions(LOCK, upgrade=("flask-login",)) == "numpy==2.1.3\n"


def test_a_lock_that_fits_decides() -> None:
    inputs = plan_project(facts(requirements__txt="numpy\n")).inputs
    text = render_lockfile(replace(LOCK, inputs=inputs))
    plan = plan_project(facts(requirements__txt="numpy\n", carboy__lock=text), locked=True)
    base, environment = plan.steps[:2]
    assert isinstance(base, BaseStep)
    assert isinstance(environment, EnvironmentStep)
    assert environment.requirements == "numpy\n"
    assert environment.constraints == "Flask_Login==1.0\nnumpy==2.1.3\n"
    assert environment.allowed.splitlines() == list(LOCK.python)
    assert environment.reason == "requirements.txt and carboy.lock"
    assert plan.locked_base == LOCK.base_packages
    assert not plan_project(facts(requirements__txt="numpy\n", carboy__lock=text)).locked_base


def test_a_lock_of_something_else_is_not_used_and_said() -> None:
    text = render_lockfile(LOCK)
    plan = plan_project(facts(requirements__txt="numpy\n", carboy__lock=text))
    environment = plan.steps[1]
    assert isinstance(environment, EnvironmentStep)
    assert not environment.allowed
    assert "out of date" in plan.notes[0]
    with pytest.raises(CarboyError, match="out of date"):
        choose_lock(text, "sha256:2", locked=True)
    with pytest.raises(CarboyError, match=r"there is no carboy\.lock"):
        choose_lock(None, "sha256:2", locked=True)


def test_of_a_lock_of_another_processor_versions_count() -> None:
    inputs = plan_project(facts(requirements__txt="numpy\n")).inputs
    asked = facts(requirements__txt="numpy\n", carboy__lock=render_lockfile(replace(LOCK, inputs=inputs)))
    plan = plan_project(asked, platform=FOREIGN)
    environment = plan.steps[1]
    assert isinstance(environment, EnvironmentStep)
    assert (environment.constraints, environment.allowed) == ("Flask_Login==1.0\nnumpy==2.1.3\n", "")
    assert plan.platform == FOREIGN
    assert f"for {FOREIGN} its versions count" in plan.notes[0]
    with pytest.raises(CarboyError, match=f"{FOREIGN} was asked for"):
        plan_project(asked, locked=True, platform=FOREIGN)
    assert plan_project(asked, locked=True, platform=Platform.current()).platform is None
