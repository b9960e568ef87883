"""Several blobs at once: threads that end soon when one of them fails, or when the command is interrupted."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
AT_ONCE = 4


class Stopped(Exception):
    """Another transfer failed, so that this one is of no use any more."""


class Together:
    """Does the same for several things at once. What is done calls :meth:`check` now and then."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def check(self) -> None:
        """Raise ``Stopped`` when there is no use in going on."""
        if self._stop.is_set():
            raise Stopped

    def run(self, action: Callable[[T], None], items: Iterable[T]) -> None:
        """Return when all are done. Raises the first failure, when nothing goes on any more."""
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="transfer")
        try:
            futures = [pool.submit(action, item) for item in items]
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future.done() and future.exception() is not None]
            for future in failed:
                future.result()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
