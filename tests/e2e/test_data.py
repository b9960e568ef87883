"""Data beside code: layers of their own, and the data of one image in a container of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "data").mkdir(parents=True)
    (place / "main.py").write_text("print('first', open('data/small.csv').read())\n")
    (place / "carboy.toml").write_text('[data]\npaths = ["data"]\n')
    (place / "data" / "small.csv").write_text("a,b")
    (place / "data" / "weights.bin").write_bytes(b"w" * 5_000_000)
    return place


def layers_of(carboy: Carboy, name: str) -> list[str]:
    return [layer["Digest"] for layer in json.loads(carboy("inspect", name).stdout)[0]["Layers"]]


def test_neither_moves_when_the_other_changes(folders_carboy: Carboy, folder: Path) -> None:
    carboy = folders_carboy
    carboy("build", str(folder), "-t", "data:1")
    assert "first a,b" in carboy("run", "--rm", "data:1").stdout
    (folder / "main.py").write_text("print('second', open('data/small.csv').read())\n")
    said = carboy("build", str(folder), "-t", "data:2").stderr
    assert "data data" not in said
    (folder / "data" / "small.csv").write_text("c,d")
    said = carboy("build", str(folder), "-t", "data:3").stderr
    assert "data data (1 of " in said
    assert "files to /app" not in said
    first, second, third = (layers_of(carboy, f"data:{number}") for number in (1, 2, 3))
    assert (first[:-1], first[-1] == second[-1]) == (second[:-1], False)
    assert third[-1] == second[-1]
    assert len(set(third) - set(second)) == 1
    assert "second c,d" in carboy("run", "--rm", "data:3").stdout
    (folder / "carboy.toml").write_text('[data]\npaths = ["gone"]\n')
    assert "which is not there" in carboy("build", str(folder), expect=1).stderr
    carboy("rmi", "data:1", "data:2", "data:3")
