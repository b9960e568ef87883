"""``update``: other limits and another restart policy for a container that there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.containers import client
from carboy.containers.events import write_container_event
from carboy.containers.record import write_record
from carboy.containers.restart import check_policy
from carboy.engine.containers.limits import parse_limits
from carboy.engine.containers.manage import lock_ended
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.base.home import Home
    from carboy.containers.record import ContainerConfig
    from carboy.engine.containers.manage import ContainerView
    from carboy.runtime.spec import Limits


def plan_update(config: ContainerConfig, limits: Sequence[tuple[str, str]], restart: str | None) -> ContainerConfig:
    """Return the container with other limits (pairs of option and text) and another restart policy. Pure.

    Raises ``CarboyError`` for what cannot be read, or does not go together.
    """
    changed = dict(limits)
    if restart is not None:
        check_policy(restart)
        if config.auto_remove and restart != "no":
            raise CarboyError(
                "a container cannot both be removed and restarted at its end", hint="it was made with --rm"
            )
    kept = tuple((option, text) for option, text in config.limits if option not in changed)
    after = config.replace(limits=(*kept, *changed.items()), restart=config.restart if restart is None else restart)
    parse_limits(after.limits)
    return after


def update_container(
    home: Home, view: ContainerView, *, limits: Sequence[tuple[str, str]], restart: str | None
) -> None:
    """Change a container: at once where it runs, and for every later start. All of it or nothing.

    Raises ``CarboyError`` for what this machine cannot limit, or not while the container runs.
    """
    after = plan_update(view.config, limits, restart)
    before_limits, after_limits = parse_limits(view.config.limits), parse_limits(after.limits)
    if view.running:
        if after_limits != before_limits:
            client.request(view.folder, ("update", _fields(before_limits), _fields(after_limits)))
        if restart is not None:
            client.request(view.folder, ("restart", restart))
        write_record(view.folder, "config", after)
        return
    container = lock_ended(home, view.id)
    if container is None:
        raise CarboyError(f"the container {view.name} has just been started or removed", hint="try again")
    try:
        write_record(view.folder, "config", after)
    finally:
        os.close(container.lock)
    write_container_event(view.folder, "update", image=view.config.image)


def _fields(limits: Limits) -> dict[str, object]:
    return {name: getattr(limits, name) for name in limits.__slots__}
