"""Walks a plan and has all fetched that a build of it needs, step by step."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.build.bundles.kinds import BaseSource, CondaSource, RepositorySource, RSource, pack_conda
from carboy.build.bundles.offline import want_conda, want_python, want_r
from carboy.build.executor import Execution
from carboy.build.fetching.collected import Collected, describe_files
from carboy.build.plan import BaseStep, CondaStep, EnvironmentStep, RStep, ToolsStep

if TYPE_CHECKING:
    from carboy.build.executor import BuildContext
    from carboy.build.plan import Plan
    from carboy.environments.install import EnvironmentRequest, PackageAssembler


def collect(plan: Plan, context: BuildContext) -> Collected:
    """Fetch all that the plan's steps need, and return it for a bundle; what of it is a layer yet plays no part.

    Hold a lease of the store until the bundle is written. Raises ``CarboyError``.
    """
    return _Collection(plan, context).collect()


class _Collection(Execution):
    """A plan of which no more is made than what is asked of later steps needs."""

    def collect(self) -> Collected:
        """Return the sources of each step, their files in the caches."""
        found = Collected()
        for step in self._plan.steps:
            match step:
                case BaseStep():
                    self._base(step)
                    found += self._collect_base(step)
                case CondaStep():
                    found += self._collect_conda(step)
                case EnvironmentStep():
                    found += self._collect_python(step)
                case RStep():
                    found += self._collect_r(step)
                case ToolsStep():
                    found += self._collect_packages(*self._tools_request(step))
                case _:
                    pass  # of the folder alone; what its postBuild fetches, only the script knows
        return found

    def _collect_base(self, step: BaseStep) -> Collected:
        from carboy.bootstrap.bootstrap import fetch_base_files
        from carboy.bootstrap.errors import NotFetchedError
        from carboy.bootstrap.snapshot import find_snapshot

        base = self._ground
        snapshot = find_snapshot(base.layer.archive)
        try:
            paths = fetch_base_files(replace(base.making, snapshot=snapshot))
        except NotFetchedError:
            if self._context.refresh:
                raise
            # It was made when states were not kept, or they were cleaned away: the base as it is now.
            self._context = replace(self._context, refresh=True)
            self._layers.clear()
            self._base(step)
            return self._collect_base(step)
        files, by_hash = describe_files({path: name for name, path in paths.items()})
        recipe = base.making.recipe
        source = BaseSource(
            base=step.base,
            packages=recipe.packages,
            architecture=recipe.architecture,
            texts=dict(snapshot.texts),
            files=files,
        )
        return Collected(sources=(source,), files=by_hash)

    def _collect_conda(self, step: CondaStep) -> Collected:
        before = self._key
        assembler, request = self._conda_request(step)
        packages, paths = assembler.fetch(request, fresh=self._context.refresh)
        names = {package.sha256: os.path.basename(package.path) for package in packages}
        files, by_hash = describe_files({path: names[sha256] for sha256, path in paths.items()})
        if any(isinstance(other, EnvironmentStep | ToolsStep) for other in self._plan.steps):
            self._key = before
            self._conda(step)  # its Python chooses what stands above
        source = CondaSource(wants=want_conda(step), packages=pack_conda(packages), files=files)
        return Collected(sources=(source,), files=by_hash)

    def _collect_python(self, step: EnvironmentStep) -> Collected:
        return self._collect_packages(*self._request(step))

    def _collect_packages(self, assembler: PackageAssembler, request: EnvironmentRequest) -> Collected:
        from carboy.build.fetching.python import PythonCollector

        wants = want_python(request)
        request = self._build_repositories(assembler, request)
        found = Collected()
        for repository, tree in self._trees.items():
            files, paths = describe_files({tree.file: os.path.basename(tree.file)})
            source = RepositorySource(
                url=repository.identity[0],
                subdirectory=repository.subdirectory,
                ref=repository.ref,
                commit=tree.commit,
                files=files,
            )
            found += Collected(sources=(source,), files=paths)
        collector = PythonCollector(assembler, request, home=self._context.home, store=self._context.store)
        return found + collector.collect(wants, progress=self._context.progress)

    def _collect_r(self, step: RStep) -> Collected:
        resolved, paths = self._r_assembler(step).fetch(step, key=self._r_key(step), fresh=self._context.refresh)
        files, by_hash = describe_files({path: sha256 for sha256, path in paths.items()})
        texts, lines = dict(resolved.texts), resolved.source_lines
        source = RSource(wants=want_r(step), texts=texts, sources=lines, files=files)
        return Collected(sources=(source,), files=by_hash)
