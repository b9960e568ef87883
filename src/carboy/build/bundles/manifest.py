"""What a bundle says that it holds: the document, and its JSON. Pure.

::

    carboy-bundle.json      this document, the first member
    files/<sha256>          each file once, in the order of their hashes

What there can be of each kind of step is said in ``kinds``. A bundle with a kind that is not known is refused: it was made for
something else.

The same files make the same bytes: there is no time and no host's name in it, and no address but those that
the folder itself names.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from carboy.build.bundles.kinds import BaseSource, Source, WantedSource, is_digest
from carboy.errors import CarboyError
from carboy.oci.document import encode, parse_json
from carboy.oci.errors import InvalidDocumentError

NAME = "carboy-bundle.json"
FILES = "files/"
FORMAT = 1
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILES = 50_000
MAX_BYTES = 256 * 2**30
_HINT = "make it again: carboy fetch FOLDER -o bundle.tar"
_Kind = TypeVar("_Kind", bound=WantedSource)


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

    def find(self, kind: type[_Kind], wants: str) -> _Kind | None:
        """Return what of a kind is for what has the digest ``wants``, None when it is not here."""
        found = (source for source in self.sources if isinstance(source, kind) and source.wants == wants)
        return next(found, None)

    @property
    def files(self) -> dict[str, int]:
        """The files' sizes in bytes by their hashes, in order."""
        return dict(sorted((file.sha256, file.size) for source in self.sources for file in source.files))


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
        for problem in source.iter_problems():
            return problem
        for file in source.files:
            if not is_digest(file.sha256) or not source.is_file_name(file.name):
                return f"{file.name!r} with the hash {file.sha256!r} is no file of a {type(source).__name__}"
            if file.size < 0 or sizes.setdefault(file.sha256, file.size) != file.size:
                return f"{file.name!r} has two sizes, or none"
            total, count = total + file.size, count + 1
    if count > MAX_FILES or total > MAX_BYTES:
        return f"{count} files of {total} bytes are more than a bundle has"
    return ""
