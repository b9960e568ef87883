"""What containers use: one moment, and the difference of two."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.containers.client import ask, refusal
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.containers.control import Connection
    from carboy.engine.containers.manage import ContainerView


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUsage:
    """What one container uses: ``cpu_percent`` is 100 for one CPU's whole time, ``memory_limit_bytes`` the machine's without one.

    The bytes are sums since the start. ``running`` is False when it had ended, and the figures are zeros.
    """

    id: str
    name: str
    running: bool
    cpu_percent: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    pids: int = 0

    @property
    def memory_percent(self) -> float:
        """The share of the limit."""
        return 100 * self.memory_bytes / self.memory_limit_bytes if self.memory_limit_bytes else 0.0


def plan_usage(
    view: ContainerView, before: dict[str, Any] | None, now: dict[str, Any], *, total_bytes: int
) -> ContainerUsage:
    """Return the usage between two measurements (``containers.watch.usage``) of a machine with so much memory. Pure."""
    percent = 0.0
    if before is not None and now["at_s"] > before["at_s"]:
        percent = max(now["cpu_ns"] - before["cpu_ns"], 0) / 1e7 / (now["at_s"] - before["at_s"])
    limit = now["memory_limit_bytes"]
    return ContainerUsage(
        id=view.id,
        name=view.name,
        running=True,
        cpu_percent=percent,
        memory_bytes=now["memory_bytes"],
        memory_limit_bytes=min(limit, total_bytes) if limit else total_bytes,
        **{name: now[name] for name in ("received_bytes", "sent_bytes", "read_bytes", "write_bytes", "pids")},
    )


class Observer:
    """Looks at one running container again and again. :meth:`close` it."""

    def __init__(self, view: ContainerView) -> None:
        self.view = view
        self._before: dict[str, Any] | None = None
        self._connection: Connection | None = None
        if os.geteuid() != 0:  # see containers.watch.usage
            self._connection = ask(view.folder)
            self._connection.send(("observe",))

    def _ask(self, *message: str) -> Any:
        if self._connection is None:
            from carboy.containers.watch.usage import answer

            view = self.view
            shares_network = view.config.network == "host"
            reply: Any = answer(message, view.id, pid=view.state.pid, shares_network=shares_network)
        else:
            self._connection.send(message)
            reply, _ = self._connection.receive()
        if reply is None:
            raise CarboyError(f"the container {self.view.name} has ended")
        if reply[0] == "refused":
            raise refusal(reply)
        return reply[1]

    def measure(self, *, total_bytes: int) -> ContainerUsage:
        """Return what it uses since the last call. Raises ``CarboyError`` when it has ended."""
        before, self._before = self._before, self._ask("stats")
        return plan_usage(self.view, before, self._before, total_bytes=total_bytes)

    def list_processes(self) -> list[dict[str, Any]]:
        """Return its processes (see ``containers.watch.usage``). Raises ``CarboyError`` when it has ended."""
        found: list[dict[str, Any]] = self._ask("top")
        return found

    def close(self) -> None:
        """End the talk."""
        if self._connection is not None:
            self._connection.close()


def list_processes(view: ContainerView) -> list[dict[str, Any]]:
    """Return the processes of a running container. Raises ``CarboyError`` when it does not run."""
    if view.state.status not in {"running", "paused"}:
        raise CarboyError(f"the container {view.name} is not running", hint=f"`carboy start {view.name}` it first")
    observer = Observer(view)
    try:
        return observer.list_processes()
    finally:
        observer.close()


def read_total_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
