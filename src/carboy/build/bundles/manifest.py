"""What a bundle says that it holds: values, and their JSON. Pure.

::

    carboy-bundle.json      this document, the first member
    files/<sha256>          each file once, in the order of their hashes

A *source* is what one kind of step fetches: ``base`` (packages and signed states of a distribution's archive), ``python``
(wheels, source distributions, and what those are built with). One more kind is one more struct here.
A bundle with a kind that is not known is refused: it was made for something else.

The same files make the same bytes: there is no time, no address and no host's name in it.
"""

from __future__ import annotations

import hashlib
import json
import re

import msgspec

from carboy.environments.addresses import is_file_name
from carboy.environments.lock import Package, normalise
from carboy.errors import CarboyError
from carboy.oci.document import encode, parse_json
from carboy.oci.errors import InvalidDocumentError

NAME = "carboy-bundle.json"
FILES = "files/"
FORMAT = 1
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILES = 50_000
MAX_BYTES = 256 * 2**30
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Names that archives give their files: a SHA-256, or what Alpine has instead of it.
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_=+-]{0,127}", re.ASCII)
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)(?: --hash=sha256:[0-9a-f]{64})+", re.ASCII)
_HINT = "make it again: carboy fetch FOLDER -o bundle.tar"


class BundledFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file: the name that its source has for it, its hash and its size in bytes."""

    name: str
    sha256: str
    size: int


class BaseSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="base"):
    """A base: ``texts`` are the archive's signed states (``bootstrap.snapshot``), ``files`` what they lead to."""

    base: str
    packages: tuple[str, ...]
    architecture: str
    texts: dict[str, str]
    files: tuple[BundledFile, ...]


class PythonSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="python"
):
    """Packages of Python: ``wants`` is the digest of what asks for them, ``packages`` the versions that were chosen."""

    wants: str
    packages: tuple[BundledPackage, ...]
    files: tuple[BundledFile, ...]


class BundledPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A package: see ``environments.lock.Package``."""

    name: str
    version: str
    requirement: str
    size: int
    built: bool


Source = BaseSource | PythonSource


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document."""

    version: int
    sources: tuple[Source, ...]

    def find_base(self, base: str, packages: tuple[str, ...], architecture: str) -> BaseSource | None:
        """Return the base that is asked for, None when it is not here."""
        wanted = (base, architecture, sorted(set(packages)))
        for source in self.sources:
            if isinstance(source, BaseSource):
                has = (source.base, source.architecture, sorted(set(source.packages)))
                if has == wanted:
                    return source
        return None

    def find_python(self, wants: str) -> PythonSource | None:
        """Return the packages for what has the digest ``wants``, None when they are not here."""
        found = (source for source in self.sources if isinstance(source, PythonSource) and source.wants == wants)
        return next(found, None)

    @property
    def files(self) -> dict[str, int]:
        """The files' sizes in bytes by their hashes, in order."""
        return dict(sorted((file.sha256, file.size) for source in self.sources for file in source.files))


def digest_wants(requirements: str, constraints: str, allowed: str) -> str:
    """Return the digest of what is asked for of Python's packages."""
    text = json.dumps([requirements, constraints, allowed], separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def pack_packages(packages: tuple[Package, ...]) -> tuple[BundledPackage, ...]:
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


def make_manifest(sources: tuple[Source, ...]) -> bytes:
    """Return the document. Raises ``CarboyError`` when it is more than a bundle can say."""
    data = encode(Bundle(version=FORMAT, sources=sources))
    if len(data) > MAX_MANIFEST_BYTES:
        raise CarboyError("a bundle cannot hold so many files", hint="make one for each folder")
    return data


def parse_manifest(data: bytes) -> Bundle:
    """Return what a bundle says that it holds. Raises ``CarboyError`` for what this version does not know, and what is wrong."""
    try:
        value = parse_json(data, "bundle's list")
        if value.get("version") != FORMAT:
            raise CarboyError("the bundle is of a version that this carboy does not know", hint=_HINT)
        bundle = msgspec.convert(value, Bundle)
    except (InvalidDocumentError, msgspec.ValidationError) as error:
        detail = getattr(error, "details", "") or str(error)
        raise CarboyError("the bundle's list cannot be read", details=detail, hint=_HINT) from error
    problem = _find_problem(bundle)
    if problem:
        raise CarboyError("the bundle's list is wrong", details=problem, hint=_HINT)
    return bundle


def _find_problem(bundle: Bundle) -> str:
    total = count = 0
    sizes: dict[str, int] = {}
    for source in bundle.sources:
        hashes = source.texts.values() if isinstance(source, BaseSource) else ()
        for text in hashes:
            if not _HEX.fullmatch(text):
                return f"{text!r} is no hash"
        for file in source.files:
            if not _HEX.fullmatch(file.sha256) or not _is_name(source, file.name):
                return f"{file.name!r} with the hash {file.sha256!r} is no file of a {type(source).__name__}"
            if file.size < 0 or sizes.setdefault(file.sha256, file.size) != file.size:
                return f"{file.name!r} has two sizes, or none"
            total, count = total + file.size, count + 1
        for package in source.packages if isinstance(source, PythonSource) else ():
            match = _PIN.fullmatch(package.requirement)
            if match is None or (normalise(match[1]), match[2]) != (package.name, package.version):
                return f"{package.requirement!r} does not choose {package.name} {package.version}"
    if count > MAX_FILES or total > MAX_BYTES:
        return f"{count} files of {total} bytes are more than a bundle has"
    return ""


def _is_name(source: Source, name: str) -> bool:
    if isinstance(source, PythonSource):
        return is_file_name(name)
    return bool(_IDENTITY.fullmatch(name))
