"""The live view of a build with a Dockerfile: a line for each step that runs, with what it printed last."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from carboy.build.solver.progress import PlainGraphProgress, SilentGraphProgress
from carboy.cli.render import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.text import Text

    from carboy.build.solver.progress import GraphProgress

LOG_LINES = 6
MODES = ("auto", "plain", "tty", "quiet")


@contextmanager
def open_steps(stream: IO[str], *, mode: str = "auto") -> Iterator[GraphProgress]:
    """Return a progress that writes to ``stream``: redrawn lines on a terminal, plain ones elsewhere."""
    if mode == "quiet":
        yield SilentGraphProgress()
    elif mode == "tty" or (mode == "auto" and stream.isatty()):
        with TerminalSteps(stream) as progress:
            yield progress
    else:
        yield PlainGraphProgress(stream)


class TerminalSteps:
    """Implements ``GraphProgress``: steps that run are redrawn, those that are done stay as one line."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._running: dict[int, tuple[str, float]] = {}
        self._logs: dict[int, list[str]] = {}
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=8, get_renderable=self._draw)

    def __enter__(self) -> TerminalSteps:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.clear()
        self._live.stop()

    def step_started(self, number: int, title: str) -> None:
        """Begin a line."""
        self._running[number] = (title, time.monotonic())
        self._logs[number] = []

    def step_log(self, number: int, line: str) -> None:
        """Take a line that the step printed."""
        self._logs[number] = [*self._logs[number][1 - LOG_LINES :], printable(line.rstrip())]

    def step_finished(self, number: int, *, cached: bool, seconds: float, error: str = "") -> None:
        """Replace the line by one that stays."""
        from rich.text import Text

        title, _ = self._running.pop(number)
        self._logs.pop(number)
        mark = ("failed ", "red") if error else ("ok ", "green")
        took = "cached" if cached else f"{seconds:.1f} s"
        self._console.print(
            Text.assemble(mark, printable(title), (f"  {took}", "dim")), no_wrap=True, overflow="ellipsis"
        )

    def _draw(self) -> Text:
        from rich.text import Text

        now = time.monotonic()
        lines: list[str] = []
        for number, (title, began) in list(self._running.items()):
            lines.append(f".. {printable(title)}  {now - began:.0f} s")
            lines += [f"   {line}" for line in self._logs.get(number, ())]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
