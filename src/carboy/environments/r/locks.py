"""Locks of R's own tools, renv's and packrat's: each package at one version. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from carboy.environments.r.description import iter_paragraphs
from carboy.environments.r.versions import is_version
from carboy.environments.r.wants import BASE, PACKRAT, RENV, RPackage, RWants, is_name
from carboy.errors import CarboyError

# What a tool brings for itself: it has nothing to do in an image whose library is made without it.
_TOOLS = frozenset({"renv", "packrat"})
_RELEASED = ("Repository", "CRAN", "")


def parse_renv(text: str) -> RWants:
    """Return what an ``renv.lock`` holds. Raises ``CarboyError`` for what is none, or holds what cannot be had by its version."""
    try:
        value = json.loads(text)
        packages = value.get("Packages", {})
        found = [_from_renv(name, item) for name, item in packages.items() if name not in _TOOLS | BASE]
        version = str(value.get("R", {}).get("Version", ""))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CarboyError(
            f"{RENV} cannot be read", details=str(error), hint="renv::snapshot() writes it anew"
        ) from error
    return _join(found, file=RENV, version=version)


def _from_renv(name: str, item: Mapping[str, Any]) -> RPackage:
    source = str(item.get("Source", ""))
    if source not in (*_RELEASED, "Bioconductor"):
        place = "/".join(str(item[key]) for key in ("RemoteUsername", "RemoteRepo") if key in item)
        raise _no_release(RENV, name, f"{source} {place}".strip())
    return _pin(RENV, name, str(item.get("Version", "")), bioconductor=source == "Bioconductor")


def parse_packrat(text: str) -> RWants:
    """Return what a ``packrat.lock`` holds. Raises ``CarboyError`` as for renv's."""
    paragraphs = iter_paragraphs(text)
    head = next(paragraphs, {})
    if "PackratFormat" not in head:
        raise CarboyError(f"{PACKRAT} cannot be read", hint="packrat::snapshot() writes it anew")
    found = list(_iter_packrat(paragraphs))
    return _join(found, file=PACKRAT, version=head.get("RVersion", ""))


def _iter_packrat(paragraphs: Iterator[Mapping[str, str]]) -> Iterator[RPackage]:
    for fields in paragraphs:
        name, source = fields.get("Package", ""), fields.get("Source", "")
        if name in _TOOLS | BASE:
            continue
        if source not in (*_RELEASED, "Bioconductor"):
            raise _no_release(PACKRAT, name, source)
        yield _pin(PACKRAT, name, fields.get("Version", ""), bioconductor=source == "Bioconductor")


def _pin(lock: str, name: str, version: str, *, bioconductor: bool) -> RPackage:
    if not is_name(name):
        raise CarboyError(f"{lock} has {name[:100]!r}, which is no name of a package", hint="write the lock anew")
    if not is_version(version):
        raise CarboyError(f"{lock} has no version of {name}", hint="write the lock anew")
    return RPackage(name=name, operator="==", version=version, bioconductor=bioconductor)


def _no_release(lock: str, name: str, source: str) -> CarboyError:
    return CarboyError(
        f"{lock} has {name} from elsewhere than CRAN and Bioconductor",
        details=f"it is from {source}, and what is at such a place has no release",
        hint=f"install a released version of {name} and lock again, or build with a Dockerfile",
    )


def _join(found: list[RPackage], *, file: str, version: str) -> RWants:
    packages = tuple(sorted(found, key=lambda package: package.name))
    return RWants(packages=packages, file=file, source=file, version=version if is_version(version) else "")
