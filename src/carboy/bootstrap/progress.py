"""Whom a bootstrap tells how far it is."""

from __future__ import annotations

import threading
from typing import Protocol


class Progress(Protocol):
    """Takes news of one long step. Calls may come from any thread, one at a time, and must return at once."""

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take the bytes done so far, of ``total_bytes`` where that is known."""

    def log(self, line: str) -> None:
        """Take one line of talk, such as what a package's script printed."""


class Silence:
    """A progress that nobody watches."""

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take nothing of it."""

    def log(self, line: str) -> None:
        """Take nothing of it."""


class DownloadCount:
    """Adds up what several threads fetch and tells a progress of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._total_bytes: int | None = None

    def begin(self, total_bytes: int) -> None:
        """Count from nothing on, of ``total_bytes``."""
        with self._lock:
            self._done_bytes, self._total_bytes = 0, total_bytes

    def add(self, count: int) -> None:
        """Take the bytes of one piece; fewer than none when they have to be fetched again."""
        with self._lock:
            self._done_bytes += count
            self._progress.step_progress(self._done_bytes, self._total_bytes)
