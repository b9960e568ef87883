"""Source distributions of indexes, fetched by their hashes on the host, and packages of the folder: built without a network.

That comes after versions were chosen, and only for what has no wheel that counts. What a package is built with is what a lock
says, else the newest that it accepts, chosen once. That may be a source itself, and is built in the same way.

::

    cache/packages/<sha256>     their files; the store's cache says what each is named, and how it is built
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.canonical import digest_json
from carboy.environments.building.builder import (
    BuildSystem,
    Source,
    WheelBuilder,
    parse_build_system,
    restore_build_system,
)
from carboy.environments.building.requires import check_platform, check_wheel
from carboy.environments.detect.sources import ARCHIVES, PLACE, find_sources, show_sources
from carboy.environments.install import Origin, SourceArchive, read_step
from carboy.environments.reach import OFFLINE
from carboy.environments.trees import open_trees, read_left
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.base.home import Home
    from carboy.build.progress import Progress
    from carboy.environments.addresses import SourceFile
    from carboy.environments.building.builder import Wheel
    from carboy.environments.install import EnvironmentRequest, PackageAssembler
    from carboy.environments.lock import Package
    from carboy.store.store import Store

_MAX_TEXT_BYTES = 2**20
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})", re.ASCII)
_READ = 'set -eu\ncd /run/carboy/work\nexec "$1" -I read_step.py\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A source distribution on the host: how its name ends, and how it is built."""

    path: str
    sha256: str
    form: str
    system: BuildSystem


class SourceDistributions:
    """Builds them for an assembler; ``fresh`` chooses anew what each is built with, where no lock says it."""

    def __init__(self, *, store: Store, home: Home, progress: Progress, fresh: bool = False) -> None:
        self._store = store
        self._home = home
        self._progress = progress
        self._fresh = fresh

    def build(
        self, assembler: PackageAssembler, request: EnvironmentRequest, packages: tuple[Package, ...]
    ) -> tuple[EnvironmentRequest, tuple[Package, ...]]:
        """See ``environments.install.SourceBuilder``."""
        wanted = tuple(package for package in packages if package.is_source)
        _check_builds(wanted, request.builds)
        files = self._find_files(assembler, request, wanted)
        machine = request.platform.partition("-")[0] or os.uname().machine
        builder = WheelBuilder(assembler, request, store=self._store, home=self._home)
        origins: list[Origin] = []
        archives: list[SourceArchive] = []
        built: dict[str, Package] = {}
        for package in wanted:
            wheel = self._build(builder, package, files[package.name])
            check_platform(wheel, request.platform)
            check_wheel(
                wheel, package, packages, interpreter=request.interpreter, machine=machine,
                provided=request.has_packages,
            )  # fmt: skip
            origin = _describe(package, wheel, request.builds)
            origins.append(origin)
            place = origin.address.removeprefix(f"file://{PLACE}/")
            archives.append(SourceArchive(place=place, file=wheel.path, sha256=wheel.sha256))
            requirement = f"{package.name} @ {origin.address} --hash=sha256:{wheel.sha256}"
            built[package.name] = replace(package, requirement=requirement, built=False, origin=origin.line)
        request = replace(request, sources=(*request.sources, *archives), origins=(*request.origins, *origins))
        return request, tuple(built.get(package.name, package) for package in packages)

    def _build(self, builder: WheelBuilder, package: Package, file: _File) -> Wheel:
        source = Source(
            name=package.name,
            what=_show(package),
            file=file.path,
            sha256=file.sha256,
            system=file.system,
            form=file.form,
        )
        return builder.build(source, log=self._progress.log, fresh=self._fresh)

    def _find_files(
        self, assembler: PackageAssembler, request: EnvironmentRequest, wanted: tuple[Package, ...]
    ) -> dict[str, _File]:
        """Return the files of sources by the names of packages, fetched and read where they are not here yet."""
        own = {source.place: source for source in request.sources}
        found: dict[str, _File] = {}
        missing: list[Package] = []
        for package in wanted:
            if places := find_sources(package.requirement):
                archive = own[places[0][0]]
                found[package.name] = self._read(assembler, request, package, archive, name=archive.place)
            elif (known := self._find(package)) is not None:
                found[package.name] = known
            else:
                missing.append(package)
        for package, file in zip(missing, self._fetch(assembler, request, missing), strict=True):
            path = f"{self._home.cache}/packages/{file.sha256}"
            archive = SourceArchive(place="", file=path, sha256=file.sha256)
            found[package.name] = self._read(assembler, request, package, archive, name=file.name)
        return found

    def _find(self, package: Package) -> _File | None:
        """Return the file of an index's source, None where it is not here."""
        for sha256 in _HASH.findall(package.requirement):
            path = f"{self._home.cache}/packages/{sha256}"
            if os.path.exists(path) and (known := self._know(path, sha256)) is not None:
                return known
        return None

    def _know(self, path: str, sha256: str) -> _File | None:
        entry = self._store.cache.get(f"sdist:{sha256}")
        if entry is None:
            return None
        system = restore_build_system(entry.value["system"])
        return _File(path=path, sha256=sha256, form=entry.value["form"], system=system)

    def _fetch(
        self, assembler: PackageAssembler, request: EnvironmentRequest, missing: Sequence[Package]
    ) -> tuple[SourceFile, ...]:
        """Have the files of an index's sources here, and return them in the order of the packages."""
        if not missing:
            return ()
        from carboy.build.folder.package_files import PackageFiles

        files = PackageFiles(assembler, request, home=self._home)
        found = files.ask(tuple(missing), progress=self._progress)
        if dict(request.indexes.env).get(OFFLINE):
            lost = [f for f in found if not os.path.exists(f"{self._home.cache}/packages/{f.sha256}")]
            if lost:
                raise CarboyError(
                    "without a network this cannot be built: sources of packages are not here",
                    details="\n".join(file.name for file in lost),
                    hint="build it once where a network is, or `carboy fetch FOLDER -o bundle.tar` there",
                )
        else:
            files.fetch(found, progress=self._progress)
        return found

    def _read(
        self,
        assembler: PackageAssembler,
        request: EnvironmentRequest,
        package: Package,
        archive: SourceArchive,
        *,
        name: str,
    ) -> _File:
        """Return how a source says that it is built; ``name`` is its file's."""
        if (known := self._know(archive.file, archive.sha256)) is not None:
            return known
        form = next(end for end in ARCHIVES if name.endswith(end))
        archive = replace(archive, place=f"source{form}")
        files = {"read_step.py": read_step("building/read_step.py")}
        step = replace(request, sources=(archive,))
        words, log = (request.python,), self._progress.log
        with assembler.open_step(step, _READ, words, files, log, closed=True) as (work, _), open_trees(work, "out"):
            text = read_left(f"{work}/out", f"{archive.place}.toml", limit=_MAX_TEXT_BYTES)
        system = parse_build_system(text, _show(package))
        value = {"form": form, "system": asdict(system)}
        self._store.cache.put(f"sdist:{archive.sha256}", "sdist", value, [])
        return _File(path=archive.file, sha256=archive.sha256, form=form, system=system)


def _check_builds(wanted: Sequence[Package], builds: tuple[str, ...]) -> None:
    """Raise ``CarboyError`` for a package that would have to be there before it is built."""
    for package in wanted:
        if package.name in builds:
            chain = " <- ".join((*builds[builds.index(package.name) :], package.name))
            raise CarboyError(
                f"{package.name} is built with itself, and has no wheel that counts",
                details=chain,
                hint=f"allow its wheel: --only-binary {package.name}",
            )


def _show(package: Package) -> str:
    """Return a package for people: one of the folder is known by its place."""
    where = find_sources(package.requirement)
    return show_sources(package.requirement.partition(" --hash")[0]) if where else f"{package.name} {package.version}"


def _describe(package: Package, wheel: Wheel, builds: tuple[str, ...]) -> Origin:
    address = package.requirement.partition(" @ ")[2].partition(" --hash")[0]
    mark = digest_json([address, wheel.file, wheel.sha256])[:16]
    name = "/".join((*builds, package.name))
    return Origin(
        address=f"file://{PLACE}/sdist/{mark}/{wheel.file}",
        line=package.requirement,
        note=json.dumps({"url": address, "archive_info": {}}) if find_sources(address) else "null",
        tools=((name, wheel.tools), *wheel.inner),
    )
