"""A container as JSON, in the shapes that Docker's users know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carboy.engine.containers.manage import ContainerView

NEVER = "0001-01-01T00:00:00Z"


def render_time(moment_s: float) -> str:
    """Return a moment (seconds since 1970) as RFC 3339 in UTC; Docker's "never" for 0."""
    if not moment_s:
        return NEVER
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def describe_row(view: ContainerView) -> dict[str, Any]:
    """Return what ``ps --json`` shows of a container."""
    config, state = view.config, view.state
    return {
        "Id": view.id,
        "Name": view.name,
        "Image": config.image,
        "Command": list(config.args),
        "Created": render_time(config.created_at_s),
        "State": state.status,
        "ExitCode": state.exit_code,
        "Health": state.health,
        "Ports": list(state.ports),
        "Labels": dict(config.labels),
        "Networks": [config.network],
    }
