"""``carboy run --record``: the options that only it has, and the run itself."""

from __future__ import annotations

import os
import sys

from carboy.cli.commands.container_options import Options
from carboy.engine.containers.request import RunRequest
from carboy.engine.context import Engine
from carboy.engine.launch import read_launch_record
from carboy.engine.ledger.recorder import SEEDS, Recording, draw_seed, run_recorded
from carboy.errors import CarboyError
from carboy.ledger.store import SHORT_ID


def check_options(options: Options) -> None:
    """Raise ``CarboyError`` (2) for what does not go with --record, or needs it."""
    if "record" not in options.flags:
        name = "--seed" if "seed" in options.texts else "--output"
        raise CarboyError(f"{name} is for recorded runs", hint="add --record", code=2)
    for name, given in (
        ("-d", "detach" in options.flags),
        ("--restart", options.texts.get("restart", "no") != "no"),
        ("--cidfile", "cidfile" in options.texts),
    ):
        if given:
            hint = "a recorded run is waited for, and removed when it ends; `carboy runs` has its record"
            raise CarboyError(f"{name} does not go with --record", hint=hint, code=2)


def parse_seed(text: str) -> int:
    """Return a seed. Raises ``CarboyError`` (2) for what is none."""
    if text.isascii() and text.isdigit() and int(text) < SEEDS:
        return int(text)
    raise CarboyError(f"{text!r} is no seed", hint=f"write a whole number from 0 to {SEEDS - 1}", code=2)


def record_run(engine: Engine, options: Options, request: RunRequest, *, manifest: str | None, is_folder: bool) -> int:
    """Run it, keep its record, and return its exit status."""
    seed = parse_seed(options.texts["seed"]) if "seed" in options.texts else draw_seed()
    recording = Recording(
        seed=seed,
        outputs=tuple(options.lists.get("outputs", ())),
        image="" if is_folder else options.target,
        folder=os.path.abspath(options.target) if is_folder else "",
    )
    digest = read_launch_record(engine, options.target, manifest=manifest).manifest
    record = run_recorded(engine, request, manifest=digest, recording=recording)
    if "quiet" not in options.flags:
        print_notes(record.notes)
        print(f"recorded as {record.id[:SHORT_ID]}", file=sys.stderr)
    return record.exit_status or 0


def print_notes(notes: tuple[str, ...]) -> None:
    """Say what could not be recorded."""
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
