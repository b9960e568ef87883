"""Whether a wheel that was built is the package that was chosen: its name, its version, and what it requires. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.environments.detect.markers import fits
from carboy.environments.lock import normalise
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.environments.building.builder import Wheel
    from carboy.environments.lock import Package


def check_wheel(
    wheel: Wheel, package: Package, packages: Sequence[Package], *, interpreter: str, machine: str, provided: bool
) -> None:
    """Raise ``CarboyError`` unless the wheel of ``package`` asks for nothing but what is among ``packages``.

    Those were chosen by what its source said when it was asked, perhaps with other tools. ``provided`` says that there are
    packages that are not among them. Extras play no part: what they ask for is no matter of how something is built.
    """
    problems = [
        *_compare(wheel, package),
        *_iter_missing(wheel, packages, interpreter=interpreter, machine=machine, provided=provided),
    ]
    if problems:
        raise CarboyError(
            f"{package.name} {package.version}, built of its source, is not what versions were chosen for",
            details="\n".join(problems[:20]),
            hint="name what it requires in the requirements, or a version of it that has a wheel",
        )


def check_platform(wheel: Wheel, platform: str) -> None:
    """Raise ``CarboyError`` for a wheel with code of this machine, where packages are for another ``platform`` ("": for this)."""
    if platform and not wheel.file.endswith("-any.whl"):
        raise CarboyError(
            "a package has no wheel for the platform that the image is for",
            details=f"{wheel.name} {wheel.version}, built of its source, is for this machine's: {wheel.file}",
            hint="name a version that has one, or build on a machine of that kind",
        )


def _compare(wheel: Wheel, package: Package) -> Iterator[str]:
    from packaging.version import InvalidVersion, Version

    if wheel.name != package.name:
        yield f"it is the package {wheel.name}"
    try:
        same = Version(wheel.version) == Version(package.version)
    except InvalidVersion:
        same = wheel.version == package.version
    if not same and " @ " not in package.requirement:
        yield f"it is of version {wheel.version}"


def _iter_missing(
    wheel: Wheel, packages: Sequence[Package], *, interpreter: str, machine: str, provided: bool
) -> Iterator[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    versions = {package.name: package.version for package in packages}
    for line in wheel.requires:
        try:
            wanted = Requirement(line)
            if not fits(str(wanted.marker or ""), interpreter=interpreter, machine=machine):
                continue
            found = versions.get(normalise(wanted.name))
            if found is None:
                if not provided:
                    yield f"it requires {line}, which was not chosen"
            elif _is_version(found) and not wanted.specifier.contains(found, prereleases=True):
                yield f"it requires {line}, and {found} was chosen"
        except InvalidRequirement:
            yield f"it requires {line!r}, which is no requirement"


def _is_version(text: str) -> bool:
    """Return whether a version is known: of a package at an address it may not be."""
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
