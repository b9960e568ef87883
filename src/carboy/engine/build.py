"""Building: a folder to a plan, a plan to an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.containers.events import write_event
from carboy.engine.documents.making import note_folder
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.build.executor import BuildResult
    from carboy.build.plan import Plan
    from carboy.build.progress import Progress
    from carboy.engine.builds.offline import OfflineSource
    from carboy.engine.context import Engine
    from carboy.engine.documents.recorded import Recorded
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFolder:
    """What a folder became: the manifest, its layers' size in bytes, and the network that a run of it asks for ("": any).

    ``notes`` are for whoever asked.
    """

    descriptor: Descriptor
    size_bytes: int
    network: str
    notes: tuple[str, ...] = ()


def plan_folder(folder: str, *, locked: bool = False, platform: Platform | None = None) -> Plan:
    """Return the steps that build ``folder``, each with its reason; nothing is run, fetched or written.

    ``locked`` refuses a folder whose carboy.lock does not fit; ``platform`` is what the image is for (None: this machine).
    Raises ``CarboyError``.
    """
    from carboy.build.plan import plan_project
    from carboy.build.project import read_project

    return plan_project(read_project(folder), locked=locked, platform=platform)


def build_folder(
    engine: Engine,
    folder: str,
    *,
    name: str | None,
    progress: Progress,
    refresh: bool = False,
    locked: bool = False,
    source: OfflineSource | None = None,
    platform: Platform | None = None,
) -> BuildResult:
    """Build ``folder`` into an image, under ``name`` when one is given, and return what came of it.

    ``locked``: with the very packages of its carboy.lock, or not at all. ``source``: without a network, of that.
    ``platform``: see :func:`plan_folder`. Unnamed images stay until `system prune`. Raises ``CarboyError`` when the folder cannot
    be planned, or a step fails.
    """
    from carboy.build.executor import execute

    reference = Reference.parse(name) if name is not None else None
    plan = plan_folder(folder, locked=locked, platform=platform)
    with engine.store.lease("build"):  # nor do files of a bundle go before they are used
        offline = source.open(engine) if source is not None else None
        result = execute(plan, engine.build_context(progress, refresh=refresh, offline=offline))
    note_folder(engine.store, result.descriptor.digest, result.lock)
    if reference is not None:
        engine.store.refs.set(str(reference), result.descriptor)
    if reference is not None or not all(step.cached for step in result.steps):
        familiar = "" if reference is None else reference.familiar
        write_event(engine.home.path, "image", "build", id=str(result.descriptor.digest), name=familiar)
    return result


def build_for_platforms(
    engine: Engine,
    folder: str,
    platforms: Sequence[Platform],
    *,
    name: str | None,
    progress: Progress,
    refresh: bool = False,
    locked: bool = False,
    source: OfflineSource | None = None,
) -> BuildResult:
    """Build ``folder`` as :func:`build_folder` does, once for each platform: of several an index has the name."""
    from carboy.engine.builds.platforms import put_index

    with engine.store.lease("build"):
        results = [
            build_folder(
                engine,
                folder,
                name=name if len(platforms) == 1 else None,
                progress=progress,
                refresh=refresh,
                locked=locked,
                source=source,
                platform=platform,
            )
            for platform in platforms
        ]
        if len(results) == 1:
            return results[0]
        descriptor, _ = put_index(engine.store, [one.descriptor for one in results])
        if name is not None:
            reference = Reference.parse(name)
            engine.store.refs.set(str(reference), descriptor)
            write_event(engine.home.path, "image", "build", id=str(descriptor.digest), name=reference.familiar)
    return replace(
        results[0],
        descriptor=descriptor,
        size_bytes=sum(one.size_bytes for one in results),
        steps=tuple(step for one in results for step in one.steps),
        notes=tuple(dict.fromkeys(note for one in results for note in one.notes)),
    )


def rebuild_folder(
    engine: Engine, folder: str, *, recorded: Recorded, progress: Progress, platform: Platform | None = None
) -> BuildResult:
    """Build ``folder`` with the packages that an image recorded, where it has no lock of its own.

    Its base, and R packages of the distribution, are of the recorded state of the archive, as far as that is kept. Raises
    ``CarboyError``.
    """
    from carboy.build.executor import execute
    from carboy.engine.documents.recorded import hold_plan

    plan = hold_plan(plan_folder(folder, platform=platform), recorded)
    return execute(plan, engine.build_context(progress, snapshot=recorded.find_snapshot()))


def build_any(
    engine: Engine,
    folder: str,
    *,
    name: str | None,
    progress: Progress,
    refresh: bool = False,
    source: OfflineSource | None = None,
) -> BuiltFolder:
    """Build ``folder`` with the front end that it chooses (``build.front``): its Dockerfile, or as a folder of Python.

    ``source``: without a network, of that, which a Dockerfile cannot be. Raises ``CarboyError`` when it cannot be planned, or a
    step fails.
    """
    from carboy.build.sources import read_front

    choice = read_front(folder, file=None)
    if choice.front == "python":
        built = build_folder(engine, folder, name=name, progress=progress, refresh=refresh, source=source)
        return BuiltFolder(
            descriptor=built.descriptor, size_bytes=built.size_bytes, network=built.network, notes=built.notes
        )
    if source is not None:
        from carboy.engine.builds.offline import refuse_dockerfile

        raise refuse_dockerfile(f"{folder}/{choice.file}")
    from carboy.build.solver.progress import InTurn
    from carboy.engine.dockerfile import build_dockerfile
    from carboy.engine.dockerfile_request import DockerfileRequest

    request = DockerfileRequest(
        context=folder, file=f"{folder}/{choice.file}", names=() if name is None else (name,), refresh=refresh
    )
    result = build_dockerfile(engine, request, progress=InTurn(progress))
    return BuiltFolder(descriptor=result.descriptor, size_bytes=result.size_bytes, network="")
