"""A bundle on the disk: written from files of caches, and taken into them again.

What is read is hostile: sizes are those of the list and capped, each file is hashed while it is written, and gets its name only
with the right hash. Where it goes is decided by its kind, never by a path of the archive.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from carboy.base.fs import fsync_dir, translate_os_errors
from carboy.build.bundles.manifest import (
    FILES,
    MAX_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    NAME,
    Bundle,
    parse_manifest,
)
from carboy.errors import FREE_SPACE, CarboyError
from carboy.layers.errors import LayerError
from carboy.layers.limits import Limits
from carboy.layers.tarread import REGULAR, Member, TarReader
from carboy.layers.tarwrite import TarWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carboy.base.home import Home
    from carboy.layers.tarread import Readable
    from carboy.layers.tarwrite import Writable

_CHUNK = 2**20
_LIMITS = Limits(members=MAX_FILES + 1, size_bytes=MAX_BYTES + MAX_MANIFEST_BYTES, depth=2, path_bytes=200)
_HINT = "it is damaged, or was cut off on its way: copy it again, or make it again with `carboy fetch`"


def write_bundle(manifest: bytes, files: Mapping[str, str], out: Writable) -> int:
    """Write a bundle of ``files``, paths by SHA-256, and return how many bytes they have; the same files, the same bytes.

    Raises ``CarboyError`` for a file that is not what its hash says, ``OSError``.
    """
    writer = TarWriter(out)
    writer.add(Member(name=NAME.encode(), kind=REGULAR, size=len(manifest)), manifest)
    total = 0
    for sha256 in sorted(files):
        with open(files[sha256], "rb") as file:
            size = os.fstat(file.fileno()).st_size
            hashed = hashlib.sha256()

            def read(count: int, file: object = file, hashed: object = hashed) -> bytes:
                data: bytes = file.read(count)  # type: ignore[attr-defined]
                hashed.update(data)  # type: ignore[attr-defined]
                return data

            writer.add_stream(Member(name=f"{FILES}{sha256}".encode(), kind=REGULAR, size=size), read)
            if hashed.hexdigest() != sha256:
                raise CarboyError(
                    f"{files[sha256]} is not what it was", details=f"expected {sha256}", hint="fetch again"
                )
        total += size
    writer.finish()
    return total


def take_bundle(stream: Readable, *, home: Home) -> Bundle:
    """Take a bundle's files into the caches of a home, and return what it says of them.

    Hold a lease of its store. All of its files are there when this returns, each with the right hash; killed before that,
    what was taken so far is whole. Raises ``CarboyError`` for what is no bundle, or damaged, ``OSError``.
    """
    reader = TarReader(stream, limits=_LIMITS)
    try:
        members = iter(reader)
        bundle = _read_list(reader, next(members, None))
        places = _plan_places(bundle, home)
        _check_space(bundle, home)
        missing = bundle.files
        for member in members:
            sha256 = member.name.decode("utf-8", "replace").removeprefix(FILES)
            size = missing.pop(sha256, None)
            if member.kind != REGULAR or size is None or member.size != size:
                raise CarboyError(f"the bundle has a member that it does not name: {sha256[:80]!r}", hint=_HINT)
            if not all(_is_whole(path, sha256) for path in places[sha256]):
                _take_file(reader, places[sha256], sha256)
    except LayerError as error:
        raise CarboyError("the bundle cannot be read", details=error.brief, hint=_HINT) from error
    if missing:
        raise CarboyError(f"{len(missing)} files are missing in the bundle", hint=_HINT)
    for folder in {os.path.dirname(path) for paths in places.values() for path in paths}:
        fsync_dir(folder)
    return bundle


def _read_list(reader: TarReader, member: Member | None) -> Bundle:
    if member is None or member.name != NAME.encode() or member.kind != REGULAR:
        raise CarboyError("this is no bundle of carboy's", hint="`carboy fetch FOLDER -o bundle.tar` makes one")
    if member.size > MAX_MANIFEST_BYTES:
        raise CarboyError(f"the bundle's list has {member.size} bytes", hint=_HINT)
    return parse_manifest(_read_all(reader, member.size))


def _read_all(reader: TarReader, size: int) -> bytes:
    pieces = []
    while piece := reader.read_data(size):
        pieces.append(bytes(piece))
    return b"".join(pieces)


def _plan_places(bundle: Bundle, home: Home) -> dict[str, list[str]]:
    """Return where each file goes, by its hash."""
    places: dict[str, list[str]] = {}
    for source in bundle.sources:
        for file in source.files:
            path = f"{home.cache}/{source.find_path(file)}"
            if path not in places.setdefault(file.sha256, []):
                places[file.sha256].append(path)
    for place in {source.place for source in bundle.sources}:
        os.makedirs(f"{home.cache}/{place}", mode=0o700, exist_ok=True)
        # For clean-up, which begins with what was not used for long.
        os.utime(f"{home.cache}/{place.partition('/')[0]}")
    return places


def _check_space(bundle: Bundle, home: Home) -> None:
    """Raise ``CarboyError`` when the disk cannot take all that is announced and not there, before anything is written."""
    status = os.statvfs(home.cache)
    needed = sum(bundle.files.values())
    if needed > status.f_bavail * status.f_frsize and needed > _count_present(bundle, home):
        raise CarboyError(
            "the disk has no room for the bundle",
            details=f"it has {needed} bytes, and {status.f_bavail * status.f_frsize} are free",
            hint=f"{FREE_SPACE}; CARBOY_HOME names another place",
        )


def _count_present(bundle: Bundle, home: Home) -> int:
    paths = {path for paths in _plan_places(bundle, home).values() for path in paths}
    return sum(os.stat(path).st_size for path in paths if os.path.exists(path))


def _is_whole(path: str, sha256: str) -> bool:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def _take_file(reader: TarReader, places: list[str], sha256: str) -> None:
    """Write the member to its places, by way of an unnamed file."""
    folder = os.path.dirname(places[0])
    fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        _copy(reader, sha256, lambda data: _write(fd, data))
        os.fsync(fd)
        for place in places:
            _link(fd, place)
    finally:
        os.close(fd)


def _copy(reader: TarReader, sha256: str, write: Callable[[bytes | memoryview], object]) -> None:
    hashed = hashlib.sha256()
    while piece := reader.read_data(_CHUNK):
        hashed.update(piece)
        write(piece)
    if hashed.hexdigest() != sha256:
        raise CarboyError(
            "a file of the bundle is not what its list says", details=f"expected {sha256}\nfound {hashed.hexdigest()}",
            hint=_HINT,
        )  # fmt: skip


def _write(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _link(fd: int, place: str) -> None:
    """Give an unnamed file its name, in place of what has it."""
    folder, name = os.path.split(place)
    above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            # With a descriptor of a folder Python calls linkat(2), which follows the link in /proc.
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=above, follow_symlinks=True)
        except FileExistsError:
            os.unlink(name, dir_fd=above)
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=above, follow_symlinks=True)
    finally:
        os.close(above)


def open_bundle(path: str, *, home: Home) -> Bundle:
    """Take the bundle at ``path`` in; see :func:`take_bundle`. Raises ``CarboyError``."""
    with translate_os_errors(f"read the bundle {path}"), open(path, "rb") as file:
        return take_bundle(file, home=home)
