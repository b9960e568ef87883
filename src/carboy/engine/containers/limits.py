"""The options of limits, as texts, to values. Pure."""

from __future__ import annotations

from carboy.errors import CarboyError
from carboy.runtime.limits import (
    Limits,
    check_values,
    parse_bytes,
    parse_cpus,
    parse_device,
    parse_list,
    parse_swap,
    parse_ulimit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from carboy.runtime.spec import Device


def _listed(text: str) -> str:
    parse_list(text)
    return text


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("memory_bytes", parse_bytes),
    "memory-swap": ("memory_swap_bytes", parse_swap),
    "memory-reservation": ("memory_reservation_bytes", parse_bytes),
    "shm-size": ("shm_bytes", parse_bytes),
    "cpus": ("cpus", parse_cpus),
    "cpu-shares": ("cpu_shares", int),
    "cpuset-cpus": ("cpuset_cpus", _listed),
    "cpuset-mems": ("cpuset_mems", _listed),
    "pids-limit": ("pids", int),
    "blkio-weight": ("blkio_weight", int),
    "oom-score-adj": ("oom_score_adj", int),
}


def parse_limits(options: Sequence[tuple[str, str]]) -> Limits:
    """Return the limits that pairs of option and text ask for; the last of an option counts, each --ulimit does.

    Raises ``CarboyError`` (125) that lists all that is wrong.
    """
    values: dict[str, Any] = {}
    ulimits: list[tuple[str, int, int]] = []
    issues = []
    for option, text in options:
        try:
            if option == "ulimit":
                ulimits.append(parse_ulimit(text))
            else:
                field, parse = _FIELDS[option]
                values[field] = parse(text)
        except ValueError as error:
            reason = f"{text!r} is no whole number" if "invalid literal" in str(error) else str(error)
            issues.append(f"--{option}: {reason}")
    if issues:
        raise CarboyError(
            "these limits cannot be read", details="\n".join(issues), hint="mend them and try again", code=125
        )
    limits = Limits(**values, ulimits=tuple(ulimits))
    check_values(limits)
    return limits


def parse_devices(texts: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices of ``--device`` options. Raises ``CarboyError`` (125)."""
    try:
        return tuple(parse_device(text) for text in texts)
    except ValueError as error:
        raise CarboyError(str(error), hint="write --device /dev/NAME[:/dev/NAME[:rwm]]", code=125) from error
