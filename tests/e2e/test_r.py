"""R packages in images: from source out of a repository that the tests make, one package more, locks, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from r_repository import Repository

if TYPE_CHECKING:
    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.network, pytest.mark.userns, pytest.mark.timeout(600)]

C_CODE = """
#include <R.h>
#include <Rinternals.h>
{extra}
SEXP twice(SEXP x) {{ return ScalarInteger(2 * asInteger(x)); }}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "cran")


def write_folder(folder: Path, locked: dict[str, str], code: str, settings: str = "") -> Path:
    """Write a folder with an renv.lock."""
    folder.mkdir(exist_ok=True)
    packages = {name: {"Package": name, "Version": version, "Source": "Repository"} for name, version in locked.items()}
    (folder / "renv.lock").write_text(json.dumps({"R": {"Version": "4.2.2"}, "Packages": packages}))
    (folder / "main.R").write_text(code)
    (folder / "carboy.toml").write_text(settings)
    return folder


def using(carboy: Carboy, repository: Repository | None = None) -> Carboy:
    """Return the runner with a repository of R packages, or one that does not answer."""
    address = f"file://{repository.folder}" if repository is not None else "http://127.0.0.1:9"
    return carboy.using(carboy.home, CARBOY_CRAN=address)


def test_a_locked_version_that_nobody_has_names_what_can_be_had(folders_carboy: Carboy, tmp_path: Path) -> None:
    code = 'cat(as.character(packageVersion("abind")), "\\n")\n'
    folder = write_folder(tmp_path / "f", {"abind": "1.4-3", "nowhere": "1.0"}, code)
    carboy = using(folders_carboy)
    error = carboy("build", str(folder), expect=1).stderr
    assert "2 R packages of renv.lock cannot be had as asked for" in error
    assert "abind == 1.4-3: the distribution has 1.4-5 (r-cran-abind 1.4-5-2)" in error
    assert "nowhere == 1.0: the distribution has no r-cran-nowhere" in error
    assert "no source can be had: cannot fetch http://127.0.0.1:9/src/contrib/PACKAGES.gz" in error
    assert '`versions = "distribution"` under [r] in carboy.toml' in error
    assert "CARBOY_CRAN" in error
    write_folder(folder, {"abind": "1.4-3"}, code, '[r]\nversions = "distribution"\n')
    assert carboy("run", "--rm", str(folder)).stdout == "1.4.5 \n"


def test_source_packages_are_built_in_the_sandbox(
    folders_carboy: Carboy, tmp_path: Path, repository: Repository
) -> None:
    carboy = using(folders_carboy, repository)
    twice = C_CODE.format(extra="")
    repository.add("twice", "0.3", code="twice <- function(x) .Call('twice', x, PACKAGE = 'twice')\n", c_code=twice)
    repository.add(
        "twice",
        "0.2-1",
        code="twice <- function(x) .Call('twice', x, PACKAGE = 'twice')\n",
        c_code=twice,
        archived=True,
    )
    repository.add("abind", "1.4-9", code="abind <- function(...) 'the newer one'\n")
    fields = "Depends: R (>= 4.0)\nImports: twice (>= 0.2), glue, abind\n"
    repository.add(
        "answers", "1.0", code="answer <- function() paste(twice::twice(21L), abind::abind())\n", fields=fields
    )
    # A version of the archive, one that hides the distribution's, and one whose requirements come along.
    folder = write_folder(
        tmp_path / "f", {"answers": "1.0", "twice": "0.2-1", "abind": "1.4-9"}, "cat(answers::answer(), '\\n')\n"
    )
    first = carboy("run", "--rm", "--network", "none", str(folder), timeout_s=400)
    assert first.stdout == "42 the newer one \n"
    carboy("build", "-t", "sources:r", str(folder))
    shown = folders_carboy(
        "run", "--rm", "sources:r", "sh", "-c", "ls /usr/local/lib/R/site-library; command -v gcc || echo none"
    )
    assert shown.stdout.split() == ["abind", "answers", "twice", "none"]
    # Nothing is asked again, and the repository is not needed any more.
    again = using(folders_carboy)("build", str(folder))
    assert "install" not in again.stderr
    # Locked: what the repository has is held against the hash.
    carboy("lock", str(folder))
    text = (folder / "carboy.lock").read_text()
    assert '"twice 0.2-1 sha256:' in text
    assert '"r-cran-glue ' in text
    carboy("build", "--locked", str(folder))
    wrong = text.replace(text.split('"twice 0.2-1 sha256:')[1][:64], "0" * 64)
    (folder / "carboy.lock").write_text(wrong)
    error = carboy("build", "--locked", str(folder), expect=1).stderr
    assert "twice 0.2-1 has other bytes than carboy.lock says" in error
    carboy("rmi", "sources:r")


def test_versions_of_sources_are_held_in_a_rebuild(
    folders_carboy: Carboy, tmp_path: Path, repository: Repository
) -> None:
    """Without a lock too: those of the image count, and no newer ones of the repository, directly asked for or not."""
    carboy = using(folders_carboy, repository)
    repository.add("inner", "1.0", code="inner <- function() 42\n")
    repository.add("outer", "1.0", code="outer <- function() inner::inner()\n", fields="Imports: inner, abind\n")
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "DESCRIPTION").write_text("Imports: outer\n")
    (folder / "main.R").write_text("cat(outer::outer())\n")
    carboy("build", str(folder), "-t", "held:r", timeout_s=400)
    newer = Repository(tmp_path / "newer")
    for name in ("inner", "outer"):
        fields = "Imports: inner\n" if name == "outer" else ""
        newer.add(name, "1.0", code=f"{name} <- function() 'never read: the home has it by its hash'\n", archived=True)
        newer.add(name, "2.0", code=f"{name} <- function() 'newer'\n", fields=fields)
    found = json.loads(using(folders_carboy, newer)("verify", "--json", "held:r", timeout_s=500).stdout)
    assert found["level"] in {"identical", "archive"}, found
    packages = json.loads(carboy("licenses", "--json", "held:r").stdout)
    named = {(p["kind"], p["name"]): group["licence"] for group in packages for p in group["packages"]}
    assert named["cran", "outer"] == "MIT"
    assert named["cran", "abind"].startswith("LGPL-2.")
    carboy("rmi", "held:r")


def test_what_goes_wrong_with_sources(folders_carboy: Carboy, tmp_path: Path, repository: Repository) -> None:
    carboy = using(folders_carboy, repository)
    header = C_CODE.format(extra="#include <libxml/parser.h>")
    code = "twice <- function(x) .Call('twice', x, PACKAGE = 'needsxml')\n"
    repository.add("needsxml", "1.0", code=code, c_code=header)
    repository.add("broken", "1.0", code="f <- function( {\n")
    repository.add("future", "1.0", code="f <- 1\n", fields="Depends: R (>= 99.0)\n")
    altered = repository.add("altered", "1.0", code="f <- 1\n")
    altered.write_bytes(altered.read_bytes() + b"\0")

    def fail(**locked: str) -> str:
        folder = write_folder(tmp_path / "f", locked, "cat(1)\n")
        return carboy("build", str(folder), expect=1, timeout_s=400).stderr

    error = fail(needsxml="1.0")
    assert "the R package needsxml 1.0 cannot be installed" in error
    assert "libxml/parser.h: No such file or directory" in error
    assert '[system] packages = ["libxml2-dev"] in carboy.toml' in error
    error = fail(broken="1.0")
    assert "the R package broken 1.0 cannot be installed" in error
    assert "unexpected" in error
    assert "future 1.0 requires R >= 99.0, and the base has R 4.2.2" in fail(future="1.0")
    error = fail(altered="1.0")
    assert "the file of altered 1.0 is not what the repository's index says" in error
    assert "expected md5" in error
    assert "needsxml == 9.9: the distribution has no r-cran-needsxml, the repository has 1.0" in fail(needsxml="9.9")
    folder = write_folder(tmp_path / "f", {"needsxml": "1.0"}, "cat(1)\n", '[system]\npackages = ["libxml2-dev"]\n')
    carboy("build", str(folder), timeout_s=400)


def test_one_package_more_is_made_alone(folders_carboy: Carboy, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "main.R").write_text("cat(1)\n")
    (folder / "DESCRIPTION").write_text("Imports: dplyr, ggplot2\n")
    folders_carboy("build", "-t", "more:one", str(folder), timeout_s=300)
    (folder / "DESCRIPTION").write_text("Imports: dplyr, ggplot2, data.table\n")
    said = folders_carboy("build", "-t", "more:two", str(folder), timeout_s=300).stderr
    assert "layers: r-cran-data.table 1." in said
    layers = [
        [layer["Digest"] for layer in json.loads(folders_carboy("inspect", f"more:{name}").stdout)[0]["Layers"]]
        for name in ("one", "two")
    ]
    assert len(set(layers[1]) - set(layers[0])) == 3  # the package, what names all packages, and the folder
    shown = folders_carboy(
        "run",
        "--rm",
        "more:two",
        "sh",
        "-c",
        "dpkg --audit; dpkg -V r-cran-data.table; dpkg -s r-cran-data.table | head -2",
    )
    assert shown.stdout == "Package: r-cran-data.table\nStatus: install ok installed\n"
    for name in ("one", "two"):
        folders_carboy("rmi", f"more:{name}")


def test_code_that_names_packages_is_offered_them(folders_carboy: Carboy, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "main.R").write_text('library(abind)\ncat("answer ", abind(41, 42)[2], "\\n")\n')
    assert "the code names abind" in folders_carboy("build", str(folder), expect=1).stderr
    assert json.loads(folders_carboy("detect", "--json", str(folder)).stdout)["r_offered"] == ["abind"]
    folders_carboy("detect", "--write", str(folder))
    assert (folder / "install.R").read_text() == 'install.packages(c("abind"))\n'
    assert "answer  42" in folders_carboy("run", "--rm", str(folder), timeout_s=300).stdout


def test_R_runs_in_every_tier(tier_carboy: Carboy) -> None:
    place = tier_carboy.person.home / "R" if tier_carboy.person.uid else tier_carboy.temporary / "R"
    repository = Repository(place / "cran")
    code = "twice <- function(x) .Call('twice', x, PACKAGE = 'twice')\n"
    repository.add("twice", "1.0", code=code, c_code=C_CODE.format(extra=""))
    main = "cat(jsonlite::toJSON(twice::twice(21L)))\n"
    folder = write_folder(place / "f", {"twice": "1.0", "jsonlite": "1.8.4"}, main)
    shown = using(tier_carboy, repository)("run", "--rm", "--network", "none", str(folder), timeout_s=500)
    assert shown.stdout == "[42]"
    shutil.rmtree(place)


def test_a_base_of_R_has_a_compiler(folders_carboy: Carboy) -> None:
    code = 'cat(R.version$major, system2("gcc", "--version", stdout = TRUE)[1])'
    shown = folders_carboy("run", "--rm", "r-base:4.2.2", "Rscript", "-e", code, timeout_s=400).stdout
    assert shown.startswith("4 gcc")


@pytest.mark.parametrize("name", ["iris-r", "mixed"])
def test_examples_train_and_predict(folders_carboy: Carboy, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(Path(__file__).resolve().parents[2] / "examples" / name, folder)
    shown = folders_carboy("run", "--rm", "--network", "none", str(folder), timeout_s=400).stdout
    assert "accuracy: 0.9" in shown
    assert "setosa" in shown
    if name == "mixed":  # Python and R at once
        folders_carboy("build", "-q", "-t", "mixed:proven", str(folder))
        found = json.loads(folders_carboy("verify", "--json", "mixed:proven", timeout_s=500).stdout)
        assert found["level"] in {"identical", "archive"}, found
        folders_carboy("rmi", "mixed:proven")
