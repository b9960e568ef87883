"""Building without a network: of what the home has, or of what a bundle has brought."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.bootstrap.errors import NotFetchedError
from carboy.bootstrap.snapshot import Snapshot
from carboy.build.bundles.archive import PACKAGES
from carboy.build.bundles.collect import open_links
from carboy.build.bundles.manifest import digest_wants, unpack_packages
from carboy.environments.indexes import IndexConfig
from carboy.environments.reach import OFFLINE
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.base.home import Home
    from carboy.bootstrap.recipe import Recipe
    from carboy.build.bundles.manifest import Bundle
    from carboy.build.plan import EnvironmentStep
    from carboy.environments.install import EnvironmentRequest
    from carboy.store.store import Store

_PLACES = re.compile(r"(-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--trusted-host)\b")
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
    def open_request(
        self, request: EnvironmentRequest, step: EnvironmentStep, *, home: Home, store: Store
    ) -> Iterator[EnvironmentRequest]:
        """Give the request as it is without a network; what it names is there for as long as the block runs."""
        if self.bundle is None:
            env = (*request.indexes.env, (OFFLINE, "1"))
            yield replace(request, indexes=replace(request.indexes, env=env))
            return
        source = self.bundle.find_python(digest_wants(step.requirements, step.constraints, step.allowed))
        if source is None:
            raise CarboyError("the bundle has no packages for these requirements", hint=_HINT)
        lines = [line for line in request.requirements.splitlines(keepends=True) if not _PLACES.match(line)]
        with open_links(
            store, [(file.name, f"{home.cache}/{PACKAGES}/{file.sha256}") for file in source.files]
        ) as folder:
            env = ((OFFLINE, "1"), ("UV_FIND_LINKS", folder))
            yield replace(
                request,
                # uv has no variable for it; without it, what it remembers of an index would come first.
                requirements="".join(["--no-index\n", *lines]),
                indexes=IndexConfig(env=env, folders=(folder,), ca_bundle=None),
                chosen=unpack_packages(source),
            )


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
