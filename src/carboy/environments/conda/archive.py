"""Package files: ``.conda`` (a zip of two tars) and ``.tar.bz2``, opened and unpacked into a tree, each by what ``link`` says."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from carboy.environments.conda.link import LinkedMembers, find_script, parse_layout
from carboy.errors import CarboyError
from carboy.layers.compression import open_archive
from carboy.layers.extract import extract_members
from carboy.layers.tarread import REGULAR, TarReader
from carboy.layers.zipread import read_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.environments.conda.wants import CondaPackage
    from carboy.layers.tarread import Readable

MAX_INFO_BYTES = 64 * 2**20
_READ = frozenset({"index.json", "paths.json", "link.json", "has_prefix"})
# All that a layout can depend on; what comes later in an old package is not waited for.
_ENOUGH = (frozenset({"index.json", "paths.json"}), frozenset({"index.json", "files", "has_prefix"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """A package in a tree: the ``names`` of its files, and the script that asks to be run ("" for none)."""

    names: frozenset[str]
    script: str


@contextmanager
def open_package(path: str, *, conda: bool) -> Iterator[tuple[dict[str, bytes], Readable]]:
    """Give the files of ``info`` that count, and the uncompressed tar of the rest. Raises ``CarboyError``."""
    with open(path, "rb") as file:
        if not conda:
            info = read_info(open_archive(file))
            file.seek(0)
            yield info, open_archive(file)
            return
        yield _open_tar(file, "info"), _find_tar(file, "pkg")


def _open_tar(file: BinaryIO, kind: str) -> dict[str, bytes]:
    return read_info(_find_tar(file, kind))


def _find_tar(file: BinaryIO, kind: str) -> Readable:
    members = read_members(file)
    found = [name for name in members if name.startswith(f"{kind}-") and name.endswith((".tar.zst", ".tar"))]
    if len(found) != 1:
        raise CarboyError(f"the package has no part {kind!r}", hint="it is damaged; fetch it again")
    return open_archive(members[found[0]])


def read_info(stream: Readable) -> dict[str, bytes]:
    """Return the files of ``info`` that count, by name. Raises ``CarboyError`` for what is too large."""
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    reader = TarReader(stream)
    for member in reader:
        folder, _, name = member.name.removeprefix(b"./").partition(b"/")
        if folder != b"info":
            if any(enough <= seen for enough in _ENOUGH):
                break
            continue
        seen.add(name.decode("utf-8", "replace"))
        if member.kind == REGULAR and (text := name.decode("utf-8", "replace")) in _READ:
            if member.size > MAX_INFO_BYTES:
                raise CarboyError(f"the package's {text} is larger than {MAX_INFO_BYTES} bytes")
            data = bytearray()
            while piece := reader.read_data(2**20):
                data += piece
            found[text] = bytes(data)
    return found


def link_package(package: CondaPackage, path: str, tree: str, *, python: str, chown: bool, time_s: int) -> Linked:
    """Unpack the package file ``path`` into the prefix ``tree``, for an environment with that version of Python.

    Raises ``CarboyError`` that names the package; the tree is then to be thrown away.
    """
    title = f"{package.name} {package.version}"
    try:
        with open_package(path, conda=package.path.endswith(".conda")) as (info, stream):
            layout = parse_layout(info, python=python, package=title)
            notes = ((f"conda-meta/{_stem(package)}.json", _record(package, info)),)
            members = LinkedMembers(TarReader(stream), layout, notes=notes, time_s=time_s)
            extract_members(members, tree, chown=chown)
    except CarboyError as error:
        raise CarboyError(
            f"{title} cannot be unpacked",
            details="\n".join(filter(None, (error.brief, error.details))),
            hint=error.hint or "use another build or version of it",
        ) from error
    return Linked(names=frozenset(members.names), script=find_script(members.names, package.name))


def _stem(package: CondaPackage) -> str:
    return package.path.rpartition("/")[2].removesuffix(".conda").removesuffix(".tar.bz2")


def _record(package: CondaPackage, info: dict[str, bytes]) -> bytes:
    """Return what conda's own tools read of an installed package, without what depends on where it came from."""
    index = json.loads(info.get("index.json", b"{}"))
    value = {**index, "fn": package.path.rpartition("/")[2], "sha256": package.sha256}
    return json.dumps(value, sort_keys=True, indent=2).encode()
