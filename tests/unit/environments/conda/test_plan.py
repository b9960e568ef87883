"""What a build plans for a folder with conda's files, and what locks keep of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carboy.build.conda import find_glibc, find_python, read_addresses
from carboy.build.detected import detect_folder
from carboy.build.plan import BaseStep, CondaStep, ConfigStep, EnvironmentStep, Plan, plan_project
from carboy.build.project import read_project
from carboy.environments.lock import parse_pylock
from carboy.environments.lockfile import LockFile, keep_conda_versions, list_pins, render_lockfile
from carboy.errors import CarboyError

ENVIRONMENT = """\
channels: [ours]
dependencies:
  - python=3.11
  - numpy
  - pip: [tabulate]
variables: {A: b}
"""
LINE = f"numpy 1.26 ours/linux-64/numpy-1.26-py311_0.conda sha256:{'a' * 64}"


def make(tmp_path: Path, **files: str) -> Plan:
    for name, text in {"main.py": "", "environment.yml": ENVIRONMENT, **files}.items():
        (tmp_path / name).write_text(text)
    return plan_project(read_project(str(tmp_path)))


def test_a_plan_has_condas_packages_below_pips(tmp_path: Path) -> None:
    plan = make(tmp_path, **{"requirements.txt": "ignored\n"})
    base, conda, python, _, config = plan.steps
    assert isinstance(base, BaseStep)
    assert base.packages == ()
    assert isinstance(conda, CondaStep)
    assert (conda.specs, conda.channels) == (("python=3.11", "numpy"), ("ours",))
    assert isinstance(python, EnvironmentStep)
    assert python.above_conda
    assert python.requirements == "tabulate\n"
    assert isinstance(config, ConfigStep)
    assert plan.command == ("python", "main.py")
    env = dict(item.split("=", 1) for item in config.env)
    assert env["PATH"].startswith("/opt/env/bin:/opt/conda/bin:/usr/local/sbin")
    assert (env["CONDA_PREFIX"], env["A"]) == ("/opt/conda", "b")


def test_a_lock_decides_about_versions(tmp_path: Path) -> None:
    plan = make(tmp_path)
    lock = LockFile(inputs=plan.inputs, base="debian:bookworm", base_packages=(), python=(), conda=(LINE,))
    locked = make(tmp_path, **{"carboy.lock": render_lockfile(lock)})
    conda = locked.steps[1]
    assert isinstance(conda, CondaStep)
    assert conda.packages == (LINE,)
    assert "carboy.lock" in conda.reason
    other = make(tmp_path, **{"environment.yml": ENVIRONMENT.replace("numpy", "scipy")})
    assert other.inputs != plan.inputs
    assert "out of date" in other.notes[0]


def test_a_lock_keeps_versions_but_those_that_are_to_be_newer() -> None:
    lock = LockFile(inputs="", base="", base_packages=(), python=("a==1 --hash=sha256:x",), conda=(LINE,))
    assert keep_conda_versions(lock, upgrade=()) == ("numpy ==1.26 py311_0",)
    assert keep_conda_versions(lock, upgrade=("numpy",)) == ()
    assert list_pins(lock) == ("a==1 --hash=sha256:x", "numpy==1.26")
    assert list_pins(replace(lock, conda=())) == lock.python


def test_what_condas_python_has_is_not_installed_again() -> None:
    wheel = '{{ url = "https://x.example/{0}.whl", hashes = {{ sha256 = "{1}" }} }}'
    item = f'[[packages]]\nname = "{{0}}"\nversion = "1"\nwheels = [{wheel}]\n'
    text = item.format("tabulate", "a" * 64) + item.format("Num_Py", "b" * 64)
    allowed = f"tabulate==1 --hash=sha256:{'a' * 64}\n"
    found = parse_pylock(text, provided={"num-py"}, allowed=allowed)
    assert [package.name for package in found] == ["tabulate"]
    with pytest.raises(CarboyError, match="does not name Num_Py"):
        parse_pylock(text, allowed=allowed)


def test_detect_shows_what_conda_is_asked_for(tmp_path: Path) -> None:
    make(tmp_path)
    found = detect_folder(str(tmp_path))
    assert (found.conda, found.channels, found.packages) == (("python=3.11", "numpy"), ("ours",), ("tabulate",))
    assert found.python == "that of environment.yml (debian:bookworm)"
    assert found.problem == ""
    (tmp_path / "uv.lock").write_text("")
    assert "both environment.yml and uv.lock" in detect_folder(str(tmp_path)).problem


def test_python_is_asked_for_where_it_is_needed() -> None:
    python = f"python 3.11.2 c/linux-64/python-3.11.2-0.conda sha256:{'b' * 64}"
    assert find_python([LINE, python], ("python", "x.py"), with_pip=True) == python
    assert find_python([LINE], ("jq",), with_pip=False) == ""
    for command, with_pip in ((("python3",), False), (("jq",), True)):
        with pytest.raises(CarboyError, match="bring none"):
            find_python([LINE], command, with_pip=with_pip)


def test_the_c_library_is_the_bases() -> None:
    assert find_glibc(["adduser 3.134 sha256:x", "libc6 2.36-9+deb12u10 sha256:x"]) == "2.36"
    with pytest.raises(CarboyError, match="no C library"):
        find_glibc(["musl 1.2 sha256:x"])


def test_addresses_are_those_of_the_home(tmp_path: Path) -> None:
    assert read_addresses(str(tmp_path)) == {}
    (tmp_path / "config.toml").write_text('[conda]\nours = "file:///srv/ours/"\n')
    assert read_addresses(str(tmp_path)) == {"ours": "file:///srv/ours"}
    (tmp_path / "config.toml").write_text("conda = 1\n")
    with pytest.raises(CarboyError, match="must be a table"):
        read_addresses(str(tmp_path))
