"""Runs the script that ends a folder's build: a RUN of a Dockerfile in all but where it is written."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from carboy.build.graph.ops import Network, Run, Scratch
from carboy.build.graph.options import BuildOptions
from carboy.build.running.step import StepFailedError, StepRunner
from carboy.build.solver.state import Layer, StateResult, Trees
from carboy.build.solver.steps import Step
from carboy.errors import FREE_SPACE, CarboyError
from carboy.layers.apply import TakenLayer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.bootstrap.layer import Making
    from carboy.build.folder.binder import PostBuildStep
    from carboy.layers.batch import LayerResult
    from carboy.runtime.sandbox import Runtime

NETWORKS: tuple[Network, Network] = ("default", "none")
_OFFLINE = "this build has no network, which the script has in others: build where there is one, or have it do without"
_HINTS = (
    (r"No space left on device", FREE_SPACE),
    (
        r"Temporary failure (resolving|in name resolution)|Could(n't| not) resolve host|Network is unreachable",
        "check the machine's network, its name servers and its proxies (`carboy doctor`)",
    ),
    (
        r"\b(pip3?|conda|mamba|jupyter): (command )?not found|No module named pip|externally-managed-environment",
        "packages are installed before it: name them in requirements.txt or environment.yml; the image has no pip and no conda",
    ),
    (r"(?i)not found|No such file or directory", "programs come from apt.txt, which names their Debian packages"),
)


class Surroundings(Protocol):
    """What of a build's context (``executor.BuildContext``) scripts are run in."""

    @property
    def runtime(self) -> Runtime:
        """What starts sandboxes."""
        ...

    @property
    def environ(self) -> Mapping[str, str]:
        """How this host reaches the world."""
        ...

    @property
    def offline(self) -> object | None:
        """What a build without a network is made of; None for one that has it."""
        ...


class ScriptRunner:
    """Runs scripts in the home and the tier of ``making``, as RUN steps are run (``build.running``)."""

    def __init__(self, making: Making, context: Surroundings) -> None:
        self._making = making
        self._runtime = context.runtime
        self._environ = context.environ
        self._is_offline = context.offline is not None

    def run(self, step: PostBuildStep, below: Sequence[LayerResult], *, epoch_s: int) -> TakenLayer:
        """Run the script on the layers ``below``, lowest first, and return what it changed, durable in the store.

        The same script on the same layers, which hold the folder's files, is run once. What comes of one that had no network
        is no answer where there is one. Raises ``CarboyError`` with the last that it printed.
        """
        with ExitStack() as stack:
            online, alone = (self._plan(step, below, network, epoch_s, stack) for network in NETWORKS)
            if self._is_offline and (found := online.find()) is not None:
                return TakenLayer(layer=found, cached=True)
            try:
                layer, cached = (alone if self._is_offline else online).solve()
            except StepFailedError as error:
                raise CarboyError(
                    f"{step.script} ended with status {error.status}",
                    details="\n".join(error.lines),
                    hint=_OFFLINE if self._is_offline else advise(error.lines, error.status),
                ) from error
            return TakenLayer(layer=layer, cached=cached)

    def _plan(
        self, step: PostBuildStep, below: Sequence[LayerResult], network: Network, epoch_s: int, stack: ExitStack
    ) -> Step:
        """Return the step of a graph that the script is."""
        op = Run(parent=Scratch(), args=step.args, env=step.env, cwd=step.workdir, network=network, title=step.script)
        store = self._making.store
        return Step(
            op,
            StateResult(layers=tuple(map(Layer.made, below)), epoch_s=epoch_s),
            {},
            store=store,
            trees=Trees(kind=store.kind),
            runner=lambda: self._open_runner(stack),
            say=self._making.progress.log,
            check=lambda: None,
        )

    def _open_runner(self, stack: ExitStack) -> StepRunner:
        from carboy.build.running.caches import CacheFolders
        from carboy.build.solver.recipes import read_archive_settings

        making = self._making
        # Nobody writes to it: this is the build's only step, and an exception in this thread ends what runs.
        stop, never = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, stop)
        stack.callback(os.close, never)
        runner = StepRunner(
            home=making.home,
            runtime=self._runtime,
            tier=making.tier,
            caches=CacheFolders(making.home, kind=making.store.kind),
            options=BuildOptions(environ=self._environ),
            stop=stop,
            find_settings=lambda name: read_archive_settings(making.home.path, name),
        )
        stack.callback(runner.close)
        return runner


def advise(lines: Sequence[str], status: int) -> str:
    """Return a hint on a script that ended with ``status`` and printed ``lines`` last. Pure."""
    said = "\n".join(lines)
    for pattern, hint in _HINTS:
        if re.search(pattern, said):
            return hint
    if status == 137:
        return "it was killed, perhaps because the memory was used up"
    return "what it printed is above; what is below it comes from the cache when you build again"
