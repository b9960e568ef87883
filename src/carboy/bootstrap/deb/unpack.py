"""From package files to one tar stream: everything a base's tree holds before any package's script has run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.bootstrap.deb.database import Unpacked, iter_database, parse_conffiles
from carboy.bootstrap.deb.debfile import DebFile
from carboy.bootstrap.deb.members import BLOCK, Merger, Passed, make_member, read_small_tar
from carboy.bootstrap.errors import ArchiveDataError
from carboy.bootstrap.make import iter_opened
from carboy.bootstrap.streams import ChunkReader, ReadAhead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from carboy.bootstrap.deb.index import Package

_CONTROL_LIMIT = 64 * 2**20


@dataclass(slots=True)
class UnpackReport:
    """What went by: filled while the stream is read. ``newest_s`` is the newest time of any packaged file."""

    packages: list[Unpacked] = field(default_factory=list)
    newest_s: int = 0


class _Opened:
    """A package file whose data is being decompressed ahead."""

    def __init__(self, package: Package, path: str) -> None:
        self.package = package
        self.deb = DebFile(path, name=f"{package.name} {package.version}")
        try:
            # One file is read by one thread at a time: the control tar is read before the data's thread starts.
            self.control = read_small_tar(ChunkReader(self.deb.open_tar("control")), limit=_CONTROL_LIMIT)
            if "control" not in self.control:
                raise ArchiveDataError(f"the package file of {package.name} has no control file")
            self.data = ReadAhead(self.deb.open_tar("data"))
        except BaseException:
            self.deb.close()
            raise

    def close(self) -> None:
        self.data.__exit__(None, None, None)
        self.deb.close()


def iter_tree_tar(
    packages: Sequence[Package],
    open_path: Callable[[Package], str],
    report: UnpackReport,
    *,
    mtime_s: int,
    extra: Sequence[tuple[bytes, bytes, int]] = (),
    database: Callable[[Sequence[Unpacked]], Iterator[tuple[bytes, bytes, int]]] = iter_database,
) -> Generator[bytes]:
    """Yield the tar of the unpacked base, in chunks: the packages in their order, dpkg's ``database``, ``extra`` files.

    ``open_path`` returns where a package's file is, and may wait for it to be downloaded. Files made here get the time
    ``mtime_s``; ``extra`` are (path, content, mode). The same packages always give the same bytes. Close the generator when it is
    left early.
    """
    merger = Merger(mtime_s=mtime_s)
    opened_ones = iter_opened(packages, lambda package: _Opened(package, open_path(package)))
    with closing(opened_ones):
        for opened in opened_ones:
            yield from _iter_package(opened, merger, report)
    for name, content, mode in (*database(report.packages), *extra):
        yield make_member(name, content, mode=mode, mtime_s=mtime_s)
    yield bytes(2 * BLOCK)


def _iter_package(opened: _Opened, merger: Merger, report: UnpackReport) -> Iterator[bytes]:
    passed = Passed()
    conffiles = frozenset(parse_conffiles(opened.control.get("conffiles", b"")))
    yield from merger.iter_members(opened.data, passed, hashed=conffiles)
    report.newest_s = max(report.newest_s, passed.newest_s)
    package = opened.package
    report.packages.append(
        Unpacked(
            name=package.name,
            version=package.version,
            architecture=package.architecture,
            multi_arch=package.multi_arch,
            control=opened.control,
            names=passed.names,
            digests=passed.digests,
        )
    )
