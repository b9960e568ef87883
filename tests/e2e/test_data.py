"""Data beside code: layers of their own, and the data of one image in a container of another."""

from __future__ import annotations

import json
import os
import shutil
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


def test_a_container_of_another_image_reads_the_data(small_carboy: Carboy, tmp_path: Path) -> None:
    """Images without a base: what is tested is the mount, in each tier."""
    carboy = small_carboy
    place = carboy.temporary / "data-ref"
    shutil.rmtree(place, ignore_errors=True)
    (place / "weights").mkdir(parents=True)
    (place / "weights" / "a.txt").write_text("from the other image")
    (place / "weights" / "inner").mkdir()
    (place / "weights" / "inner" / "b.txt").write_text("and this")
    label = 'LABEL io.carboy.data="[\\"/app/weights\\"]"'
    (place / "Dockerfile").write_text(
        f"FROM scratch\nCOPY weights/inner /app/weights/inner\nCOPY weights/a.txt /app/weights/\n{label}\n"
    )
    for path in (place, *place.rglob("*")):
        os.chown(path, carboy.person.uid, carboy.person.gid)
    carboy("build", str(place), "-t", "weights:1")
    show = ("sh", "-c", "cat /app/weights/a.txt /app/weights/inner/b.txt; touch /app/weights/x || echo read-only")
    done = carboy("run", "--rm", "--network", "none", "--data-ref", "weights:1", "small:test", *show)
    assert "from the other imageand this" in done.stdout
    assert "read-only" in done.stdout
    named = carboy("run", "--rm", "--data-ref=weights:1:/app/weights/inner", "small:test", "ls", "/app/weights/inner")
    assert named.stdout == "b.txt\n"
    # A container that is kept starts again when the image is gone.
    carboy("create", "--name", "reader", "--data-ref", "weights:1", "small:test", "cat", "/app/weights/a.txt")
    carboy("rmi", "weights:1")
    assert "from the other image" in carboy("start", "-a", "reader").stdout
    carboy("rm", "-f", "reader")
    for words, said in (
        ("nothing:1", "there is no image nothing:1"),
        ("small:test", "does not say where its data are"),
        ("small:test:/etc/passwd", "is a file"),
        ("small:test:/no/such", "cannot be found"),
        ("small:test:/", "names no folder"),
    ):
        failed = carboy("run", "--rm", "--data-ref", words, "small:test", "true", expect=125)
        assert said in failed.stderr
        assert "is fetched" not in failed.stderr  # the container's own image is here
    names = [row["Name"] for row in json.loads(carboy("volume", "ls", "--json").stdout)]
    carboy("volume", "rm", *[name for name in names if name.startswith("data-")])
