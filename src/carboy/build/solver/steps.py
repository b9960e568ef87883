"""One operation of a graph: from the cache when its key is known there, else made; the same step is made by one build at a
time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from typing import TYPE_CHECKING, Protocol

from carboy.base.fs import translate_os_errors
from carboy.build.copying.select import Selected, Source
from carboy.build.graph.keys import step_key
from carboy.build.graph.ops import BindMount, Copy, MakeFolder, Run, is_linked
from carboy.build.running.below import Below
from carboy.build.solver.reasons import explain_step, remember_step
from carboy.errors import CarboyError
from carboy.layers.apply import commit_tree, find_layer, keep_layer
from carboy.layers.batch import LayerResult
from carboy.snapshots.merged import MergedRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from carboy.build.copying.place import Placer
    from carboy.build.copying.views import View
    from carboy.build.graph.ops import Origin
    from carboy.build.running.step import StepRunner
    from carboy.build.solver.state import StateResult, Trees
    from carboy.store.store import Store

_POLL_S = 0.1
MAX_TRIES = 3


class LayerSource(Protocol):
    """A cache outside of the store: of a folder, one day of a registry."""

    def fetch(self, key: str, store: Store) -> LayerResult | None:
        """Return the layer of a step of this key, now in ``store`` and its cache; None when it cannot be had."""
        ...


class Step:
    """One operation on its parent's layers. ``views`` are the origins of what it reads; ``say`` takes lines for people.

    ``check`` raises when the build is over; it is called while the step waits. ``caches`` are asked for what the store has not.
    ``key`` is the step's, once :meth:`find` or :meth:`solve` has made it.
    """

    def __init__(
        self,
        op: Run | Copy | MakeFolder,
        parent: StateResult,
        views: Mapping[Origin, View],
        *,
        store: Store,
        trees: Trees,
        runner: Callable[[], StepRunner],
        say: Callable[[str], None],
        check: Callable[[], None],
        caches: Sequence[LayerSource] = (),
    ) -> None:
        self._op = op
        self._parent = parent
        self._views = views
        self._store = store
        self._trees = trees
        self._runner = runner
        self._say = say
        self._check = check
        self._caches = caches
        self.key = ""
        self._asked: list[tuple[View, Selected, str]] = []
        self._inputs: tuple[str, ...] = ()

    def solve(self) -> tuple[LayerResult, bool]:
        """Return the step's layer, durable in the store, and whether it was there. Raises ``CarboyError``."""
        for _ in range(MAX_TRIES):
            with translate_os_errors("read what the step needs"):
                self._asked.clear()
                selected = self._select()
                self.key = key = f"layer:{self._key(selected)}"
            found = self._look_up(key)
            if found is not None:
                return found, True
            with _Alone(f"{self._store.home.run}/building", key, check=self._check):
                # Another build may have been at the same step until now.
                found = self._look_up(key)
                if found is not None:
                    return found, True
                layer = self._make(selected)
                if not all(view.is_still(one, digest) for view, one, digest in self._asked):
                    self._say("the files were changed while they were read: once more")
                    continue
                keep_layer(self._store, key, layer)
                remember_step(self._store, self._op, parent=self._parent_ids, inputs=self._inputs)
                return layer, False
        raise CarboyError(
            "the files of the build context change while they are copied",
            hint="stop what writes there, then build again",
        )

    def find(self) -> LayerResult | None:
        """Return the step's layer where it was made before, None where it would have to be made. Raises ``CarboyError``."""
        if self._op.no_cache:
            return None
        self.key = f"layer:{self._key(self._select())}"
        return self._look_up(self.key)

    def explain(self) -> str:
        """Return why :meth:`find` found nothing, for people."""
        return explain_step(self._store, self._op, parent=self._parent_ids, inputs=self._inputs)

    def _look_up(self, key: str) -> LayerResult | None:
        if self._op.no_cache:
            return None
        found = find_layer(self._store, key)
        for cache in self._caches if found is None else ():
            found = cache.fetch(key, self._store)
            if found is not None:
                remember_step(self._store, self._op, parent=self._parent_ids, inputs=self._inputs)
                break
        return found

    # --- what it depends on -----------------------------------------------------------------------------------------

    def _select(self) -> list[list[Selected]]:
        """Return what a copy's sources mean."""
        if not isinstance(self._op, Copy):
            return []
        return [
            self._views[item.origin].select(
                Source(path=item.path, wildcards=item.wildcards, parents=self._op.parents, excluded=self._op.excluded)
            )
            for item in self._op.items
        ]

    def _key(self, selected: list[list[Selected]]) -> str:
        op = self._op
        inputs: list[str] = []
        if isinstance(op, Copy):
            for item, found in zip(op.items, selected, strict=True):
                view = self._views[item.origin]
                # The path above a source is no part of it, and neither is where it comes from: only its own name is.
                inputs += [f"{one.name.hex()} {one.is_folder:d} {self._digest(view, one)}" for one in found]
                inputs.append(f"dated {view.is_dated():d}")
        elif isinstance(op, Run):
            for mount in op.mounts:
                if isinstance(mount, BindMount):
                    view = self._views[mount.origin]
                    (one,) = view.select(Source(path=mount.source, wildcards=False))
                    inputs.append(f"{one.is_folder:d} {self._digest(view, one)}")
        self._inputs = tuple(inputs)
        return step_key(op, parent=self._parent_ids, epoch_s=self._parent.epoch_s, inputs=self._inputs)

    @property
    def _parent_ids(self) -> tuple[str, ...]:
        return tuple(map(str, self._parent.chain))

    def _digest(self, view: View, selected: Selected) -> str:
        digest = view.digest(selected)
        self._asked.append((view, selected, digest))
        return digest

    # --- making it --------------------------------------------------------------------------------------------------

    def _make(self, selected: list[list[Selected]]) -> LayerResult:
        from carboy.build.copying.owners import resolve_owner
        from carboy.build.copying.place import Placer

        op = self._op
        if isinstance(op, Run):
            return self._runner().run(
                op, self._below(), self._views, store=self._store, log=self._say, wait=self._check
            )
        store = self._store
        below = self._below()
        with store.layers.ingest_dir() as ingest:
            lowers = [] if isinstance(op, Copy) and is_linked(op) else list(below.trees)
            placer = Placer(lowers, f"{ingest}/tree", on_disk=store.kind != "single")
            if isinstance(op, Copy):
                self._copy(op, selected, placer, below)
            else:
                with MergedRoot(below.trees or (f"{ingest}/tree",)).open() as root:
                    ids = resolve_owner(op.user, root)
                placer.make_folder(op.path, mode=op.mode, ids=ids, epoch_s=below.epoch_s)
            owners = below.owners.restrict(f"{ingest}/tree", placer.owners) if store.kind == "single" else None
            # The root of an image is what its lowest layer makes it: this tree's own has today's time.
            os.utime(f"{ingest}/tree", (below.epoch_s, below.epoch_s))
            return commit_tree(store, ingest, mtime_cap=below.epoch_s, owners=owners)

    def _copy(self, op: Copy, selected: list[list[Selected]], placer: Placer, below: Below) -> None:
        from carboy.build.copying.modes import parse_chmod
        from carboy.build.copying.place import Target

        chown = self._resolve_chown(op, below)
        target = Target(destination=op.destination, chown=chown, chmod=parse_chmod(op.chmod), epoch_s=below.epoch_s)
        for item, found in zip(op.items, selected, strict=True):
            for one in found:
                self._check()
                with translate_os_errors(f"copy {item.path} to {op.destination}"):
                    placer.copy(one, self._views[item.origin], target, unpack=item.unpack)

    @staticmethod
    def _resolve_chown(op: Copy, below: Below) -> tuple[int, int] | None:
        from carboy.build.copying.owners import resolve_chown

        if is_linked(op) or not below.trees:
            return resolve_chown(op.chown, None)
        with MergedRoot(below.trees).open() as root:
            return resolve_chown(op.chown, root)

    def _below(self) -> Below:
        return Below(
            chain=self._parent.chain,
            trees=self._trees.open(self._store, self._parent),
            owners=self._trees.owners(self._store, self._parent),
            epoch_s=self._parent.epoch_s,
        )


class _Alone:
    """Holds the lock of one key for a block; who waits for it looks into the cache again before it does the same work."""

    def __init__(self, folder: str, key: str, *, check: Callable[[], None]) -> None:
        self._path = f"{folder}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        self._check = check
        self._fd = -1

    def __enter__(self) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(self._path)):
                    self._fd = fd
                    return
            except BlockingIOError:
                try:
                    self._check()
                except BaseException:
                    os.close(fd)
                    raise
                time.sleep(_POLL_S)
            except FileNotFoundError:
                pass  # its holder has finished, and removed it
            os.close(fd)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.unlink(self._path)
        os.close(self._fd)
