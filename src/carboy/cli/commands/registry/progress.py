"""Layers on their way: a line for each on a terminal, redrawn; elsewhere a line when one is done, as Docker prints it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from carboy.cli.render import render_size
from carboy.engine.images import SHORT_ID
from carboy.images.transport.progress import SilentTransfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.text import Text

    from carboy.images.transport.progress import TransferProgress
    from carboy.oci.digest import Digest


@contextmanager
def open_transfers(stream: IO[str], *, quiet: bool = False) -> Iterator[TransferProgress]:
    """Return a progress that writes to ``stream``."""
    if quiet:
        yield SilentTransfer()
        return
    if not stream.isatty():
        yield PlainTransfers(stream)
        return
    from rich.console import Console
    from rich.live import Live

    progress = TerminalTransfers(Console(file=stream, highlight=False))
    with Live(console=progress.console, transient=True, refresh_per_second=8, get_renderable=progress.draw):
        yield progress


class PlainTransfers:
    """Implements ``TransferProgress``: one line for each layer, at its end."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def begin(self, digest: Digest, size_bytes: int) -> None:
        """Say nothing yet."""

    def advance(self, digest: Digest, count: int) -> None:
        """Say nothing yet."""

    def end(self, digest: Digest, outcome: str) -> None:
        """Say what came of it."""
        self._stream.write(f"{digest.hex[:SHORT_ID]}: {outcome}\n")  # one write: threads do not mix their lines
        self._stream.flush()


class TerminalTransfers:
    """Implements ``TransferProgress``: what is under way is redrawn, what is done stays as one line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._sizes: dict[Digest, int] = {}
        self._done: dict[Digest, int] = {}

    def begin(self, digest: Digest, size_bytes: int) -> None:
        """Begin a line."""
        with self._lock:
            self._sizes[digest], self._done[digest] = size_bytes, 0

    def advance(self, digest: Digest, count: int) -> None:
        """Count."""
        with self._lock:
            self._done[digest] += count

    def end(self, digest: Digest, outcome: str) -> None:
        """Replace the line by one that stays."""
        with self._lock:
            self._sizes.pop(digest, None)
            self._done.pop(digest, None)
        self.console.print(f"{digest.hex[:SHORT_ID]}: {outcome}")

    def draw(self) -> Text:
        """Return the lines of what is under way."""
        from rich.text import Text

        with self._lock:
            rows = [(digest, self._done[digest], size) for digest, size in self._sizes.items()]
        lines = [f"{digest.hex[:SHORT_ID]}: {render_size(done)} of {render_size(size)}" for digest, done, size in rows]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
