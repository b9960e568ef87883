"""Which packages an Alpine base needs: the smallest closure of what it always has and what was asked for. Pure (apk-world(5))."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from carboy.bootstrap.apk.index import Relation, parse_relation
from carboy.bootstrap.errors import ResolveError, explain_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.bootstrap.apk.index import Package, PackageIndex

# What Alpine's own root file system for containers is made of (alpine-make-rootfs, mkimg.minirootfs.sh).
ALWAYS = ("alpine-baselayout", "alpine-keys", "apk-tools", "busybox", "libc-utils")
WHERE_KNOWN = ("alpine-release",)


def plan_world(index: PackageIndex, packages: Sequence[str]) -> tuple[str, ...]:
    """Return the words of /etc/apk/world: what was asked for, by a person or by this module."""
    known = [name for name in WHERE_KNOWN if index.find(name)]
    return tuple(sorted({*ALWAYS, *known, *packages}))


def resolve(index: PackageIndex, world: Sequence[str]) -> tuple[Package, ...]:
    """Return what ``world`` needs, in an order to install it in. Raises ``ResolveError`` with every reason found."""
    resolver = _Resolver(index)
    for word in world:
        resolver.waiting.append(("it was asked for", parse_relation(word)))
    resolver.run()
    issues = list(dict.fromkeys([*resolver.issues, *resolver.find_conflicts()]))
    if issues:
        raise ResolveError("the packages cannot be installed together", tuple(issues))
    return _sort(resolver)


class _Resolver:
    """Takes packages until nothing is missing; then those whose ``install_if`` holds, and again."""

    def __init__(self, index: PackageIndex) -> None:
        self.index = index
        self.chosen: dict[str, Package] = {}
        self.provided: dict[str, list[tuple[str, Package]]] = {}
        self.waiting: deque[tuple[str, Relation]] = deque()
        self.refused: list[tuple[str, Relation]] = []
        self.issues: list[str] = []

    def run(self) -> None:
        """Follow all dependencies."""
        while True:
            while self.waiting:
                self._follow(*self.waiting.popleft())
            wanted = next((one for one, condition in self.index.conditional if self._is_due(one, condition)), None)
            if wanted is None:
                return
            self._take(wanted)

    def providers(self, relation: Relation) -> list[Package]:
        """Return what was taken that meets a relation."""
        return [package for version, package in self.provided.get(relation.name, ()) if relation.is_met(version)]

    def _is_due(self, package: Package, condition: Sequence[Relation]) -> bool:
        return (
            package.name not in self.chosen
            and all(bool(self.providers(one)) != one.refused for one in condition)
            and not self._is_refused(package)
        )

    def _follow(self, why: str, relation: Relation) -> None:
        if relation.refused:
            self.refused.append(
                (why, Relation(name=relation.name, relation=relation.relation, version=relation.version))
            )
            return
        if self.providers(relation):
            return
        found = [one for one in self.index.find_providers(relation) if one.name not in self.chosen]
        found = [one for one in found if not self._is_refused(one)] or found
        if not found:
            self.issues.append(self._explain(why, relation))
            return
        names = list(dict.fromkeys(one.name for one in found))
        first = found[0]
        if first.name != relation.name and len(names) > 1 and not self._is_ranked(first, relation):
            self.issues.append(f"{relation}: {why}, and several packages provide it: name one of {', '.join(names)}")
            return
        self._take(first)

    def _is_ranked(self, package: Package, relation: Relation) -> bool:
        """Return whether a package may be taken for what it provides: it has a priority, or provides it with a version."""
        return package.priority is not None or any(
            name == relation.name and version for name, version in package.provides
        )

    def _take(self, package: Package) -> None:
        self.chosen[package.name] = package
        for name, version in package.names():
            self.provided.setdefault(name, []).append((version, package))
        for relation in package.depends:
            self.waiting.append((f"{package.name} needs it", relation))

    def _is_refused(self, package: Package) -> bool:
        by_others = any(
            relation.name == name and relation.is_met(version)
            for _, relation in self.refused
            for name, version in package.names()
        )
        return by_others or any(one.refused and self._meets(one) for one in package.depends)

    def _meets(self, refusal: Relation) -> bool:
        return bool(self.providers(Relation(name=refusal.name, relation=refusal.relation, version=refusal.version)))

    def find_conflicts(self) -> list[str]:
        """Return one line for each package that another refuses, and for each name that two provide with a version."""
        found = []
        for package in self.chosen.values():
            for relation in package.depends:
                plain = Relation(name=relation.name, relation=relation.relation, version=relation.version)
                found += [
                    f"{package.name} {package.version} refuses {plain}, but {other.name} {other.version} is needed"
                    for other in (self.providers(plain) if relation.refused else [])
                    if other.name != package.name
                ]
        for name, providers in self.provided.items():
            # apk-package(5): of what provides a name with a version, one can be installed.
            names = dict.fromkeys(package.name for version, package in providers if version)
            if len(names) > 1 and not name.startswith(("so:", "cmd:", "pc:")):
                found.append(f"{' and '.join(names)} both are {name}")
        return found

    def _explain(self, why: str, relation: Relation) -> str:
        chosen = self.chosen.get(relation.name)
        return explain_missing(
            relation,
            why,
            chosen=chosen.version if chosen is not None else None,
            versions=(package.version for package in self.index.find(relation.name)),
            find_similar=lambda: self.index.find_similar(relation.name),
        )


def _sort(resolver: _Resolver) -> tuple[Package, ...]:
    """Return the packages so that each comes after what it depends on, where there is no cycle; by name otherwise."""
    order: list[Package] = []
    seen: set[str] = set()
    for first in sorted(resolver.chosen):
        stack = [(first, _needs(resolver, first))] if first not in seen else []
        seen.add(first)
        while stack:
            name, needs = stack[-1]
            found = next((one for one in needs if one not in seen), None)
            if found is None:
                order.append(resolver.chosen[name])
                stack.pop()
            else:
                seen.add(found)
                stack.append((found, _needs(resolver, found)))
    return tuple(order)


def _needs(resolver: _Resolver, name: str) -> list[str]:
    relations = [one for one in resolver.chosen[name].depends if not one.refused]
    return sorted({package.name for relation in relations for package in resolver.providers(relation)})
