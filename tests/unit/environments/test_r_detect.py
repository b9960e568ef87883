"""What a folder's files say of its R packages: one test for each kind of file, and for each way to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.build.plan import BaseStep, ConfigStep, EnvironmentStep, RStep, plan_project
from carboy.build.project import ProjectFacts, read_project
from carboy.environments.r.choose import choose_r, list_r_findings, offer_r
from carboy.environments.r.description import iter_paragraphs, parse_description
from carboy.environments.r.locks import parse_packrat, parse_renv
from carboy.environments.r.scripts import find_libraries, parse_install
from carboy.environments.r.tokens import iter_tokens, read_code
from carboy.environments.r.versions import compare, find_upstream, fits
from carboy.errors import CarboyError

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
LOCK = '{"R": {"Version": "4.2.2"}, "Packages": {"abind": {"Package": "abind", "Version": "1.4-5", "Source": "Repository"}}}'


def facts_of(**files: str) -> ProjectFacts:
    """Return the facts of a folder with these files; __ stands for a dot in a name."""
    texts = {name.replace("__", "."): text for name, text in files.items()}
    scripts = {name: "__main__" in text for name, text in texts.items() if name.endswith(".py")}
    return ProjectFacts(folder="/f", files=tuple(sorted(texts)), texts=texts, scripts=scripts)


@pytest.mark.parametrize(
    ("folder", "file", "packages", "command"),
    [
        ("renv", "renv.lock", ["R6 == 2.5.1", "jsonlite == 1.8.4"], "Rscript main.R"),
        ("description", "DESCRIPTION", ["glue >= 1.6", "magrittr"], "Rscript main.R"),
        ("install-r", "install.R", ["boot", "digest"], "Rscript run.R"),
        ("packrat", "packrat/packrat.lock", ["abind == 1.4-5"], "Rscript main.R"),
        ("mixed", "DESCRIPTION", ["reticulate"], "Rscript main.R"),
    ],
)
def test_sample_folders_are_planned(folder: str, file: str, packages: list[str], command: str) -> None:
    plan = plan_project(read_project(str(PROJECTS / folder)))
    base = next(step for step in plan.steps if isinstance(step, BaseStep))
    (r,) = (step for step in plan.steps if isinstance(step, RStep))
    config = plan.steps[-1]
    assert isinstance(config, ConfigStep)
    assert base.base == "debian:bookworm"
    assert ("python3" in base.packages) == (folder == "mixed")
    assert "r-base-core" in base.packages
    assert r.reason.startswith(file)
    assert [str(package) for package in r.packages] == packages
    assert " ".join(config.command) == command
    env = dict(item.split("=", 1) for item in config.env)
    assert ("RENV_CONFIG_AUTOLOADER_ENABLED" in env) == (folder == "renv")
    assert (env.get("R_PROFILE_USER") == "") == (folder == "packrat")
    if folder == "mixed":
        assert any(isinstance(step, EnvironmentStep) for step in plan.steps)
        assert env["RETICULATE_PYTHON"] == "/opt/env/bin/python"
    if folder == "install-r":
        assert "CRAN of 2023-03-01" in plan.notes[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("renv.lock", "install.R"), ("renv.lock", "packrat/packrat.lock"), ("DESCRIPTION", "install.R")],
)
def test_two_truths_are_an_error_that_names_both(one: str, other: str) -> None:
    texts = {
        "renv.lock": LOCK,
        "packrat/packrat.lock": "PackratFormat: 1.4\n",
        "DESCRIPTION": "Package: x\nImports: abind\n",
        "install.R": 'install.packages("abind")\n',
    }
    both = {name: texts[name] for name in (one, other)}
    with pytest.raises(CarboyError, match=f"both {one} and {other}") as caught:
        choose_r(both)
    assert f'[r] requirements = "{one}"' in caught.value.hint
    chosen = choose_r(both, named=one)
    assert chosen is not None
    assert chosen.file == one


def test_what_stands_beside_a_lock_without_another_truth() -> None:
    wants = choose_r(
        {"renv.lock": LOCK, "install.R": "library(renv)\nrenv::restore()\n", "DESCRIPTION": "Imports: abind\n"}
    )
    assert wants is not None
    assert wants.file == "renv.lock"
    assert wants.version == "4.2.2"
    assert [item.used for item in list_r_findings(("renv.lock", "install.R"), wants)] == [True, False]
    # A file of that name that is not R's.
    assert choose_r({"DESCRIPTION": "what this is about: nothing\n"}) is None
    with pytest.raises(CarboyError, match="none of its files"):
        choose_r({"main.R": ""}, named="main.R")
    with pytest.raises(CarboyError, match="not there"):
        choose_r({}, named="renv.lock")


def test_what_has_no_release_is_refused() -> None:
    packages = {"x": {"Version": "1.0", "Source": "GitHub", "RemoteUsername": "somebody", "RemoteRepo": "x"}}
    with pytest.raises(CarboyError, match=r"renv\.lock has x from elsewhere") as caught:
        parse_renv(json.dumps({"Packages": packages}))
    assert "GitHub somebody/x" in caught.value.details
    with pytest.raises(CarboyError, match="has x from elsewhere"):
        parse_packrat("PackratFormat: 1.4\n\nPackage: x\nSource: github\nVersion: 1\n")
    with pytest.raises(CarboyError, match="DESCRIPTION has Remotes"):
        parse_description("Package: a\nImports: x\nRemotes: somebody/x\n")
    with pytest.raises(CarboyError, match=r"install_github\(\)"):
        parse_install('remotes::install_github("somebody/x")\n')
    bioconductor = parse_renv('{"Packages": {"limma": {"Version": "3.54.1", "Source": "Bioconductor"}}}')
    assert [package.debian for package in bioconductor.packages] == ["r-bioc-limma"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"Packages": []}', '{"Packages": {"a": 1}}', '{"Packages": {"a": {}}}', '{"R": 1}']
)
def test_a_broken_lock_of_renv_is_named(text: str) -> None:
    with pytest.raises(CarboyError, match=r"renv\.lock"):
        parse_renv(text)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "1a", "a b", "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    lock = json.dumps({"Packages": {name: {"Version": "1.0", "Source": "Repository"}}})
    with pytest.raises(CarboyError, match="no name of a package"):
        parse_renv(lock)
    if "\n" not in name:
        with pytest.raises(CarboyError, match="no name of a package"):
            parse_packrat(f"PackratFormat: 1.4\n\nPackage: {name}\nSource: CRAN\nVersion: 1.0\n")


def test_scripts_ask_for_no_R_that_conda_brings() -> None:
    conda = "channels: [conda-forge]\ndependencies: [r-base, r-dplyr]\n"
    plan = plan_project(facts_of(main__R="library(dplyr)\n", environment__yml=conda))
    assert not [step for step in plan.steps if isinstance(step, RStep)]
    assert "r-base-core" not in plan.steps[0].what


def test_a_description_says_what_it_needs() -> None:
    text = "Package: a\nDepends: R (>= 4.1.0), methods\nImports:\n    dplyr (>= 1.0),\n    xml2\n"
    text += "LinkingTo: cpp11\nSuggests: knitr\n"
    wants = parse_description(text)
    assert wants is not None
    assert [str(package) for package in wants.packages] == ["cpp11", "dplyr >= 1.0", "xml2"]
    assert wants.version == ">=4.1.0"
    more = parse_description(text, suggests=True)
    assert more is not None
    assert "knitr" in [package.name for package in more.packages]
    with pytest.raises(CarboyError, match="'d plyr' of Imports"):
        parse_description("Package: a\nImports: d plyr\n")


def test_install_scripts_are_read() -> None:
    text = """
    # install.packages("not.this")
    repos <- "https://cran.example.org"
    if (!requireNamespace("pak")) install.packages("pak", repos = repos)
    wanted <- c("dplyr", 'ggplot2')  # both
    install.packages(wanted[!wanted %in% rownames(installed.packages())])
    """
    with pytest.raises(CarboyError, match="only running it would tell what"):
        parse_install(text)
    text = text.replace("wanted[!wanted %in% rownames(installed.packages())]", "pkgs = wanted, repos = repos")
    assert [str(package) for package in parse_install(text)] == ["dplyr", "ggplot2", "pak"]
    more = 'BiocManager::install("limma")\nremotes::install_version("abind", "1.4-5")\npak::pkg_install("cran::xml2@1.3.3")\n'
    found = parse_install(more)
    assert [str(package) for package in found] == ["abind == 1.4-5", "limma", "xml2 == 1.3.3"]
    assert found[1].bioconductor
    for wrong in (
        'install.packages("a b")',
        "install.packages(1 + 1)",
        "install.packages()",
        "install.packages(unknown)",
    ):
        with pytest.raises(CarboyError, match=r"install\.R"):
            parse_install(wrong)
    assert parse_install("BiocManager::install()\nx <- install(1)\n") == ()


def test_code_offers_what_it_names() -> None:
    code = {
        "a.R": "library(dplyr)\nrequire('xml2', quietly = TRUE)\nx <- 'gone::x' # also::this\nstats::sd(1)\njsonlite::toJSON(1)\n"
        "library(name, character.only = TRUE)\nif (requireNamespace('glue')) local$library(x)\nr\"(no::tell)\"\n",
        "b.Rmd": "say::no\n```{r setup, echo=FALSE}\nlibrary(ggplot2)\n```\n```{python}\nlibrary(numpy)\n```\n",
        "c.ipynb": json.dumps(
            {
                "metadata": {"kernelspec": {"name": "ir", "language": "R"}},
                "cells": [
                    {"cell_type": "code", "source": ["library(MASS)\n"]},
                    {"cell_type": "markdown", "source": ["library(no)"]},
                ],
            }
        ),
        "d.ipynb": "{",
    }
    assert find_libraries(code) == ("MASS", "dplyr", "ggplot2", "glue", "jsonlite", "xml2")
    assert offer_r(("install.R",), {"install.R": 'install.packages("a")', "main.R": "library(zoo)"}) == ("zoo",)


def test_code_without_a_file_is_never_guessed() -> None:
    with pytest.raises(CarboyError, match="the code names dplyr, xml2") as caught:
        plan_project(facts_of(main__R="library(dplyr)\nxml2::read_xml('x')\n"))
    assert "carboy detect --write" in caught.value.hint
    plan = plan_project(facts_of(main__R="cat(1)\n"))
    assert not [step for step in plan.steps if isinstance(step, RStep | EnvironmentStep)]
    assert plan.steps[0].what == "base debian:bookworm with r-base-core"
    # A script of R that nothing runs, beside Python's.
    plan = plan_project(facts_of(main__py="print(1)\n", plots__R="library(ggplot2)\n"))
    assert plan.steps[0].what == "base debian:bookworm with python3"
    assert "plots.R is there, and nothing asks for R" in plan.notes[0]


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"app__R": "shiny::shinyApp(ui, server)"}, 'shiny::runApp("app.R", host = "0.0.0.0", port = 3838)'),
        ({"ui__R": "", "server__R": ""}, 'shiny::runApp(".", host = "0.0.0.0", port = 3838)'),
        ({"plumber__R": "", "helper__R": ""}, 'plumber::plumb("plumber.R")$run(host = "0.0.0.0", port = 8000)'),
        ({"only__R": ""}, "only.R"),
        ({"main__R": "", "other__R": "", "tool__py": ""}, "main.R"),
    ],
)
def test_what_runs(files: dict[str, str], command: str) -> None:
    config = plan_project(facts_of(install__R="", **files)).steps[-1]
    assert isinstance(config, ConfigStep)
    assert config.command[0] == "Rscript"
    assert config.command[-1] == command


def test_two_starts_are_an_error_that_names_both() -> None:
    with pytest.raises(CarboyError, match=r"both main\.py and main\.R") as caught:
        plan_project(facts_of(main__py="", main__R=""))
    assert '"Rscript", "main.R"' in caught.value.hint
    toml = '[run]\ncommand = ["Rscript", "main.R"]\n'
    plan = plan_project(facts_of(main__py="", main__R="", carboy__toml=toml))
    assert plan.steps[0].what == "base debian:bookworm with python3, r-base-core, libpython3.11"


@pytest.mark.parametrize(
    ("files", "suite", "reason"),
    [
        ({"runtime__txt": "r-4.0"}, "bullseye", "R 4.0.4: runtime.txt asks for R 4.0"),
        ({"runtime__txt": "r-2024-01-02"}, "bookworm", "R 4.2.2: no version of R is asked for"),
        ({"carboy__toml": '[r]\nversion = "4.5"\n'}, "trixie", "R 4.5.0: carboy.toml asks for R 4.5"),
        ({"DESCRIPTION": "Depends: R (>= 4.3)\n"}, "trixie", "R 4.5.0: DESCRIPTION: Depends asks for R >=4.3"),
        ({"main__py": "", "runtime__txt": "python-3.13"}, "trixie", "Python 3.13: runtime.txt asks for 3.13"),
    ],
)
def test_the_suite_has_the_versions(files: dict[str, str], suite: str, reason: str) -> None:
    if "carboy__toml" not in files:
        files = {**files, "carboy__toml": '[run]\ncommand = "x"\n[r]\n'}
    base = plan_project(facts_of(script__R="", **files)).steps[0]
    assert isinstance(base, BaseStep)
    assert (base.base, base.reason) == (f"debian:{suite}", reason)


def test_versions_that_no_suite_has() -> None:
    lock = LOCK.replace("4.2.2", "4.3.1")
    with pytest.raises(CarboyError, match=r"renv\.lock asks for R 4\.3\.1, which no base has") as caught:
        plan_project(facts_of(main__R="", renv__lock=lock))
    assert 'versions = "distribution"' in caught.value.hint
    plan = plan_project(facts_of(main__R="", renv__lock=lock, carboy__toml='[r]\nversions = "distribution"\n'))
    assert plan.steps[1].what == "install 1 R package"
    with pytest.raises(CarboyError, match="no suite has both"):
        plan_project(
            facts_of(main__R="", renv__lock=LOCK, __python_version="3.13", carboy__toml='[python]\nversion = "3.13"\n')
        )
    for wrong in ("r-", "r-4", "r-four", "r-4.2-2023"):
        with pytest.raises(CarboyError, match="names no version of R"):
            plan_project(facts_of(main__R="", runtime__txt=wrong))


def test_settings_add_packages() -> None:
    toml = '[r]\npackages = ["zoo", "abind >= 1.5", "xml2 == 1.3.3"]\n'
    (step,) = (
        s for s in plan_project(facts_of(main__R="", renv__lock=LOCK, carboy__toml=toml)).steps if isinstance(s, RStep)
    )
    assert [str(package) for package in step.packages] == ["abind >= 1.5", "xml2 == 1.3.3", "zoo"]
    assert step.reason == "carboy.toml and renv.lock"
    with pytest.raises(CarboyError, match=r"r\.packages has 'a b'"):
        plan_project(facts_of(main__R="", carboy__toml='[r]\npackages = ["a b"]\n'))
    with pytest.raises(CarboyError, match="no R versions"):
        plan_project(facts_of(main__R="", carboy__toml='[r]\nversions = "new"\n'))


def test_versions_are_compared_as_R_does() -> None:
    upstream = {
        "4.7-1.1-1": "4.7-1.1",
        "1:2.0-3-2+b1": "2.0-3",
        "1.3.2+dfsg-1": "1.3.2",
        "1.7.4+dfsg-2+deb12u1": "1.7.4",
        "7.3-58.2-1": "7.3-58.2",
        "2.0~ds1-1": "2.0",
    }
    assert {version: find_upstream(version) for version in upstream} == upstream
    assert compare("4.7-1.1", "4.7.1.1") == 0
    assert compare("1.10", "1.9") > 0
    assert compare("1.0", "1.0.0") < 0
    assert fits("1.3.3", ">=", "1.3")
    assert not fits("1.3.3", "==", "1.3")
    assert compare("x", "1") < 0


@given(st.text(max_size=200))
def test_any_code_has_tokens(text: str) -> None:
    list(iter_tokens(text))
    list(iter_paragraphs(text))
    read_code("a.Rmd", text)
    find_libraries({"a.R": text})


def test_install_scripts_in_forms_that_people_write() -> None:
    text = """\
if (!require("pacman")) install.packages("pacman")
pacman::p_load(dplyr, "tidyr", char = c("zoo"), install = TRUE)
install.packages(c(plots = "ggplot2"))
pak::pak("cran::xts")
"""
    names = [package.name for package in parse_install(text)]
    assert names == ["dplyr", "ggplot2", "pacman", "tidyr", "xts", "zoo"]


@pytest.mark.parametrize(
    "text",
    [
        'lapply(c("abind", "boot"), install.packages)',
        "p_load(wanted, character.only = TRUE)",
        'invisible(sapply(missing, install.packages, repos = "https://example.org"))',
    ],
)
def test_packages_that_only_running_an_install_script_would_tell_are_never_left_out(text: str) -> None:
    with pytest.raises(CarboyError, match="only running it would tell"):
        parse_install(text)
