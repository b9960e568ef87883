"""Packages of git repositories: locked by commit, built without a network, the same again; and those that cannot be had."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from git_server import commit, git, serve_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.userns,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

PROJECT = """[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1"
dependencies = {requires}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "repositories"
    folder.mkdir()
    return folder


@pytest.fixture
def server(place: Path) -> Iterator[str]:
    with serve_folder(place) as address:
        yield address


@pytest.fixture
def builder(folders_carboy: Carboy) -> Carboy:
    return folders_carboy.using(folders_carboy.home, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")


@pytest.fixture
def name() -> str:
    """Return a name that no other run's caches know."""
    return f"sample{os.urandom(4).hex()}"


def make_project(folder: Path, requirements: str, code: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(code)
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_a_package_of_a_repository_is_locked_by_its_commit(
    builder: Carboy, server: str, place: Path, tmp_path: Path, name: str
) -> None:
    inner = f"{name}-inner"
    # What a package asks for of another repository by itself is fetched and built as well.
    commit(place / inner, pyproject_toml=PROJECT.format(name=inner, requires="[]"), inner_py="X = 1\n")
    wanted = f"{inner} @ git+{server}/{inner}/.git"
    first = commit(
        place / name,
        sub__pyproject_toml=PROJECT.format(name=name, requires=f'["{wanted}"]'),
        sub__own_py="import inner\nANSWER = 41 + inner.X\n",
    )
    origin = f"{server}/{name}/.git"
    # The second one is for another system, and not there at all: nobody asks for it.
    folder = make_project(
        tmp_path / "project",
        f"{name} @ git+{origin}@main#subdirectory=sub\ngone @ git+{server}/gone/.git ; sys_platform == 'win32'\n",
        f"import importlib.metadata as m\nimport own\nprint(m.distribution('{name}').read_text('direct_url.json'))\n"
        "print('answer ', own.ANSWER)\n",
    )
    builder("lock", str(folder))
    lock = (folder / "carboy.lock").read_text()
    assert f'"{name} @ git+{origin}@{first}#subdirectory=sub --hash=sha256:' in lock
    assert f"[built]\n{json.dumps(name)} = [\n" in lock
    assert '    "setuptools==' in lock
    done = builder("run", "--rm", str(folder))
    assert "answer  42" in done.stdout
    assert json.loads(done.stdout.splitlines()[0]) == {
        "url": origin,
        "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": first},
        "subdirectory": "sub",
    }
    digest = builder("build", "-q", "--locked", str(folder), "-t", f"{name}:one").stdout
    assert f"pkg:pypi/{name}@0.1?vcs_url=git%2Bhttp" in builder("sbom", "--format", "spdx", f"{name}:one").stdout
    # The branch goes on; the lock does not, until somebody asks.
    second = commit(place / name, sub__own_py="import inner\nANSWER = 42 + inner.X\n")
    assert builder("build", "-q", "--locked", str(folder)).stdout == digest
    assert f"{name} {first[:12]} -> {second[:12]}" in builder("lock", "--upgrade", name, str(folder)).stdout
    assert "answer  43" in builder("run", "--rm", str(folder)).stdout
    # Another tree under the commit's name is found out by its hash.
    text = (folder / "carboy.lock").read_text()
    line = next(line for line in text.splitlines() if second in line)
    wrong = line.partition("sha256:")[0] + "sha256:" + "0" * 64 + '",'
    (folder / "carboy.lock").write_text(text.replace(line, wrong))
    assert "is not what was locked" in builder("build", "--locked", str(folder), expect=1).stderr
    builder("rmi", f"{name}:one")


def test_repositories_that_cannot_be_had_say_why(
    builder: Carboy, server: str, place: Path, tmp_path: Path, name: str
) -> None:
    commit(place / name, readme_md="no package\n")
    folder = make_project(tmp_path / "project", "", "print(1)\n")

    def fail(line: str, **variables: str) -> str:
        (folder / "requirements.txt").write_text(f"{line}\n")
        error = builder.using(builder.home, **variables)("build", str(folder), expect=1).stderr
        assert "hint: " in error
        return error

    origin = f"{server}/{name}/.git"
    assert "has no such branch, tag or commit (gone)" in fail(f"{name} @ git+{origin}@gone")
    assert f"has no such branch, tag or commit ({'1' * 40})" in fail(f"{name} @ git+{origin}@{'1' * 40}")
    assert "it has no pyproject.toml and no setup.py" in fail(f"{name} @ git+{origin}")
    assert "has no folder sub" in fail(f"{name} @ git+{origin}#subdirectory=sub")
    assert "the variable NO_SUCH_TOKEN, which is not set" in fail(f"{name} @ git+http://${{NO_SUCH_TOKEN}}@x.invalid/y")
    assert "hg is not git" in fail(f"{name} @ hg+{origin}")
    commit(place / name, pyproject_toml=PROJECT.format(name="other", requires="[]"), other_py="")
    with serve_folder(place, login="someone:secret") as address:
        error = fail(f"{name} @ git+{address}/{name}/.git")
        assert "wants a login, or does not let this one in" in error
        assert "carboy never asks for one" in error
        line = f"{name} @ git+{address.replace('://', '://${WHO}:${TOKEN}@')}/{name}/.git"
        error = fail(line, WHO="someone", TOKEN="secret")
        assert f"is the package other, not {name}" in error
        assert "secret" not in error
    # What a package does while it is built reaches nobody, not even this machine.
    port = int(server.rpartition(":")[2])
    code = f"import socket, sys\ntry:\n    socket.create_connection(('127.0.0.1', {port}))\n"
    commit(place / "lone", setup_py=f"{code}except OSError as error:\n    sys.exit(f'no way out: {{error}}')\n")
    error = fail(f"{name} @ git+{server}/lone/.git")
    assert "no way out: [Errno 111] Connection refused" in error
    assert "it has no network" in error
    assert not os.path.exists(folder / "carboy.lock")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["with git", "without"])
def test_a_version_is_read_from_the_history_where_the_image_has_git(
    builder: Carboy, place: Path, tmp_path: Path, name: str, kind: str
) -> None:
    text = PROJECT.format(name=name, requires="[]").replace('version = "0.1"', 'dynamic = ["version"]')
    text = text.replace('"setuptools>=61"', '"setuptools>=61", "setuptools-scm>=8"')
    commit(
        place / name,
        pyproject_toml=f"{text}[tool.setuptools_scm]\n[tool.setuptools]\npy-modules = ['own']\n",
        own_py="",
    )
    git(place / name, "tag", "v1.5")
    commit(place / name, own_py="X = 1\n")
    code = f"import importlib.metadata as m\nprint(m.version('{name}'))\n"
    folder = make_project(tmp_path / "project", f"{name} @ git+file://{place}/{name}\n", code)
    if kind == "with git":
        (folder / "apt.txt").write_text("git\n")
        assert "1.6.dev1+g" in builder("run", "--rm", str(folder)).stdout
    else:
        error = builder("build", str(folder), expect=1).stderr
        assert "put git into apt.txt" in error


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("tiers")
def test_a_package_of_a_repository_in_every_tier(tier_carboy: Carboy, name: str) -> None:
    person, place = tier_carboy.person, tier_carboy.temporary / name
    commit(place / "own", pyproject_toml=PROJECT.format(name=name, requires="[]"), own_py="ANSWER = 42\n")
    code = "import own\nprint('answer ', own.ANSWER)\n"
    make_project(place / "project", f"{name} @ git+file://{place}/own\n", code)
    for above, _, names in os.walk(place):
        for path in (above, *(f"{above}/{inner}" for inner in names)):
            os.chown(path, person.uid, person.gid)
    done = tier_carboy("run", "--rm", "--network", "none", str(place / "project"), timeout_s=390)
    assert "answer  42" in done.stdout
