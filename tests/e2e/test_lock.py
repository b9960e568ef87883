"""``carboy lock``, ``outdated`` and ``build --locked`` with real packages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns, pytest.mark.timeout(300)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "main.py").write_text("import click\nprint(click.__name__)\n")
    (place / "requirements.txt").write_text("click==8.1.7\n")
    return place


def test_a_folder_is_locked_and_built_as_locked(folders_carboy: Carboy, folder: Path) -> None:
    carboy, lock = folders_carboy, folder / "carboy.lock"
    assert "there is no carboy.lock" in carboy("build", "--locked", str(folder), expect=1).stderr
    assert "1 Python packages on debian:bookworm" in carboy("lock", str(folder)).stdout
    first = lock.read_text()
    assert "click==8.1.7 --hash=sha256:" in first
    assert "unchanged" in carboy("lock", str(folder)).stdout
    assert lock.read_text() == first
    digest = carboy("build", "--locked", "-q", str(folder)).stdout
    assert carboy("build", "--locked", "-q", str(folder)).stdout == digest
    # The requirements allow more now; the lock still decides, until somebody asks.
    (folder / "requirements.txt").write_text("click>=8.1.7,<8.1.9\n")
    assert "out of date" in carboy("build", "--locked", str(folder), expect=1).stderr
    assert "note: carboy.lock is out of date" in carboy("build", str(folder)).stderr
    carboy("lock", str(folder))
    assert "click==8.1.7 --hash" in lock.read_text()
    (newer,) = json.loads(carboy("outdated", "--json", str(folder)).stdout)
    assert newer == {"package": "click", "locked": "8.1.7", "latest": "8.1.8"}
    assert "no package numpy" in carboy("lock", "--upgrade", "numpy", str(folder), expect=1).stderr
    assert "click 8.1.7 -> 8.1.8" in carboy("lock", "--upgrade", "click", str(folder)).stdout
    assert "the newest" in carboy("outdated", str(folder)).stdout
    assert "click" in carboy("run", "--rm", "--network", "none", str(folder)).stdout


def test_a_base_that_is_not_the_locked_one_is_refused(folders_carboy: Carboy, folder: Path) -> None:
    folders_carboy("lock", str(folder))
    lock = folder / "carboy.lock"
    text = lock.read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith('"base-files '))
    lock.write_text(text.replace(line, line.replace(line.split()[1], "11.0", 1)))
    error = folders_carboy("build", "--locked", str(folder), expect=1).stderr
    assert "is not the one that carboy.lock names" in error
    assert "base-files 11.0 is " in error
    # A lock that cannot be made leaves the one that is there.
    before = lock.read_text()
    (folder / "requirements.txt").write_text("click==0.0.0.1\n")
    folders_carboy("lock", str(folder), expect=1)
    assert lock.read_text() == before
    assert sorted(path.name for path in folder.iterdir()) == ["carboy.lock", "main.py", "requirements.txt"]
