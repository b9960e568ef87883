"""The collaborators that every use case needs, opened in the one order that works."""

from __future__ import annotations

import os

from carboy.base.home import Home, find_home, open_home
from carboy.linux.identity import Tier, enter_tier
from carboy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.bundles.offline import Offline
    from carboy.build.executor import BuildContext
    from carboy.build.progress import Progress
    from carboy.runtime.native.launch import NativeRuntime
    from carboy.runtime.sandbox import Runtime


class Engine:
    """One opened carboy home: its tier, its store and its runtime.

    Make one with :meth:`open`, once per process and before any thread is started: in the user tiers it moves the
    process into a user namespace, which the kernel refuses to a process with threads (user_namespaces(7)).
    """

    __slots__ = ("environ", "home", "store", "tier")

    def __init__(self, *, home: Home, tier: Tier, store: Store, environ: Mapping[str, str]) -> None:
        self.home = home
        self.tier = tier
        self.store = store
        self.environ = environ

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Engine:
        """Enter the best tier of this machine and open the home, made when it is not there yet.

        Raises ``CarboyError`` when no tier is possible, or the home belongs to somebody else.
        """
        # Where the home is depends on who the caller is, which is forgotten inside the namespace.
        path = find_home(environ, os.getuid())
        tier = enter_tier(environ.get("CARBOY_TIER") or None)
        home = open_home(path)
        return cls(home=home, tier=tier, store=Store.open(home, kind=tier.kind), environ=environ)

    def build_context(
        self,
        progress: Progress,
        *,
        refresh: bool = False,
        mirror: str | None = None,
        security: bool = True,
        offline: Offline | None = None,
        snapshot: Snapshot | None = None,
    ) -> BuildContext:
        """Return what a plan is carried out with; ``refresh``, ``mirror`` and ``security`` are about the base's archive.

        With ``offline`` nobody is asked for anything. ``snapshot`` is a state of the archive that is preferred to today's.
        """
        from carboy.build.executor import BuildContext

        return BuildContext(
            store=self.store,
            home=self.home,
            runtime=self.runtime(),
            tier=self.tier,
            environ=self.environ,
            progress=progress,
            refresh=refresh,
            mirror=mirror,
            security=security,
            offline=offline,
            snapshot=snapshot,
        )

    def runtime(self) -> NativeRuntime:
        """Return the sandbox that build steps of this home run in, and containers unless they ask for another."""
        from carboy.runtime.native.launch import NativeRuntime

        return NativeRuntime(self.home)

    def runtime_for(self, name: str) -> Runtime:
        """Return what makes the sandbox of a container. Raises ``CarboyError`` (125) when it is not on this machine."""
        if name == "native":
            return self.runtime()
        from carboy.runtime.kinds import runtime_of

        return runtime_of(name, self.home)
