"""The caller's ends of a process's input and output."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Stdio:
    """The caller's descriptors for the process: ``stdin`` None is /dev/null; ``terminal`` gives it one of its own.

    ``capture`` receives what the process writes to both outputs instead of ``stdout`` and ``stderr``.
    """

    __slots__ = ("capture", "stderr", "stdin", "stdout", "terminal")

    def __init__(
        self,
        *,
        stdin: int | None = None,
        stdout: int = 1,
        stderr: int = 2,
        terminal: bool = False,
        capture: Callable[[bytes], None] | None = None,
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.terminal = terminal
        self.capture = capture
