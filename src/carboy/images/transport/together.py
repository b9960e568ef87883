"""Several blobs at once: threads that end soon when one of them fails, or when the command is interrupted."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
AT_ONCE = 4
# So long a thread may take to notice that it is of no use any more. One that waits for a silent registry does not notice; what it
# leaves has no name, and it ends with its connection or with the process.
PATIENCE_S = 2.0


class Stopped(Exception):
    """Another transfer failed, so that this one is of no use any more."""


class Together:
    """Does the same for several things at once. What is done calls :meth:`check` now and then."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        # Written in C: Ctrl-C in a Semaphore's own Python can leave its lock, or who waits for it, in another state.
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise ``Stopped`` when there is no use in going on."""
        if self._stop.is_set():
            raise Stopped

    def run(self, action: Callable[[T], None], items: Iterable[T]) -> None:
        """Return when all are done. Raises the first failure, when nothing goes on any more, or will soon end."""
        waiting, failures, ended = deque(items), deque[BaseException](), deque[None]()
        threads = [
            threading.Thread(
                target=self._work, args=(action, waiting, failures, ended), name=f"transfer-{number}", daemon=True
            )
            for number in range(min(AT_ONCE, len(waiting)))
        ]
        begun = 0
        try:
            for thread in threads:
                begun += 1
                thread.start()
            for _ in threads:
                self._ended.get()
                if failures:
                    break
        finally:
            self._stop.set()
            end_s = time.monotonic() + PATIENCE_S
            # Each says when it has ended: one whose start was interrupted has no number yet, and cannot be joined. They are
            # counted where they end: Ctrl-C can come when the word of one has been taken and nothing was made of it yet.
            while len(ended) < begun and (rest_s := end_s - time.monotonic()) > 0:
                with suppress(Empty):
                    self._ended.get(timeout=rest_s)
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, end_s - time.monotonic()))
        if failures:
            raise failures[0]

    def _work(
        self, action: Callable[[T], None], waiting: deque[T], failures: deque[BaseException], ended: deque[None]
    ) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    if not waiting:
                        return
                    item = waiting.popleft()
                action(item)
        except BaseException as error:  # noqa: BLE001  told to whoever waits, in the first thread
            failures.append(error)
        finally:
            ended.append(None)
            self._ended.put(None)
