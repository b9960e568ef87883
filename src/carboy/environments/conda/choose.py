"""Which of a folder's files speaks for conda's packages: pure.

As repo2docker: ``environment.yml`` comes before ``environment.yaml``, and both before ``requirements.txt``, ``pyproject.toml``
and ``setup.cfg``, which then say nothing. A lock of conda's comes before what it was made from. Two locks are an error that
names both.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from carboy.environments.conda.locks import CONDA_LOCK, PIXI_LOCK
from carboy.environments.detect.locks import LOCKS
from carboy.environments.detect.wants import Finding
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from carboy.environments.conda.wants import CondaWants

ENVIRONMENTS = ("environment.yml", "environment.yaml")
PIXI = "pixi.toml"
FILES = (CONDA_LOCK, PIXI_LOCK, *ENVIRONMENTS, PIXI)
_MEANINGS = {
    CONDA_LOCK: "conda's packages, locked",
    PIXI_LOCK: "pixi's packages, locked",
    PIXI: "pixi's packages",
}


def choose_conda(texts: Mapping[str, str], *, subdir: str, named: str = "") -> CondaWants | None:
    """Return what a folder asks of conda for the platform ``subdir``, None for nothing.

    ``named`` is the file that ``carboy.toml`` names: it counts alone. Raises ``CarboyError`` with the file and what to do.
    """
    named = posixpath.normpath(named) if named else ""
    if named:
        return _read(named, texts, subdir) if named in FILES and named in texts else None
    found = [name for name in FILES if name in texts]
    if not found and not _has_pixi(texts):
        return None
    if PIXI_LOCK not in found and (PIXI in found or (not found and _has_pixi(texts))):
        file = PIXI if PIXI in found else "pyproject.toml"
        raise CarboyError(f"{file} has pixi's packages, and there is no {PIXI_LOCK}", hint="`pixi lock` writes one")
    first, *others = [name for name in found if name != PIXI]
    # What a lock was made from, and a second spelling of the same name, are no second truth.
    rivals = [name for name in others if PIXI_LOCK in {first, name}]
    rivals += [name for name in LOCKS if name in texts]
    if rivals:
        raise CarboyError(
            f"both {first} and {rivals[0]} say which packages there are",
            hint=f'remove one of them, or say which counts in carboy.toml: [python] requirements = "{first}"',
        )
    return _read(first, texts, subdir)


def _has_pixi(texts: Mapping[str, str]) -> bool:
    return re.search(r"(?m)^\s*\[tool\.pixi[.\]]", texts.get("pyproject.toml", "")) is not None


def _read(file: str, texts: Mapping[str, str], subdir: str) -> CondaWants:
    from carboy.environments.conda.files import parse_environment
    from carboy.environments.conda.locks import parse_conda_lock, parse_pixi_lock

    if file == CONDA_LOCK:
        return parse_conda_lock(texts[file], subdir=subdir)
    if file == PIXI_LOCK:
        return parse_pixi_lock(texts[file], subdir=subdir)
    return parse_environment(file, texts)


def list_conda_findings(files: Collection[str], wants: CondaWants | None) -> tuple[Finding, ...]:
    """Return which files have to do with conda's packages, and whether each counts."""
    used = wants.file if wants is not None else ""
    return tuple(
        Finding(file=name, meaning=_MEANINGS.get(name, "conda's packages"), used=name == used)
        for name in FILES
        if name in files
    )
