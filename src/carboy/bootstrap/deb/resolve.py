"""Which packages a base needs: the smallest closure of what is essential and what was asked for. Pure."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.deb.version import is_satisfied
from carboy.bootstrap.errors import ResolveError, explain_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carboy.bootstrap.deb.index import Package, PackageIndex

# apt is what makes the base extensible; usr-is-merged (where there is one) says that the tree needs no usrmerge, which
# would pull in all of perl.
ALWAYS = ("apt",)
WHERE_KNOWN = ("usr-is-merged",)
_PRIORITIES = ("required", "important", "standard", "optional", "extra")
_RELATION = re.compile(
    r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::(?P<arch>[a-z0-9]+))?\s*"
    r"(?:\(\s*(?P<relation><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?\s*\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One alternative of a dependency: a package's name, and the versions that do ("" for any)."""

    name: str
    relation: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.relation else self.name


def parse_relations(text: str) -> list[tuple[Relation, ...]]:
    """Return the groups of alternatives that a Depends-like field lists; a group that cannot be read raises ValueError.

    Architecture qualifiers (":any") are dropped: a base has one architecture.
    """
    groups = []
    for part in text.split(","):
        if not part.strip():
            continue
        group = []
        for alternative in part.split("|"):
            found = _RELATION.match(alternative.replace("\n", " "))
            if found is None:
                raise ValueError(alternative.strip())
            group.append(Relation(name=found["name"], relation=found["relation"] or "", version=found["version"] or ""))
        groups.append(tuple(group))
    return groups


def resolve(index: PackageIndex, packages: Sequence[str] = ()) -> tuple[Package, ...]:
    """Return the minimal base of ``index`` plus ``packages`` with all they depend on, in an order to install them in.

    The minimum is mmdebstrap's "minbase": essential packages, those of priority required, and apt. Newest versions win.
    Raises ``ResolveError`` with every reason found.
    """
    resolver = _Resolver(index)
    for name in (*index.find_minimal(), *ALWAYS, *packages):
        resolver.want(name)
    for name in WHERE_KNOWN:
        if index.find(name) is not None:
            resolver.want(name)
    return _finish(resolver)


def resolve_above(index: PackageIndex, packages: Sequence[str], *, installed: Sequence[Package]) -> tuple[Package, ...]:
    """Return what ``packages`` need besides those that are ``installed``, which stay as they are; in an order to install it in.

    Raises ``ResolveError`` with every reason found.
    """
    resolver = _Resolver(index)
    for package in installed:
        resolver.take(package)
    for name in packages:
        resolver.want(name)
    present = {package.name for package in installed}
    return tuple(package for package in _finish(resolver) if package.name not in present)


def _finish(resolver: _Resolver) -> tuple[Package, ...]:
    resolver.run()
    chosen = resolver.chosen
    issues = resolver.issues + _find_conflicts(chosen.values())
    if issues:
        raise ResolveError("the packages cannot be installed together", tuple(dict.fromkeys(issues)))
    return _sort(chosen)


class _Resolver:
    """Follows dependencies without a choice first, so that a choice can be met by what is there anyway."""

    def __init__(self, index: PackageIndex) -> None:
        self.index = index
        self.chosen: dict[str, Package] = {}
        self.provided: dict[str, list[tuple[str, Package]]] = {}
        self.issues: list[str] = []
        self.plain: deque[tuple[str, tuple[Relation, ...]]] = deque()
        self.choices: deque[tuple[str, tuple[Relation, ...]]] = deque()

    def want(self, wish: str) -> None:
        """Add a named package ("name" or "name=version")."""
        name, equals, version = wish.partition("=")
        wanted = Relation(name=name, relation=equals, version=version)
        package = self.index.find(name, equals, version)
        if name in self.chosen and not equals:
            return
        if package is not None:
            self.choose(package)
        elif not equals and (providers := self.index.find_providers(name)):
            if len(providers) > 1:
                names = ", ".join(provider.name for provider in providers)
                self.issues.append(f"{name} is a virtual package: name one of {names}")
            else:
                self.choose(providers[0])
        else:
            self.issues.append(self._explain_missing(wanted, "it was asked for"))

    def take(self, package: Package) -> None:
        """Count a package as there, with all that it needs."""
        self.chosen[package.name] = package
        for name, version in package.provides:
            self.provided.setdefault(name, []).append((version, package))

    def choose(self, package: Package) -> None:
        """Take a package and queue what it depends on."""
        if package.name in self.chosen:
            return
        self.take(package)
        for field in (package.pre_depends, package.depends):
            try:
                groups = parse_relations(field)
            except ValueError as error:
                self.issues.append(f"{package.name} {package.version} has a dependency that cannot be read: {error}")
                continue
            for group in groups:
                (self.plain if len(group) == 1 else self.choices).append((package.name, group))

    def run(self) -> None:
        """Follow all dependencies."""
        while self.plain or self.choices:
            owner, group = (self.plain or self.choices).popleft()
            if any(self._is_met(relation) for relation in group):
                continue
            package = next(filter(None, map(self._find, group)), None)
            if package is None:
                wish = " | ".join(map(str, group))
                self.issues.append(self._explain_missing(group[0], f"{owner} depends on {wish}"))
            else:
                self.choose(package)

    def _is_met(self, relation: Relation) -> bool:
        package = self.chosen.get(relation.name)
        if package is not None and is_satisfied(package.version, relation.relation, relation.version):
            return True
        return any(
            not relation.relation or (version and is_satisfied(version, relation.relation, relation.version))
            for version, _ in self.provided.get(relation.name, ())
        )

    def _find(self, relation: Relation) -> Package | None:
        if relation.name in self.chosen:
            return None  # chosen already, in a version that does not do: one base has one version
        package = self.index.find(relation.name, relation.relation, relation.version)
        if package is not None:
            return package
        providers = [
            provider
            for provider in self.index.find_providers(relation.name, relation.relation, relation.version)
            if provider.name not in self.chosen
        ]
        return min(providers, key=lambda provider: (_rank(provider), provider.name), default=None)

    def _explain_missing(self, relation: Relation, why: str) -> str:
        chosen = self.chosen.get(relation.name)
        return explain_missing(
            relation,
            why,
            chosen=chosen.version if chosen is not None else None,
            versions=(package.version for package in self.index.find_versions(relation.name)),
            find_similar=lambda: self.index.find_similar(relation.name),
        )


def _rank(package: Package) -> int:
    return _PRIORITIES.index(package.priority) if package.priority in _PRIORITIES else len(_PRIORITIES)


def _find_conflicts(packages: Iterable[Package]) -> list[str]:
    """Return one line for each pair of chosen packages of which one refuses the other."""
    chosen = {package.name: package for package in packages}
    provided: dict[str, list[Package]] = {}
    for package in chosen.values():
        for name, _ in package.provides:
            provided.setdefault(name, []).append(package)
    issues = []
    for package in chosen.values():
        for verb, field in (("conflicts with", package.conflicts), ("breaks", package.breaks)):
            for group in _parse_leniently(field):
                relation = group[0]
                other = chosen.get(relation.name)
                refused = [other] if other and is_satisfied(other.version, relation.relation, relation.version) else []
                if not relation.relation:
                    refused += provided.get(relation.name, [])
                issues += [
                    f"{package.name} {package.version} {verb} {relation}, but {other.name} {other.version} is needed"
                    for other in refused
                    if other.name != package.name  # a package may refuse other providers of its own virtual package
                ]
    return issues


def _parse_leniently(text: str) -> list[tuple[Relation, ...]]:
    try:
        return parse_relations(text)
    except ValueError:
        return []


def _sort(chosen: dict[str, Package]) -> tuple[Package, ...]:
    """Return the packages so that each comes after what it depends on; cycles are cut at the first name.

    Pre-dependencies are followed first: their cycles do not exist (Debian Policy 7.2).
    """
    providers: dict[str, list[str]] = {}
    for package in chosen.values():
        for name, _ in package.provides:
            providers.setdefault(name, []).append(package.name)

    def needs(package: Package) -> list[str]:
        found = []
        for field in (package.pre_depends, package.depends):
            for group in _parse_leniently(field):
                for relation in group:
                    names = [relation.name] if relation.name in chosen else sorted(providers.get(relation.name, []))
                    found += names
        return found

    order: list[Package] = []
    seen: set[str] = set()
    for first in sorted(chosen):
        stack = [(first, iter([first]))] if first not in seen else []
        path: list[str] = []
        while stack:
            names = stack[-1][1]
            found = next((name for name in names if name not in seen), None)
            if found is None:
                stack.pop()
                if path and stack:
                    order.append(chosen[path.pop()])
                continue
            seen.add(found)
            path.append(found)
            stack.append((found, iter(needs(chosen[found]))))
    return tuple(order)
