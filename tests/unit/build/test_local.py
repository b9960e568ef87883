"""Packages of the folder itself, packed: the same bytes whoever does it, and nothing from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.build.folder import local
from carboy.build.folder.local import pack_sources
from carboy.environments.detect.sources import name_source
from carboy.errors import CarboyError


def pack(folder: Path, path: str) -> str:
    line = f"own @ {name_source(path, 'requirements.txt')}\n"
    [packed] = pack_sources(line, str(folder), ignore=("__pycache__",), cache=str(folder.parent / "cache"))
    assert Path(packed.file).name == packed.sha256
    return packed.sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "project" / "libs" / "own"
    package.mkdir(parents=True)
    (package / "pyproject.toml").write_text("[project]\n")
    (package / "own.py").write_text("X = 1\n")
    return tmp_path / "project"


def test_only_contents_count(folder: Path) -> None:
    first = pack(folder, "libs/own")
    code = folder / "libs" / "own" / "own.py"
    os.utime(code, (1, 1))
    code.chmod(0o600)
    (code.parent / "__pycache__").mkdir()
    (code.parent / "__pycache__" / "own.pyc").write_bytes(b"x")
    assert pack(folder, "libs/own") == first
    code.write_text("X = 2\n")
    assert pack(folder, "libs/own") != first


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("libs/none", "there is no package libs/none"),
        ("libs", "libs is no package"),
        ("away", "away leads out of the folder"),
    ],
)
def test_what_is_no_package(folder: Path, path: str, message: str) -> None:
    (folder / "away").symlink_to("/etc")
    with pytest.raises(CarboyError, match=message) as caught:
        pack(folder, path)
    assert caught.value.hint


def test_a_package_that_is_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_BYTES", 10)
    with pytest.raises(CarboyError, match="has more than"):
        pack(folder, "libs/own")
