"""Whom a build tells how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How a step went."""

    title: str
    cached: bool
    seconds: float


WARNING = "warning: "
"""How a line begins that is to be seen whatever else a step prints: uv's, of a yanked version or of a missing extra."""


class Progress(Protocol):
    """Takes the news of a build, step by step. Calls return at once; they may come from any thread, one at a time."""

    def step_started(self, title: str) -> None:
        """Take the beginning of a step."""

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take the bytes done so far, of ``total_bytes`` where that is known."""

    def log(self, line: str) -> None:
        """Take one line that the step printed."""

    def step_finished(self, title: str, *, cached: bool, seconds: float) -> None:
        """Take the end of a step; ``cached`` when nothing had to be done."""


class SilentProgress:
    """A build that nobody watches."""

    def step_started(self, title: str) -> None:
        """Take nothing of it."""

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take nothing of it."""

    def log(self, line: str) -> None:
        """Take nothing of it."""

    def step_finished(self, title: str, *, cached: bool, seconds: float) -> None:
        """Take nothing of it."""


class PlainProgress:
    """A line for each step that was done, and each warning; with ``lines`` all that it printed. All cached: nothing is said."""

    def __init__(self, stream: IO[str], *, lines: bool = False) -> None:
        self._stream = stream
        self._lines = lines
        self._warned: set[str] = set()

    def step_started(self, title: str) -> None:
        """Take the beginning of a step; said when something is done for it."""

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take nothing of it: a log has no use for it."""

    def log(self, line: str) -> None:
        """Print it where that was asked for, or where it warns, once; what a failed step printed is in its error anyway."""
        if self._lines:
            print(f"  {line}", file=self._stream, flush=True)
        elif line.startswith(WARNING) and line not in self._warned:
            self._warned.add(line)
            print(line, file=self._stream, flush=True)

    def step_finished(self, title: str, *, cached: bool, seconds: float) -> None:
        """Print the step that was done."""
        if not cached:
            print(f"{title}: {seconds:.1f} s", file=self._stream, flush=True)
