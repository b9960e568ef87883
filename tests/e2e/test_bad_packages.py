"""Packages that cannot be had: a clear error with an action, nothing half-made, and a build that works once it is mended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from package_index import PackageIndex, make_sdist, make_wheel, serve_index, use_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]

GOOD = "print('answer  42')\n"


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serve_index() as served:
        yield served


@pytest.fixture
def builder(folders_carboy: Carboy, index: PackageIndex) -> Carboy:
    """Return a runner that knows no other place of packages than the test's index."""
    return use_index(folders_carboy, index)


@pytest.fixture
def name() -> str:
    """Return a name that no other run's caches know."""
    return f"sample_{os.urandom(4).hex()}"


def make_folder(place: Path, **files: str) -> Path:
    folder = place / "project"
    folder.mkdir(exist_ok=True)
    for file, text in files.items():
        (folder / file.replace("_", ".")).write_text(text)
    return folder


def fail(carboy: Carboy, folder: Path, *words: str) -> str:
    error = carboy("build", str(folder), expect=1).stderr
    assert "error: " in error
    assert "hint: " in error
    for word in words:
        assert word in error, error
    return error


def works(carboy: Carboy, folder: Path) -> None:
    assert "answer  42" in carboy("run", "--rm", "--network", "none", str(folder)).stdout
    carboy("system", "check")


def test_a_hash_that_does_not_match(builder: Carboy, index: PackageIndex, name: str, tmp_path: Path) -> None:
    digest = index.add(make_wheel(name, "1.0", GOOD))
    folder = make_folder(
        tmp_path, main_py=f"import {name}\n", requirements_txt=f"{name}==1.0 --hash=sha256:{'0' * 64}\n"
    )
    fail(builder, folder, name.replace("_", "-"), "hash", "0" * 64, digest)
    (folder / "requirements.txt").write_text(f"{name}==1.0 --hash=sha256:{digest}\n")
    works(builder, folder)


@pytest.mark.long
def test_a_version_that_is_not_there(builder: Carboy, index: PackageIndex, name: str, tmp_path: Path) -> None:
    index.add(make_wheel(name, "1.0", GOOD))
    folder = make_folder(tmp_path, main_py=f"import {name}\n", requirements_txt=f"{name}==2.0\n")
    fail(builder, folder, f"{name.replace('_', '-')}==2.0")
    (folder / "requirements.txt").write_text(f"{name}==1.0\n")
    works(builder, folder)


@pytest.mark.long
def test_a_yanked_version_is_not_chosen(builder: Carboy, index: PackageIndex, name: str, tmp_path: Path) -> None:
    made = make_wheel(name, "2.0", "raise SystemExit('yanked')\n")
    index.add(made)
    index.yanked.add(made[0])
    folder = make_folder(tmp_path, main_py=f"import {name}\n", requirements_txt=f"{name}>=2\n")
    fail(builder, folder, "yanked")
    index.add(make_wheel(name, "2.1", GOOD))
    (folder / "requirements.txt").write_text(f"{name}>=2 \n")
    works(builder, folder)
    # As pip has it: whoever pins it gets it, and is warned.
    (folder / "requirements.txt").write_text(f"{name}[none]==2.0\n")
    warnings = [line for line in builder("build", str(folder)).stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert 'is yanked (reason: "broken")' in "".join(warnings)
    assert "does not have an extra named `none`" in "".join(warnings)


def test_a_source_that_cannot_be_built(builder: Carboy, index: PackageIndex, name: str, tmp_path: Path) -> None:
    backend = "def build_wheel(*_, **__):\n    raise SystemExit('the compiler is not in the mood')\n"
    project = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    metadata = f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n"
    index.add(make_sdist(name, "1.0", {"pyproject.toml": project, "own.py": backend, "PKG-INFO": metadata}))
    folder = make_folder(tmp_path, main_py=f"import {name}\n", requirements_txt=f"{name}\n")
    fail(builder, folder, "the compiler is not in the mood", "build")
    index.files.clear()
    index.add(make_wheel(name, "1.1", GOOD))
    (folder / "requirements.txt").write_text(f"{name}==1.1\n")
    works(builder, folder)


@pytest.mark.parametrize("forbidden", [pytest.param(False, marks=pytest.mark.long), True])
def test_an_index_behind_a_login(
    builder: Carboy, index: PackageIndex, name: str, tmp_path: Path, *, forbidden: bool
) -> None:
    index.add(make_wheel(name, "1.0", GOOD))
    index.login, index.forbidden = "anna:s3cret", forbidden
    folder = make_folder(tmp_path, main_py=f"import {name}\n", requirements_txt=f"{name}==1.0\n")
    error = fail(builder, folder, "wants a login", "PIP_INDEX_URL")
    index.forbidden = False
    if not forbidden:
        wrong = builder.using(builder.home, UV_DEFAULT_INDEX=index.address.replace("://", "://anna:wr0ng@"))
        error += fail(wrong, folder, "wants a login")
        assert "wr0ng" not in error
    works(builder.using(builder.home, UV_DEFAULT_INDEX=index.address.replace("://", "://anna:s3cret@")), folder)


@pytest.mark.long
def test_no_network(builder: Carboy, index: PackageIndex, name: str, tmp_path: Path) -> None:
    index.add(make_wheel(name, "1.0", GOOD))
    folder = make_folder(tmp_path, main_py=f"import {name}\n", requirements_txt=f"{name}==1.0\n")
    closed = builder.using(builder.home, UV_DEFAULT_INDEX="http://127.0.0.1:9/simple")
    fail(closed, folder, "cannot be reached", "proxy")
    works(builder, folder)


def test_a_lock_for_another_python(builder: Carboy, tmp_path: Path) -> None:
    lock = 'lock-version = "1.0"\nrequires-python = ">=3.14"\ncreated-by = "tests"\npackages = []\n'
    folder = make_folder(tmp_path, main_py=GOOD, pylock_toml=lock)
    fail(builder, folder, "pylock.toml asks for Python >=3.14", "3.11 (bookworm)", "3.13 (trixie)")
    (folder / "pylock.toml").write_text(lock.replace("3.14", "3.11"))
    builder("plan", str(folder))


def test_two_files_that_each_would_be_the_truth(builder: Carboy, tmp_path: Path) -> None:
    lock = 'lock-version = "1.0"\ncreated-by = "tests"\npackages = []\n'
    folder = make_folder(tmp_path, main_py=GOOD, pylock_toml=lock, requirements_txt="tabulate\n")
    fail(builder, folder, "both pylock.toml and requirements.txt", "carboy.toml")
    (folder / "requirements.txt").unlink()
    builder("plan", str(folder))


def test_requirements_that_include_each_other(builder: Carboy, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, main_py=GOOD, requirements_txt="-r a.txt\n", a_txt="-r b.txt\n", b_txt="-r a.txt\n")
    fail(builder, folder, "a.txt includes b.txt, which includes a.txt", "-r")
    (folder / "b.txt").write_text("")
    builder("plan", str(folder))
