"""Running a recorded run again: with the same image, command, variables, options and mounts, and whether the same came of it.

A plain rerun works on the very folders that the run worked on. A check must not write over what it compares with: each mount that
can be written gets an anonymous volume in its place, with what was there before the run. It goes with the container.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.engine.containers.request import RunRequest
from carboy.engine.launch import read_launch_record
from carboy.engine.ledger.recorder import Recorder, Recording, run_recorded
from carboy.engine.ledger.standin import fill_stand_in
from carboy.errors import CarboyError
from carboy.ledger.difference import compare_conditions, compare_results
from carboy.ledger.files import find_start, make_tree, read_contents
from carboy.ledger.record import Variable
from carboy.runtime.mounts import MountRequest, format_mount, parse_mount
from carboy.volumes.store import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.containers.record import ContainerConfig
    from carboy.engine.context import Engine
    from carboy.ledger.difference import Difference
    from carboy.ledger.record import Mount, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What came of a rerun: its record, how its conditions differed, and how its results did."""

    record: RunRecord
    conditions: tuple[Difference, ...]
    results: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a rerun is to do otherwise: ``seed`` None is the run's own; ``env`` are variables ("NAME=VALUE")."""

    seed: int | None = None
    env: tuple[str, ...] = ()
    check: bool = False


def rerun(
    engine: Engine,
    record: RunRecord,
    changes: Changes,
    *,
    say: Callable[[str], None],
    found: Callable[[Difference], None],
) -> Rerun:
    """Run it again and return what came of it; ``found`` is told each condition that differs before anything runs.

    ``say`` is for remarks. Raises ``CarboyError``: (1) when it cannot be run again as it was, and as ``run_image``.
    """
    check_rerun(record, check=changes.check)
    check_image(engine, record)
    env = plan_env(record, changes.env, engine.environ, say=say)
    seed = record.seed if changes.seed is None else changes.seed
    places = _find_places(engine, record)
    now = record.replace(
        seed=seed,
        env=_show_env(record, env),
        mounts=tuple(_read_mount(mount, places, record) for mount in record.mounts),
    )
    conditions = compare_conditions(record, now)
    for difference in conditions:
        found(difference)
    request = plan_request(record, env=env, check=changes.check)
    recording = Recording(
        seed=seed,
        outputs=record.declared,
        image=record.image,
        folder=record.folder,
        rerun_of=record.id,
        shown={mount.target: mount for mount in record.mounts},
    )
    recorder = _Checker(engine, request, recording, record, places) if changes.check else None
    made = run_recorded(engine, request, manifest=str(record.manifest), recording=recording, recorder=recorder)
    return Rerun(record=made, conditions=conditions, results=compare_results(record, made))


def check_rerun(record: RunRecord, *, check: bool) -> None:
    """Raise ``CarboyError`` for a run that cannot be done again from its record, or be checked. Pure."""
    short = record.id[:12]
    if record.hidden_words:
        raise CarboyError(
            f"the run {short} cannot be done again from its record: its command held a secret, which was not kept",
            details=" ".join(record.command),
            hint="run it again by hand; a variable (-e) or a file (--secret) can be given to a rerun",
        )
    if not check:
        return
    if record.state != "ended" or record.exit_status is None:
        raise CarboyError(f"the end of the run {short} was not recorded: there is nothing to compare with")
    if not record.outputs:
        raise CarboyError(
            f"the run {short} has no outputs: there is nothing to compare with",
            hint="record it with a folder mounted that it writes into (-v ./out:/out), or with --output PATH",
        )
    files = [mount.target for mount in record.mounts if _is_written(mount) and _is_file(mount)]
    if files:
        raise CarboyError(
            f"{files[0]} is a single file that the run writes, which a check would write over",
            hint="mount the folder that it is in; or `carboy rerun` without --check, and `carboy runs diff`",
        )


def check_image(engine: Engine, record: RunRecord) -> None:
    """Raise ``CarboyError`` that says how to get it when the image of a run is not here any more."""
    if engine.store.blobs.has(record.manifest):
        read_launch_record(engine, "", manifest=str(record.manifest))
        return
    made = (
        "`carboy run` of that folder makes it again, where the folder is as it was"
        if record.folder
        else f"`carboy load` takes it from an archive; build or pull {record.image} as it was then"
    )
    raise CarboyError(
        f"the image of the run {record.id[:12]} is not here any more: {record.shown_image}",
        details=str(record.manifest),
        hint=f"{made}: the image must have this digest",
    )


def plan_env(
    record: RunRecord, given: Sequence[str], environ: Mapping[str, str], *, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Return the variables of a rerun: the recorded ones, ``given`` ones in their place, and hidden ones of the caller's.

    Raises ``CarboyError`` that names the values which nobody has.
    """
    values = {variable.name: variable.value for variable in record.env}
    values.update(item.partition("=")[::2] for item in given)
    missing = []
    for name, value in values.items():
        if value is None and name in environ:
            values[name] = environ[name]
            say(f"{name} was not kept; its value is taken from your environment")
        elif value is None:
            missing.append(name)
    if missing:
        raise CarboyError(
            f"the run {record.id[:12]} had variables whose values were not kept: {', '.join(missing)}",
            hint=" ".join(["carboy rerun", *(f"-e {name}=VALUE" for name in missing), record.id[:12]]),
        )
    return tuple(f"{name}={value}" for name, value in values.items())


def plan_request(record: RunRecord, *, env: tuple[str, ...], check: bool) -> RunRequest:
    """Return what a rerun asks for; with ``check`` volumes stand in for what the run could write. Pure.

    Raises ``CarboyError`` for a record whose options this version does not have.
    """
    try:
        settings = RunRequest.from_json({name: json.loads(text) for name, text in record.settings})
    except (TypeError, ValueError) as error:
        raise CarboyError(f"the options of the run {record.id[:12]} cannot be read", details=str(error)) from error
    mounts = [stand_in(mount) if check and _is_written(mount) else mount.text for mount in record.mounts]
    return settings.replace(
        arguments=record.command,
        entrypoint=(),
        env=env,
        workdir=record.workdir,
        mounts=(*(("mount", text) for text in mounts), *(("secret", text) for text in record.secrets)),
        auto_remove=True,
    )


def stand_in(mount: Mount) -> str:
    """Return the mount of an anonymous volume in the place of another. Pure."""
    return format_mount(
        MountRequest(kind="volume", target=mount.target, copy_up=False, noexec=parse_mount(mount.text).noexec)
    )


def _is_written(mount: Mount) -> bool:
    """Return whether a run could leave something in a mount that outlives it."""
    return mount.kind != "tmpfs" and not mount.read_only and bool(mount.source)


def _is_file(mount: Mount) -> bool:
    return mount.tree is not None and [item.path for item in mount.tree.files] == ["."]


def _show_env(record: RunRecord, env: Sequence[str]) -> tuple[Variable, ...]:
    hidden = {variable.name for variable in record.env if variable.value is None}
    values = dict(item.partition("=")[::2] for item in env)
    return tuple(Variable(name=name, value=None if name in hidden else value) for name, value in sorted(values.items()))


def _find_places(engine: Engine, record: RunRecord) -> dict[str, str]:
    """Return where on the disk the mounts are, by target. Raises ``CarboyError`` for one that is gone."""
    volumes = VolumeStore(engine.home)
    places = {}
    for mount in record.mounts:
        if mount.kind == "tmpfs" or not mount.source:
            continue
        if mount.kind == "bind" and not os.path.lexists(mount.source):
            raise CarboyError(
                f"an input of the run {record.id[:12]} is gone: {mount.source}",
                details=f"it was mounted at {mount.target}",
                hint="bring it back there, then run it again",
            )
        places[mount.target] = mount.source if mount.kind == "bind" else volumes.inspect(mount.source).path
    return places


def _read_mount(mount: Mount, places: Mapping[str, str], record: RunRecord) -> Mount:
    if mount.target not in places:
        return mount
    contents = read_contents(places[mount.target])
    if _is_written(mount):
        contents = find_start(contents, record.outputs, target=mount.target)
    return mount.with_tree(make_tree(contents))


class _Checker(Recorder):
    """Records a rerun that works on volumes in the place of what the run has written."""

    def __init__(
        self, engine: Engine, request: RunRequest, recording: Recording, before: RunRecord, places: Mapping[str, str]
    ) -> None:
        super().__init__(engine, request, recording)
        self._places = {mount.target: places[mount.target] for mount in before.mounts if _is_written(mount)}
        self._first = before

    def planned(self, config: ContainerConfig) -> None:
        """Give the volumes what was there before the run, then go on as any recording."""
        volumes = VolumeStore(self._engine.home)
        for kind, text in config.mounts:
            request = parse_mount(text) if kind == "mount" else None
            if request is None or request.target not in self._places:
                continue
            mount = next(item for item in self._first.mounts if item.target == request.target)
            with translate_os_errors(f"copy {mount.source} for the check"):
                fill_stand_in(
                    self._places[mount.target],
                    volumes.inspect(request.source).path,
                    leave_out=[output.path for output in self._first.outputs if output.before is None],
                    mount=mount,
                    user=config.user,
                    tier=self._engine.tier.name,
                )
        super().planned(config)
