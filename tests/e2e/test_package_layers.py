"""One package more is one layer more: nothing else is fetched, installed or stored again."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]


def layers_of(carboy: Carboy, name: str) -> list[str]:
    return [layer["Digest"] for layer in json.loads(carboy("inspect", name).stdout)[0]["Layers"]]


def config_of(carboy: Carboy, name: str) -> dict[str, Any]:
    return dict(json.loads(carboy("inspect", name).stdout)[0]["Config"])


def kept(carboy: Carboy) -> list[dict[str, Any]]:
    """Return what the store holds, downloads aside: what uv has fetched may be of use next time."""
    return [row for row in json.loads(carboy("system", "df", "--json").stdout) if row["kind"] != "downloads"]


def test_a_package_more_is_a_layer_more(shared_carboy: Carboy, iris: Path, tmp_path: Path) -> None:
    carboy = shared_carboy
    folder = tmp_path / "one-more"
    shutil.copytree(iris, folder)
    requirements = folder / "requirements.txt"
    carboy("build", str(folder), "-t", "layers:1")
    requirements.write_text(requirements.read_text() + "\ntoolz\n")
    done = carboy("build", "--progress", "plain", str(folder), "-t", "layers:2")
    # A small package may share its layer with others, which are then installed once more, from what is here.
    installed = {line.split("==")[0] for line in done.stderr.splitlines() if line.startswith("   + ")}
    assert "   + toolz" in installed
    assert not installed & {"   + numpy", "   + scipy", "   + scikit-learn"}
    assert re.search(r"made 1 layer of \d+: .*toolz ", done.stderr)
    # The last layer is the folder's own files, and requirements.txt is one of them.
    before, after = layers_of(carboy, "layers:1")[:-1], layers_of(carboy, "layers:2")[:-1]
    assert len(set(after) - set(before)) == 1
    lock = config_of(carboy, "layers:2")["Labels"]["io.carboy.lock"]
    assert {line.split("==")[0] for line in lock.splitlines()} >= {"toolz", "numpy", "scikit-learn"}
    assert all(" --hash=sha256:" in line for line in lock.splitlines())
    # The lock, given as the requirements, builds the same layers.
    requirements.write_text(lock)
    carboy("build", str(folder), "-t", "layers:3")
    assert layers_of(carboy, "layers:3")[:-1] == after
    assert "0.978" in carboy("run", "--rm", "layers:3").stdout
    carboy("rmi", "layers:1", "layers:2", "layers:3")


FORTY = """
attrs blinker cachetools certifi charset-normalizer click colorama decorator docutils filelock flask idna iniconfig
itsdangerous jinja2 joblib markupsafe more-itertools networkx numpy packaging platformdirs pluggy pygments
python-dateutil pytz pyyaml requests six sortedcontainers tabulate threadpoolctl toolz tqdm typing-extensions urllib3
wcwidth werkzeug zipp humanize pyparsing
"""


@pytest.mark.long
@pytest.mark.timeout(580)
def test_forty_packages_and_one_more(folders_carboy: Carboy, tmp_path: Path) -> None:
    """The log says that one package was fetched and one layer made, and the image shares all others."""
    carboy, folder = folders_carboy, tmp_path / "forty"
    folder.mkdir()
    (folder / "main.py").write_text("import numpy, flask, networkx\nprint('forty')\n")
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(FORTY.split()) + "\n")
    carboy("build", str(folder), "-t", "forty:1")
    # A small package shares its layer with others, which are taken from the cache; a large one (babel) has its own.
    for number, name in ((2, "tomlkit"), (3, "babel")):
        requirements.write_text(requirements.read_text() + f"{name}\n")
        said = carboy("build", str(folder), "-t", f"forty:{number}").stderr
        assert re.search(r"\(fetched 1 package, made 1 layer of \d+: ", said), said
        before, after = (layers_of(carboy, f"forty:{n}")[:-1] for n in (number - 1, number))
        assert len(set(after) - set(before)) == 1
        assert len(set(before) - set(after)) == (1 if name == "tomlkit" else 0)
        locks = [config_of(carboy, f"forty:{n}")["Labels"]["io.carboy.lock"] for n in (number - 1, number)]
        assert [line.split("==")[0] for line in locks[1].splitlines() if line not in locks[0]] == [name]
    lock = config_of(carboy, "forty:1")["Labels"]["io.carboy.lock"].splitlines()
    assert len(lock) >= 40
    assert "forty" in carboy("run", "--rm", "forty:3").stdout
    carboy("rmi", "forty:1", "forty:2", "forty:3")


def test_a_lock_with_a_wrong_hash_installs_nothing(shared_carboy: Carboy, iris: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(iris, folder)
    (folder / "requirements.txt").write_text(f"toolz==1.0.0 --hash=sha256:{'0' * 64}\n")
    before = kept(shared_carboy)
    error = shared_carboy("build", str(folder), expect=1).stderr
    assert "hash mismatch" in error.lower()
    assert "0" * 64 in error
    assert kept(shared_carboy) == before
