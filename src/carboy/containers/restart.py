"""Whether and when a container that ended starts again. Pure."""

from __future__ import annotations

from carboy.errors import CarboyError

FIRST_DELAY_S = 0.1
LAST_DELAY_S = 60.0
STEADY_S = 10.0


def check_policy(text: str) -> None:
    """Raise ``CarboyError`` (125) unless ``text`` is a restart policy of Docker's form."""
    name, colon, count = text.partition(":")
    known = name in {"no", "always", "unless-stopped", "on-failure"}
    if not known or (colon and (name != "on-failure" or not (count.isascii() and count.isdigit()))):
        raise CarboyError(
            f"{text!r} is no restart policy", hint="use no, always, unless-stopped, or on-failure[:TIMES]", code=125
        )


def plan_restart(
    policy: str, *, exit_code: int, restarts: int, ran_s: float, last_delay_s: float, stopped: bool
) -> float:
    """Return how many seconds to wait before the next start; below 0: no start.

    As Docker: on-failure:0 has no limit, the wait doubles from 0.1 s to a minute, and begins anew after a run of 10 s;
    what a person stopped stays down.
    """
    name, _, count = policy.partition(":")
    again = name in {"always", "unless-stopped"} or (name == "on-failure" and exit_code != 0)
    if stopped or not again or 0 < int(count or 0) <= restarts:
        return -1.0
    if ran_s >= STEADY_S or not last_delay_s:
        return FIRST_DELAY_S
    return min(last_delay_s * 2, LAST_DELAY_S)


def plan_resume(policy: str, *, status: str, stopped: bool, same_boot: bool) -> bool:
    """Return whether a container that does not run should, once the machine is up again.

    As when Docker's daemon starts: always, whoever ended it, and unless-stopped, if no person did. In the boot in which a
    person stopped a container it stays down, so that this can be asked at any time.
    """
    if status == "created" or policy not in {"always", "unless-stopped"}:
        return False
    return not stopped or (policy == "always" and not same_boot)
