"""Building without a network: of what the home has, or of what a bundle has brought."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from carboy.bootstrap.errors import NotFetchedError
from carboy.bootstrap.snapshot import Snapshot
from carboy.build.bundles.kinds import (
    CondaSource,
    PythonSource,
    RepositorySource,
    RSource,
    WantedSource,
    digest_wants,
    unpack_conda,
    unpack_packages,
)
from carboy.build.bundles.links import open_links
from carboy.environments.addresses import StandIns, find_address, name_place, point_elsewhere
from carboy.environments.indexes import IndexConfig
from carboy.environments.reach import OFFLINE
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.base.home import Home
    from carboy.bootstrap.recipe import Recipe
    from carboy.build.bundles.manifest import Bundle
    from carboy.build.folder.repositories import Brought
    from carboy.build.plan import CondaStep, RStep
    from carboy.build.r_layers import Brought as BroughtR
    from carboy.environments.conda.wants import CondaPackage
    from carboy.environments.install import EnvironmentRequest
    from carboy.store.store import Store

_PLACES = re.compile(r"(-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--trusted-host)\b")
_Kind = TypeVar("_Kind", bound=WantedSource)
_HINT = "the bundle was made for another folder, or before this one changed: carboy fetch FOLDER -o bundle.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """A build that asks nobody; with a ``bundle``, taken into the caches, of what that has and nothing else."""

    bundle: Bundle | None = None

    def find_snapshot(self, recipe: Recipe, *, base: str) -> Snapshot | None:
        """Return the archive's state that the bundle has for a base, None without a bundle. Raises ``CarboyError``."""
        if self.bundle is None:
            return None
        source = self.bundle.find_base(base, recipe.packages, recipe.architecture)
        if source is None:
            extra = f" with {', '.join(recipe.packages)}" if recipe.packages else ""
            raise CarboyError(f"the bundle has no base {base}{extra} for {recipe.architecture}", hint=_HINT)
        return Snapshot(texts=source.texts)

    @contextmanager
    def open_request(self, request: EnvironmentRequest, *, home: Home, store: Store) -> Iterator[EnvironmentRequest]:
        """Give the request as it is without a network; what it names is there for as long as the block runs."""
        if self.bundle is None:
            env = (*request.indexes.env, (OFFLINE, "1"))
            yield replace(request, indexes=replace(request.indexes, env=env))
            return
        source = self._find(PythonSource, want_python(request), "the bundle has no packages for these requirements")
        assert source is not None, "there is a bundle"
        places = find_places(source)
        requirements, overrides = point_elsewhere(request.requirements, places)
        constraints, _ = point_elsewhere(request.constraints, places)
        lines = [line for line in requirements.splitlines(keepends=True) if not _PLACES.match(line)]
        apart = {place for _, place in places.values()}
        links, stand_ins = [], []
        for file in source.files:
            path = f"{home.cache}/{source.find_path(file)}"
            if name_place(file.sha256, file.name) in apart:
                stand_ins.append((f"{file.sha256}/{file.name}", path))
            else:
                links.append((file.name, path))
        with open_links(store, links) as folder, open_links(store, stand_ins) as other:
            env = ((OFFLINE, "1"), ("UV_FIND_LINKS", folder))
            yield replace(
                request,
                # uv has no variable for it; without it, what it remembers of an index would come first.
                requirements="".join(["--no-index\n", *lines]),
                constraints=constraints,
                indexes=IndexConfig(env=env, folders=(folder,), ca_bundle=None),
                chosen=unpack_packages(source),
                tools=tuple({**source.tools, **dict(request.tools)}.items()),
                stand_ins=StandIns(
                    folder=other if stand_ins else "", places=tuple(places.values()), overrides=overrides
                ),
            )

    def find_repositories(self, home: Home) -> dict[tuple[tuple[str, str], str], Brought] | None:
        """Return what the bundle has of repositories, None without a bundle."""
        if self.bundle is None:
            return None
        from carboy.build.folder.repositories import Brought

        sources = (source for source in self.bundle.sources if isinstance(source, RepositorySource))
        return {
            ((source.url, source.subdirectory), source.ref): Brought(
                commit=source.commit, file=f"{home.cache}/{source.find_path(source.files[0])}"
            )
            for source in sources
        }

    def find_r(self, step: RStep) -> BroughtR | None:
        """Return what the bundle has for packages of R, None without a bundle. Raises ``CarboyError``."""
        source = self._find(RSource, want_r(step), "the bundle has no R packages for what is asked for")
        if source is None:
            return None
        from carboy.build.r_layers import Brought

        return Brought(snapshot=Snapshot(texts=source.texts), sources=source.sources)

    def find_conda(self, step: CondaStep) -> tuple[CondaPackage, ...] | None:
        """Return the packages that the bundle has for those of conda's, None without a bundle. Raises ``CarboyError``."""
        source = self._find(
            CondaSource, want_conda(step), "the bundle has no packages of conda's for what is asked for"
        )
        return None if source is None else unpack_conda(source)

    def _find(self, kind: type[_Kind], wants: str, lack: str) -> _Kind | None:
        """Return what the bundle has of a kind, None without a bundle. Raises ``CarboyError`` with ``lack``."""
        if self.bundle is None:
            return None
        source = self.bundle.find(kind, wants)
        if source is None:
            raise CarboyError(lack, hint=_HINT)
        return source


def find_places(source: PythonSource) -> dict[str, tuple[str, str]]:
    """Return, of the packages that addresses name, the address and the place of the file standing in for it, by their names."""
    files = {file.sha256: file for file in source.files}
    found = {}
    for package in source.packages:
        if address := find_address(package.requirement):
            file = files[package.requirement.rpartition(":")[2]]
            found[package.name] = (address, name_place(file.sha256, file.name))
    return found


def want_python(request: EnvironmentRequest) -> str:
    """Return the digest of what is asked for of Python's packages."""
    return digest_wants(request.requirements, request.constraints, request.allowed)


def want_r(step: RStep) -> str:
    """Return the digest of what a step asks for of R's packages."""
    return digest_wants([str(package) for package in step.packages], step.distribution, step.hashes)


def want_conda(step: CondaStep) -> str:
    """Return the digest of what a step asks for of conda's packages."""
    return digest_wants(step.specs, step.channels, step.packages, step.constraints)


def explain_base(base: str, packages: tuple[str, ...], rest: list[str]) -> NotFetchedError:
    """Return the error for a base that was never made here; ``rest`` is what is missing besides."""
    extra = f" with {', '.join(packages)}" if packages else ""
    return NotFetchedError(
        "without a network this cannot be built: not all of it is here", [f"base {base}{extra}", *rest]
    )


def explain_packages(missing: list[str], error: CarboyError) -> NotFetchedError:
    """Return the error for packages that are not here, in place of what the installer said of it."""
    if not missing:
        missing = [error.details or error.brief]
    return NotFetchedError("without a network this cannot be built: packages of Python are not here", missing)
