"""Times as image documents have them (RFC 3339). Pure."""

from __future__ import annotations

import calendar
import time


def format_time(moment_s: float) -> str:
    """Return seconds since 1970 as an RFC 3339 time, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment_s))


def parse_time(text: str) -> int:
    """Return an RFC 3339 time in seconds since 1970, 0 for one that cannot be read; fractions do not count."""
    try:
        seconds = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        zone = text[19:].lstrip(".0123456789")
        if len(zone) == 6 and zone[0] in "+-":
            offset_s = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
            seconds -= offset_s if zone[0] == "+" else -offset_s
    except ValueError:
        return 0
    return max(0, seconds)
