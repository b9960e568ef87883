"""Alpine's package indexes: what a repository has. Pure (apk-index(5)).

A repository has twenty thousand packages, of which a base needs twenty: what a package depends on is parsed when it is asked for.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.apk.version import VersionKey, is_satisfied, is_version, version_key
from carboy.bootstrap.errors import ArchiveDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9+._-]{0,200}\Z")
_RELATION = re.compile(
    r"(?P<refused>!?)(?P<name>[^\s<>=~!@]{1,400})(?:(?P<relation>[<>=~]{1,2})(?P<version>[^\s<>=~@]\S{0,200}))?\Z"
)
_RELATIONS = {"<", "<=", "=", ">=", ">", "~", "=~", "~=", ">~", "<~"}
_MAX_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One dependency: a name (a package's, or what one provides: "so:libc.musl-x86_64.so.1", "/bin/sh") and its versions.

    ``refused`` says that it must not be there.
    """

    name: str
    relation: str = ""
    version: str = ""
    refused: bool = False

    def __str__(self) -> str:
        return f"{'!' if self.refused else ''}{self.name}{self.relation}{self.version}"

    def is_met(self, version: str) -> bool:
        """Return whether a version does; "" (a name provided without one) does where none is asked for."""
        if not self.relation:
            return True
        return is_version(version) and is_satisfied(version, self.relation, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of a repository, whose ``uri`` is the address of its folder.

    ``sha1`` names its file: the hash of the control segment, which has that of the data. ``provides`` are (name, version or "").
    ``needs`` and ``condition`` are what it depends on, and what makes it come by itself, as written. ``raw`` is its part of
    the index, for the database of what is installed.
    """

    name: str
    version: str
    architecture: str
    uri: str
    size_bytes: int
    sha1: str
    needs: str
    provides: tuple[tuple[str, str], ...]
    condition: str
    priority: int | None
    built_s: int
    raw: str

    @property
    def depends(self) -> tuple[Relation, ...]:
        """What it depends on. Raises ``ArchiveDataError``."""
        return tuple(map(parse_relation, self.needs.split()))

    @property
    def install_if(self) -> tuple[Relation, ...]:
        """What has to be there for it to come by itself. Raises ``ArchiveDataError``."""
        return tuple(map(parse_relation, self.condition.split()))

    @property
    def url(self) -> str:
        """The address of the package's file."""
        return f"{self.uri}/{self.name}-{self.version}.apk"

    @property
    def identity(self) -> str:
        """What ``segments.identify`` says of its file."""
        return f"sha1-{self.sha1}"

    def names(self) -> tuple[tuple[str, str], ...]:
        """Return all it can be asked for by, with versions: its own name first."""
        return ((self.name, self.version), *self.provides)


def parse_relation(text: str) -> Relation:
    """Return the dependency that one word writes. Raises ``ArchiveDataError``."""
    found = _RELATION.match(text)
    relation = (found["relation"] or "") if found else ""
    if found is None or (relation and (relation not in _RELATIONS or not is_version(found["version"]))):
        raise ArchiveDataError("a dependency of Alpine's cannot be read", details=text[:200])
    return Relation(
        name=found["name"], relation=relation, version=found["version"] or "", refused=bool(found["refused"])
    )


def parse_provided(text: str) -> tuple[str, str]:
    """Return the name and version ("" for none) of one word of ``p:``."""
    name, _, version = text.partition("=")
    return name, version


def parse_index(text: str, *, uri: str, architecture: str) -> list[Package]:
    """Return the packages of an APKINDEX, those of other architectures left out. Raises ``ArchiveDataError``."""
    packages = []
    for block in text.split("\n\n"):
        raw = block.strip("\n")
        if raw:
            package = _parse_package(raw, uri)
            if package.architecture in {architecture, "noarch"}:
                packages.append(package)
    return packages


def _parse_package(raw: str, uri: str) -> Package:
    fields = {line[0]: line[2:] for line in raw.split("\n") if line[1:2] == ":"}
    name, version = fields.get("P", ""), fields.get("V", "")
    if not _NAME.match(name) or not is_version(version):
        raise ArchiveDataError("a package of Alpine's index has no right name and version", details=raw[:300])
    try:
        priority = int(fields["k"]) if "k" in fields else None
        size_bytes, built_s = int(fields["S"]), int(fields.get("t", "0"))
        sha1 = _parse_checksum(fields["C"])
    except (KeyError, ValueError) as error:
        raise ArchiveDataError(
            f"{name} lacks a field of Alpine's index, or has a wrong one", details=raw[:500]
        ) from error
    if not 0 < size_bytes <= _MAX_BYTES or not 0 <= built_s < 2**40:
        raise ArchiveDataError(f"{name} has a wrong size or time in Alpine's index", details=raw[:500])
    return Package(
        name=name,
        version=version,
        architecture=fields.get("A", "noarch"),
        uri=uri,
        size_bytes=size_bytes,
        sha1=sha1,
        needs=fields.get("D", ""),
        provides=tuple(map(parse_provided, fields.get("p", "").split())),
        condition=fields.get("i", ""),
        priority=priority,
        built_s=built_s,
        raw=raw,
    )


def _parse_checksum(text: str) -> str:
    """Return the SHA-1 of "Q1" and base64, as hexadecimal digits. Raises ``ValueError``."""
    try:
        data = base64.b64decode(text[2:], validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
    if text[:2] != "Q1" or len(data) != 20:
        raise ValueError(text)
    return data.hex()


class PackageIndex:
    """All packages of some repositories together; the order of the repositories does not matter."""

    def __init__(self, packages: Sequence[Package]) -> None:
        self._by_name: dict[str, list[Package]] = {}
        self._providers: dict[str, list[tuple[str, Package]]] = {}
        for package in packages:
            self._by_name.setdefault(package.name, []).append(package)
            for name, version in package.names():
                self._providers.setdefault(name, []).append((version, package))
        conditional = (max(self._by_name[name], key=_age) for name in sorted(self._by_name))
        self.conditional: list[tuple[Package, tuple[Relation, ...]]] = []
        for package in conditional:
            # One whose condition cannot be read does not come by itself.
            with suppress(ArchiveDataError):
                self.conditional += [(package, package.install_if)] if package.condition else []

    def find(self, name: str) -> list[Package]:
        """Return the versions of a package, the newest first."""
        return sorted(self._by_name.get(name, ()), key=_age, reverse=True)

    def find_providers(self, relation: Relation) -> list[Package]:
        """Return what meets a relation, packages of that very name first, then by priority, newest first."""
        fit = [package for version, package in self._providers.get(relation.name, ()) if relation.is_met(version)]
        newest_first = sorted(dict.fromkeys(fit), key=_age, reverse=True)
        return sorted(newest_first, key=lambda one: (one.name != relation.name, -(one.priority or 0), one.name))

    def find_similar(self, name: str) -> list[str]:
        """Return a few names close to ``name``, for a message."""
        import difflib

        near = [known for known in self._by_name if known[:1] == name[:1]]
        return difflib.get_close_matches(name, sorted(near), n=3, cutoff=0.75)


def _age(package: Package) -> tuple[VersionKey, str]:
    return version_key(package.version), package.sha1
