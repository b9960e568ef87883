"""The seam between a sandbox under way and whoever stands beside it: the foreground, the supervisor, ``exec``."""

from __future__ import annotations

from typing import Any, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.spec import SandboxSpec
    from carboy.runtime.stdio import Stdio

# ("netns", pid, fd)                     its network namespace exists (pid stands in it); nothing goes on before `proceed`
# ("pid", pid)                           its first process, as this process sees it
# ("started", pid)                       its command is executed, unless ("command", ...) came before this
# ("console", fd)                        the outer end of its terminal
# ("error", operation, errno, reason)    it could not be made
# ("command", status, name, reason)      its command could not be executed (126) or found (127)
# ("exit", status)                       it ended: the exit status, 128 + n after signal n
# ("oom", count)                         after it ended: so many processes were killed because its memory was used up
Event = tuple[Any, ...]


class Sandbox(Protocol):
    """A process in its sandbox, started and not yet ended. Not safe for threads; its maker is its parent."""

    pid: int | None

    def fileno(self) -> int:
        """Return a descriptor that is readable when :meth:`receive` has something to return."""

    def receive(self) -> Event | None:
        """Return the next event, None when there will be no more. Blocks when there is none yet."""

    def proceed(self, problem: str = "") -> None:
        """Answer the event ("netns", pid, fd): go on, or fail with ``problem``."""

    def signal(self, number: int) -> None:
        """Send a signal to the process; one that has ended is fine."""

    def wait(self) -> int:
        """Release everything, wait for the end, and return the exit status of what was started for it."""


class Runtime(Protocol):
    """Makes sandboxes; holds no state between runs; for one thread."""

    def run(self, spec: SandboxSpec, stdio: Stdio) -> int:
        """Run a sandbox to its end and return its exit status. Raises ``CarboyError`` (125, 126, 127)."""

    def plan(self, spec: SandboxSpec) -> dict[str, Any]:
        """Return the plan of a sandbox: data for marshal, for :func:`launch`. Raises ``CarboyError`` (125)."""

    def launch(self, plan: dict[str, Any], child_fds: dict[int, int]) -> Sandbox:
        """Start the sandbox of a plan with the descriptors (0, 1, 2) of its process. Raises ``CarboyError``."""
