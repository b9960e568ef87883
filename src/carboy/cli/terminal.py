"""The live view of a build on a terminal: a line per step, with bytes and time while it runs."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from carboy.build.progress import WARNING
from carboy.cli.render import printable, render_size

if TYPE_CHECKING:
    from types import TracebackType

LOG_LINES = 6


class TerminalProgress:
    """Implements ``Progress`` by redrawing a few lines; what a step printed is shown while it runs, then folded away."""

    def __init__(self, stream: IO[str]) -> None:
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=8, get_renderable=self._draw)
        self._title = ""
        self._started_s = 0.0
        self._done_bytes = 0
        self._total_bytes: int | None = None
        self._log: list[str] = []
        self._warned: set[str] = set()

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def step_started(self, title: str) -> None:
        """Begin the view of a step."""
        self._title, self._started_s = title, time.monotonic()
        self._done_bytes, self._total_bytes, self._log = 0, None, []
        self._live.start()

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take the bytes done so far."""
        self._done_bytes, self._total_bytes = done_bytes, total_bytes

    def log(self, line: str) -> None:
        """Take a line that the step printed; one that warns stays, once."""
        if line.startswith(WARNING) and line not in self._warned:
            self._warned.add(line)
            self._console.print(Text(printable(line.rstrip())))
            return
        self._log = [*self._log[1 - LOG_LINES :], printable(line.rstrip())]

    def step_finished(self, title: str, *, cached: bool, seconds: float) -> None:
        """Replace the view by one line that stays."""
        self._live.stop()
        took = "cached" if cached else f"{seconds:.1f} s"
        self._console.print(Text.assemble(("ok ", "green"), printable(title), (f"  {took}", "dim")))

    def _draw(self) -> Text:
        amount = ""
        if self._done_bytes:
            amount = f"  {render_size(self._done_bytes)}"
            if self._total_bytes:
                amount += f" of {render_size(self._total_bytes)}"
        lines = [
            f".. {self._title}  {time.monotonic() - self._started_s:.0f} s{amount}",
            *(f"   {x}" for x in self._log),
        ]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
