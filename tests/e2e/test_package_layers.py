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
    assert re.search(r"\(1 of \d+ layers: .*toolz ", done.stderr)
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


def test_a_lock_with_a_wrong_hash_installs_nothing(shared_carboy: Carboy, iris: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(iris, folder)
    (folder / "requirements.txt").write_text(f"toolz==1.0.0 --hash=sha256:{'0' * 64}\n")
    before = kept(shared_carboy)
    error = shared_carboy("build", str(folder), expect=1).stderr
    assert "hash mismatch" in error.lower()
    assert "0" * 64 in error
    assert kept(shared_carboy) == before
