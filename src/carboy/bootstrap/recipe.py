"""What base is asked for, as a value. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carboy.bootstrap.distributions import Distribution, find_distribution
from carboy.bootstrap.errors import RecipeError

# Debian Policy 5.6.1, with an optional "=version".
_DEB_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?\Z")
# apk-world(5): a name or what provides it ("so:libc.musl"), with an optional version.
_APK_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9+._:-]*([<>=~]{1,2}[A-Za-z0-9._+-]+)?\Z")
_SUITE = re.compile(r"[a-z0-9][a-z0-9.-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A base: a distribution's suite, one architecture (in the distribution's spelling), ``packages`` besides the minimum.

    ``suite`` may be given by codename, version number or alias and is kept as the codename; ``packages`` may pin a
    version ("python3=3.11.2-1+b1") and is kept sorted, each once. Raises ``RecipeError`` for what does not exist.
    """

    distribution: str = "debian"
    suite: str = "bookworm"
    packages: tuple[str, ...] = ()
    architecture: str = "amd64"

    def __post_init__(self) -> None:
        known = find_distribution(self.distribution)
        suite = known.aliases.get(self.suite, self.suite)
        if not _SUITE.match(suite):
            raise _unknown_suite(self.suite, known)
        if self.architecture not in known.architectures.values():
            names = ", ".join(known.architectures.values())
            raise RecipeError(f"unknown architecture {self.architecture!r} of {known.name}", hint=f"known: {names}")
        form = _DEB_PACKAGE if known.format == "deb" else _APK_PACKAGE
        bad = [name for name in self.packages if not form.match(name)]
        if bad:
            raise RecipeError("not a package name", details="\n".join(repr(name) for name in bad))
        object.__setattr__(self, "suite", suite)
        object.__setattr__(self, "packages", tuple(sorted(set(self.packages))))

    @property
    def name(self) -> str:
        """The base's short name, "debian:bookworm"."""
        return f"{self.distribution}:{self.suite}"

    @property
    def known(self) -> Distribution:
        """The distribution."""
        return find_distribution(self.distribution)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """What config.toml says of a distribution's archive; None or empty: as it is without it.

    ``keyrings`` are files of OpenPGP certificates (deb) or folders of public keys (apk). ``security`` False leaves the suites
    of security updates out.
    """

    mirror: str | None = None
    security_mirror: str | None = None
    components: tuple[str, ...] = ()
    keyrings: tuple[str, ...] = ()
    security: bool = True


def parse_recipe(
    base: str, *, packages: tuple[str, ...] = (), architecture: str = "amd64", any_suite: bool = False
) -> Recipe:
    """Return the recipe of "DISTRIBUTION:SUITE" ("debian": bookworm); ``architecture`` in OCI's spelling or its own.

    With ``any_suite`` one that is not known is taken, too: a config that names it knows of its archive.
    """
    distribution, _, suite = base.partition(":")
    known = find_distribution(distribution)
    suite = suite or known.default
    if not any_suite and known.find_suite(suite) is None:
        raise _unknown_suite(suite, known)
    return Recipe(
        distribution=distribution,
        suite=suite,
        packages=packages,
        architecture=known.architectures.get(architecture, architecture),
    )


def _unknown_suite(suite: str, known: Distribution) -> RecipeError:
    names = ", ".join(name if name == version else f"{name} ({version})" for name, version in known.suites.items())
    return RecipeError(f"unknown suite {suite!r} of {known.name}", hint=f"the suites carboy knows: {names}")
