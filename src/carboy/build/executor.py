"""Carries out a plan: each step from the cache, or done now; decides nothing.

A build that finds every step in the cache reads the folder's files, writes nothing, and ends with the image that is there.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.canonical import digest_json
from carboy.base.web import read_web_settings
from carboy.build.data import LABEL as DATA_LABEL
from carboy.build.files import commit_files, fingerprint
from carboy.build.folder.binder import PostBuildStep
from carboy.build.plan import (
    BaseStep,
    CondaStep,
    ConfigStep,
    DataStep,
    EnvironmentStep,
    FilesStep,
    Plan,
    RStep,
    ToolsStep,
    step_key,
)
from carboy.build.progress import StepResult
from carboy.build.solver.foreign import check_base
from carboy.environments.conda.wants import PREFIX
from carboy.environments.detect.repositories import drop_lines
from carboy.environments.detect.sources import find_sources
from carboy.environments.lockfile import (
    ARCHIVE_LABEL,
    BUILT_LABEL,
    CONDA_LABEL,
    LOCK_LABEL,
    R_LABEL,
    LockFile,
    explain_drift,
    render_tools,
)
from carboy.errors import CarboyError
from carboy.images.assemble import BuiltLayer, assemble
from carboy.images.times import format_time
from carboy.layers.apply import take_layer
from carboy.layers.batch import LayerResult
from carboy.oci import mediatypes
from carboy.oci.config import RunConfig
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.base.home import Home
    from carboy.bootstrap.layer import BaseLayer, MadeBase, Making
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.bundles.offline import Offline
    from carboy.build.folder.repositories import Tree
    from carboy.build.progress import Progress
    from carboy.build.r_layers import RAssembler, Resolved
    from carboy.environments.conda.install import CondaAssembler, CondaRequest
    from carboy.environments.detect.repositories import Repository
    from carboy.environments.groups import MadeLayer
    from carboy.environments.install import Environment, EnvironmentRequest, PackageAssembler, SourceArchive
    from carboy.linux.identity import Tier
    from carboy.runtime.native.launch import NativeRuntime
    from carboy.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build made: the manifest, its layers' size in bytes, how many packages the base has, how each step went, notes.

    ``lock`` is what all of it came to, as ``carboy lock`` writes it.
    """

    descriptor: Descriptor
    size_bytes: int
    packages: int
    network: str
    steps: tuple[StepResult, ...]
    lock: LockFile
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What a build works with. ``snapshot``: bases are of the archive as it was then, where the texts of that time are kept."""

    store: Store
    home: Home
    runtime: NativeRuntime
    tier: Tier
    environ: Mapping[str, str]
    progress: Progress
    refresh: bool = False
    mirror: str | None = None
    security: bool = True
    offline: Offline | None = None
    snapshot: Snapshot | None = None


def execute(plan: Plan, context: BuildContext) -> BuildResult:
    """Carry the plan out and return the image, durable in the store. Raises ``CarboyError`` of the step that failed."""
    with context.store.lease("build"):
        return Execution(plan, context).run()


def resolve(plan: Plan, context: BuildContext, *, fresh: bool = False, only_versions: bool = False) -> LockFile:
    """Carry out what a lock needs of a plan, its base and the choice of versions, and return the lock; ``fresh``: not as before.

    ``only_versions``: what sources of an index are built with is left out, and they are not built. Raises ``CarboyError``.
    """
    with context.store.lease("lock"):
        return Execution(plan, context).resolve(fresh=fresh, only_versions=only_versions)


class Execution:
    """A plan on its way: what each step made stands here for those above it."""

    def __init__(self, plan: Plan, context: BuildContext) -> None:
        self._plan = plan
        self._context = context
        self._layers: list[BuiltLayer] = []
        self._steps: list[StepResult] = []
        self._key = self._base_key = ""
        self._made_base: MadeBase | None = None
        self._interpreter = ""
        self._below_tools = 1  # how many layers tools stand on: those of the base, and of conda's packages
        self._lock = ""
        self._trees: dict[Repository, Tree] = {}
        self._tools_lock: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self._r_lock = ""
        self._resolved: Resolved | None = None
        self._conda_lock = ""
        self._detail = ""
        self._descriptor: Descriptor | None = None

    @property
    def _ground(self) -> MadeBase:
        assert self._made_base is not None, "a plan begins with its base"
        return self._made_base

    def run(self) -> BuildResult:
        """Carry out each step; see :func:`execute`."""
        for step in self._plan.steps:
            started_s = time.monotonic()
            self._context.progress.step_started(step.what)
            self._detail = ""
            match step:
                case BaseStep():
                    cached = self._base(step)
                case CondaStep():
                    cached = self._conda(step)
                case EnvironmentStep():
                    cached = self._environment(step)
                case RStep():
                    cached = self._r(step)
                case ToolsStep():
                    cached = self._tools(step)
                case DataStep():
                    cached = self._data(step)
                case FilesStep():
                    cached = self._files(step)
                case PostBuildStep():
                    cached = self._post_build(step)
                case ConfigStep():
                    cached = self._config(step)
            seconds = time.monotonic() - started_s
            title = f"{step.what} ({self._detail})" if self._detail else step.what
            self._context.progress.step_finished(title, cached=cached, seconds=seconds)
            self._steps.append(StepResult(title=title, cached=cached, seconds=seconds))
        assert self._descriptor is not None, "a plan ends with its configuration"
        return BuildResult(
            descriptor=self._descriptor,
            size_bytes=sum(item.layer.size_bytes for item in self._layers),
            packages=len(self._ground.layer.packages),
            network=self._plan.network,
            steps=tuple(self._steps),
            lock=self._make_lock(),
            notes=self._plan.notes,
        )

    def _make_lock(self) -> LockFile:
        r, sources = ((), ()) if self._resolved is None else (self._resolved.lines, self._resolved.source_lines)
        return LockFile(
            inputs=self._plan.inputs,
            base=next((step.base for step in self._plan.steps if isinstance(step, BaseStep)), ""),
            base_packages=self._ground.lines,
            python=tuple(line for line in self._lock.splitlines() if not find_sources(line)),
            r=r,
            r_sources=sources,
            conda=tuple(self._conda_lock.splitlines()),
            tools=self._tools_lock,
        )

    def resolve(self, *, fresh: bool, only_versions: bool = False) -> LockFile:
        """Choose versions and make no more than that needs; see :func:`resolve`."""
        from carboy.environments.install import list_tools
        from carboy.environments.lock import render_lock

        above = any(isinstance(step, EnvironmentStep) for step in self._plan.steps)
        for step in self._plan.steps:
            if isinstance(step, BaseStep):
                self._base(step)
            elif isinstance(step, CondaStep):
                self._resolve_conda(step, fresh=fresh, make=above)  # its Python chooses what stands above
            elif isinstance(step, EnvironmentStep):
                assembler, request = self._request(step, fresh=fresh)
                request = self._build_repositories(assembler, request, fresh=fresh)
                packages, _ = assembler.resolve(request, log=self._context.progress.log, fresh=fresh)
                if not only_versions:
                    request, packages = assembler.build_sources(request, packages)
                self._lock, self._tools_lock = render_lock(packages), list_tools(request.origins)
            elif isinstance(step, RStep):
                self._resolved, _ = self._r_assembler(step).resolve(step, key=self._r_key(step), fresh=fresh)
        return self._make_lock()

    def _plan_base(self, step: BaseStep, platform: Platform) -> Making:
        """Return what a base for a platform is made with; how the host reaches its archive is read for that."""
        from carboy.bootstrap.archive import read_archive_config
        from carboy.bootstrap.layer import Making
        from carboy.bootstrap.recipe import parse_recipe
        from carboy.build.solver.recipes import read_archive_settings

        context = self._context
        settings = read_archive_settings(context.home.path, step.base.partition(":")[0])
        recipe = parse_recipe(
            step.base,
            packages=step.packages,
            architecture=platform.architecture,
            any_suite=bool(settings.keyrings),
        )
        archive = read_archive_config(
            context.environ, recipe=recipe, mirror=context.mirror, security=context.security, settings=settings
        )
        return Making(
            recipe=recipe,
            archive=archive,
            store=context.store,
            home=context.home,
            runtime=context.runtime,
            tier=context.tier,
            progress=context.progress,
        )

    def _bootstrap(self, step: BaseStep, making: Making) -> BaseLayer:
        from carboy.bootstrap.bootstrap import bootstrap, find_base, find_revisited

        context, recipe, archive = self._context, making.recipe, making.archive
        if context.offline is None:
            snapshot = find_revisited(making, context.snapshot)
        else:
            snapshot = context.offline.find_snapshot(recipe, base=step.base)
            if snapshot is None and find_base(recipe, store=context.store, archive=archive) is None:
                from carboy.build.bundles.offline import explain_base

                fetching = (CondaStep, EnvironmentStep, RStep)
                others = [other.what for other in self._plan.steps if isinstance(other, fetching)]
                raise explain_base(step.base, step.packages, others)
        return bootstrap(
            recipe,
            store=context.store,
            home=context.home,
            runtime=context.runtime,
            tier=context.tier,
            archive=archive,
            progress=context.progress,
            refresh=context.refresh,
            snapshot=snapshot,
        )

    def _base(self, step: BaseStep) -> bool:
        from carboy.bootstrap.layer import MadeBase

        foreign = self._plan.platform
        making = self._plan_base(step, foreign or Platform.current())
        if foreign is not None:
            check_base(making, foreign, refresh=self._context.refresh)
        base = self._bootstrap(step, making)
        self._made_base = MadeBase(layer=base, making=making)
        self._interpreter = " ".join(
            f"{name}={version}" for name, version, _ in base.packages if name.startswith("libpython3")
        )
        if self._plan.locked_base and (drift := explain_drift(self._plan.locked_base, self._made_base.lines)):
            raise CarboyError(
                f"the base {step.base} is not the one that carboy.lock names",
                details="\n".join(drift),
                hint="`carboy lock` takes what the archive has now; a mirror of that day's archive has what was locked",
            )
        layer = LayerResult(diff_id=base.diff_id, size_bytes=base.size_bytes)
        self._layers.append(BuiltLayer(layer=layer, created_by=f"carboy: {step.what}, {len(base.packages)} packages"))
        self._key = self._base_key = step_key(step, parent="", inputs=(str(base.diff_id),))
        return base.cached

    def _find_ground(self) -> tuple[tuple[Digest, ...], str]:
        """Return what Python packages are installed on, for another processor the base's twin, and uv's name of that ("")."""
        from carboy.build.folder.foreign import name_machine

        if self._plan.platform is None:
            return tuple(item.layer.diff_id for item in self._layers), ""
        step = next(step for step in self._plan.steps if isinstance(step, BaseStep))
        twin = self._bootstrap(step, self._plan_base(step, Platform.current()))
        return (twin.diff_id,), name_machine(self._plan.platform, base=step.base)

    def _conda_request(self, step: CondaStep) -> tuple[CondaAssembler, CondaRequest]:
        from carboy.build.conda import plan_request, read_addresses
        from carboy.environments.conda.install import CondaAssembler

        context = self._context
        self._key = step_key(step, parent=self._key)
        request = plan_request(
            step,
            base=[item.layer.diff_id for item in self._layers],
            base_packages=self._ground.lines,
            key=self._key,
            epoch_s=self._ground.layer.epoch_s,
        )
        assembler = CondaAssembler(
            store=context.store,
            home=context.home,
            runtime=context.runtime,
            tier=context.tier,
            web=read_web_settings(context.environ),
            addresses=read_addresses(context.home.path),
            offline=context.offline is not None,
            brought=context.offline.find_conda(step) if context.offline is not None else None,
        )
        return assembler, request

    def _resolve_conda(self, step: CondaStep, *, fresh: bool, make: bool) -> None:
        before = self._key
        assembler, request = self._conda_request(step)
        packages, _ = assembler.resolve(request, fresh=fresh)
        self._conda_lock = "".join(f"{package.line}\n" for package in packages)
        if make:
            self._key = before
            self._conda(step)

    def _conda(self, step: CondaStep) -> bool:
        from carboy.build.conda import find_python
        from carboy.environments.groups import describe_made

        assembler, request = self._conda_request(step)
        made = assembler.assemble(request, log=self._context.progress.log)
        self._conda_lock = made.lock
        with_pip = any(isinstance(other, EnvironmentStep) for other in self._plan.steps)
        python = find_python(made.lock.splitlines(), self._plan.command, with_pip=with_pip)
        self._interpreter = f"{python} in {PREFIX}"
        self._key = self._base_key = step_key(step, parent=self._key, inputs=(made.lock,))
        self._detail = "" if made.cached else describe_made(made.layers)
        self._put("conda", made.layers)
        self._below_tools = len(self._layers)
        return made.cached

    def _put(self, kind: str, layers: Sequence[MadeLayer]) -> None:
        """Put the layers of a step into the image, each with what its history says of it."""
        self._layers += [BuiltLayer(layer=item.layer, created_by=f"carboy: {kind} {item.content}") for item in layers]

    def _request(self, step: EnvironmentStep, *, fresh: bool = False) -> tuple[PackageAssembler, EnvironmentRequest]:
        from carboy.environments.groups import MAX_OWN, MAX_OWN_BESIDE
        from carboy.environments.host import read_index_config
        from carboy.environments.indexes import add_variables
        from carboy.environments.install import PYTHON, EnvironmentRequest, installer_version

        context = self._context
        sources = self._pack_sources(step)
        digests = tuple(f"{source.place} {source.sha256}" for source in sources)
        self._key = step_key(step, parent=self._key, inputs=(installer_version(), *digests))
        ground, machine = self._find_ground()
        request = EnvironmentRequest(
            requirements=step.requirements,
            constraints=step.constraints,
            allowed=step.allowed,
            base=ground,
            platform=machine,
            key=self._key,
            interpreter=self._interpreter,
            epoch_s=self._ground.layer.epoch_s,
            indexes=add_variables(read_index_config(context.environ), step.requirements, context.environ),
            python=f"{PREFIX}/bin/python" if step.above_conda else PYTHON,
            has_packages=step.above_conda,
            own=MAX_OWN_BESIDE if step.beside else MAX_OWN,
            sources=sources,
            tools=step.tools,
        )
        return self._assembler(fresh=fresh), request

    def _assembler(self, *, fresh: bool = False) -> PackageAssembler:
        from carboy.build.folder.assembling import make_assembler

        c = self._context
        return make_assembler(c.store, c.home, runtime=c.runtime, tier=c.tier, progress=c.progress, fresh=fresh)

    def _build_repositories(
        self, assembler: PackageAssembler, request: EnvironmentRequest, *, fresh: bool = False
    ) -> EnvironmentRequest:
        """Return the request with the packages of repositories built, where it names any."""
        self._trees = {}
        if "git+" not in request.requirements:
            return replace(request, constraints=drop_lines(request.constraints))
        from carboy.build.folder.repositories import RepositoryPackages

        context = self._context
        packages = RepositoryPackages(
            assembler,
            request,
            store=context.store,
            environ=context.environ,
            log=context.progress.log,
            fresh=fresh,
            offline=context.offline is not None,
            history=any(line.startswith("git ") for line in self._ground.lines),
            brought=context.offline.find_repositories(context.home) if context.offline is not None else None,
        )
        request = packages.resolve()
        self._trees = packages.trees
        made = tuple(f"{source.place} {source.sha256}" for source in request.sources)
        self._key = digest_json([self._key, *made, *(origin.line for origin in request.origins)])
        return replace(request, key=self._key)

    def _pack_sources(self, step: EnvironmentStep) -> tuple[SourceArchive, ...]:
        """Return the packages of the folder itself that a step names."""
        if not find_sources(wanted := f"{step.requirements}\n{step.constraints}"):
            return ()
        from carboy.build.folder.local import pack_sources

        ignore = next((other.ignore for other in self._plan.steps if isinstance(other, FilesStep)), ())
        return pack_sources(wanted, self._plan.folder, ignore=ignore, cache=f"{self._context.home.cache}/sources")

    def _environment(self, step: EnvironmentStep) -> bool:
        from carboy.environments.groups import describe_made

        assembler, request = self._request(step)
        made = self._assemble(assembler, request)
        self._lock, self._tools_lock = made.lock, made.tools
        self._detail = "" if made.cached else describe_made(made.layers, fetched=made.fetched)
        self._put("python", made.layers)
        return made.cached

    def _r_key(self, step: RStep) -> str:
        """Return the key of what R packages depend on: the base, its archive's state, and nothing that is above it."""
        self._key = step_key(step, parent=self._key)
        return step_key(step, parent="", inputs=(str(self._ground.layer.diff_id), self._ground.record))

    def _r_assembler(self, step: RStep) -> RAssembler:
        from carboy.build.r_layers import RAssembler

        base, context = self._ground, self._context
        brought = context.offline.find_r(step) if context.offline is not None else None
        return RAssembler(
            base.making, base.layer, environ=context.environ, offline=context.offline is not None, brought=brought
        )

    def _check_r(self, resolved: Resolved) -> None:
        """Raise ``CarboyError`` where R's packages are others than a lock names, which counts."""
        if self._plan.locked_r and (drift := explain_drift(self._plan.locked_r, resolved.all_lines)):
            raise CarboyError(
                "the R packages that can be had are not those that carboy.lock names",
                details="\n".join(drift),
                hint="`carboy lock` takes what the archive has now; a mirror of that day's archive has what was locked",
            )

    def _r(self, step: RStep) -> bool:
        from carboy.build.r_layers import describe_made

        resolved, made, cached = self._r_assembler(step).make(
            step, key=self._r_key(step), fresh=self._context.refresh, check=self._check_r
        )
        self._resolved = resolved
        self._r_lock = "".join(f"{line}\n" for line in resolved.all_lines)
        self._detail = "" if cached else describe_made(made)
        self._put("r", made)
        return cached

    def _assemble(self, assembler: PackageAssembler, request: EnvironmentRequest) -> Environment:
        context = self._context
        has_bundle = context.offline is not None and context.offline.bundle is not None
        if not has_bundle:
            request = self._build_repositories(assembler, request)
        if context.offline is None:
            return assembler.assemble(request, log=context.progress.log)
        try:
            with context.offline.open_request(request, home=context.home, store=context.store) as changed:
                built = self._build_repositories(assembler, changed) if has_bundle else changed
                return assembler.assemble(built, log=context.progress.log)
        except CarboyError as error:
            if has_bundle:
                raise
            from carboy.build.bundles.offline import explain_packages

            raise explain_packages(assembler.list_missing(request), error) from error

    def _tools_request(self, step: ToolsStep) -> tuple[PackageAssembler, EnvironmentRequest]:
        from carboy.build.tools import plan_tools

        context = self._context
        request = plan_tools(
            step,
            environ=context.environ,
            base=[item.layer.diff_id for item in self._layers[: self._below_tools]],
            below=self._base_key,
            interpreter=self._interpreter,
            epoch_s=self._ground.layer.epoch_s,
        )
        return self._assembler(), request

    def _tools(self, step: ToolsStep) -> bool:
        """Install tools on the base (and conda's) alone, so that folders share them, and put beside them what they are to do."""
        from carboy.build.tools import put_programs

        assembler, request = self._tools_request(step)
        made = self._assemble(assembler, request)
        layers = (*made.layers, put_programs(self._context.store, epoch_s=request.epoch_s))
        self._key = step_key(step, parent=self._key)
        self._put("tools, python", layers)
        return all(item.cached for item in layers)

    def _data(self, step: DataStep) -> bool:
        from carboy.build.data import commit_all, plan_data, read_data

        folder, context = self._plan.folder, self._context
        files = read_data(folder, step.paths, step.ignore, cache_dir=f"{context.home.cache}/contexts")
        groups = plan_data(files, target=step.target)
        made = commit_all(context.store, folder, groups, target=step.target, log=context.progress.log)
        self._put("data", made)
        new = [item.content for item in made if not item.cached]
        named = f": {', '.join(new)}" if len(new) <= 3 else ""
        self._detail = f"{len(new)} of {len(made)} layers{named}" if new else ""
        return not new

    def _files(self, step: FilesStep) -> bool:
        folder, mtime_s = self._plan.folder, self._ground.layer.epoch_s
        inputs = (fingerprint(folder, step.ignore, step.apart),)
        self._key = step_key(step, parent=f"times:{mtime_s}", inputs=inputs)

        def make() -> LayerResult:
            return commit_files(
                self._context.store,
                folder,
                target=step.target,
                ignore=step.ignore,
                apart=step.apart,
                mtime_s=mtime_s,
            )

        taken = take_layer(self._context.store, f"layer:{self._key}", make)
        self._layers.append(BuiltLayer(layer=taken.layer, created_by=f"carboy: {step.what}"))
        return taken.cached

    def _post_build(self, step: PostBuildStep) -> bool:
        from carboy.build.folder.scripts import ScriptRunner

        below = [item.layer for item in self._layers]
        runner = ScriptRunner(self._ground.making, self._context)
        taken = runner.run(step, below, epoch_s=self._ground.layer.epoch_s)
        self._layers.append(BuiltLayer(layer=taken.layer, created_by=f"carboy: {step.what}"))
        return taken.cached

    def _config(self, step: ConfigStep) -> bool:
        store = self._context.store
        base = self._ground.layer
        record, built = self._ground.record, render_tools(self._tools_lock)
        layers = (f"{item.layer.diff_id} {item.created_by}" for item in self._layers)
        locks = (self._lock, self._r_lock, self._conda_lock, *filter(None, (built,)))
        key = f"image:{step_key(step, parent=self._key, inputs=(record, *locks, *layers))}"
        entry = store.cache.get(key)
        if entry is not None:
            digest = Digest.parse(entry.value["digest"])
            if store.blobs.has(digest):
                self._descriptor = Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=entry.value["size"])
                return True
        config = RunConfig(
            Env=list(step.env),
            Cmd=list(step.command) or None,
            WorkingDir=step.workdir,
            Labels={
                ARCHIVE_LABEL: record,
                **({LOCK_LABEL: self._lock} if self._lock else {}),
                **({BUILT_LABEL: built} if built else {}),
                **({R_LABEL: self._r_lock} if self._r_lock else {}),
                **({CONDA_LABEL: self._conda_lock} if self._conda_lock else {}),
                **({DATA_LABEL: json.dumps(step.data)} if step.data else {}),
            },
        )
        created = format_time(base.epoch_s)
        descriptor = assemble(
            store, self._layers, config=config, created=created, comment="carboy", platform=self._plan.platform
        )
        value = {"digest": str(descriptor.digest), "size": descriptor.size}
        store.cache.put(key, "image", value, [descriptor.digest])
        self._descriptor = descriptor
        return False
