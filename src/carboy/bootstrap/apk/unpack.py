"""From package files to one tar stream: everything an Alpine base's tree holds before any script has run."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.bootstrap.apk.members import Passed, iter_members
from carboy.bootstrap.apk.segments import Control, read_control
from carboy.bootstrap.errors import ArchiveDataError
from carboy.bootstrap.make import iter_opened
from carboy.bootstrap.streams import ReadAhead
from carboy.layers.compression import open_decompressed
from carboy.layers.tarread import REGULAR, Member
from carboy.layers.tarwrite import TarWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import IO

    from carboy.bootstrap.apk.index import Package

_OUTPUT_CHUNK = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """One package whose files went by: what the index says of it, its control files, and its members."""

    package: Package
    control: Control
    passed: Passed


@dataclass(slots=True)
class UnpackReport:
    """What went by: filled while the stream is read."""

    packages: list[Unpacked] = field(default_factory=list)


class _Opened:
    """A package file whose data is being decompressed ahead."""

    def __init__(self, package: Package, path: str) -> None:
        self.package = package
        self.name = f"{package.name} {package.version}"
        self.file = open(path, "rb")  # noqa: SIM115  closed by close()
        try:
            self.control = read_control(self.file, name=f"the package {self.name}")
            self._check_info()
            self.file.seek(self.control.data_start)
            self.data = ReadAhead(_iter_data(self.file))
        except BaseException:
            self.file.close()
            raise

    def _check_info(self) -> None:
        info = self.control.info
        found = (info.get("pkgname", [""])[0], info.get("pkgver", [""])[0])
        if found != (self.package.name, self.package.version):
            raise ArchiveDataError(
                f"the package file of {self.name} holds another package", details=f"{' '.join(found)[:200]}"
            )

    def close(self) -> None:
        self.data.__exit__(None, None, None)
        self.file.close()


def _iter_data(file: IO[bytes]) -> Iterator[bytes]:
    stream = open_decompressed(file)
    while chunk := stream.read(_OUTPUT_CHUNK):
        yield chunk


def iter_tree_tar(
    packages: Sequence[Package],
    open_path: Callable[[Package], str],
    report: UnpackReport,
    finish: Callable[[], Sequence[tuple[bytes, bytes, int]]],
    *,
    mtime_s: int,
) -> Generator[bytes]:
    """Yield the tar of the unpacked base, in chunks: the packages in their order, then what ``finish`` returns.

    ``open_path`` returns where a package's file is, and may wait for it to be downloaded. ``finish`` is called when ``report``
    is complete, and returns (path, content, mode) of files with the time ``mtime_s``. The same packages always give the same
    bytes. Close the generator when it is left early. Raises ``ArchiveDataError``.
    """
    opened_ones = iter_opened(packages, lambda package: _Opened(package, open_path(package)))
    with closing(opened_ones):
        for opened in opened_ones:
            passed = Passed()
            yield from iter_members(opened.data, passed, name=opened.name)
            report.packages.append(Unpacked(package=opened.package, control=opened.control, passed=passed))
    yield make_tar(finish(), mtime_s=mtime_s)


def make_tar(files: Sequence[tuple[bytes, bytes, int]], *, mtime_s: int) -> bytes:
    """Return a whole tar of the files (path, content, mode), which are root's."""
    out = io.BytesIO()
    writer = TarWriter(out)
    for path, content, mode in files:
        writer.add(Member(name=path, kind=REGULAR, mode=mode, size=len(content), mtime=mtime_s), content)
    writer.finish()
    return out.getvalue()
