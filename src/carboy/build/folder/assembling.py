"""The assembler of a folder's environment: what builds sources is imported where there is one. Most environments have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.environments.install import PackageAssembler

if TYPE_CHECKING:
    from carboy.base.home import Home
    from carboy.build.progress import Progress
    from carboy.environments.install import Runtime, SourceBuilder
    from carboy.linux.identity import Tier
    from carboy.store.store import Store


def make_assembler(
    store: Store, home: Home, *, runtime: Runtime, tier: Tier, progress: Progress, fresh: bool = False
) -> PackageAssembler:
    """Return an assembler whose sources are built here; ``fresh`` chooses anew what each is built with."""

    def make() -> SourceBuilder:
        from carboy.build.folder.distributions import SourceDistributions

        return SourceDistributions(store=store, home=home, progress=progress, fresh=fresh)

    return PackageAssembler(store=store, home=home, runtime=runtime, tier=tier, sources=make)
