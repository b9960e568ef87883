"""Choosing versions by the real solver, from channels that lie in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conda_channel import SUBDIR, CondaChannel

from carboy.environments.conda import solve as module
from carboy.environments.conda.install import plan_list
from carboy.environments.conda.solve import explain, solve
from carboy.errors import CarboyError

pytestmark = pytest.mark.slow
VIRTUAL = (("__unix", "0", "0"), ("__glibc", "2.36", "0"))


@pytest.fixture
def lists(tmp_path: Path) -> list[tuple[str, str, str]]:
    """Two channels: the second has newer ones of what the first has, too."""
    found = []
    for name, newest in (("first", "2.0"), ("second", "3.0")):
        channel = CondaChannel(tmp_path / name)
        for version in ("1.0", newest):
            channel.add("a", version, {}, depends=("b",))
        channel.add("b", "1.5", {}, noarch="generic")
        if name == "second":
            channel.add("only", "1.0", {}, depends=("__glibc >=2.99",))
            channel.add("round", "1.0", {}, depends=("square",))
            channel.add("square", "1.0", {}, depends=("round",))
            channel.add("lost", "1.0", {}, depends=("nowhere >=2",))
        channel.write()
        found += [(name, subdir, str(channel.root / subdir / "repodata.json")) for subdir in (SUBDIR, "noarch")]
    return found


def choose(lists: list[tuple[str, str, str]], *specs: str, constraints: tuple[str, ...] = ()) -> list[str]:
    packages = solve(specs, lists, constraints=constraints, virtual=VIRTUAL)
    return [f"{package.channel}/{package.path}" for package in packages]


def test_the_newest_of_the_first_channel_is_chosen(lists: list[tuple[str, str, str]]) -> None:
    assert choose(lists, "a") == [f"first/{SUBDIR}/a-2.0-0.conda", "first/noarch/b-1.5-0.conda"]
    assert choose(lists, "a=1")[0] == f"first/{SUBDIR}/a-1.0-0.conda"
    assert choose(lists, "a", constraints=("a 1.0.*",))[0] == f"first/{SUBDIR}/a-1.0-0.conda"
    assert choose(lists, "second::a")[0] == f"second/{SUBDIR}/a-3.0-0.conda"
    assert [path.rpartition("/")[2] for path in choose(lists, "round")] == ["round-1.0-0.conda", "square-1.0-0.conda"]


@pytest.mark.parametrize(
    ("spec", "brief", "details"),
    [
        ("nothing", "no set of packages", "No candidates were found for nothing"),
        ("a>=9", "no set of packages", "a >=9"),
        ("only", "no set of packages", "__glibc >=2.99"),
        ("lost", "no set of packages", "nowhere >=2"),
        ("a[", "is not written as conda reads it", ""),
    ],
)
def test_what_cannot_be_chosen_is_said(lists: list[tuple[str, str, str]], spec: str, brief: str, details: str) -> None:
    with pytest.raises(CarboyError, match=brief) as caught:
        choose(lists, spec)
    assert details in caught.value.details
    assert "Cannot solve" not in caught.value.details
    assert caught.value.hint


def test_a_damaged_list_and_a_missing_hash_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "repodata.json"
    path.write_text("{damaged")
    with pytest.raises(CarboyError, match="a channel's list cannot be read"):
        choose([("c", "noarch", str(path))], "a")
    path.write_text(
        '{"packages.conda": {"a-1-0.conda": {"name": "a", "version": "1", "build": "0", "build_number": 0}}}'
    )
    with pytest.raises(CarboyError, match="no SHA-256 for a 1"):
        choose([("c", "noarch", str(path))], "a")


def test_without_the_solver_its_name_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "step.py"
    program.write_text("import sys\nprint('No module named rattler', file=sys.stderr)\nsys.exit(3)\n")
    monkeypatch.setattr(module, "_PROGRAM", str(program))
    with pytest.raises(CarboyError, match="need py-rattler") as caught:
        solve(["a"], [])
    assert "pip install 'carboy[conda]'" in caught.value.hint
    program.write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(CarboyError, match="ended with status 137"):
        solve(["a"], [])


def test_long_answers_are_shortened() -> None:
    error = explain("Cannot solve the request because of: " + "\n".join(map(str, range(40))), kind="SolverError")
    assert error.details.splitlines()[0] == "0"
    assert error.details.endswith("and 28 lines more")


def test_what_was_chosen_is_chosen_again_of_lists_that_have_nothing_else(
    lists: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    chosen = solve(["a"], lists, virtual=VIRTUAL)
    again = []
    for channel, subdir, _ in lists:
        path = tmp_path / f"{len(again)}.json"
        path.write_text(json.dumps(plan_list(chosen, channel=channel, subdir=subdir)))
        again.append((channel, subdir, str(path)))
    found = solve(["a"], again, virtual=VIRTUAL)
    assert found == chosen
    assert [package.record for package in found] == [package.record for package in chosen]
    assert any(package.record is not None and package.record.depends for package in found)
