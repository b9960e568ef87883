"""Text as Go writes and reads it, where it ends up in files that tools compare: quoted strings, lists, durations, booleans."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"(\d*)(?:\.(\d*))?([^\d.]+)", re.ASCII)
_MAX_NS = 2**63 - 1
_BOOLEANS = {"1": True, "t": True, "T": True, "TRUE": True, "true": True, "True": True}
_BOOLEANS |= {"0": False, "f": False, "F": False, "FALSE": False, "false": False, "False": False}


def quote(text: str) -> str:
    """Return ``text`` as strconv.Quote writes it (%q)."""
    return f'"{"".join(_quote_character(character) for character in text)}"'


def _quote_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote_list(words: Iterable[str]) -> str:
    """Return a list of strings as %q writes it."""
    return f"[{' '.join(quote(word) for word in words)}]"


def plain_list(words: Iterable[str]) -> str:
    """Return a list of strings as %v writes it."""
    return f"[{' '.join(words)}]"


def parse_boolean(text: str) -> bool | None:
    """Return what strconv.ParseBool makes of ``text``, None where it fails."""
    return _BOOLEANS.get(text)


def parse_duration_ns(text: str) -> int:
    """Return a duration in nanoseconds, as time.ParseDuration reads it ("1h30m", "1.5s").

    Raises ``ValueError`` with its text.
    """
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        match = _DURATION_PART.match(rest, at)
        if match is None or not (match[1] or match[2]):
            if re.fullmatch(r"\d+(\.\d*)?|\.\d+", rest[at:], re.ASCII):
                raise ValueError(f"time: missing unit in duration {quote(text)}")
            raise ValueError(f"time: invalid duration {quote(text)}")
        unit = _UNITS_NS.get(match[3])
        if unit is None:
            raise ValueError(f"time: unknown unit {quote(match[3])} in duration {quote(text)}")
        fraction = match[2] or ""
        total += int(match[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = match.end()
    if not rest or total > _MAX_NS:
        raise ValueError(f"time: invalid duration {quote(text)}")
    return -total if text.startswith("-") else total


def format_duration(duration_ns: int) -> str:
    """Return a duration as time.Duration.String writes it: "0s", "1m30s", "1.5s", "100ms"."""
    if duration_ns == 0:
        return "0s"
    sign, left = ("-", -duration_ns) if duration_ns < 0 else ("", duration_ns)
    if left < 10**9:
        unit, size = next((unit, size) for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)) if left >= size)
        return f"{sign}{_decimal(left, size)}{unit}"
    seconds, rest = divmod(left, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds * 10**9 + rest, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).rjust(len(str(unit)) - 1, '0').rstrip('0')}"
