"""Source distributions of an index: built without a network, with what the lock says, once; and taken along in a bundle."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from git_server import commit
from offline import without_network
from package_index import PackageIndex, make_sdist, make_wheel, serve_index, use_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns, pytest.mark.timeout(300)]

PROJECT = """[build-system]
requires = ["{tool}"]
build-backend = "backend"
backend-path = ["."]
"""
# Writes the tool's answer into the package; what it does while it is built reaches nobody.
BACKEND = """import os, socket, zipfile
import {tool}

def build_wheel(folder, *_, **__):
    try:
        socket.create_connection(("127.0.0.1", {port}))
        raise SystemExit("there is a network")
    except OSError:
        pass
    info = "{name}-1.0.dist-info"
    files = {{
        "{name}.py": f"ANSWER = {{{tool}.ANSWER}}\\n",
        f"{{info}}/METADATA": "Metadata-Version: 2.2\\nName: {name}\\nVersion: 1.0\\n{requires}",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    files[f"{{info}}/RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, f"{{info}}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, "{name}-1.0-py3-none-any.whl"), "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return "{name}-1.0-py3-none-any.whl"
"""


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serve_index() as served:
        yield served


@pytest.fixture
def builder(folders_carboy: Carboy, index: PackageIndex) -> Carboy:
    """Return a runner that knows no other place of packages than the test's index."""
    return use_index(folders_carboy, index)


@pytest.fixture
def name() -> str:
    """Return a name that no other run's caches know."""
    return f"sample_{os.urandom(4).hex()}"


def make_source(name: str, tool: str, index: PackageIndex, *, requires: str = "") -> dict[str, str]:
    port = index.address.rpartition(":")[2].partition("/")[0]
    return {
        "pyproject.toml": PROJECT.format(tool=tool),
        "backend.py": BACKEND.format(name=name, tool=tool, port=port, requires=requires),
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n",
    }


def make_folder(folder: Path, name: str, requirements: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(f"import {name}\nprint('answer ', {name}.ANSWER)\n")
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_a_source_is_built_with_what_the_lock_says(
    builder: Carboy, index: PackageIndex, name: str, tmp_path: Path
) -> None:
    tool, dashed = f"{name}_tool", name.replace("_", "-")
    first = index.add(make_wheel(tool, "1.0", "ANSWER = 41\n"))
    sha256 = index.add(make_sdist(name, "1.0", make_source(name, tool, index)))
    folder = make_folder(tmp_path / "project", name, f"{name}\n./libs/own\n")
    (folder / "libs" / "own").mkdir(parents=True)
    for file, text in make_source("own", tool, index).items():
        (folder / "libs" / "own" / file).write_text(text)
    (folder / "main.py").write_text(f"import {name}, own\nprint('answer ', {name}.ANSWER)\nassert own.ANSWER > 40\n")
    builder("lock", str(folder))
    lock = (folder / "carboy.lock").read_text()
    assert f'"{dashed}==1.0 --hash=sha256:{sha256}"' in lock
    # A package of the folder is no line of the lock; what it is built with is.
    for package in (dashed, "own"):
        assert f'"{package}" = [\n    "{dashed}-tool==1.0 --hash=sha256:{first}",\n]\n' in lock
    # A newer tool changes nothing before somebody asks for it.
    second = index.add(make_wheel(tool, "2.0", "ANSWER = 42\n"))
    assert "answer  41" in builder("run", "--rm", "--network", "none", str(folder)).stdout
    builder("build", "-q", "--locked", str(folder))
    builder("lock", "--upgrade", str(folder))
    assert second in (folder / "carboy.lock").read_text()
    assert "answer  42" in builder("run", "--rm", str(folder)).stdout
    # A lock from before that says nothing of it.
    text = (folder / "carboy.lock").read_text()
    (folder / "carboy.lock").write_text(text.partition("[built]")[0])
    assert "answer  42" in builder("run", "--rm", str(folder)).stdout


def test_a_wheel_that_asks_for_more_than_was_chosen_is_refused(
    builder: Carboy, index: PackageIndex, name: str, tmp_path: Path
) -> None:
    tool = f"{name}_tool"
    index.add(make_wheel(tool, "1.0", "ANSWER = 41\n"))
    index.add(make_sdist(name, "1.0", make_source(name, tool, index, requires="Requires-Dist: other>=3\\n")))
    folder = make_folder(tmp_path / "project", name, f"{name}\n")
    error = builder("build", str(folder), expect=1).stderr
    assert "is not what versions were chosen for" in error
    assert "it requires other>=3, which was not chosen" in error
    # A lock that allows the source alone takes the source, though there is a wheel.
    digest = index.add(make_sdist(f"{name}b", "1.0", make_source(f"{name}b", tool, index)))
    index.add(make_wheel(f"{name}b", "1.0", "ANSWER = 0\n"))
    folder = make_folder(tmp_path / "other", f"{name}b", f"{name}b==1.0 --hash=sha256:{digest}\n")
    assert "answer  41" in builder("run", "--rm", str(folder)).stdout


def test_what_is_built_with_itself_is_refused(builder: Carboy, index: PackageIndex, name: str, tmp_path: Path) -> None:
    tool, dashed = f"{name}_tool", name.replace("_", "-")
    index.add(make_sdist(name, "1.0", make_source(name, tool, index)))
    index.add(make_sdist(tool, "1.0", make_source(tool, name, index)))
    folder = make_folder(tmp_path / "project", name, f"{name}\n")
    error = builder("build", str(folder), expect=1).stderr
    assert f"{dashed} is built with itself" in error
    assert f"{dashed} <- {dashed}-tool <- {dashed}" in error


@pytest.mark.long
@pytest.mark.root
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_sources_of_an_index_and_of_a_repository_come_along_to_an_empty_home(
    tier_carboy: Carboy, folders_carboy: Carboy, index: PackageIndex, name: str, tmp_path: Path
) -> None:
    builder, tool, own = use_index(folders_carboy, index), f"{name}_tool", f"{name}_own"
    index.add(make_wheel(tool, "1.0", "ANSWER = 41\n"))
    index.add(make_sdist(name, "1.0", make_source(name, tool, index)))
    source = make_source(own, tool, index)
    commit(tmp_path / own, pyproject_toml=source["pyproject.toml"], backend_py=source["backend.py"])
    place = tier_carboy.temporary / name
    folder = make_folder(place / "project", name, f"{name}\n{own} @ git+file://{tmp_path}/{own}\n")
    (folder / "main.py").write_text(f"import {name}, {own}\nprint('answer ', {name}.ANSWER, {own}.ANSWER)\n")
    said = builder("fetch", str(folder), "-o", str(place / "bundle.tar")).stdout
    assert f"repository file://{tmp_path}/{own} at " in said
    digest = builder("build", "-q", str(folder)).stdout
    for path in (place, folder, place / "bundle.tar", *folder.iterdir()):
        os.chown(path, tier_carboy.person.uid, tier_carboy.person.gid)
    empty = tier_carboy.using(place / "home")
    command = ("build", "-q", "--offline", "--bundle", str(place / "bundle.tar"), str(folder))
    assert without_network(empty, *command, "-t", "sources:1").stdout == digest
    assert "answer  41 41" in without_network(empty, "run", "--rm", "sources:1").stdout
    (folder / "requirements.txt").write_text(f"{name}\n{own} @ git+file://{tmp_path}/{own}@other\n")
    without_network(empty, *command, expect=1)
