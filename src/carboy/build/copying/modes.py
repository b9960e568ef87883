"""``--chmod``: octal or symbolic modes, with umask 0. Pure. Sources: chmod(1); POSIX, "chmod", EXTENDED DESCRIPTION."""

from __future__ import annotations

import re
from collections.abc import Callable

from carboy.errors import CarboyError

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)\Z")
_ACTION = re.compile(r"([-+=])([ugo](?![rwxXst])|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_SPECIAL = {"u": 0o4000, "g": 0o2000, "o": 0o1000}


class Chmod:
    """A change of modes; ``number`` is the mode of an octal one, None for a symbolic one."""

    __slots__ = ("_actions", "number")

    def __init__(self, *, number: int | None, actions: list[tuple[str, str, str]]) -> None:
        self.number = number
        self._actions = actions

    def apply(self, mode: int, *, is_folder: bool) -> int:
        """Return the mode (twelve bits) that a file or folder of ``mode`` gets."""
        if self.number is not None:
            return self.number
        for who, operator, what in self._actions:
            mode = _change(mode, who, operator, what, is_folder=is_folder)
        return mode


def parse_chmod(text: str) -> Chmod | None:
    """Return what ``--chmod=text`` asks for, None for "". Raises ``CarboyError``."""
    if not text:
        return None
    if re.fullmatch(r"[0-7]{1,12}", text) and int(text, 8) <= 0o7777:
        return Chmod(number=int(text, 8), actions=[])
    actions: list[tuple[str, str, str]] = []
    for clause in text.split(","):
        found = _CLAUSE.match(clause)
        if found is None:
            raise CarboyError(
                f"{text!r} is not a mode", hint="write an octal number up to 7777, or letters as in u=rwX,go=rX"
            )
        who = found.group(1)
        who = "ugo" if not who or "a" in who else who
        actions += [(who, operator, what) for operator, what in _ACTION.findall(found.group(2))]
    return Chmod(number=None, actions=actions)


def _change(mode: int, who: str, operator: str, what: str, *, is_folder: bool) -> int:
    bits = 0
    mask = 0
    for one in dict.fromkeys(who):
        shift = _SHIFTS[one]
        mask |= (0o7 << shift) | _SPECIAL[one]
        own = ((mode >> _SHIFTS[what]) & 0o7) if what in _SHIFTS else _letters(what, mode, is_folder=is_folder)
        bits |= own << shift
        if "s" in what and one in "ug":
            bits |= _SPECIAL[one]
    if "t" in what:
        bits |= 0o1000
        mask |= 0o1000
    apply: dict[str, Callable[[], int]] = {
        "+": lambda: mode | bits,
        "-": lambda: mode & ~bits,
        "=": lambda: (mode & ~mask) | bits,
    }
    return apply[operator]()


def _letters(what: str, mode: int, *, is_folder: bool) -> int:
    bits = 0
    for letter in what:
        if letter == "X":
            bits |= 1 if is_folder or mode & 0o111 else 0
        else:
            bits |= {"r": 4, "w": 2, "x": 1}.get(letter, 0)
    return bits
