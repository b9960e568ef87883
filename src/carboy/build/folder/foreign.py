"""Folders for another processor than this machine's. Pure.

Their Python packages come as wheels, which this machine's Python of the same version installs and compiles: the modules that it
writes are the same for all processors. So only scripts need an emulator: those of the base's packages, and a postBuild.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from carboy.environments.conda.wants import CondaWants
    from carboy.environments.r.wants import RWants

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The second number of glibc's version in each suite, which wheels are built for (PEP 600); uv knows none above 40.
_GLIBC = {"bullseye": 31, "bookworm": 36, "trixie": 40}


def find_foreign(platform: Platform | None) -> Platform | None:
    """Return the platform where it is another than this machine's, None where it is this one."""
    return None if platform is None or platform.fits(Platform.current()) else platform


def name_machine(platform: Platform, *, base: str) -> str:
    """Return what uv calls a platform, on a base ("debian:bookworm"). Raises ``CarboyError`` for one that has no wheels."""
    if platform.os != "linux" or platform.architecture not in _MACHINES:
        raise CarboyError(
            f"{platform}: there are no wheels for it",
            hint=f"a folder is built for linux/{', linux/'.join(_MACHINES)}, or on a machine of that kind",
        )
    return f"{_MACHINES[platform.architecture]}-manylinux_2_{_GLIBC[base.rpartition(':')[2]]}"


def check_languages(platform: Platform, *, conda: CondaWants | None, r: RWants | None) -> None:
    """Raise ``CarboyError`` for packages that only a machine of their own kind installs."""
    who = "conda's packages" if conda is not None else "R" if r is not None else ""
    if who:
        raise CarboyError(
            f"a folder with {who} is built for this machine's processor alone, and {platform} was asked for",
            hint="build it on such a machine, or with a Dockerfile, whose steps an emulator runs",
        )


def explain_lock(platform: Platform, *, name: str, locked: bool) -> str:
    """Return the note on a lock of another platform. Raises ``CarboyError`` where it is to decide alone (``locked``)."""
    if locked:
        raise CarboyError(
            f"{name} has the files of {Platform.current()}, and {platform} was asked for",
            hint="without --locked its versions count, whichever files they have there",
        )
    return f"{name} has the files of {Platform.current()}: for {platform} its versions count, and the newest files of these"
