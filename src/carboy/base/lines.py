"""What a program prints, line by line: passed on as it comes, the last of it kept for whoever explains a failure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 30


class Lines:
    """Takes what is printed in pieces; ``log`` gets each line when it is whole, and ``last`` has the last :data:`KEPT`.

    ``show`` returns a line as it is fit to be seen: without blanks at its end, unless something else is given.
    """

    def __init__(self, log: Callable[[str], None], *, show: Callable[[str], str] = str.rstrip) -> None:
        self._log = log
        self._show = show
        self._rest = b""
        self.last: deque[str] = deque(maxlen=KEPT)

    def take(self, data: bytes) -> None:
        """Take what was printed; what is left without a line's end waits for it."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            text = self._show(line.decode("utf-8", "replace"))
            self.last.append(text)
            self._log(text)

    def finish(self) -> None:
        """Pass on what is left without a line's end."""
        if self._rest:
            self.take(b"\n")
