"""What a folder asks for, as a build would read it, and the requirements that its code offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.environments.conda.choose import list_conda_findings
from carboy.environments.detect.choose import list_findings, offer_requirements
from carboy.environments.detect.sources import show_sources
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.project import ProjectFacts
    from carboy.build.settings import Settings
    from carboy.environments.conda.wants import CondaWants
    from carboy.environments.detect.wants import Finding, Wants
    from carboy.environments.r.wants import RWants


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """A folder as a build reads it; texts are for people, "" and () where there is nothing to say.

    ``kind`` is whose folder it is: "dockerfile", "python", "r", "conda", or "mixed" (R beside Python); ``front`` what builds it.
    ``packages`` are requirements in pip's format from the file ``source``, ``versions`` how far they are fixed; ``offered`` what
    the code imports where no file names packages; those of R likewise; ``conda`` are conda's, from ``channels`` unless a lock
    names them; ``problem`` is why it could not be built.
    """

    kind: str
    front: str
    front_reason: str
    files: tuple[Finding, ...]
    python: str = ""
    source: str = ""
    packages: tuple[str, ...] = ()
    versions: str = ""
    channels: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    r: str = ""
    r_source: str = ""
    r_packages: tuple[str, ...] = ()
    r_offered: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    command_reason: str = ""
    offered: tuple[str, ...] = ()
    problem: str = ""


def detect_folder(folder: str) -> Detected:
    """Return what is found in ``folder``; runs and writes nothing. Raises ``CarboyError`` when it cannot be read."""
    from carboy.build.plan import check_packagers, choose_command, choose_conda_packages, choose_packages, parse_apt
    from carboy.build.project import read_project
    from carboy.build.r import choose_r_packages
    from carboy.build.settings import parse_settings
    from carboy.build.sources import read_front
    from carboy.environments.r.choose import list_r_findings, offer_r

    choice = read_front(folder, file=None)
    facts = read_project(folder)
    settings = parse_settings(facts.texts.get("carboy.toml", ""))
    problems: list[CarboyError] = []
    wants, conda, r, python, why, r_version = None, None, None, "", "", ""
    command: tuple[str, ...] = ()
    try:
        check_packagers(facts, settings)
        conda = choose_conda_packages(facts, settings)
        wants = choose_packages(facts, settings) if conda is None else conda.pip
    except CarboyError as error:
        problems.append(error)
    try:
        r = choose_r_packages(facts, settings, only_said=conda is not None)
    except CarboyError as error:
        problems.append(error)
    try:
        python, r_version = _describe_languages(facts, settings, wants, r, conda=conda)
        command, why = choose_command(facts, settings)
    except CarboyError as error:
        problems.append(error)
    text = wants.requirements if wants is not None else ""
    return Detected(
        kind=_find_kind(choice.front, facts, settings, wants, r, conda=conda),
        front=choice.front,
        front_reason=choice.reason,
        files=(
            *list_conda_findings(facts.files, conda),
            *list_findings(facts.files, wants),
            *list_r_findings(facts.texts, r),
        ),
        python=python,
        source="" if wants is None else wants.source,
        packages=tuple(show_sources(line) for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)),
        channels=() if conda is None else conda.channels,
        conda=() if conda is None else _list_conda(conda),
        versions="" if wants is None else _describe_versions(wants.allowed, wants.constraints),
        system=(*settings.packages, *parse_apt(facts.texts.get("apt.txt", ""))),
        r=r_version,
        r_source="" if r is None else r.source,
        r_packages=() if r is None else tuple(map(str, r.packages)),
        r_offered=() if r is not None or conda is not None else offer_r(facts.files, facts.texts),
        command=command,
        command_reason=why,
        offered=() if wants is not None or conda is not None else offer_requirements(facts.files, facts.texts),
        problem="; ".join(error.brief for error in problems),
    )


def _find_kind(
    front: str,
    facts: ProjectFacts,
    settings: Settings,
    wants: Wants | None,
    r: RWants | None,
    *,
    conda: CondaWants | None,
) -> str:
    from carboy.build.plan import has_python

    if front == "dockerfile":
        return front
    if r is None:
        return "python" if conda is None else "conda"
    return "mixed" if conda is not None or has_python(facts, settings, wants, r) else "r"


def _describe_languages(
    facts: ProjectFacts, settings: Settings, wants: Wants | None, r: RWants | None, *, conda: CondaWants | None
) -> tuple[str, str]:
    """Return which Python and R the image has. Raises ``CarboyError`` where there is none that is asked for."""
    from carboy.build.plan import PYTHONS, choose_suite, has_python
    from carboy.build.r import RS

    suite, reason = choose_suite(facts, settings, wants, r, conda=conda)
    if conda is not None:
        return f"that of {conda.source} (debian:{suite})", RS[suite] if r is not None else ""
    if reason.startswith("Python"):
        return f"{reason} (debian:{suite})", RS[suite] if r is not None else ""
    python = PYTHONS[suite] if has_python(facts, settings, wants, r) else ""
    return python, f"{reason.removeprefix('R ')} (debian:{suite})"


def _list_conda(conda: CondaWants) -> tuple[str, ...]:
    return conda.specs or tuple(f"{package.name}={package.version}" for package in conda.packages)


def _describe_versions(allowed: str, constraints: str) -> str:
    if allowed:
        return "locked, each with its hashes"
    return "the newest that meet the requirements and the constraints" if constraints else "the newest that meet them"


def write_requirements(folder: str) -> str:
    """Write a ``requirements.txt`` of what the folder's code imports, or an ``install.R`` of what R's names; return its path.

    Raises ``CarboyError`` when a file names packages already, or the code imports nothing that Python and R have not.
    """
    from carboy.build.project import read_project
    from carboy.environments.detect.choose import choose_wants
    from carboy.environments.r.choose import choose_r, offer_r

    facts = read_project(folder)
    wants = choose_wants(facts.texts)
    offered = () if wants is not None else offer_requirements(facts.files, facts.texts)
    r_wants = choose_r(facts.texts)
    r_offered = () if r_wants is not None else offer_r(facts.files, facts.texts)
    if offered and "requirements.txt" not in facts.files:
        return _write(f"{folder}/requirements.txt", "".join(f"{name}\n" for name in offered))
    if r_offered and "install.R" not in facts.files:
        names = ", ".join(f'"{name}"' for name in r_offered)
        return _write(f"{folder}/install.R", f"install.packages(c({names}))\n")
    found = wants or r_wants
    if found is not None or "requirements.txt" in facts.files:
        source = found.source if found is not None else "requirements.txt"
        raise CarboyError(f"{source} says which packages there are", hint="change that file instead")
    raise CarboyError(
        "the code at the folder's top imports nothing that Python itself has not", hint="nothing is needed"
    )


def _write(path: str, text: str) -> str:
    with translate_os_errors(f"write {path}"), open(path, "x", encoding="utf-8") as file:
        file.write(text)
    return path
