"""Which front end a folder is built with, and what is read for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.build.front import choose_front
from carboy.build.settings import parse_settings
from carboy.build.sources import read_dockerfile, read_front
from carboy.errors import CarboyError


@pytest.mark.parametrize(
    ("names", "settings", "file", "front", "found"),
    [
        (["main.py"], "", "", "python", ""),
        (["Dockerfile"], "", "", "dockerfile", "Dockerfile"),
        (["dockerfile", "main.py", "requirements.txt"], "", "", "dockerfile", "dockerfile"),
        (["Containerfile", "Dockerfile"], "", "", "dockerfile", "Dockerfile"),
        (["Dockerfile", "carboy.toml"], "", "", "python", ""),
        (["Dockerfile", "carboy.toml"], "dockerfile", "", "dockerfile", "Dockerfile"),
        (["Dockerfile", "carboy.toml"], "python", "", "python", ""),
        (["carboy.toml"], "dockerfile", "", "dockerfile", "Dockerfile"),
        (["Dockerfile", "binder/Dockerfile"], "", "", "dockerfile", "Dockerfile"),
        (["binder", "binder/Dockerfile"], "", "", "dockerfile", "binder/Dockerfile"),
        (["binder/Dockerfile", "carboy.toml"], "", "", "python", ""),
        (["main.py", "carboy.toml"], "", "x/y", "dockerfile", "x/y"),
    ],
)
def test_the_choice(names: list[str], settings: str, file: str, front: str, found: str) -> None:
    choice = choose_front(names, settings_front=settings, file=file)
    assert (choice.front, choice.file) == (front, found)
    assert choice.reason


def test_the_setting() -> None:
    assert parse_settings('[build]\nfront = "dockerfile"\n').front == "dockerfile"
    with pytest.raises(CarboyError, match="there is no front end 'docker'"):
        parse_settings('[build]\nfront = "docker"\n')


def test_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "carboy.toml").write_text('[build]\nfront = "dockerfile"\n')
    choice = read_front(str(tmp_path), file=None)
    assert (choice.front, choice.file) == ("dockerfile", "Dockerfile")
    text = read_dockerfile(str(tmp_path), file=f"{tmp_path}/Dockerfile")
    assert (text.name, text.data, text.ignore, text.ignore_name) == ("Dockerfile", b"FROM scratch\n", "", "")


def test_a_Dockerfile_of_binder_is_built_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "binder").mkdir()
    assert read_front(str(tmp_path), file=None).front == "python"
    (tmp_path / "binder" / "Dockerfile").write_text("FROM scratch\n")
    choice = read_front(str(tmp_path), file=None)
    assert (choice.front, choice.file) == ("dockerfile", "binder/Dockerfile")


def test_the_files_own_ignore_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "web").write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text("all\n")
    text = read_dockerfile(str(tmp_path), file=f"{tmp_path}/d/web")
    assert (text.name, text.ignore, text.ignore_name) == ("d/web", "all\n", ".dockerignore")
    (tmp_path / "d" / "web.dockerignore").write_text("own\n")
    text = read_dockerfile(str(tmp_path), file=f"{tmp_path}/d/web")
    assert (text.ignore, text.ignore_name) == ("own\n", "web.dockerignore")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CarboyError, match="there is no Dockerfile"):
        read_dockerfile(str(tmp_path), file=f"{tmp_path}/none")
    with pytest.raises(CarboyError, match="is no file"):
        read_dockerfile(str(tmp_path), file=str(tmp_path))
    with pytest.raises(CarboyError, match="there is no folder"):
        read_front(f"{tmp_path}/none", file=None)
