"""``carboy lock`` and ``carboy outdated``: the versions of a folder's packages, written down, and what has come since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors, write_durable
from carboy.build.executor import resolve
from carboy.build.plan import CondaStep, EnvironmentStep, RStep, plan_project
from carboy.build.project import read_project
from carboy.environments.lockfile import (
    NAME,
    LockFile,
    compare_versions,
    explain_drift,
    keep_conda_versions,
    keep_tools,
    keep_versions,
    list_pins,
    parse_lockfile,
    render_lockfile,
)
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.build.executor import BuildContext
    from carboy.build.plan import Plan, Step
    from carboy.build.progress import Progress
    from carboy.engine.context import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What a lock is now: ``changes`` are (package, version before, version now) of Python's and conda's, ``base_changes`` texts
    on all others; ``written`` says whether the file was another one before.
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
    context = engine.build_context(progress, refresh=upgrade)
    fresh = upgrade or bool(packages)
    if old is None or upgrade:
        lock = resolve(plan, context, fresh=fresh)
    else:
        lock = _resolve_near(plan, old, context, upgrade=packages, fresh=fresh)
    new = render_lockfile(lock)
    if new != text:
        path = f"{folder}/{NAME}"
        with translate_os_errors(f"write {path}"):
            write_durable(path, new.encode(), mode=0o666)  # a file of the person's: the umask says who may read it
    return Locked(
        lock=lock,
        changes=tuple(compare_versions(list_pins(old) if old else (), list_pins(lock))),
        base_changes=_explain_changes(old, lock) if old else (),
        written=new != text,
    )


def _resolve_near(plan: Plan, old: LockFile, context: BuildContext, *, upgrade: Sequence[str], fresh: bool) -> LockFile:
    """Return a lock with the versions of the old one, as far as what is asked for now goes with these.

    A source that changed may have to be built with something else, while all that is installed stays.
    """
    for kept in (old, replace(old, tools=())):
        try:
            return resolve(_constrain(plan, kept, upgrade=upgrade), context, fresh=fresh)
        except CarboyError:
            if not old.tools:
                break
    return resolve(plan, context, fresh=fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """What a new lock would have: (package, locked version, new version) for each of Python's; ``notes`` are for people."""

    packages: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...] = ()


def find_outdated(engine: Engine, folder: str, *, progress: Progress) -> Outdated:
    """Return which Python packages of a folder with a ``carboy.lock`` would be others in a new one; writes nothing."""
    facts = read_project(folder)
    text = facts.texts.pop(NAME, None)
    if text is None:
        raise CarboyError(f"there is no {NAME} in {folder}", hint="`carboy lock` writes one")
    lock = parse_lockfile(text)
    plan = plan_project(facts)
    plan = replace(plan, steps=tuple(step for step in plan.steps if not isinstance(step, RStep)))
    now = resolve(plan, engine.build_context(progress, refresh=False), fresh=True, only_versions=True)
    notes = (
        ("R packages are left out: `carboy lock --upgrade` shows what is new of them",)
        if lock.r or lock.r_sources
        else ()
    )
    return Outdated(packages=tuple(compare_versions(list_pins(lock), list_pins(now))), notes=notes)


def _explain_changes(old: LockFile, new: LockFile) -> tuple[str, ...]:
    pairs = ((old.base_packages, new.base_packages), (old.r, new.r), (old.r_sources, new.r_sources))
    return tuple(line for before, now in pairs for line in explain_drift(before, now))


def _check_known(old: LockFile | None, packages: Sequence[str]) -> None:
    from carboy.environments.lock import normalise

    known = {normalise(line.split("==")[0].split(" ")[0]) for line in list_pins(old)} if old else set()
    for name in packages:
        if normalise(name) not in known:
            raise CarboyError(f"{NAME} has no package {name}", hint="`carboy outdated` lists what can be newer")


def _constrain(plan: Plan, old: LockFile, *, upgrade: Sequence[str]) -> Plan:
    """Return the plan with the old lock's versions, without those of packages that are to be newer."""
    steps: list[Step] = []
    for step in plan.steps:
        match step:
            case EnvironmentStep():
                constraints = step.constraints + keep_versions(old, upgrade=upgrade)
                steps.append(replace(step, constraints=constraints, tools=keep_tools(old, upgrade=upgrade)))
            case CondaStep():
                steps.append(replace(step, constraints=keep_conda_versions(old, upgrade=upgrade)))
            case _:
                steps.append(step)
    return replace(plan, steps=tuple(steps))
