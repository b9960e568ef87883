"""A plan's step for conda's packages, as a request for a base that is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.environments.conda.wants import SUBDIRS, parse_line
from carboy.errors import CarboyError
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.build.plan import CondaStep
    from carboy.environments.conda.install import CondaRequest
    from carboy.oci.digest import Digest


def read_addresses(home: str) -> dict[str, str]:
    """Return where config.toml of the home says that channels are. Raises ``CarboyError`` (125) for a wrong one."""
    from carboy.base.config import FILE, read_table
    from carboy.environments.conda.channels import parse_addresses

    return parse_addresses(read_table("conda", home=home), where=f"{home}/{FILE}")


def plan_request(
    step: CondaStep, *, base: Sequence[Digest], base_packages: Sequence[str], key: str, epoch_s: int
) -> CondaRequest:
    """Return the request of a step for a base of these layers, whose packages are lines of name, version and hash."""
    from carboy.environments.conda.install import CondaRequest

    return CondaRequest(
        specs=step.specs,
        channels=step.channels,
        packages=tuple(map(parse_line, step.packages)),
        constraints=step.constraints,
        base=tuple(base),
        key=key,
        subdir=SUBDIRS[Platform.current().architecture],
        glibc=find_glibc(base_packages),
        epoch_s=epoch_s,
        skipped_scripts=step.skipped_scripts,
    )


def find_glibc(base_packages: Sequence[str]) -> str:
    """Return the version of the C library among a base's packages, as 2.36. Raises ``CarboyError`` where there is none."""
    for line in base_packages:
        match = re.match(r"libc6 (\d+\.\d+)", line)
        if match is not None:
            return match.group(1)
    raise CarboyError("the base has no C library of GNU's, which conda's packages need", hint="use a Debian base")


def find_python(packages: Sequence[str], command: Sequence[str], *, with_pip: bool) -> str:
    """Return the line of Python among lines of conda's packages, "" for none.

    Raises ``CarboyError`` where there is none and the ``command`` is Python's, or pip's packages are to stand above
    (``with_pip``).
    """
    found = next((line for line in packages if line.startswith("python ")), "")
    if not found and (with_pip or command[:1] in (("python",), ("python3",))):
        what = "pip's packages need Python" if with_pip else "python is to run"
        raise CarboyError(f"{what}, and conda's packages bring none", hint="add python to the dependencies")
    return found
