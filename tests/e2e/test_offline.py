"""``carboy fetch`` and ``carboy build --offline``: the same image where there is no network at all."""

from __future__ import annotations

import functools
import io
import os
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from offline import without_network
from r_repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns, pytest.mark.timeout(580)]


SETUP = "from setuptools import setup\nsetup(name={name!r}, version='1', py_modules=[{name!r}])\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "libs" / "own").mkdir(parents=True)
    (place / "main.py").write_text(
        "import click, docopt, own\nprint('answer', click.__name__, docopt.__version__, own.NAME)\n"
    )
    (place / "libs" / "own" / "setup.py").write_text(SETUP.format(name="own"))
    (place / "libs" / "own" / "own.py").write_text("NAME = 'own'\n")
    # docopt has no wheel: it is built, with setuptools, which nothing names; and so is what lies in the folder itself.
    (place / "requirements.txt").write_text("click==8.1.7\ndocopt==0.6.2\n./libs/own\n")
    return place


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Give the address of a server on this machine that has the source of a package, ``far``."""
    place = tmp_path / "web"
    place.mkdir()
    with tarfile.open(place / "0123abc.tar.gz", "w:gz") as tar:
        for name, text in (("setup.py", SETUP.format(name="far")), ("far.py", "")):
            info = tarfile.TarInfo(f"far-0123abc/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(place))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.long
def test_a_folder_is_built_from_a_bundle(folders_carboy: Carboy, folder: Path, web: str, tmp_path: Path) -> None:
    carboy, bundle = folders_carboy, tmp_path / "bundle.tar"
    with (folder / "requirements.txt").open("a") as file:
        file.write(f"far @ {web}/0123abc.tar.gz\n")
    said = carboy("fetch", str(folder), "-o", str(bundle)).stdout
    assert "Python: 3 packages, and 1 files that some of them are built with" in said
    first = bundle.read_bytes()
    carboy("fetch", "-q", str(folder), "-o", str(bundle))
    assert bundle.read_bytes() == first
    digest = without_network(carboy, "build", "-q", "--offline", "--bundle", str(bundle), str(folder)).stdout
    assert digest == carboy("build", "-q", str(folder)).stdout
    # What the caches have is enough now, without the bundle.
    assert without_network(carboy, "build", "-q", "--offline", str(folder)).stdout == digest
    # The folder's own files may be others; what it asks for may not.
    (folder / "main.py").write_text("print('changed')\n")
    without_network(carboy, "build", "-q", "--offline", "--bundle", str(bundle), str(folder))
    (folder / "requirements.txt").write_text("click==8.1.7\nno-such-package-of-ours\n")
    error = without_network(carboy, "build", "--offline", "--bundle", str(bundle), str(folder), expect=1).stderr
    assert "has no packages for these requirements" in error
    error = without_network(carboy, "build", "--offline", str(folder), expect=1).stderr
    assert "no-such-package-of-ours (no version is chosen yet)" in error
    assert "carboy fetch FOLDER -o bundle.tar" in error


def test_what_is_missing_is_listed(carboy: Carboy, folder: Path) -> None:
    error = without_network(carboy, "build", "--offline", str(folder), expect=1).stderr
    assert "base debian:bookworm with python3" in error
    assert "install 3 requirements" in error
    assert "--offline" in carboy("build", "--bundle", "x.tar", str(folder), expect=2).stderr


def test_a_bundle_that_is_none_is_refused(carboy: Carboy, folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tar"
    wrong.write_bytes(b"x" * 5000)
    command = ("build", "--offline", "--bundle", str(wrong), str(folder))
    assert "bundle" in carboy(*command, expect=1).stderr
    wrong.unlink()
    assert "no such file" in carboy(*command, expect=1).stderr
    assert "is a folder" in carboy("fetch", str(folder), "-o", str(tmp_path), expect=1).stderr
    assert "there is no folder" in carboy("fetch", str(folder), "-o", f"{tmp_path}/none/b.tar", expect=1).stderr


@pytest.mark.long
def test_an_empty_home_builds_the_same_image(
    tier_carboy: Carboy, folders_carboy: Carboy, folder: Path, tmp_path: Path
) -> None:
    place = tier_carboy.temporary / "offline"
    place.mkdir(exist_ok=True)
    os.chown(place, tier_carboy.person.uid, tier_carboy.person.gid)
    shutil.copytree(folder, place / "project", dirs_exist_ok=True)
    digest = folders_carboy("build", "-q", str(folder)).stdout
    folders_carboy("fetch", "-q", str(folder), "-o", str(tmp_path / "bundle.tar"))
    shutil.copyfile(tmp_path / "bundle.tar", place / "bundle.tar")
    empty = tier_carboy.using(place / "home")
    command = ("build", "-q", "--offline", "--bundle", str(place / "bundle.tar"), str(place / "project"))
    assert without_network(empty, *command, "-t", "offline:1").stdout == digest
    assert "answer click 0.6.2 own" in without_network(empty, "run", "--rm", "offline:1").stdout


def test_a_dockerfile_is_refused_with_another_way(carboy: Carboy, folder: Path, tmp_path: Path) -> None:
    (folder / "Dockerfile").write_text("FROM debian:bookworm\nRUN apt-get update\n")
    for words in (("fetch", str(folder), "-o", f"{tmp_path}/b.tar"), ("build", "--offline", str(folder))):
        error = carboy(*words, expect=1).stderr
        assert "cannot be built of a bundle" in error
        assert "--cache-from" in error
    assert not (tmp_path / "b.tar").exists()


@pytest.mark.long
def test_packages_of_R_come_along(folders_carboy: Carboy, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "cran")
    fields = "Imports: glue\n"  # the distribution has it
    repository.add("answers", "1.0", code="answer <- function() glue::glue('answer {6 * 7}')\n", fields=fields)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "DESCRIPTION").write_text("Imports: answers\n")
    (folder / "main.R").write_text("cat(answers::answer(), '\\n')\n")
    carboy = folders_carboy.using(folders_carboy.home, CARBOY_CRAN=f"file://{repository.folder}")
    bundle = str(tmp_path / "bundle.tar")
    said = carboy("fetch", str(folder), "-o", bundle, timeout_s=400).stdout
    assert " files, 1 source package among them" in said
    digest = carboy("build", "-q", str(folder)).stdout
    empty = folders_carboy.using(tmp_path / "home", CARBOY_CRAN="http://127.0.0.1:9")
    without_network(empty, "build", "--offline", str(folder), expect=1)
    command = ("build", "-q", "--offline", "--bundle", bundle, str(folder))
    assert without_network(empty, *command, "-t", "offline:r").stdout == digest
    assert "answer 42" in without_network(empty, "run", "--rm", "offline:r").stdout
    # It was no answer to anybody else: what has a network asks the repository.
    assert "CARBOY_CRAN" in empty("build", str(folder), expect=1).stderr
    (folder / "DESCRIPTION").write_text("Imports: answers, glue\n")
    assert "the bundle has no R packages" in without_network(empty, *command, expect=1).stderr
