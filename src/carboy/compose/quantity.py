"""Sizes, times and switches as compose files write them: pure."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(?:([kmgtp]?)i?b?)", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d|w)")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
# YAML 1.1's words: text to the parser, but people write `privileged: yes`, and Compose takes it.
_TRUE = {"true", "yes", "on", "y", "1"}
_FALSE = {"false", "no", "off", "n", "0"}


def parse_size(text: str) -> int:
    """Return bytes: ``512m``, ``1.5g``, ``64MB``, ``1024``; units are powers of 1024, as Docker's. Raises ``ValueError``."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size: write 512m or 2g")
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])


def parse_duration(text: str) -> float:
    """Return seconds: ``90s``, ``1m30s``, ``500ms``, ``1.5h``. Raises ``ValueError``; a number needs its unit but for 0."""
    rest, total = text.strip(), 0.0
    if rest == "0":
        return total
    if not rest:
        raise ValueError("a time is empty: write 10s or 1m30s")
    while rest:
        match = _PART.match(rest)
        if not match:
            raise ValueError(f"{text!r} is not a time: write 10s or 1m30s")
        total += float(match.group(1)) * _SECONDS[match.group(2)]
        rest = rest[match.end() :]
    return round(total, 9)


def parse_switch(text: str) -> bool:
    """Return a yes or no that was written as text. Raises ``ValueError``."""
    lowered = text.strip().lower()
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def parse_integer(text: str) -> int:
    """Return a whole number that was written as text. Raises ``ValueError``."""
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def parse_cpus(text: str) -> str:
    """Return a number of processors as it was written, at most three digits behind the point. Raises ``ValueError``."""
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a number of processors")
    return f"{float(text):.3f}".rstrip("0").rstrip(".")
