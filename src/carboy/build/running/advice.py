"""What to do about a RUN that failed, from what it printed. Pure.

Only what people meet every day, and what they would have to know of the base to understand.
"""

from __future__ import annotations

import re

from carboy.errors import FREE_SPACE

_PRINTED = (
    (r"No space left on device", FREE_SPACE),
    (
        r"Temporary failure (resolving|in name resolution)",
        "leave out --network=none, check the machine's name servers, or try `carboy build --network host`",
    ),
    (
        r"E: Unable to locate package|E: Package '.*' has no installation candidate",
        "an image has no lists of packages: write `apt-get update && apt-get install` in one RUN, and check the name",
    ),
    (
        r"externally-managed-environment",
        "Debian leaves its Python to apt: `python3 -m venv /opt/venv`, then /opt/venv/bin/pip; or begin FROM python:3.11",
    ),
    (
        r"Python\.h: No such file",
        "Python's headers are missing: `apt-get install gcc libc6-dev python3-dev` in a step before, or a version with a wheel",
    ),
    (
        r"command '\S*(gcc|cc|g\+\+|c\+\+)' failed: No such file|unable to execute '\S*(gcc|cc|g\+\+)'|Unknown compiler\(s\)",
        "a compiler is missing: `apt-get install gcc libc6-dev python3-dev` in a step before, or a version with a wheel",
    ),
)
_AS_USER = re.compile(r"Permission denied|are you root\?|must be root|Errno 13")
_ROOT = frozenset({"", "0", "root"})


def advise(lines: list[str], status: int, *, user: str = "") -> str:
    """Return a hint on a command of ``user`` that ended with ``status`` and printed ``lines`` last."""
    said = "\n".join(lines)
    for pattern, hint in _PRINTED:
        if re.search(pattern, said):
            return hint
    if user.partition(":")[0] not in _ROOT and _AS_USER.search(said):
        return f"the step runs as {user}: put it before USER, or give that user the folder (COPY --chown, RUN chown)"
    if status == 137:
        return "it was killed, perhaps because the memory was used up"
    if status == 127:
        return "the image has no such command: check the name, or install what has it in a step before"
    return "what it printed is above; change the command, and the steps before it come from the cache"
