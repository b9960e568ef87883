"""The files of commits as tars: the same bytes on every machine, and what such a tar says when somebody else has brought it.

::

    cache/sources/<sha256>      trees as tars, by their hashes

A tree's own hash is that of its tar without ``.git``; where that is in it, the tags of the history are covered as well.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from carboy.base.canonical import digest_json
from carboy.base.fs import translate_os_errors
from carboy.build.files import list_files
from carboy.environments.building.builder import BuildSystem, parse_build_system
from carboy.environments.install import PACKAGE_TIME_S
from carboy.errors import CarboyError
from carboy.layers.errors import LayerError
from carboy.layers.limits import Limits
from carboy.layers.tarread import REGULAR, SYMLINK, Member, TarReader
from carboy.layers.tarwrite import TarWriter

if TYPE_CHECKING:
    from carboy.store.store import Store

MAX_BYTES = 2**31
MAX_TEXT_BYTES = 2**20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TOP, _GIT, _TAGS = b"source/", b"source/.git/", b"source/.git/refs/tags/"
_LIMITS = Limits(members=1_000_000, size_bytes=2 * MAX_BYTES, depth=200, path_bytes=4096)
_MAX_TAG_BYTES = 100


class _Hashed:
    """What is written is hashed, and goes on into a file where there is one."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self.total = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.total.update(data)
        if self._file is not None:
            self._file.write(data)


def pack_tree(store: Store, folder: str, shown: str, *, history: bool) -> tuple[str, str]:
    """Return the hash of a checkout's tree, and the path of its tar in the cache; ``history``: with its .git.

    Raises ``CarboyError`` for one that is too large; ``shown`` names it.
    """
    sha256, path = _pack(store, folder, shown, apart=(".git",))
    if not history:
        return sha256, path
    _, path = _pack(store, folder, shown, apart=())
    return digest_json([sha256, _list_tags(folder)]), path


def _list_tags(folder: str) -> list[tuple[str, str]]:
    """Return the tags of a checkout's history, each with what it names: two files, one line each."""
    top, found = f"{folder}/.git/refs/tags", []
    for above, _, names in os.walk(top):
        for name in names:
            with open(f"{above}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                found.append((os.path.relpath(f"{above}/{name}", top), file.read(_MAX_TAG_BYTES).strip()))
    return sorted(found)


def _pack(store: Store, folder: str, shown: str, *, apart: tuple[str, ...]) -> tuple[str, str]:
    """Return the hash of a checkout's tar and its path in the cache."""
    cache = f"{store.home.cache}/sources"
    with store.layers.ingest_dir() as place, translate_os_errors(f"pack {shown}"):
        os.makedirs(cache, mode=0o700, exist_ok=True)
        os.utime(cache)  # for clean-up, which begins with what was not used for long
        with open(f"{place}/source.tar", "xb") as file:
            out = _Hashed(file)
            _write_tree(TarWriter(out), folder, shown, apart)
            file.flush()
            os.fsync(file.fileno())
        sha256 = out.total.hexdigest()
        os.rename(f"{place}/source.tar", f"{cache}/{sha256}")
    return sha256, f"{cache}/{sha256}"


def _write_tree(writer: TarWriter, folder: str, shown: str, apart: tuple[str, ...]) -> None:
    left = MAX_BYTES
    for name, status in list_files(folder, (), apart):
        path, member = f"{folder}/{name}", os.fsencode(f"source/{name}")
        if os.path.islink(path):
            link = os.fsencode(os.readlink(path))
            writer.add(Member(name=member, kind=SYMLINK, mode=0o777, mtime=PACKAGE_TIME_S, linkname=link))
        elif os.path.isfile(path):
            left -= status.st_size
            if left < 0:
                raise CarboyError(
                    f"{shown} has more than {MAX_BYTES >> 20} MiB of files", hint="name an archive of a release"
                )
            mode = 0o755 if status.st_mode & 0o111 else 0o644
            with open(os.open(path, _FILE), "rb") as file:
                writer.add_stream(
                    Member(name=member, kind=REGULAR, mode=mode, mtime=PACKAGE_TIME_S, size=status.st_size), file.read
                )
    writer.finish()


@dataclass(slots=True)
class _Seen:
    """What was seen of a tar that was brought."""

    tags: list[tuple[str, str]] = field(default_factory=list)
    history: bool = False
    setup: bool = False
    project: bytes | None = None


def read_packed(path: str, *, subdirectory: str, shown: str) -> tuple[str, BuildSystem]:
    """Return the hash of the tree that the tar at ``path`` has, and how the package in it is built.

    Raises ``CarboyError`` for what :func:`pack_tree` does not write, and for a package that another file of the tree describes.
    """
    folder = os.fsencode(f"source/{subdirectory}/" if subdirectory else "source/")
    out, seen = _Hashed(), _Seen()
    writer = TarWriter(out)
    try:
        with translate_os_errors(f"read {shown}"), open(path, "rb") as file:
            reader = TarReader(file, limits=_LIMITS)
            for member in reader:
                _take(reader, member, writer, folder, seen)
    except LayerError as error:
        raise _refuse(shown, error.brief) from error
    writer.finish()
    sha256 = out.total.hexdigest()
    if seen.history:
        sha256 = digest_json([sha256, sorted(seen.tags)])
    if seen.project is None:
        if not seen.setup:
            raise _refuse(shown, f"{os.fsdecode(folder)} is no package")
        return sha256, BuildSystem()
    return sha256, parse_build_system(seen.project.decode("utf-8", "replace"), shown)


def _take(reader: TarReader, member: Member, writer: TarWriter, folder: bytes, seen: _Seen) -> None:
    if member.kind not in {REGULAR, SYMLINK} or not member.name.startswith(_TOP):
        raise LayerError("a tree of a commit has files and links alone")
    if member.name.startswith(_GIT):
        seen.history = True
        if member.name.startswith(_TAGS) and member.kind == REGULAR:
            text = _read(reader, _MAX_TAG_BYTES).decode("utf-8", "surrogateescape").strip()
            seen.tags.append((member.name.removeprefix(_TAGS).decode("utf-8", "surrogateescape"), text))
        return
    seen.setup = seen.setup or member.name == folder + b"setup.py"
    if member.name == folder + b"pyproject.toml":
        if member.kind != REGULAR or member.size > MAX_TEXT_BYTES:
            raise LayerError("its pyproject.toml is no file of its own")
        seen.project = _read(reader, member.size)
        writer.add(member, seen.project)
    elif member.kind == REGULAR:
        writer.add_stream(member, lambda size: bytes(reader.read_data(size)))
    else:
        writer.add(member)


def _read(reader: TarReader, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := reader.read_data(size - len(found))):
        found += piece
    return found


def _refuse(shown: str, why: str) -> CarboyError:
    return CarboyError(
        f"the bundle's files of {shown} are not what a build takes",
        details=why,
        hint="carboy fetch FOLDER -o bundle.tar",
    )
