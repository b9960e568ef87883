"""``carboy fetch`` and ``carboy build --offline``: all that a build needs, taken along."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.base.unnamed import open_unnamed
from carboy.build.bundles.archive import open_bundle, write_bundle
from carboy.build.bundles.manifest import make_manifest
from carboy.build.bundles.offline import Offline
from carboy.build.fetching.steps import collect
from carboy.build.plan import plan_project
from carboy.build.project import read_project
from carboy.build.sources import read_front
from carboy.build.workbench import EXECUTE, LAB, plan_workbench
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.progress import Progress
    from carboy.engine.context import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineSource:
    """What a build without a network is made of: the ``bundle`` at that path, "" for what the home has."""

    bundle: str = ""

    def open(self, engine: Engine) -> Offline:
        """Take the bundle in, under a lease of the store. Raises ``CarboyError``."""
        if not self.bundle:
            return Offline()
        return Offline(bundle=open_bundle(self.bundle, home=engine.home))


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBundle:
    """A bundle that was written: the size of its files in bytes, and what is in it, for people."""

    path: str
    size_bytes: int
    sources: tuple[str, ...]


def fetch_folder(
    engine: Engine, folder: str, *, path: str, progress: Progress, refresh: bool = False, notebook: bool = False
) -> FetchedBundle:
    """Fetch all that a build of ``folder`` needs, and write it to ``path``, where it appears when it is whole.

    ``notebook``: and what executes notebooks, and JupyterLab, whatever the folder says of what runs.
    What was fetched stays in the caches: the next one begins where this one was interrupted. Raises ``CarboyError``.
    """
    _check_target(path)
    choice = read_front(folder, file=None)
    if choice.front == "dockerfile":
        raise refuse_dockerfile(f"{folder}/{choice.file}")
    facts = read_project(folder)
    plan = plan_workbench(facts, tools=(EXECUTE, LAB), reason="it is taken along") if notebook else plan_project(facts)
    with engine.store.lease("fetch"):
        started_s = time.monotonic()
        progress.step_started("fetch what a build needs")
        found = collect(plan, engine.build_context(progress, refresh=refresh))
        progress.step_finished("fetch what a build needs", cached=False, seconds=time.monotonic() - started_s)
        manifest = make_manifest(found.sources)
        with translate_os_errors(f"write {path}"), open_unnamed(os.path.abspath(path), mode=0o666) as file:
            size_bytes = write_bundle(manifest, found.files, file)
    return FetchedBundle(path=path, size_bytes=size_bytes, sources=tuple(source.describe() for source in found.sources))


def refuse_dockerfile(file: str) -> CarboyError:
    """Return the error for a Dockerfile, of which nobody can say what its RUN steps will ask the world for."""
    return CarboyError(
        f"{file} cannot be built of a bundle: what its RUN steps fetch is known to their commands alone",
        hint="where there is a network, `carboy save` its bases and build with --cache-to type=local,dest=FOLDER,mode=max;\n"
        "where there is none, `carboy load` them and build with --cache-from type=local,src=FOLDER --network none",
    )


def _check_target(path: str) -> None:
    """Raise ``CarboyError`` before anything is fetched for a place where no bundle can be written."""
    above = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise CarboyError(f"{path} is a folder", hint=f"name a file in it: -o {path}/bundle.tar")
    if not os.path.isdir(above):
        raise CarboyError(f"there is no folder {above}", hint="make it, or name another place")
