"""Carries a graph out: steps that need nothing of each other at once, the image when all are done; decides nothing.

Bases come first, in the process's first thread, because making one takes the process's signals. After that each step that
is ready gets a thread of its own, as many at once as was asked for. A step alone runs in the first thread: the sandbox can
then be started by a fork, which is quicker (ADR 6). The first failure ends what is under way, by a descriptor that all
sandboxes watch.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from carboy.build.context.scan import ContextScan
from carboy.build.copying.views import ContextView, FilesView, SingleFile, StateView, View
from carboy.build.graph.ops import (
    Base,
    Copy,
    Git,
    Http,
    Image,
    InlineFiles,
    LocalContext,
    MakeFolder,
    Op,
    Run,
    Scratch,
    list_chain,
    list_inputs,
    list_ops,
)
from carboy.build.progress import StepResult
from carboy.build.running.rights import check_rights
from carboy.build.solver.bases import NoRegistries, find_base_state, make_base, open_stored
from carboy.build.solver.caches import Caches
from carboy.build.solver.foreign import check_runs, find_platform
from carboy.build.solver.image import write_image
from carboy.build.solver.progress import OneAtATime
from carboy.build.solver.state import StateResult, Trees
from carboy.build.solver.steps import Step
from carboy.errors import CarboyError
from carboy.oci.digest import Digest
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from carboy.base.home import Home
    from carboy.build.context.observed import Observed
    from carboy.build.graph.ops import BaseImage, Location
    from carboy.build.graph.options import BuildOptions
    from carboy.build.running.step import StepRunner
    from carboy.build.solver.bases import Registries
    from carboy.build.solver.progress import GraphProgress
    from carboy.linux.identity import Tier
    from carboy.oci.descriptor import Descriptor
    from carboy.runtime.native.launch import NativeRuntime

Result = StateResult | View
EXPORT = "exporting to image"


class BuildStoppedError(CarboyError):
    """Another step failed, or the build was interrupted: this one is of no use any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphResult:
    """What came of a graph: the manifest, the files behind it, and how each step went, in the order of their ends.

    ``cached`` says that nothing at all was made. ``observed`` is what it depends on of contexts; None when it depends on more
    than can be told by looking at files, bases, and the request. ``recipes`` are the bases that were made here, each with its
    layers' diff ids.
    """

    descriptor: Descriptor
    state: StateResult
    steps: tuple[StepResult, ...]
    cached: bool
    observed: tuple[Observed, ...] | None = None
    recipes: tuple[tuple[BaseImage, tuple[Digest, ...]], ...] = ()

    @property
    def size_bytes(self) -> int:
        """What the layers take."""
        return sum(layer.descriptor.size for layer in self.state.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphContext:
    """What a graph is carried out with."""

    store: Store
    home: Home
    runtime: NativeRuntime
    tier: Tier
    options: BuildOptions
    progress: GraphProgress
    registries: Registries = field(default_factory=NoRegistries)


def solve(image: Image, context: GraphContext) -> GraphResult:
    """Carry the graph of ``image`` out and return the image, durable in the store.

    For the first thread of a process that is in its tier. Raises the error of the first step that failed, after all others
    have ended. What was made until then is found again by the next build.
    """
    with context.store.lease("build"):
        solver = _Solver(image, context)
        try:
            return solver.run()
        finally:
            solver.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPreview:
    """What a build would do with a step: ``cached`` None where only the build can tell. ``reason`` is for people.

    ``network`` is what a RUN asks for, "" for what is none.
    """

    title: str
    location: Location | None
    cached: bool | None
    reason: str
    network: str = ""


def preview(image: Image, context: GraphContext) -> list[StepPreview]:
    """Return what ``solve`` would do, step by step. Files are read; nothing is run, fetched or made.

    Raises ``CarboyError`` for what a step cannot be without, as a file that is not there.
    """
    with context.store.lease("plan"):
        previewer = _Preview(image, context)
        try:
            return previewer.list_steps()
        finally:
            previewer.close()


class _Solver:
    def __init__(self, image: Image, context: GraphContext) -> None:
        self._image = image
        self._context = context
        self._progress = OneAtATime(context.progress)
        self._results: dict[Op, Result] = {}
        self._reports: list[StepResult] = []
        self._trees = Trees(kind=context.store.kind)
        self._scans: list[ContextScan] = []
        self._contexts: list[ContextView] = []
        self._local = threading.local()
        self._local.store = context.store
        self._stopped = threading.Event()
        self._stop, self._stopping = os.pipe2(os.O_CLOEXEC)
        self._step_runner: StepRunner | None = None
        self._looked: set[Op] = set()
        self._caches = Caches(context.options, self._progress, context.registries)

    def _runner(self) -> StepRunner:
        """Return what runs commands: a build that is all cached needs none."""
        if self._step_runner is None:
            from carboy.build.running.caches import CacheFolders
            from carboy.build.running.step import StepRunner
            from carboy.build.solver.recipes import read_archive_settings

            context = self._context
            self._step_runner = StepRunner(
                home=context.home,
                runtime=context.runtime,
                tier=context.tier,
                caches=CacheFolders(context.home, kind=context.store.kind),
                options=context.options,
                stop=self._stop,
                find_settings=lambda name: read_archive_settings(context.home.path, name),
            )
        return self._step_runner

    def _runner_for(self, op: Op) -> StepRunner:
        if isinstance(op, Run):
            check_runs(find_platform(op), "the step")
        return self._runner()

    def close(self) -> None:
        if self._step_runner is not None:
            self._step_runner.close()
        os.close(self._stop)
        os.close(self._stopping)

    def run(self) -> GraphResult:
        ops = list_ops(self._image.state)
        for op in ops:
            if isinstance(op, Run):
                check_rights(op, self._context.options)
        self._caches.open(self._context.store)
        waiting: list[Op] = []
        for op in ops:
            if not self._open(op):
                waiting.append(op)
        self._solve_all(waiting)
        state = self._results[self._image.state]
        assert isinstance(state, StateResult)
        started_s = time.monotonic()
        number = self._progress.start(EXPORT)
        descriptor, known = write_image(self._context.store, self._image, state)
        for scan in self._scans:
            scan.save()
        self._progress.finish(number, cached=known, seconds=time.monotonic() - started_s)
        self._caches.write(self._context.store, set(list_chain(self._image.state)))
        cached = known and all(report.cached for report in self._reports)
        return GraphResult(
            descriptor=descriptor,
            state=state,
            steps=tuple(self._reports),
            cached=cached,
            observed=self._observe(ops),
            recipes=tuple(self._list_recipes(ops)),
        )

    def _observe(self, ops: Iterable[Op]) -> tuple[Observed, ...] | None:
        """Return what was seen of contexts, None where more was asked than files and the store."""
        if any(isinstance(op, Http | Git) or getattr(op, "no_cache", False) for op in ops):
            return None
        seen = [view.observe() for view in self._contexts]
        known = [one for one in seen if one is not None]
        return tuple(known) if len(known) == len(seen) else None

    def _list_recipes(self, ops: Iterable[Op]) -> Iterator[tuple[BaseImage, tuple[Digest, ...]]]:
        for op in ops:
            if isinstance(op, Base) and op.image.digest is None:
                state = self._results[op]
                assert isinstance(state, StateResult)
                yield op.image, state.chain

    # --- what is there at once --------------------------------------------------------------------------------------

    def _open(self, op: Op) -> bool:
        """Give an operation its result if it is no work, or is work for the first thread."""
        match op:
            case Scratch():
                self._results[op] = StateResult(epoch_s=self._context.options.source_date_epoch or 0)
            case Base():
                self._results[op] = self._timed(op.title or f"FROM {op.image.name}", lambda say: self._base(op, say))
            case LocalContext():
                self._results[op] = self._open_context(op)
            case InlineFiles():
                self._results[op] = FilesView(
                    [
                        SingleFile(
                            name=file.name,
                            mode=file.mode,
                            sha256=Digest.of(file.content).hex,
                            size_bytes=len(file.content),
                            content=file.content,
                        )
                        for file in op.files
                    ]
                )
            case _:
                return False
        return True

    def _base(self, op: Base, say: Callable[[str], None]) -> tuple[StateResult, bool]:
        context, options = self._context, self._context.options
        if op.image.digest is not None:
            cached = not context.registries.fetch(op.image, say)
            state = open_stored(context.store, op.image)
        elif (found := self._find_base(op)) is not None:
            state, cached = found, True
        else:
            say(op.image.note)
            state, cached = make_base(
                op.image,
                store=context.store,
                home=context.home,
                runtime=context.runtime,
                tier=context.tier,
                environ=options.environ,
                log=say,
                refresh=options.refresh,
                mirror=options.mirror,
                snapshot=options.snapshot,
            )
        return self._dated(state), cached

    def _find_base(self, op: Base) -> StateResult | None:
        """Return the base if it was made here before, and may be used."""
        context, options = self._context, self._context.options
        if options.refresh:
            return None
        return find_base_state(op.image, store=context.store, environ=options.environ, mirror=options.mirror)

    def _dated(self, state: StateResult) -> StateResult:
        epoch_s = self._context.options.source_date_epoch
        return state if epoch_s is None else replace(state, epoch_s=epoch_s)

    def _open_context(self, op: LocalContext) -> ContextView:
        folder = self._context.options.contexts.get(op.name)
        if folder is None:
            raise CarboyError(f"there is no build context {op.name!r}", hint=f"--build-context {op.name}=FOLDER")
        scan = ContextScan(
            os.path.realpath(folder),
            ignore=op.ignore,
            cache_dir=f"{self._context.home.cache}/contexts",
            limit_bytes=self._context.options.context_limit_bytes,
        )
        self._scans.append(scan)
        view = ContextView(scan, where="the build context" + ("" if op.name == "context" else f" {op.name!r}"))
        self._contexts.append(view)
        return view

    # --- what is work -----------------------------------------------------------------------------------------------

    def _solve_all(self, waiting: list[Op]) -> None:
        running: dict[Future[tuple[Op, Result]], None] = {}
        jobs = max(1, self._context.options.jobs)
        pool: ThreadPoolExecutor | None = None
        try:
            while waiting or running:
                ready = [op for op in waiting if all(item in self._results for item in list_inputs(op))]
                known = [op for op in ready if self._take_known(op)]
                if known:
                    waiting = [op for op in waiting if op not in known]
                    continue
                if len(ready) == 1 and not running:
                    waiting.remove(ready[0])
                    self._results[ready[0]] = self._solve(ready[0])
                    continue
                # Its import takes as long as ten steps that are cached.
                from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

                pool = pool or ThreadPoolExecutor(jobs, thread_name_prefix="step", initializer=self._begin_thread)
                for op in ready[: jobs - len(running)]:
                    waiting.remove(op)
                    running[pool.submit(lambda one: (one, self._solve(one)), op)] = None
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    op, result = future.result()
                    self._results[op] = result
        except BaseException:
            self._stopped.set()
            os.write(self._stopping, b"x")
            raise
        finally:
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def _take_known(self, op: Op) -> bool:
        """Give a step its result when its layer is there: threads are for what must be made."""
        if not isinstance(op, Run | Copy | MakeFolder) or op in self._looked:
            return False
        self._looked.add(op)
        started_s = time.monotonic()
        parent, step = self._prepare(op, lambda _: None)
        try:
            layer = step.find()
        except (CarboyError, OSError):
            return False  # the step itself says it, by its number
        if layer is None:
            return False
        number = self._progress.start(op.title)
        seconds = time.monotonic() - started_s
        self._progress.finish(number, cached=True, seconds=seconds)
        self._reports.append(StepResult(title=op.title, cached=True, seconds=seconds))
        self._results[op] = parent.on_top(layer)
        self._caches.note(op, step.key, layer)
        return True

    def _begin_thread(self) -> None:
        # A connection of SQLite's belongs to one thread.
        self._local.store = Store(self._context.home, kind=self._context.store.kind)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise BuildStoppedError("the build was given up")

    def _solve(self, op: Op) -> Result:
        self._check()
        match op:
            case Http():
                from carboy.build.solver.downloads import fetch_file, show_url

                title = op.title or f"ADD {show_url(op.url)}"
                environ = self._context.options.environ
                return self._timed(
                    title,
                    lambda _: fetch_file(op, self._local.store, environ, check=self._check),
                    location=op.location,
                )
            case Git():
                from carboy.build.solver.checkouts import check_out

                return self._timed(
                    op.title or "ADD a repository",
                    lambda say: check_out(op, self._local.store, self._context.options, say=say, check=self._check),
                    location=op.location,
                )
            case Run() | Copy() | MakeFolder():
                return self._timed(op.title, lambda say: self._step(op, say), location=op.location)
            case _:
                raise AssertionError(op)

    def _step(self, op: Run | Copy | MakeFolder, say: Callable[[str], None]) -> tuple[StateResult, bool]:
        parent, step = self._prepare(op, say)
        layer, cached = step.solve()
        self._caches.note(op, step.key, layer)
        return parent.on_top(layer), cached

    def _prepare(self, op: Run | Copy | MakeFolder, say: Callable[[str], None]) -> tuple[StateResult, Step]:
        parent = self._results[op.parent]
        assert isinstance(parent, StateResult)
        origins = [item for item in list_inputs(op) if item is not op.parent or _reads_parent(op)]
        step = Step(
            op,
            parent,
            {origin: self._view(origin) for origin in origins},
            store=self._local.store,
            trees=self._trees,
            runner=lambda: self._runner_for(op),
            say=say,
            check=self._check,
            caches=self._caches.sources,
        )
        return parent, step

    def _view(self, origin: Op) -> View:
        result = self._results[origin]
        if not isinstance(result, StateResult):
            return result
        state = result
        return StateView(
            lambda: (self._trees.open(self._local.store, state), self._trees.owners(self._local.store, state)),
            chain=[str(diff_id) for diff_id in state.chain],
            title=getattr(origin, "title", "") or "the stage",
            memory=_Memory(self._local.store),
        )

    def _timed(
        self,
        title: str,
        work: Callable[[Callable[[str], None]], tuple[Result, bool]],
        *,
        location: Location | None = None,
    ) -> Result:
        """Do a piece of work and tell of its beginning, its lines and its end; a failure says where it was asked for."""
        number = self._progress.start(title)
        started_s = time.monotonic()
        try:
            result, cached = work(lambda line: self._progress.log(number, line))
        except BaseException as error:
            text = error.brief if isinstance(error, CarboyError) else type(error).__name__
            if self._stopped.is_set():
                text = "stopped"
            self._progress.finish(number, cached=False, seconds=time.monotonic() - started_s, error=text)
            if isinstance(error, CarboyError) and location is not None and not error.details.startswith(str(location)):
                error.details = f"{location}\n{location.text}\n{error.details}".strip()
            raise
        seconds = time.monotonic() - started_s
        self._progress.finish(number, cached=cached, seconds=seconds)
        self._reports.append(StepResult(title=title, cached=cached, seconds=seconds))
        return result


class _Memory:
    """Digests of files in layers, in the store's cache."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def recall(self, key: str) -> str | None:
        entry = self._store.cache.get(key)
        return None if entry is None else str(entry.value["digest"])

    def remember(self, key: str, digest: str) -> None:
        self._store.cache.put(key, "files", {"digest": digest}, [])


def _reads_parent(op: Run | Copy | MakeFolder) -> bool:
    """Return whether a step also takes files from the very state that it stands on."""
    if isinstance(op, Copy):
        return any(item.origin is op.parent for item in op.items)
    return isinstance(op, Run) and any(getattr(mount, "origin", None) is op.parent for mount in op.mounts)


class _Preview(_Solver):
    """Follows a graph as far as what is known goes."""

    def list_steps(self) -> list[StepPreview]:
        steps = []
        unknown: set[Op] = set()
        for op in list_ops(self._image.state):
            title = getattr(op, "title", "")
            cached, reason = self._look(op, unknown)
            if op not in self._results:
                unknown.add(op)
            if not isinstance(op, Scratch | LocalContext | InlineFiles):
                location = getattr(op, "location", None)
                network = op.network if isinstance(op, Run) else ""
                steps.append(StepPreview(title=title, location=location, cached=cached, reason=reason, network=network))
        return steps

    def _look(self, op: Op, unknown: set[Op]) -> tuple[bool | None, str]:
        """Return (whether an operation's result is there, why), and keep the result."""
        if isinstance(op, Base):
            return self._look_base(op)
        if isinstance(op, Http | Git):
            return None, "what is there decides: it is asked when the build runs"
        if not isinstance(op, Run | Copy | MakeFolder):
            self._open(op)
            return True, ""
        below = [item for item in list_inputs(op) if item in unknown]
        if below and any(isinstance(item, Http | Git) for item in below):
            return None, "what is fetched decides"
        if below or op.no_cache:
            return False, "without the cache, as asked for" if op.no_cache else "what it stands on is not there yet"
        return self._look_up(op)

    def _look_up(self, op: Run | Copy | MakeFolder) -> tuple[bool | None, str]:
        parent, step = self._prepare(op, lambda _: None)
        layer = step.find()
        if layer is None:
            return False, step.explain()
        self._results[op] = parent.on_top(layer)
        return True, "the same was done before, on the same files"

    def _look_base(self, op: Base) -> tuple[bool | None, str]:
        if op.image.digest is not None:
            self._results[op] = self._dated(open_stored(self._context.store, op.image))
            if self._context.registries.is_pending(op.image):
                return False, op.image.note
            return True, f"{op.image.name} is in the store"
        found = self._find_base(op)
        if found is None:
            return False, op.image.note
        self._results[op] = self._dated(found)
        return True, "it was made here before, from its distribution's archive"
