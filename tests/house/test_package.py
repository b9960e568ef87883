"""What is handed out: the wheel holds all that runs, and nothing in the checkout carries privileges."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "src" / "carboy"


def test_nothing_carries_privileges() -> None:
    carrying = []
    for path in [*(CHECKOUT / "src").rglob("*"), *(CHECKOUT / "scripts").rglob("*")]:
        if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID) and not path.is_dir():
            carrying.append(path)
        if not path.is_symlink() and "security.capability" in os.listxattr(path):
            carrying.append(path)
    assert not carrying


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        (entry_points,) = (name for name in packed if name.endswith("entry_points.txt"))
        scripts = archive.read(entry_points).decode()
    sources = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {path.relative_to(CHECKOUT / "src").as_posix() for path in sources} <= packed
    assert "carboy = carboy.cli.main:program" in scripts
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    assert not [name for name in packed if name.startswith("tests")]
