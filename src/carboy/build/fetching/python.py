"""Packages of Python for a bundle: their files, and those of all that sources are built with."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace as replace_fields

from carboy.build.bundles.kinds import PythonSource, pack_packages
from carboy.build.bundles.links import open_links
from carboy.build.bundles.manifest import FORMAT, Bundle
from carboy.build.bundles.offline import Offline, want_python
from carboy.build.fetching.collected import Collected, describe_files
from carboy.build.folder.package_files import WORK, PackageFiles
from carboy.environments.addresses import find_address, parse_addresses
from carboy.environments.detect.sources import find_sources
from carboy.environments.install import MAX_LOCK_BYTES, list_tools
from carboy.environments.lock import parse_pin
from carboy.environments.trees import read_left
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.base.home import Home
    from carboy.build.progress import Progress
    from carboy.environments.addresses import SourceFile
    from carboy.environments.install import EnvironmentRequest, PackageAssembler
    from carboy.store.store import Store

_ASK_SCRIPT = f'set -eu\numask 022\ncd {WORK}\nexec "$2" -I build_requires_step.py "$1" /run/carboy/uv\n'
# A tool that builds packages comes as a wheel, or is built by one that does.
_MAX_ROUNDS = 4


class _Built(NamedTuple):
    """What is built: its file on the host, and its name."""

    path: str
    name: str


class PythonCollector:
    """Fetches the files of an environment's packages, and of all that those are built with."""

    def __init__(self, assembler: PackageAssembler, request: EnvironmentRequest, *, home: Home, store: Store) -> None:
        self._assembler = assembler
        self._request = request
        self._home = home
        self._cache = f"{home.cache}/{PythonSource.place}"
        self._files = PackageFiles(assembler, request, home=home)
        self._store = store

    def collect(self, wants: str, *, progress: Progress) -> Collected:
        """Return the source; ``wants`` is the digest of what is asked for.

        Raises ``CarboyError`` for what has no file with its hash, or no network to fetch it by.
        """
        resolved, _ = self._assembler.resolve(self._request, log=progress.log)
        packages = tuple(package for package in resolved if not find_sources(package.requirement))
        made, _ = self._assembler.build_sources(self._request, resolved)
        tools = list_tools(made.origins)
        waiting = self._files.ask(packages, progress=progress) if packages else ()
        # What other sources are built with was found out by building them.
        ready = "".join(package.requirement for package in packages if package.is_source)
        others = tuple(file for file in waiting if file.sha256 not in ready)
        built = self._list_built(others)
        needed = self._ask_tools(tools, progress)
        found: dict[str, SourceFile] = {file.sha256: file for file in needed}
        self._files.fetch(needed, progress=progress)
        for _ in range(_MAX_ROUNDS):
            found |= {file.sha256: file for file in waiting}
            self._files.fetch(waiting, progress=progress)
            needed = self._ask_requirements(built, progress) if built else ()
            waiting = tuple(file for file in needed if file.sha256 not in found)
            built = self._list_built(waiting)
            if not waiting:
                break
        else:
            names = "\n".join(file.name for file in waiting)
            raise CarboyError("what the packages are built with is built itself, again and again", details=names)
        files, paths = describe_files({f"{self._cache}/{sha256}": file.name for sha256, file in found.items()})
        source = PythonSource(wants=wants, packages=pack_packages(packages), files=files, tools=dict(tools))
        if any(find_address(package.requirement) for package in packages):
            self._check(source, progress)
        return Collected(sources=(source,), files=paths)

    def _check(self, source: PythonSource, progress: Progress) -> None:
        """Raise ``CarboyError`` where the packages are not what a build of the bundle comes to: one names another's address."""
        source = replace_fields(source, wants=want_python(self._request))
        offline = Offline(bundle=Bundle(version=FORMAT, sources=(source,)))
        try:
            with offline.open_request(self._request, home=self._home, store=self._store) as request:
                self._assembler.resolve(request, log=progress.log)
        except CarboyError as error:
            raise CarboyError(
                "a bundle cannot hold a package whose address only another package names",
                details=error.details or error.brief,
                hint="name it in the requirements, too, with the same address and extras",
            ) from error

    def _ask_tools(self, tools: Sequence[tuple[str, tuple[str, ...]]], progress: Progress) -> tuple[SourceFile, ...]:
        """Return the files of what packages were built with."""
        found: dict[str, SourceFile] = {}
        for lines in dict.fromkeys(lines for _, lines in tools if lines):
            files = self._files.ask(tuple(map(parse_pin, lines)), progress=progress)
            found |= {file.sha256: file for file in files}
        return tuple(found.values())

    def _list_built(self, files: Sequence[SourceFile]) -> list[_Built]:
        return [_Built(f"{self._cache}/{file.sha256}", file.name) for file in files if not file.is_wheel]

    def _ask_requirements(self, built: Sequence[_Built], progress: Progress) -> tuple[SourceFile, ...]:
        """Return the files of all that these source distributions are built with."""
        from carboy.environments.install import read_step

        # In the step their names say what form they have, and nothing else.
        names = [f"{number:05}-{os.path.basename(one.name)}" for number, one in enumerate(built)]
        files = {"build_requires_step.py": read_step("build_requires_step.py")}
        found: list[SourceFile] = []
        links = [(name, one.path) for name, one in zip(names, built, strict=True)]
        with open_links(self._store, links) as folder:
            indexes = replace(self._request.indexes, folders=(*self._request.indexes.folders, folder))
            request = replace(self._request, indexes=indexes)
            words = (folder, self._request.python)
            with self._assembler.open_step(request, _ASK_SCRIPT, words, files, progress.log) as (work, _):
                locks = [f"pylock.b{number}.toml" for number in range(len(built))]
                texts = [read_left(work, name, limit=MAX_LOCK_BYTES) for name in locks]
        for text in texts:
            found += parse_addresses(text, packages=None, work=WORK)
        return tuple({file.sha256: file for file in found}.values())
