"""Whom a bootstrap tells how far it is."""

from __future__ import annotations

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
