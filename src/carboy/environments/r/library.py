"""From what is asked for to a library: which packages are the distribution's, which are source, and in which order: pure.

Binaries first: a package of the distribution is taken where its version is one that does. What else there is, is asked of a
:class:`Repository`, and of nobody where nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from carboy.environments.r.versions import find_upstream, fits
from carboy.environments.r.wants import BASE, RPackage
from carboy.errors import CarboyError

RELAX = '`versions = "distribution"` under [r] in carboy.toml takes the versions that the distribution has'
_NOBODY_HINT = "`[r] repositories` in config.toml of the home, or CARBOY_CRAN, names another repository of R packages"


class RepositoryError(CarboyError):
    """A repository of R packages that cannot be asked, or has not what it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source package: the hash of its file, what its DESCRIPTION requires, and whether it has to be compiled."""

    name: str
    version: str
    sha256: str
    requires: tuple[RPackage, ...] = ()
    compiled: bool = True

    @property
    def line(self) -> str:
        """Its line in a lock."""
        return f"{self.name} {self.version} sha256:{self.sha256}"


class Repository(Protocol):
    """Where source packages come from."""

    def find_version(self, name: str) -> str | None:
        """Return the version that is current there, None for an unknown name. Raises ``RepositoryError``."""
        ...

    def fetch(self, name: str, version: str) -> Source | None:
        """Return a version of a package, fetched, None where there is none. Raises ``RepositoryError``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The distribution's packages by their names there, sorted, and sources, each behind those that it requires."""

    binaries: tuple[str, ...]
    sources: tuple[Source, ...]


def resolve_library(
    packages: Sequence[RPackage],
    *,
    find_binary: Callable[[str], str | None],
    repository: Repository,
    r_version: str,
    distribution: bool,
    asked_by: str,
) -> Library:
    """Return where all packages come from. ``find_binary`` gives the version of a distribution's package, None for none.

    ``r_version`` is that of the R there is; ``distribution``: its versions do, whatever was locked. Raises ``CarboyError`` with
    each package that cannot be had, and what can be.
    """
    resolver = _Resolver(find_binary, repository, r_version, distribution=distribution, asked_by=asked_by)
    for package in packages:
        resolver.want(package, asked_by)
    resolver.run()
    return resolver.finish()


class _Resolver:
    def __init__(
        self,
        find_binary: Callable[[str], str | None],
        repository: Repository,
        r_version: str,
        *,
        distribution: bool,
        asked_by: str,
    ) -> None:
        self._find_binary = find_binary
        self._repository = repository
        self._r_version = r_version
        self._distribution = distribution
        self._asked_by = asked_by
        self._binaries: dict[str, tuple[str, str]] = {}
        self._sources: dict[str, Source] = {}
        self._pinned: dict[str, str] = {}
        self._waiting: list[tuple[RPackage, str]] = []
        self._issues: list[str] = []
        self._unreachable: RepositoryError | None = None
        self._relaxable = False

    def want(self, package: RPackage, by: str) -> None:
        """Queue a package that ``by`` asks for."""
        if package.operator == "==" and self._distribution:
            package = replace(package, operator="", version="") if self._find_binary(package.debian) else package
        if package.operator == "==" and by == self._asked_by:
            self._pinned[package.name] = package.version
        self._waiting.append((package, by))

    def run(self) -> None:
        """Decide about each, and about what sources require."""
        while self._waiting:
            package, by = self._waiting.pop(0)
            if package.name == "R":
                if not fits(self._r_version, package.operator, package.version):
                    self._issues.append(f"{by} requires {package}, and the base has R {self._r_version}")
            elif package.name not in BASE:
                self._decide(package, by)

    def _decide(self, package: RPackage, by: str) -> None:
        pin = self._pinned.get(package.name)
        if pin is not None and not fits(pin, package.operator, package.version):
            self._issues.append(f"{by} requires {package}, and {self._asked_by} has {pin}")
            return
        if pin is not None:
            package = replace(package, operator="==", version=pin)
        source = self._sources.get(package.name)
        if source is not None:
            if not fits(source.version, package.operator, package.version):
                self._issues.append(f"{by} requires {package}, and {source.version} was chosen")
            return
        version = self._find_binary(package.debian)
        if version is not None and fits(find_upstream(version), package.operator, package.version):
            self._binaries[package.name] = (package.debian, version)
            return
        self._binaries.pop(package.name, None)
        self._take_source(package, by, version)

    def _take_source(self, package: RPackage, by: str, binary: str | None) -> None:
        current = None
        try:
            if self._unreachable is None:
                current = self._repository.find_version(package.name)
                wanted = package.version if package.operator == "==" else current
                if wanted is not None and fits(wanted, package.operator, package.version):
                    source = self._repository.fetch(package.name, wanted)
                    if source is not None:
                        self._sources[package.name] = source
                        for requirement in source.requires:
                            self.want(requirement, f"{source.name} {source.version}")
                        return
        except RepositoryError as error:
            self._unreachable = error
        self._issues.append(self._explain(package, by, binary, current))

    def _explain(self, package: RPackage, by: str, binary: str | None, current: str | None) -> str:
        have = []
        if binary is not None:
            have.append(f"the distribution has {find_upstream(binary)} ({package.debian} {binary})")
            self._relaxable |= package.operator == "=="
        else:
            have.append(f"the distribution has no {package.debian}")
        if self._unreachable is None:
            have.append(f"the repository has {current}" if current is not None else "the repository does not have it")
        why = "" if by == self._asked_by else f", which {by} requires"
        return f"{package}{why}: {', '.join(have)}"

    def finish(self) -> Library:
        """Return the library. Raises ``CarboyError`` with all that was wrong."""
        if self._issues:
            details = list(dict.fromkeys(self._issues))
            if self._unreachable is not None:
                reason = self._unreachable.details.splitlines()[:1]
                details.append(": ".join(["no source can be had", self._unreachable.brief, *reason]))
            hints = [*([RELAX] if self._relaxable else []), *([_NOBODY_HINT] if self._unreachable is not None else [])]
            count = "an R package" if len(self._issues) == 1 else f"{len(self._issues)} R packages"
            raise CarboyError(
                f"{count} of {self._asked_by} cannot be had as asked for",
                details="\n".join(details),
                hint="\n".join(hints) or "ask for another version",
            )
        binaries = sorted({name for name, _ in self._binaries.values()})
        return Library(binaries=tuple(binaries), sources=tuple(sort_sources(self._sources)))


def sort_sources(sources: Mapping[str, Source]) -> list[Source]:
    """Return the sources so that each comes behind those that it requires; a circle is cut at its first name."""
    order: list[Source] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name not in sources:
            return
        seen.add(name)
        for requirement in sorted(sources[name].requires, key=lambda item: item.name):
            visit(requirement.name)
        order.append(sources[name])

    for name in sorted(sources):
        visit(name)
    return order
