"""``carboy lock`` and ``carboy outdated``: the versions of a folder's packages, written down, and what has come since."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.build.executor import BuildContext, resolve
from carboy.build.plan import EnvironmentStep, plan_project
from carboy.build.project import read_project
from carboy.environments.lockfile import (
    NAME,
    LockFile,
    compare_versions,
    explain_drift,
    keep_versions,
    parse_lockfile,
    render_lockfile,
)
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.build.plan import Plan
    from carboy.build.progress import Progress
    from carboy.engine.context import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What a lock is now: ``changes`` are (package, version before, version now) of Python's, ``base_changes`` texts for people;
    ``written`` says whether the file was another one before.
    """

    lock: LockFile
    changes: tuple[tuple[str, str, str], ...]
    base_changes: tuple[str, ...]
    written: bool


def lock_folder(
    engine: Engine, folder: str, *, upgrade: bool = False, packages: Sequence[str] = (), progress: Progress
) -> Locked:
    """Write ``carboy.lock`` into ``folder``. Versions that it has stay where they can, unless they are to be newer:
    all of them (``upgrade``), or those of ``packages``.

    Raises ``CarboyError``, and then the file is what it was.
    """
    facts = read_project(folder)
    text = facts.texts.pop(NAME, None)
    old = parse_lockfile(text) if text is not None else None
    _check_known(old, packages)
    plan = plan_project(facts)
    context = _context(engine, progress, refresh=upgrade)
    fresh = upgrade or bool(packages)
    if old is None or upgrade:
        lock = resolve(plan, context, fresh=fresh)
    else:
        try:
            lock = resolve(_constrain(plan, keep_versions(old, upgrade=packages)), context, fresh=fresh)
        except CarboyError:
            lock = resolve(plan, context, fresh=fresh)  # what is asked for now does not go with what was chosen
    new = render_lockfile(lock)
    if new != text:
        _replace_file(f"{folder}/{NAME}", new)
    return Locked(
        lock=lock,
        changes=tuple(compare_versions(old.python if old else (), lock.python)),
        base_changes=tuple(explain_drift(old.base_packages, lock.base_packages)) if old else (),
        written=new != text,
    )


def find_outdated(engine: Engine, folder: str, *, progress: Progress) -> list[tuple[str, str, str]]:
    """Return (package, locked version, version that a new lock would have) of a folder with a ``carboy.lock``; writes nothing."""
    facts = read_project(folder)
    text = facts.texts.pop(NAME, None)
    if text is None:
        raise CarboyError(f"there is no {NAME} in {folder}", hint="`carboy lock` writes one")
    lock = parse_lockfile(text)
    now = resolve(plan_project(facts), _context(engine, progress, refresh=False), fresh=True)
    return compare_versions(lock.python, now.python)


def _check_known(old: LockFile | None, packages: Sequence[str]) -> None:
    from carboy.environments.lock import normalise

    known = {normalise(line.split("==")[0].split(" ")[0]) for line in old.python} if old else set()
    for name in packages:
        if normalise(name) not in known:
            raise CarboyError(f"{NAME} has no package {name}", hint="`carboy outdated` lists what can be newer")


def _constrain(plan: Plan, constraints: str) -> Plan:
    steps = tuple(
        replace(step, constraints=step.constraints + constraints) if isinstance(step, EnvironmentStep) else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def _context(engine: Engine, progress: Progress, *, refresh: bool) -> BuildContext:
    return BuildContext(
        store=engine.store,
        home=engine.home,
        runtime=engine.runtime(),
        tier=engine.tier,
        environ=engine.environ,
        progress=progress,
        refresh=refresh,
    )


def _replace_file(path: str, text: str) -> None:
    """Write a file of the person's as a whole: the old one, or the new one, whatever happens."""
    temporary = f"{path}.{os.getpid()}~"
    with translate_os_errors(f"write {path}"):
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
