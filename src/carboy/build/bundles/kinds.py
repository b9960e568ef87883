"""What a bundle can hold of each kind of step: values, and what of them is right. Pure.

A *source* is what one step fetches. Of each kind is said which fields it has, in which folder of the cache its files lie, and
how they are named there. One more kind is one more struct here, one more method of ``build.fetching``, and one of ``offline``.

Nothing of it is believed for being here: states of archives are signed, and versions must be what the step comes to with them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import msgspec

from carboy.environments.addresses import is_file_name
from carboy.environments.conda.wants import CACHE, LINE, CondaPackage, CondaRecord, parse_line
from carboy.environments.lock import Package, normalise
from carboy.environments.r.versions import is_version
from carboy.environments.r.wants import is_name

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Names that archives give their files: a SHA-256, or what Alpine has instead of it.
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_=+-]{0,127}", re.ASCII)
_CONDA_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,250}(\.conda|\.tar\.bz2)", re.ASCII)
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)(?: --hash=sha256:(?P<sha256>[0-9a-f]{64}))+",
    re.ASCII,
)
# What is named by an address has one file.
_AT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<version>(?!))? @ https?://[^\s#@]+ --hash=sha256:(?P<sha256>[0-9a-f]{64})",
    re.ASCII,
)


class BundledFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file: the name that its source has for it, its hash and its size in bytes."""

    name: str
    sha256: str
    size: int


class AnySource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds have: ``files``, and ``place``, the folder of the cache that those belong into."""

    place: ClassVar[str] = ""

    files: tuple[BundledFile, ...]

    def find_path(self, file: BundledFile) -> str:
        """Return where a file belongs, below the folder of caches."""
        return f"{self.place}/{file.sha256}"

    def is_file_name(self, name: str) -> bool:
        """Return whether a file of this kind can have that name."""
        return _HEX.fullmatch(name) is not None

    def iter_problems(self) -> Iterable[str]:
        """Yield what is wrong with what the source says, its files aside."""
        return ()

    def describe(self) -> str:
        """Return the source for people."""
        raise NotImplementedError


class BaseSource(AnySource, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="base"):
    """A base: ``texts`` are the archive's signed states (``bootstrap.snapshot``), ``files`` what they lead to."""

    place = "archives"

    base: str
    packages: tuple[str, ...]
    architecture: str
    texts: dict[str, str]

    def find_path(self, file: BundledFile) -> str:
        """Return where a file belongs: archives name theirs."""
        return f"{self.place}/{file.name}"

    def is_file_name(self, name: str) -> bool:
        """Return whether an archive can name a file so."""
        return _IDENTITY.fullmatch(name) is not None

    def iter_problems(self) -> Iterable[str]:
        """Yield states that are none."""
        return _iter_wrong_texts(self.texts)

    def describe(self) -> str:
        """Return the base for people."""
        return f"base {self.base}: {len(self.files)} files"


class WantedSource(AnySource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a step asks for: ``wants`` is the digest of that."""

    wants: str


class BundledPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A package: see ``environments.lock.Package``."""

    name: str
    version: str
    requirement: str
    size: int
    built: bool


class PythonSource(WantedSource, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="python"):
    """Packages of Python: ``packages`` are the versions that were chosen; ``tools`` are, by package, lines of a lock: what is
    built with what.
    """

    place = "packages"

    packages: tuple[BundledPackage, ...]
    tools: dict[str, tuple[str, ...]] = {}

    def is_file_name(self, name: str) -> bool:
        """Return whether a wheel or a source distribution can have that name."""
        return is_file_name(name)

    def iter_problems(self) -> Iterable[str]:
        """Yield lines that do not choose the package that they stand for."""
        hashes = {file.sha256 for file in self.files}
        for package in self.packages:
            match = _PIN.fullmatch(package.requirement) or _AT.fullmatch(package.requirement)
            chosen = match["version"] in {package.version, None} if match is not None else False
            if match is None or normalise(match["name"]) != package.name or not chosen:
                yield f"{package.requirement!r} does not choose {package.name} {package.version}"
            elif match["version"] is None and match["sha256"] not in hashes:
                yield f"there is no file of {package.name}"
        for line in (line for lines in self.tools.values() for line in lines):
            if _PIN.fullmatch(line) is None:
                yield f"{line!r} is nothing that packages are built with"

    def describe(self) -> str:
        """Return the packages for people."""
        count, more = len(self.packages), len(self.files) - len(self.packages)
        built = f", and {more} files that some of them are built with" if more else ""
        return f"Python: {_count(count, 'package')}{built}"


class RepositorySource(AnySource, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="repository"):
    """A package of a git repository: the files of a ``commit``, which ``ref`` was when they were fetched, as one tar.

    ``url`` is the repository's identity, without a login (``detect.repositories``).
    """

    place = "sources"

    url: str
    subdirectory: str
    ref: str
    commit: str

    def iter_problems(self) -> Iterable[str]:
        """Yield what is no commit, or not its files."""
        if _COMMIT.fullmatch(self.commit) is None:
            yield f"{self.commit!r} is no commit"
        if [file.name for file in self.files] != [file.sha256 for file in self.files] or len(self.files) != 1:
            yield f"the files of {self.url} are not one"

    def describe(self) -> str:
        """Return the package for people."""
        return f"repository {self.url} at {self.commit[:12]}"


class RSource(WantedSource, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="r"):
    """Packages of R: ``texts`` are the archive's signed states, ``sources`` lines of a lock for those of a repository."""

    place = "archives"

    texts: dict[str, str]
    sources: tuple[str, ...]

    def iter_problems(self) -> Iterable[str]:
        """Yield states that are none, and lines that name no source."""
        yield from _iter_wrong_texts(self.texts)
        for line in self.sources:
            name, version, mark = (*line.split(" "), "", "", "")[:3]
            right = is_name(name) and is_version(version) and _HEX.fullmatch(mark.removeprefix("sha256:"))
            if not right or line.count(" ") != 2:
                yield f"{line!r} is no source of an R package"

    def describe(self) -> str:
        """Return the packages for people."""
        sources = f", {_count(len(self.sources), 'source package')} among them" if self.sources else ""
        return f"R: {len(self.files)} files{sources}"


class BundledCondaPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A package that was chosen from a channel's list: its line in a lock, and what the list says of it (``CondaRecord``)."""

    line: str
    size: int
    depends: tuple[str, ...]
    constrains: tuple[str, ...]
    build_number: int


class CondaSource(WantedSource, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="conda"):
    """Packages of conda's: ``packages`` are those that were chosen, none where the folder has a lock of its own."""

    place = f"{CACHE}/packages"

    packages: tuple[BundledCondaPackage, ...]

    def is_file_name(self, name: str) -> bool:
        """Return whether a channel can have a package of that name."""
        return _CONDA_FILE.fullmatch(name) is not None

    def iter_problems(self) -> Iterable[str]:
        """Yield lines that name no package, or one whose file is not there."""
        hashes = {file.sha256 for file in self.files}
        for package in self.packages:
            match = LINE.fullmatch(package.line)
            if match is None or match[5] not in hashes:
                yield f"{package.line!r} is no package of conda's"

    def describe(self) -> str:
        """Return the packages for people."""
        return f"conda: {_count(len(self.files), 'package')}"


Source = BaseSource | PythonSource | RepositorySource | RSource | CondaSource


def digest_wants(*wants: object) -> str:
    """Return the digest of what a step asks for."""
    text = json.dumps(wants, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def is_digest(text: str) -> bool:
    """Return whether ``text`` is a SHA-256, as hexadecimal digits."""
    return _HEX.fullmatch(text) is not None


def pack_packages(packages: Iterable[Package]) -> tuple[BundledPackage, ...]:
    """Return chosen packages in the form of the document."""
    return tuple(
        BundledPackage(name=p.name, version=p.version, requirement=p.requirement, size=p.size_bytes, built=p.built)
        for p in packages
    )


def unpack_packages(source: PythonSource) -> tuple[Package, ...]:
    """Return the packages that were chosen."""
    return tuple(
        Package(name=p.name, version=p.version, requirement=p.requirement, size_bytes=p.size, built=p.built)
        for p in source.packages
    )


def pack_conda(packages: Iterable[CondaPackage]) -> tuple[BundledCondaPackage, ...]:
    """Return packages that were chosen from lists in the form of the document."""
    return tuple(
        BundledCondaPackage(
            line=package.line,
            size=package.size_bytes,
            depends=package.record.depends,
            constrains=package.record.constrains,
            build_number=package.record.build_number,
        )
        for package in packages
        if package.record is not None
    )


def unpack_conda(source: CondaSource) -> tuple[CondaPackage, ...]:
    """Return the packages that were chosen. Raises ``CarboyError`` for a line that names none."""
    return tuple(
        replace(
            parse_line(package.line),
            size_bytes=package.size,
            record=CondaRecord(
                depends=package.depends, constrains=package.constrains, build_number=package.build_number
            ),
        )
        for package in source.packages
    )


def _iter_wrong_texts(texts: dict[str, str]) -> Iterable[str]:
    return (f"{text!r} is no hash" for text in texts.values() if not is_digest(text))


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
