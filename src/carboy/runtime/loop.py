"""A very small event loop over poll(2): descriptors and moments, each with the function to call.

Imported at every start, so it is plain: no ``selectors`` and no ``asyncio``, which cost more to import than a sandbox
costs to make.
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE = select.POLLIN
WRITABLE = select.POLLOUT


class Loop:
    """Watches descriptors and the clock; single-threaded. What it watches is its callers' to close."""

    __slots__ = ("_calls", "_count", "_poll", "_timers")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._calls: dict[int, Callable[[int], object]] = {}
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def watch(self, fd: int, call: Callable[[int], object], mask: int = READABLE) -> None:
        """Call ``call(fd)`` whenever ``fd`` is ready, in error, or at its end; replaces an earlier wish for it."""
        self._poll.register(fd, mask)
        self._calls[fd] = call

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no longer; one that is not watched is fine. Needed before it is closed."""
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_after(self, delay_s: float, call: Callable[[], object]) -> int:
        """Call ``call()`` once, ``delay_s`` seconds from now; returns a number for :meth:`cancel`."""
        self._count += 1
        self._timers.append((time.monotonic() + delay_s, self._count, call))
        self._timers.sort(key=lambda timer: timer[0])
        return self._count

    def cancel(self, number: int | None) -> None:
        """Take back a call that was to come; one that has been made, or None, is fine."""
        self._timers = [timer for timer in self._timers if timer[1] != number]

    def step(self, timeout_s: float | None = None) -> int:
        """Wait for the next thing (at most ``timeout_s``), make its calls, and return how many were made."""
        now = time.monotonic()
        if self._timers:
            left_s = max(0.0, self._timers[0][0] - now)
            timeout_s = left_s if timeout_s is None else min(left_s, timeout_s)
        # Rounded up: a timeout that is too short by less than a millisecond would turn the wait into a busy loop.
        events = self._poll.poll(None if timeout_s is None else int(timeout_s * 1000 + 0.999))
        made = 0
        for fd, _ in events:
            call = self._calls.get(fd)  # an earlier call of this step may have forgotten it
            if call is not None:
                call(fd)
                made += 1
        now, last = time.monotonic(), self._count
        while self._timers and self._timers[0][0] <= now:
            # What a call asks for with no delay comes with the next step: descriptors must have their turn.
            position = next((i for i, timer in enumerate(self._timers) if timer[1] <= last), None)
            if position is None or self._timers[position][0] > now:
                break
            _, _, due = self._timers.pop(position)
            due()
            made += 1
        return made
