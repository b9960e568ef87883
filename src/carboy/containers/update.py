"""Other limits for a container that runs: set in its groups now, and in its keeper's plan for the next start."""

from __future__ import annotations

from typing import Any

from carboy.runtime.native.cgroups import live
from carboy.runtime.native.resources import read_resources
from carboy.runtime.spec import DirectoryRoot, Limits, SandboxSpec


def change_limits(plan: dict[str, Any], before: dict[str, Any], after: dict[str, Any], *, pid: int) -> None:
    """Change the limits of the running container of ``plan``; ``before`` and ``after`` are the fields of ``Limits``.

    All of it or nothing. Raises ``CarboyError`` when this machine, or this container as it was started, cannot have them.
    """
    wanted = Limits(**after)
    tier = "root" if plan["idmap"] else "single" if plan["deny_setgroups"] else "subuid"
    spec = SandboxSpec(
        id=plan["id"], root=DirectoryRoot(path="/"), args=(), tier=tier, limits=wanted, accounting=True
    )  # no more than what control groups depend on
    resources = read_resources(spec)
    live.update(plan["id"], Limits(**before), wanted, pid=pid)
    plan["cgroup"] = resources["cgroup"]
    plan["process"]["pids_limit"] = resources["pids_limit"]
