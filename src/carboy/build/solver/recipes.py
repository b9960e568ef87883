"""Which bases can be made here, by the names that Dockerfiles use: data, and why each is what it is. Pure.

A name stands for Debian packages from Debian's signed archive, not for the bytes that a registry has under it. So only names are
here whose promise (which distribution, which Python) such a base keeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.oci.reference import DEFAULT_REGISTRY, OFFICIAL

if TYPE_CHECKING:
    from carboy.oci.reference import Reference

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSIONS = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
_SUITES = {**_VERSIONS, **{suite: suite for suite in _VERSIONS.values()}, "stable": "trixie", "latest": "trixie"}
_OLDER = {"oldstable": "bookworm", "oldoldstable": "bullseye"}
# The Python that a suite has, and packages that give the commands which the images of that name have: python, pip, venv.
_PYTHONS = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie", "3": "trixie", "latest": "trixie"}
_PYTHON_PACKAGES = ("ca-certificates", "python-is-python3", "python3", "python3-pip", "python3-venv")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecipe:
    """How to make a base: ``suite`` of Debian with ``packages``, how its containers start, and ``reason`` for people."""

    suite: str
    packages: tuple[str, ...]
    env: tuple[str, ...]
    command: tuple[str, ...]
    reason: str


def find_recipe_of(reference: Reference) -> BaseRecipe | None:
    """Return how to make an image of Docker's official ones by its name ("debian:12"), None for what is not known."""
    official = reference.registry == DEFAULT_REGISTRY and reference.repository.startswith(f"{OFFICIAL}/")
    if not official or reference.digest is not None:
        return None
    return find_recipe(reference.repository.removeprefix(f"{OFFICIAL}/"), reference.tag or "latest")


def find_recipe(repository: str, tag: str) -> BaseRecipe | None:
    """Return how to make "debian" or "python" of a tag, None for what is not known."""
    if repository == "debian":
        return _find_debian(tag)
    if repository == "python":
        return _find_python(tag)
    return None


def _find_debian(tag: str) -> BaseRecipe | None:
    suite = {**_SUITES, **_OLDER}.get(tag.removesuffix("-slim"))
    # A dated tag or a point release (12.4, bookworm-20240110) promises a state of the archive that is not had.
    if suite is None:
        return None
    return BaseRecipe(
        suite=suite,
        packages=(),
        env=(_PATH,),
        command=("bash",),
        reason=f"Debian {suite}'s minimal system, from its signed archive",
    )


def _find_python(tag: str) -> BaseRecipe | None:
    found = re.fullmatch(r"(latest|slim|[0-9.]+)(?:-slim)?(?:-(bullseye|bookworm|trixie))?", tag)
    if found is None:
        return None
    version, wanted = found.group(1), found.group(2)
    suite = _PYTHONS.get("3" if version == "slim" else version)
    if suite is None or (wanted is not None and wanted != suite):
        return None
    # Debian asks pip to leave its Python alone (PEP 668, since bookworm): in an image that is Python's, it is what pip is for.
    env = (_PATH, "LANG=C.UTF-8", "PIP_BREAK_SYSTEM_PACKAGES=1", "PIP_ROOT_USER_ACTION=ignore")
    return BaseRecipe(
        suite=suite,
        packages=_PYTHON_PACKAGES,
        env=env,
        command=("python3",),
        reason=f"Debian {suite}, whose Python is {_version_of(suite)}, with python, pip and venv from its signed archive",
    )


def _version_of(suite: str) -> str:
    return next(version for version, name in _PYTHONS.items() if name == suite)


def list_names() -> list[str]:
    """Return names that can be made, for a message."""
    return [
        *(f"debian:{suite}" for suite in _VERSIONS.values()),
        *(f"python:{v}" for v in _PYTHONS if v[0] == "3" and v != "3"),
    ]
