"""Libraries by the packages that programs are compiled with: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.bootstrap.deb.resolve import parse_relations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carboy.bootstrap.deb.index import PackageIndex


def find_runtimes(index: PackageIndex, names: Iterable[str]) -> tuple[str, ...]:
    """Return the packages that are needed when what was compiled with the packages ``names`` (lib...-dev) runs.

    A -dev package depends on the library of its own version, and no other (Debian Policy 8.4).
    """
    found = set()
    for name in names:
        package = index.find(name)
        if package is None:
            continue
        for group in parse_relations(package.depends):
            relation = group[0]
            if len(group) == 1 and relation.relation == "=" and not relation.name.endswith("-dev"):
                found.add(relation.name)
    return tuple(sorted(found))
