"""Progress of long work: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from carboy.build.progress import PlainProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.build.progress import Progress


@contextmanager
def open_progress(stream: IO[str], *, mode: str = "auto") -> Iterator[Progress]:
    """Return a progress that writes to ``stream``; ``mode`` is auto, plain (with what steps print), tty, or quiet."""
    if mode == "quiet":
        from carboy.build.progress import SilentProgress

        yield SilentProgress()
    elif mode == "tty" or (mode == "auto" and stream.isatty()):
        from carboy.cli.terminal import TerminalProgress

        with TerminalProgress(stream) as progress:
            yield progress
    else:
        yield PlainProgress(stream, lines=mode == "plain")
