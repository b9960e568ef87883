"""Start again what the end of the machine has ended: there is no daemon that would, so the machine's init calls this once."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from carboy.containers.record import read_boot
from carboy.containers.restart import plan_resume
from carboy.engine.containers.create import start_container
from carboy.engine.containers.manage import list_containers, open_view
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.engine.containers.manage import ContainerView
    from carboy.engine.context import Engine

_UNIT = """\
# {path}
# `{enable}` makes it so at each boot{linger}.
[Unit]
Description=Containers of carboy whose restart policy is always or unless-stopped
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
Delegate=yes
Environment={home}
ExecStart={program} -I -m carboy system resume

[Install]
WantedBy={target}
"""


def list_resumable(engine: Engine) -> list[ContainerView]:
    """Return the containers that do not run and should, the oldest first, because the newer ones may want them."""
    boot = read_boot()
    return [
        view
        for view in reversed(list_containers(engine.home, everything=True))
        if not view.running
        and plan_resume(
            view.config.restart,
            status=view.state.status,
            stopped=view.state.stopped,
            same_boot=view.state.boot == boot,
        )
    ]


def resume(engine: Engine, name: str) -> None:
    """Start one of them; one that somebody else has started or removed meanwhile is left alone. Raises ``CarboyError``."""
    try:
        start_container(engine, open_view(engine.home, name).id)
    except CarboyError:
        if name in {view.name for view in list_resumable(engine)}:
            raise


def render_unit(home: str, *, root: bool, quote: Callable[[str], str] = shlex.quote) -> str:
    """Return a unit for systemd that resumes the containers below ``home`` at each boot: the system's, or the user's own."""
    place = "/etc/systemd/system" if root else "~/.config/systemd/user"
    return _UNIT.format(
        path=f"{place}/carboy.service",
        enable="systemctl enable carboy" if root else "systemctl --user enable carboy",
        linger="" if root else ", and `loginctl enable-linger` without a login",
        home=quote(f"CARBOY_HOME={home}").replace("%", "%%"),
        program=quote(os.path.abspath(sys.executable)).replace("%", "%%"),
        target="multi-user.target" if root else "default.target",
    )
