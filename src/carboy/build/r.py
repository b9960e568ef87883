"""R in a folder: which packages, which suite's R, which script runs, and what of R's tools has no place in an image. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.environments.r.choose import choose_r, offer_r
from carboy.environments.r.versions import fits, is_version
from carboy.environments.r.wants import INSTALL, PACKRAT, RENV, RPackage, RWants
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.build.project import ProjectFacts
    from carboy.build.settings import Settings

# Debian's R by suite.
RS = {"bullseye": "4.0.4", "bookworm": "4.2.2", "trixie": "4.5.0"}
CORE = "r-base-core"
IGNORED = ("renv/library", "renv/staging", "renv/python", "packrat", ".Rproj.user", ".Rhistory")
"""What R's tools keep in a folder: their libraries are of another machine."""
SHINY_PORT, PLUMBER_PORT = 3838, 8000
_OBVIOUS = ("main.R", "app.R", "plumber.R", "run.R", "script.R")
# repo2docker: r-4.2, r-2023-03-01, or r-4.2-2023-03-01.
_RUNTIME = re.compile(r"r-(?P<version>\d+\.\d+(?:\.\d+)?)?-?(?P<date>\d{4}-\d\d-\d\d)?", re.ASCII)
_REQUIREMENT = re.compile(r"([A-Za-z][A-Za-z0-9.]*)\s*(?:(==|>=)\s*([0-9][0-9.-]*))?", re.ASCII)


def list_r_scripts(facts: ProjectFacts) -> list[str]:
    """Return the R scripts at a folder's top, without what is no program of it."""
    return sorted(n for n in facts.texts if n.endswith((".R", ".r")) and n != INSTALL and "/" not in n)


def choose_r_packages(facts: ProjectFacts, settings: Settings, *, only_said: bool = False) -> RWants | None:
    """Return the R packages that a folder asks for, None where it asks for no R.

    ``only_said``: scripts alone ask for nothing, since another packager may bring R for them.
    Raises ``CarboyError`` when two files say it, when it is said in a way that is not read, and when the code names packages
    that nobody asks for.
    """
    wants = choose_r(facts.texts, named=settings.r_requirements, suggests=settings.r_suggests)
    own = tuple(_parse_setting(line) for line in settings.r_packages)
    if own:
        names = {package.name for package in own}
        kept = () if wants is None else tuple(package for package in wants.packages if package.name not in names)
        source = "carboy.toml" if wants is None else f"carboy.toml and {wants.source}"
        file = "carboy.toml" if wants is None else wants.file
        packages = tuple(sorted((*kept, *own), key=lambda package: package.name))
        return RWants(packages=packages, file=file, source=source, version="" if wants is None else wants.version)
    if wants is not None:
        return wants
    run = not only_said and bool(list_r_scripts(facts)) and _is_r_run(facts, settings)
    if not (settings.has_r or _read_runtime(facts)[0] or run):
        return None
    offer = offer_r(facts.files, facts.texts)
    if offer:
        raise CarboyError(
            f"nothing says which R packages to install, and the code names {', '.join(offer[:8])}",
            hint=f"`carboy detect --write {facts.folder}` writes an install.R; an empty one says that there are none",
        )
    return RWants(packages=(), file="", source="the R code")


def _is_r_run(facts: ProjectFacts, settings: Settings) -> bool:
    """Return whether it is R that a folder's command starts, or there is nothing else that it could start."""
    if settings.command:
        return any("Rscript" in word or re.search(r"\bR\b", word) for word in settings.command)
    return not facts.scripts or find_r_start(facts) is not None


def _parse_setting(line: str) -> RPackage:
    match = _REQUIREMENT.fullmatch(line.strip())
    if match is None:
        raise CarboyError(
            f"carboy.toml: r.packages has {line!r}, which is no package",
            hint='write packages = ["dplyr", "ggplot2 >= 3.4", "xml2 == 1.3.3"]',
        )
    return RPackage(name=match[1], operator=match[2] or "", version=match[3] or "")


def _read_runtime(facts: ProjectFacts) -> tuple[bool, str, str]:
    """Return whether ``runtime.txt`` asks for R, for which version, and for the packages of which day."""
    text = facts.texts.get("runtime.txt", "").strip()
    if not text.startswith("r-"):
        return False, "", ""
    match = _RUNTIME.fullmatch(text)
    if match is None or not (match["version"] or match["date"]):
        raise CarboyError(
            f"runtime.txt: {text!r} names no version of R", hint="write r-4.2, or r-4.2-2023-03-01 with a day of CRAN"
        )
    return True, match["version"] or "", match["date"] or ""


def find_r_suites(facts: ProjectFacts, settings: Settings, wants: RWants) -> tuple[tuple[str, ...], str]:
    """Return the suites whose R a folder can have, and why. Raises ``CarboyError`` when there is none."""
    version = wants.version
    relaxed = settings.r_versions == "distribution" and is_version(version)
    asked = [(settings.r_version, "carboy.toml"), (_read_runtime(facts)[1], "runtime.txt"), (version, wants.source)]
    for wanted, where in asked:
        if not wanted or (wanted == version and where == wants.source and relaxed):
            continue
        suites = tuple(suite for suite, have in RS.items() if _fits(have, wanted, where))
        if not suites:
            have = ", ".join(f"{number} ({suite})" for suite, number in RS.items())
            raise CarboyError(
                f"{where} asks for R {wanted}, which no base has",
                details=f"these can be had: {have}",
                hint='[r] in carboy.toml decides: version = "4.2" names another R, '
                'versions = "distribution" takes the distribution\'s versions of R and of all packages',
            )
        return suites, f"{where} asks for R {wanted}"
    return tuple(RS), "no version of R is asked for"


def _fits(have: str, wanted: str, where: str) -> bool:
    """Return whether R ``have`` meets "4.2", "4.2.1" (a fix more or less is no other R), or ">=4.1"."""
    match = re.fullmatch(r"\s*(==|>=|<=|>|<|!=|)\s*(\d+(?:\.\d+)*)\s*", wanted, re.ASCII)
    if match is None:
        raise CarboyError(f"{where}: {wanted!r} is no version of R", hint="write 4.2, or >=4.1")
    if match[1] in {"", "=="}:
        parts = match[2].split(".")[:2]
        return have.split(".")[: len(parts)] == parts
    return fits(have, match[1], match[2])


def explain_r(facts: ProjectFacts, wants: RWants | None) -> tuple[str, ...]:
    """Return notes for people on what an image of the folder has otherwise than somebody may expect."""
    if wants is None:
        scripts = list_r_scripts(facts)
        return (f"{scripts[0]} is there, and nothing asks for R: it is not installed",) if scripts else ()
    day = _read_runtime(facts)[2]
    return (f"runtime.txt asks for CRAN of {day}: the distribution's packages are of its own day",) if day else ()


def find_r_start(facts: ProjectFacts) -> str | None:
    """Return the R script that starts a project by custom, None without one."""
    return next((name for name in _OBVIOUS if name in facts.texts), None)


def choose_r_command(facts: ProjectFacts) -> tuple[tuple[str, ...], str] | None:
    """Return what runs in a folder that has R scripts, and why; None where that is not to be seen."""
    if {"server.R", "ui.R"} <= set(facts.texts):
        return _shiny("."), "server.R and ui.R are a Shiny application"
    scripts = list_r_scripts(facts)
    name = scripts[0] if len(scripts) == 1 else find_r_start(facts)
    if name is None:
        return None
    why = "the only script" if len(scripts) == 1 else f"{name} is where a project starts by custom"
    if name == "app.R" and re.search(r"\bshinyApp\s*\(|\bshiny\b", facts.texts[name]):
        return _shiny(name), f"{why}; it is a Shiny application"
    if name == "plumber.R":
        code = f'plumber::plumb("{name}")$run(host = "0.0.0.0", port = {PLUMBER_PORT})'
        return ("Rscript", "-e", code), f"{why}; it is a plumber API"
    return ("Rscript", name), why


def _shiny(place: str) -> tuple[str, ...]:
    return "Rscript", "-e", f'shiny::runApp("{place}", host = "0.0.0.0", port = {SHINY_PORT})'


def plan_r_environment(wants: RWants, *, python: str) -> Mapping[str, str]:
    """Return the variables that R needs; ``python`` is the interpreter beside it ("": there is none)."""
    env = {"LC_ALL": "C.UTF-8"}
    if wants.file == RENV:
        env["RENV_CONFIG_AUTOLOADER_ENABLED"] = "FALSE"  # the library is the image's: renv would look for its own
    if wants.file == PACKRAT:
        env["R_PROFILE_USER"] = ""  # packrat's line in .Rprofile looks for a library that is not in the image
    if python:
        env["RETICULATE_PYTHON"] = python
    return env
