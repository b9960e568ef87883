"""What base is asked for, as a value. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carboy.bootstrap.errors import RecipeError

# Codename to version number: the suites whose archive keys are in keys/.
DEBIAN_SUITES = {"bullseye": "11", "bookworm": "12", "trixie": "13"}
ALIASES = {
    **{version: codename for codename, version in DEBIAN_SUITES.items()},
    "oldoldstable": "bullseye",
    "oldstable": "bookworm",
    "stable": "trixie",
    "latest": "trixie",
}
# Debian's names of what OCI calls amd64, arm64, arm/v7, ...
DEBIAN_ARCHITECTURES = {
    "amd64": "amd64",
    "arm64": "arm64",
    "arm": "armhf",
    "386": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
# Debian Policy 5.6.1, with an optional "=version".
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A base: a distribution's suite, one architecture (in Debian's spelling), ``packages`` besides the minimum.

    ``suite`` may be given by codename, version number or alias and is kept as the codename; ``packages`` may pin a
    version ("python3=3.11.2-1+b1") and is kept sorted, each once. Raises ``RecipeError`` for what does not exist.
    """

    distribution: str = "debian"
    suite: str = "bookworm"
    packages: tuple[str, ...] = ()
    architecture: str = "amd64"

    def __post_init__(self) -> None:
        if self.distribution != "debian":
            raise RecipeError(f"unknown distribution {self.distribution!r}", hint="carboy knows debian")
        suite = ALIASES.get(self.suite, self.suite)
        if suite not in DEBIAN_SUITES:
            known = ", ".join(f"{name} ({version})" for name, version in DEBIAN_SUITES.items())
            raise RecipeError(f"unknown suite {self.suite!r} of debian", hint=f"the suites carboy knows: {known}")
        if self.architecture not in DEBIAN_ARCHITECTURES.values():
            known = ", ".join(DEBIAN_ARCHITECTURES.values())
            raise RecipeError(f"unknown architecture {self.architecture!r} of debian", hint=f"known: {known}")
        bad = [name for name in self.packages if not _PACKAGE.match(name)]
        if bad:
            raise RecipeError("not a package name", details="\n".join(repr(name) for name in bad))
        object.__setattr__(self, "suite", suite)
        object.__setattr__(self, "packages", tuple(sorted(set(self.packages))))

    @property
    def name(self) -> str:
        """The base's short name, "debian:bookworm"."""
        return f"{self.distribution}:{self.suite}"


def parse_recipe(base: str, *, packages: tuple[str, ...] = (), architecture: str = "amd64") -> Recipe:
    """Return the recipe of "debian:SUITE" ("debian": bookworm); ``architecture`` in OCI's spelling or Debian's."""
    distribution, _, suite = base.partition(":")
    return Recipe(
        distribution=distribution,
        suite=suite or "bookworm",
        packages=packages,
        architecture=DEBIAN_ARCHITECTURES.get(architecture, architecture),
    )
