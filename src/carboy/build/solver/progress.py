"""Whom the build of a graph tells how far it is."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from carboy.build.progress import Progress


class GraphProgress(Protocol):
    """Takes the news of a build; steps have numbers from 1, in the order in which they begin.

    Calls return at once; they come from any thread, one at a time.
    """

    def step_started(self, number: int, title: str) -> None:
        """Take the beginning of a step."""

    def step_log(self, number: int, line: str) -> None:
        """Take one line that a step printed, or that is said of it."""

    def step_finished(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Take the end of a step: it was in the cache, it was done, or it failed with ``error``."""


class SilentGraphProgress:
    """A build that nobody watches."""

    def step_started(self, number: int, title: str) -> None:
        """Take nothing of it."""

    def step_log(self, number: int, line: str) -> None:
        """Take nothing of it."""

    def step_finished(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Take nothing of it."""


class PlainGraphProgress:
    """Lines as BuildKit's plain progress has them: ``#3 [build 2/5] RUN make``, ``#3 0.412 cc -c a.c``, ``#3 DONE 1.2s``."""

    def __init__(self, stream: IO[str], clock: object = None) -> None:
        import time

        self._stream = stream
        self._clock = clock or time.monotonic
        self._began: dict[int, float] = {}

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def step_started(self, number: int, title: str) -> None:
        """Print the step's title."""
        self._began[number] = self._clock()  # type: ignore[operator]
        self._say(f"#{number} {title}")

    def step_log(self, number: int, line: str) -> None:
        """Print the line, with the seconds since the step began."""
        seconds = self._clock() - self._began[number]  # type: ignore[operator]
        self._say(f"#{number} {seconds:.3f} {line}")

    def step_finished(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Print how the step went."""
        self._say(
            f"#{number} ERROR: {error}"
            if error
            else f"#{number} CACHED"
            if cached
            else f"#{number} DONE {seconds:.1f}s"
        )


class InTurn:
    """Tells a ``Progress``, which knows one step at a time: of steps that run at once the one that began last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._titles: dict[int, str] = {}

    def step_started(self, number: int, title: str) -> None:
        """Pass it on."""
        self._titles[number] = title
        self._progress.step_started(title)

    def step_log(self, number: int, line: str) -> None:
        """Pass it on."""
        del number
        self._progress.log(line)

    def step_finished(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Pass it on, unless it failed: the error says so."""
        title = self._titles.pop(number)
        if not error:
            self._progress.step_finished(title, cached=cached, seconds=seconds)


class OneAtATime:
    """Passes news on, one call at a time, with numbers in the order of the beginnings."""

    def __init__(self, progress: GraphProgress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._count = 0

    def start(self, title: str) -> int:
        """Tell the beginning of a step and return its number."""
        with self._lock:
            self._count += 1
            self._progress.step_started(self._count, title)
            return self._count

    def log(self, number: int, line: str) -> None:
        """Tell a line."""
        with self._lock:
            self._progress.step_log(number, line)

    def finish(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Tell the end of a step."""
        with self._lock:
            self._progress.step_finished(number, cached=cached, seconds=seconds, error=error)
