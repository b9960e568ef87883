"""Recording a run: what goes in is read before it starts, what came out when it has ended."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy import __version__
from carboy.base.record import encode_json
from carboy.containers.events import write_event
from carboy.engine.containers.request import RunRequest
from carboy.engine.containers.run import Observer, run_image
from carboy.engine.ledger.usage import UsageWatcher
from carboy.errors import CarboyError
from carboy.ledger.files import MAX_OUTPUTS, find_changes, make_tree, read_contents, read_output
from carboy.ledger.record import Mount, Output, RunRecord, Usage
from carboy.ledger.secrets import find_hidden_values, hide_variables, hide_words
from carboy.ledger.store import RunStore
from carboy.oci.digest import Digest
from carboy.oci.platform import Platform
from carboy.runtime.mounts import format_mount, parse_mount
from carboy.runtime.secrets import MAX_SECRET_BYTES, parse_secret
from carboy.snapshots.merged import MergedRoot
from carboy.volumes.store import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.containers.record import ContainerConfig
    from carboy.engine.context import Engine
    from carboy.ledger.files import Contents
    from carboy.runtime.attend import Watcher
    from carboy.runtime.mounts import MountRequest
    from carboy.snapshots.snapshot import OverlayMount

SEEDS = 2**32
SEED_VARIABLES = ("CARBOY_SEED", "PYTHONHASHSEED")
# What a record has in fields of its own, and what is about the terminal of the moment.
_NO_SETTINGS = frozenset(
    {"name", "arguments", "entrypoint", "env", "mounts", "workdir", "interactive", "terminal", "auto_remove"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is recorded of a run beyond what it asks for.

    ``seed`` is given to the program (``SEED_VARIABLES``); ``outputs`` are paths in the container that count as results, besides
    what changes in mounts; ``image`` is a name, or ``folder`` what was built; ``rerun_of`` the id of the run that is done again.
    ``shown`` are mounts, by target, that the record has in place of those that stand in for them.
    """

    seed: int
    outputs: tuple[str, ...] = ()
    image: str = ""
    folder: str = ""
    rerun_of: str = ""
    shown: Mapping[str, Mount] = field(default_factory=dict)


def draw_seed() -> int:
    """Return a seed for a run that none is given for."""
    return int.from_bytes(os.urandom(4), "big")


def run_recorded(
    engine: Engine, request: RunRequest, *, manifest: str, recording: Recording, recorder: Recorder | None = None
) -> RunRecord:
    """Run the image with this manifest and return the record of it, which is durable by then.

    A run that cannot be started is recorded with the status that ``carboy run`` ends with. Raises ``CarboyError`` as
    ``run_image``; the record is there all the same once the inputs were read.
    """
    recorder = recorder or Recorder(engine, request, recording)
    given = [item.partition("=")[0] for item in request.env]
    seeds = tuple(f"{name}={recording.seed}" for name in SEED_VARIABLES if name not in given)
    request = request.replace(env=(*seeds, *request.env), auto_remove=True)
    try:
        run_image(engine, recording.image or recording.folder, request, manifest=manifest, observer=recorder)
    except CarboyError as error:
        recorder.fail(error.code, error.brief)
        raise
    except BaseException:
        recorder.fail(None, "carboy was interrupted before the end was recorded")
        raise
    assert recorder.record is not None, "a run that has ended is recorded"
    return recorder.record


class Recorder(Observer):
    """Writes the record of one run: when it begins, and when it has ended."""

    def __init__(self, engine: Engine, request: RunRequest, recording: Recording) -> None:
        self.record: RunRecord | None = None
        self._engine = engine
        self._request = request
        self._recording = recording
        self._store = RunStore(engine.home)
        # By target of what can be written: its place, and what was there.
        self._before: dict[str, tuple[str, Contents]] = {}
        self._usage = UsageWatcher()
        self._began = resource.getrusage(resource.RUSAGE_CHILDREN)

    def planned(self, config: ContainerConfig) -> None:
        """Read the inputs, and write down that the run begins. Raises ``CarboyError`` (125) for what cannot be read."""
        recording, request = self._recording, self._request
        secrets = _read_secrets(config.mounts)
        variables = hide_variables(request.env, secrets=secrets)
        hidden = find_hidden_values(request.env, variables, secrets=secrets)
        command, hides = hide_words(config.args, hidden)
        settings, hides_too = _describe_settings(request.replace(network=config.network), hidden)
        try:
            mounts = self._read_mounts(config)
        except CarboyError as error:
            error.code = 125
            raise
        record = RunRecord(
            id=config.id,
            manifest=Digest.parse(config.manifest),
            image=recording.image,
            folder=recording.folder,
            command=command,
            env=variables,
            workdir=config.workdir,
            seed=recording.seed,
            mounts=mounts,
            secrets=tuple(text for kind, text in config.mounts if kind == "secret"),
            settings=settings,
            declared=tuple(os.path.normpath(os.path.join(config.workdir, path)) for path in recording.outputs),
            hidden_words=hides or hides_too,
            rerun_of=recording.rerun_of,
            started_at_s=time.time(),
            platform=str(Platform.current()),
            version=__version__,
        )
        self._usage.container_id = config.id
        self._store.write(record)
        self.record = record
        self._began = resource.getrusage(resource.RUSAGE_CHILDREN)

    def beside(self, keeper: Watcher) -> Watcher:
        """Watch what is used."""
        return self._usage.beside(keeper)

    def ended(self, status: int, *, root: OverlayMount, oom_killed: bool) -> None:
        """Read the outputs, and write down what came of the run."""
        assert self.record is not None
        ended_at_s = time.time()
        notes = ["the kernel ended it: its memory was used up"] if oom_killed else []
        outputs: list[Output] = []
        try:
            outputs += self._read_changes()
            outputs += self._read_declared(root, {output.path for output in outputs}, notes)
        except CarboyError as error:
            notes.append(f"the outputs are not all known: {error.brief}")
        if len(outputs) > MAX_OUTPUTS:
            notes.append(f"the outputs are not all known: there are {len(outputs)}, and {MAX_OUTPUTS} are named")
        self._finish(
            exit_status=status,
            ended_at_s=ended_at_s,
            outputs=tuple(sorted(outputs, key=lambda output: output.path)[:MAX_OUTPUTS]),
            usage=self._usage.read(self._began),
            notes=tuple(notes),
        )

    def fail(self, status: int | None, reason: str) -> None:
        """Write down that the run came to no end of its own; nothing happens when it did, or had not begun."""
        if self.record is not None and self.record.state == "running":
            self._finish(exit_status=status, ended_at_s=time.time(), usage=Usage(), outputs=(), notes=(reason,))

    def _finish(
        self,
        *,
        exit_status: int | None,
        ended_at_s: float,
        outputs: tuple[Output, ...],
        usage: Usage,
        notes: tuple[str, ...],
    ) -> None:
        assert self.record is not None
        self.record = self.record.replace(
            state="ended", exit_status=exit_status, ended_at_s=ended_at_s, outputs=outputs, usage=usage, notes=notes
        )
        self._store.write(self.record)
        write_event(self._engine.home.path, "container", "record", id=self.record.id, exitCode=str(exit_status))

    # --- inputs and outputs -------------------------------------------------------------------------------------

    def _read_mounts(self, config: ContainerConfig) -> tuple[Mount, ...]:
        volumes = VolumeStore(self._engine.home)
        found = []
        for kind, text in config.mounts:
            if kind != "mount":
                continue
            request = parse_mount(text)
            place = request.source
            if request.kind == "volume":
                volume = volumes.inspect(request.source)
                place = volume.path
                request = request.replace(source="") if volume.anonymous else request
            found.append(self._read_mount(request, place))
        return tuple(found)

    def _read_mount(self, request: MountRequest, place: str) -> Mount:
        mount = self._recording.shown.get(request.target) or describe_mount(request)
        if request.kind == "tmpfs":
            return mount
        contents = read_contents(place)
        if not request.read_only:
            self._before[request.target] = place, contents
        return mount.with_tree(make_tree(contents))

    def _read_changes(self) -> list[Output]:
        return [
            output
            for target, (place, before) in self._before.items()
            for output in find_changes(before, read_contents(place), target=target)
        ]

    def _read_declared(self, root: OverlayMount, known: set[str], notes: list[str]) -> list[Output]:
        """Return the announced outputs that lie in the container's own files."""
        assert self.record is not None
        view = MergedRoot(root.lower, root.upper)
        found = []
        for path in self.record.declared:
            if any(path == target or path.startswith(f"{target}/") for target in self._before):
                contents: Contents = {}
                missing = not any(name == path or name.startswith(f"{path}/") for name in known)
            else:
                contents = read_output(view, path)
                missing = not contents
                found += [Output(path=name, digest=digest) for name, (digest, *_) in contents.items()]
            if missing:
                notes.append(f"the announced output {path} was not written")
        return found


def describe_mount(request: MountRequest) -> Mount:
    """Return a mount as a record has it, what is in it not yet read. Pure."""
    return Mount(
        kind=request.kind,
        source=request.source,
        target=request.target,
        text=format_mount(request),
        read_only=request.read_only,
    )


def _read_secrets(mounts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the texts of the files that are given as secrets, so that no record holds one."""
    found = []
    for kind, text in mounts:
        if kind == "secret":
            try:
                with open(parse_secret(text).source, encoding="utf-8", errors="replace") as file:
                    found.append(file.read(MAX_SECRET_BYTES).strip())
            except OSError:
                continue  # it is gone since it was checked; the start says so
    return tuple(found)


def _describe_settings(request: RunRequest, hidden: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return the options of a request that are not as by default, and whether something was kept out of them."""
    default = RunRequest()
    fields = {name: value for name, value in request.fields().items() if value != getattr(default, name)}
    names = sorted(fields.keys() - _NO_SETTINGS)
    texts, hides = hide_words([encode_json(fields[name]) for name in names], hidden)
    return tuple(zip(names, texts, strict=True)), hides
