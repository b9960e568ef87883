"""Same folder, same digest: from empty stores, in two places, at two times."""

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


def digest_of(carboy: Carboy, name: str) -> str:
    """Return the manifest digest that the store's own index.json names: what other tools would see."""
    index = json.loads((carboy.home / "store" / "index.json").read_text())
    key = "org.opencontainers.image.ref.name"
    (found,) = {
        entry["digest"] for entry in index["manifests"] if entry.get("annotations", {}).get(key, "").endswith(name)
    }
    return str(found)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_folders_and_two_empty_stores_give_one_digest(
    shared_carboy: Carboy, carboy: Carboy, iris: Path, tmp_path: Path
) -> None:
    """The first is the checkout's own, built in the shared home when that was empty."""
    other = tmp_path / "elsewhere" / "with another name"
    shutil.copytree(iris, other)
    for path in other.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    second = carboy.using(tmp_path / "home-2", TZ="Pacific/Chatham", LANG="C", PYTHONHASHSEED="7")
    second("build", str(other), "-t", "iris:1", timeout_s=400)
    assert digest_of(shared_carboy, "iris:test") == digest_of(second, "iris:1")
    assert shared_carboy("system", "check").returncode == second("system", "check").returncode == 0


@pytest.mark.long
def test_mode_bits_of_the_umask_do_not_count(shared_carboy: Carboy, iris: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict" / "iris"
    shutil.copytree(iris, strict)
    for path in strict.rglob("*"):
        path.chmod(0o700 if path.is_dir() or (os.access(path, os.X_OK) and path.stat().st_mode & 0o100) else 0o600)
    shared_carboy("build", str(iris), "-t", "umask:1")
    shared_carboy("build", str(strict), "-t", "umask:2")
    assert digest_of(shared_carboy, "umask:1") == digest_of(shared_carboy, "umask:2")
    shared_carboy("rmi", "umask:1", "umask:2")
