"""The one root of all errors that carboy raises on purpose.

Rooms subclass it in their own ``errors.py`` where a caller must tell two failures apart; everything else raises
``CarboyError`` itself. Only ``cli`` turns one into text and an exit status.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


FREE_SPACE = "free some space, or `carboy system prune --all`"
"""What to do about a full disk."""


class CarboyError(Exception):
    """A failure that a person can act on.

    ``brief`` is one sentence without a full stop, ``details`` what was seen (tool output, paths), ``hint`` an action
    that may help, ``code`` the exit status that the command ends with (1: failed, 2: wrong usage, 125 to 127: as Docker).
    """

    def __init__(self, brief: str, *, details: str = "", hint: str = "", code: int = 1) -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.hint = hint
        self.code = code


def list_first(items: Sequence[object], limit: int) -> list[str]:
    """Return the first of many for ``details``, a line each, and how many more there are."""
    more = [f"and {len(items) - limit} more"] if len(items) > limit else []
    return [*map(str, items[:limit]), *more]
