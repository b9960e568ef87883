"""Sample folders, one for each kind of file that names packages: each is built, and runs the check that it holds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
EVERYDAY = ("uv", "poetry", "includes", "editable", "local")
OTHERS = (
    "pylock", "pdm", "pipenv", "pipfile", "hashes", "pyproject", "groups", "setup-cfg", "script", "binder", "runtime",
    "python-version", "markers", "sdist", "setup-py", "start",
)  # fmt: skip
OF_R = ("renv", "description", "install-r", "packrat", "mixed")


@pytest.mark.parametrize("name", [*EVERYDAY, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def test_a_folder_runs(folders_carboy: Carboy, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(PROJECTS / name, folder)
    done = folders_carboy("run", "--rm", "--network", "none", str(folder), timeout_s=200)
    assert "answer  42" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", OF_R)
def test_a_folder_of_R_runs(folders_carboy: Carboy, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(PROJECTS / name, folder)
    done = folders_carboy("run", "--rm", "--network", "none", str(folder), timeout_s=250)
    assert "answer  42" in done.stdout


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(400)
def test_a_package_of_the_folder_in_every_tier(tier_carboy: Carboy) -> None:
    person = tier_carboy.person
    folder = tier_carboy.temporary / f"local-{os.urandom(4).hex()}"
    shutil.copytree(PROJECTS / "local", folder)
    for above, _, names in os.walk(folder):
        for path in (above, *(f"{above}/{name}" for name in names)):
            os.chown(path, person.uid, person.gid)
    done = tier_carboy("run", "--rm", "--network", "none", str(folder), timeout_s=390)
    assert "answer  42" in done.stdout


def test_a_package_of_the_folder_is_made_again_when_it_changes(folders_carboy: Carboy, tmp_path: Path) -> None:
    folder = tmp_path / "local"
    shutil.copytree(PROJECTS / "local", folder)
    folders_carboy("build", str(folder))
    numbers = folder / "libs" / "numbers" / "src" / "numbers_of_ours" / "__init__.py"
    numbers.write_text('"""Numbers."""\n\nANSWER = 43\n')
    done = folders_carboy("run", "--rm", "--network", "none", str(folder))
    assert "answer  43" in done.stdout
    assert "made 1 layer of 5: numbers-of-ours 0.1)" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_folder_of_a_notebook_runs(folders_carboy: Carboy, tmp_path: Path) -> None:
    folder = tmp_path / "notebook"
    shutil.copytree(PROJECTS / "notebook", folder)
    error = folders_carboy("build", str(folder), expect=1).stderr
    assert f"`carboy run {folder} analysis.ipynb` executes the notebook" in error
    folders_carboy("run", str(folder), "analysis.ipynb", timeout_s=280)
    assert "answer  42" in (folder / "analysis.executed.ipynb").read_text()


@pytest.mark.long
def test_all_locks_build_the_same_layers(folders_carboy: Carboy) -> None:
    layers = []
    for name in ("uv", "pylock", "poetry", "pdm", "pipenv", "hashes"):
        folders_carboy("build", str(PROJECTS / name), "-t", f"{name}:sample")
        layers.append(
            tuple(x["Digest"] for x in json.loads(folders_carboy("inspect", f"{name}:sample").stdout)[0]["Layers"])
        )
        folders_carboy("rmi", f"{name}:sample")
    assert len({found[:-1] for found in layers}) == 1


def test_what_is_imported_is_offered(folders_carboy: Carboy, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "main.py").write_text("import click\nfrom tabulate import tabulate\nprint(tabulate([['answer', 42]]))\n")
    error = folders_carboy("build", str(folder), expect=1).stderr
    assert "the code imports click, tabulate" in error
    assert f"carboy detect --write {folder}" in error
    assert json.loads(folders_carboy("detect", "--json", str(folder)).stdout)["offered"] == ["click", "tabulate"]
    folders_carboy("detect", "--write", str(folder))
    assert (folder / "requirements.txt").read_text() == "click\ntabulate\n"
    assert "says which packages" in folders_carboy("detect", "--write", str(folder), expect=1).stderr
    assert "answer  42" in folders_carboy("run", "--rm", str(folder)).stdout


def test_detect_shows_which_files_count(folders_carboy: Carboy) -> None:
    shown = folders_carboy("detect", str(PROJECTS / "uv")).stdout
    assert "uv.lock         Python packages  yes" in shown
    assert "locked, each with its hashes" in shown
    found = json.loads(folders_carboy("detect", "--json", str(PROJECTS / "binder")).stdout)
    assert found["system"] == ["jq"]
