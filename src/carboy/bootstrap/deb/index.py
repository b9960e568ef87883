"""Package indexes: tens of megabytes of paragraphs, of which a base needs a hundred. Pure.

Only the names are found when an index is opened, by scanning for the first line of each paragraph; a paragraph is
parsed when it is asked for. That is ten times as fast as parsing all of them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.control import parse_paragraph
from carboy.bootstrap.deb.version import is_satisfied, version_key
from carboy.bootstrap.errors import ArchiveDataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROVIDES = re.compile(rb"\nProvides: ([^\n]+)")
_MARKED = re.compile(rb"\n(?:Essential: yes|Priority: required)(?=\n)")
_PROVIDED = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)(?::[a-z0-9]+)?\s*(?:\(\s*=\s*([^\s)]+)\s*\))?\s*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SAFE_PATH = re.compile(r"(?!/)(?!.*(?:^|/)\.\.?(?:/|$))[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One version of a package in an archive; ``uri`` is the archive's address, relations are as written."""

    name: str
    version: str
    architecture: str
    uri: str
    path: str
    size_bytes: int
    sha256: str
    essential: bool
    priority: str
    multi_arch: str
    depends: str
    pre_depends: str
    conflicts: str
    breaks: str
    provides: tuple[tuple[str, str], ...]

    @property
    def url(self) -> str:
        """The address of the package's file."""
        return f"{self.uri}/{self.path}"


def parse_provides(text: str) -> tuple[tuple[str, str], ...]:
    """Return the (name, version or "") pairs of a Provides field; what is not one is left out."""
    found = (_PROVIDED.match(part) for part in text.split(","))
    return tuple((match[1], match[2] or "") for match in found if match)


class _Text:
    """One index: its bytes, and where the paragraph of each name starts."""

    def __init__(self, data: bytes | bytearray, uri: str) -> None:
        self.data = data
        self.uri = uri
        self.starts: list[int] = []
        self.by_name: dict[bytes, list[int]] = {}
        position = 0 if data.startswith(b"Package: ") else data.find(b"\nPackage: ") + 1
        while position or not self.starts:
            end = data.find(b"\n", position)
            if end < 0 or not data.startswith(b"Package: ", position):
                break
            self.starts.append(position)
            self.by_name.setdefault(bytes(data[position + 9 : end]).strip(), []).append(position)
            position = data.find(b"\nPackage: ", end) + 1

    def paragraph_at(self, position: int) -> int:
        """Return the start of the paragraph around a position after its Package line."""
        return self.starts[bisect_right(self.starts, position) - 1]


class PackageIndex:
    """All packages of some archives' suites together, read lazily; the order of the suites does not matter."""

    def __init__(self, texts: Sequence[tuple[bytes | bytearray, str]]) -> None:
        """Open the indexes ``texts``: (content of a Packages file, address of its archive)."""
        self._texts = [_Text(data, uri) for data, uri in texts]
        self._parsed: dict[tuple[int, int], Package] = {}
        self._providers: dict[str, list[tuple[int, int]]] | None = None

    def __len__(self) -> int:
        return sum(len(text.starts) for text in self._texts)

    def find_versions(self, name: str) -> list[Package]:
        """Return the versions of ``name``, the newest first."""
        key = name.encode()
        found = [
            self._parse(number, start) for number, text in enumerate(self._texts) for start in text.by_name.get(key, ())
        ]
        return sorted(found, key=lambda package: (version_key(package.version), package.sha256), reverse=True)

    def find(self, name: str, relation: str = "", version: str = "") -> Package | None:
        """Return the newest version of ``name`` that satisfies the relation, or None."""
        for package in self.find_versions(name):
            if is_satisfied(package.version, relation, version):
                return package
        return None

    def find_providers(self, name: str, relation: str = "", version: str = "") -> list[Package]:
        """Return the packages (in their newest version) that provide ``name``, sorted by name.

        An unversioned Provides satisfies no versioned relation (Debian Policy 7.5).
        """
        if self._providers is None:
            self._providers = self._scan_provides()
        found: dict[str, Package] = {}
        for number, start in self._providers.get(name, ()):
            package = self._parse(number, start)
            newest = self.find(package.name)
            if newest is None or newest.sha256 != package.sha256:
                continue
            for provided, provided_version in package.provides:
                if provided == name and (
                    not relation or (provided_version and is_satisfied(provided_version, relation, version))
                ):
                    found[package.name] = package
        return [found[key] for key in sorted(found)]

    def find_minimal(self) -> list[str]:
        """Return the names of the packages that are essential, or required by priority, sorted."""
        names = set()
        for number, text in enumerate(self._texts):
            for match in _MARKED.finditer(text.data):
                names.add(self._parse(number, text.paragraph_at(match.start())).name)
        newest = ((name, self.find(name)) for name in names)
        return sorted(
            name for name, package in newest if package and (package.essential or package.priority == "required")
        )

    def find_similar(self, name: str) -> list[str]:
        """Return a few names close to ``name``, for a message."""
        import difflib

        head = name[:2].encode()
        near = {key.decode() for text in self._texts for key in text.by_name if key.startswith(head)}
        return difflib.get_close_matches(name, sorted(near), n=3, cutoff=0.75)

    def _scan_provides(self) -> dict[str, list[tuple[int, int]]]:
        providers: dict[str, list[tuple[int, int]]] = {}
        for number, text in enumerate(self._texts):
            for match in _PROVIDES.finditer(text.data):
                start = text.paragraph_at(match.start())
                for name, _ in parse_provides(match[1].decode("utf-8", "replace")):
                    providers.setdefault(name, []).append((number, start))
        return providers

    def _parse(self, number: int, start: int) -> Package:
        key = (number, start)
        if key not in self._parsed:
            text = self._texts[number]
            before = text.data.rfind(b"\n\n", 0, start)
            after = text.data.find(b"\n\n", start)
            paragraph = text.data[before + 2 if before >= 0 else 0 : after if after >= 0 else len(text.data)]
            self._parsed[key] = parse_package(paragraph.decode("utf-8", "replace"), uri=text.uri)
        return self._parsed[key]


def parse_package(text: str, *, uri: str) -> Package:
    """Return the package that one paragraph of an index describes; raise ``ArchiveDataError`` if it cannot be one."""
    fields = parse_paragraph(text)
    missing = [n for n in ("Package", "Version", "Architecture", "Filename", "Size", "SHA256") if not fields.get(n)]
    if missing:
        raise ArchiveDataError(
            "a package of the archive's index lacks fields", details=f"{', '.join(missing)} in:\n{text[:300]}"
        )
    if not _SHA256.match(fields["SHA256"]) or not fields["Size"].isdigit() or not _SAFE_PATH.match(fields["Filename"]):
        raise ArchiveDataError("a package of the archive's index has a wrong field", details=text[:500])
    return make_package(
        fields,
        uri=uri,
        path=fields["Filename"],
        size_bytes=int(fields["Size"]),
        sha256=fields["SHA256"],
        essential=fields.get("Essential", "").lower() == "yes",
    )


def make_package(
    fields: Mapping[str, str], *, uri: str, path: str, size_bytes: int, sha256: str, essential: bool
) -> Package:
    """Return the package that the fields of a paragraph describe; where its file is, and what that is, is said besides."""
    return Package(
        name=fields["Package"],
        version=fields.get("Version", ""),
        architecture=fields.get("Architecture", ""),
        uri=uri,
        path=path,
        size_bytes=size_bytes,
        sha256=sha256,
        essential=essential,
        priority=fields.get("Priority", ""),
        multi_arch=fields.get("Multi-Arch", ""),
        depends=fields.get("Depends", ""),
        pre_depends=fields.get("Pre-Depends", ""),
        conflicts=fields.get("Conflicts", ""),
        breaks=fields.get("Breaks", ""),
        provides=parse_provides(fields.get("Provides", "")),
    )
