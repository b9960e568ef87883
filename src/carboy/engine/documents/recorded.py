"""What an image of a folder says it was made of, and a plan that is held to it: pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carboy.bootstrap.snapshot import find_snapshot
from carboy.build.plan import CondaStep, EnvironmentStep, RStep
from carboy.environments.conda.wants import parse_line
from carboy.environments.detect.requirements import strip_hashes
from carboy.environments.lockfile import ARCHIVE_LABEL, BUILT_LABEL, CONDA_LABEL, LOCK_LABEL, R_LABEL, parse_tools
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.plan import Plan, Step


_SOURCE = re.compile(r"[A-Za-z][A-Za-z0-9.]* [0-9]+(?:[.-][0-9]+)* sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An image's labels, "" for one that it has not: its archive's state as JSON, Python's packages in pip's form with their
    hashes, those of R and of conda as lines of a ``carboy.lock``, and what was built with what.
    """

    archive: str = ""
    lock: str = ""
    r: str = ""
    conda: str = ""
    built: str = ""

    def find_snapshot(self) -> Snapshot | None:
        """Return the recorded state of the archive, None where none is."""
        archive = read_archive(self.archive)
        return find_snapshot(archive) if archive else None


def parse_labels(labels: Mapping[str, str]) -> Recorded:
    """Return what an image's labels record."""
    return Recorded(
        archive=labels.get(ARCHIVE_LABEL, ""),
        lock=labels.get(LOCK_LABEL, ""),
        r=labels.get(R_LABEL, ""),
        conda=labels.get(CONDA_LABEL, ""),
        built=labels.get(BUILT_LABEL, ""),
    )


def read_archive(text: str) -> dict[str, Any]:
    """Return the record of an archive's state that a label holds, {} for what is none: a label may be anybody's."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def hold_plan(plan: Plan, recorded: Recorded) -> Plan:
    """Return the plan with the recorded versions and hashes wherever its folder has no lock that decides."""
    return replace(plan, steps=tuple(_hold(step, recorded) for step in plan.steps))


def _hold(step: Step, recorded: Recorded) -> Step:
    match step:
        case EnvironmentStep() if recorded.lock:
            # A label may be anybody's: it leads to releases of an index alone.
            known = "".join(line for line in recorded.built.splitlines(keepends=True) if " @ " not in line)
            tools = tuple(sorted({**dict(parse_tools(known)), **dict(step.tools)}.items()))
            if step.allowed:
                return replace(step, tools=tools)
            # Packages of the folder itself have no version to be held to.
            lines = "".join(f"{line}\n" for line in recorded.lock.splitlines() if " @ " not in line)
            constraints = step.constraints + strip_hashes(lines)
            return replace(step, constraints=constraints, allowed=recorded.lock, tools=tools)
        case RStep() if not step.hashes:
            return replace(step, hashes=_list_sources(recorded.r))
        case CondaStep() if not step.packages and _is_of(recorded.conda, step.channels):
            return replace(step, specs=(), channels=(), packages=tuple(recorded.conda.splitlines()))
        case _:
            return step


def _is_of(lines: str, channels: Sequence[str]) -> bool:
    """Return whether there are lines of conda's packages, all from these channels: a label leads nowhere else."""
    try:
        packages = [parse_line(line) for line in lines.splitlines()]
    except CarboyError:
        return False
    return bool(packages) and all(package.channel in channels for package in packages)


def _list_sources(text: str) -> tuple[str, ...]:
    """Return the lines of R packages by their names, of which the distribution's come first in a record: a source's counts.

    The distribution's own are never asked for by a name and a version: its archive's state decides about them.
    """
    found = (line for line in text.splitlines() if _SOURCE.fullmatch(line))
    return tuple({line.partition(" ")[0]: line for line in found}.values())
