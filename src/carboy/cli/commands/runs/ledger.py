"""``carboy runs``: recorded runs in a table, one of them in full, two of them compared; and records removed."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict

from carboy.base.home import open_own_home
from carboy.cli.commands.containers import each
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_age, render_error, render_size, render_table
from carboy.engine.containers.describe import render_time
from carboy.engine.ledger.runs import TESTS, RunView, list_runs, open_run, remove_run
from carboy.ledger.difference import HIDDEN, Difference, compare_runs, show_digest
from carboy.ledger.record import Mount, RunRecord, encode_record
from carboy.ledger.store import SHORT_ID

MAX_COMMAND = 32


def runs(words: list[str]) -> int:
    """List recorded runs, or do what the word behind says: show, diff, rm."""
    verbs = {"show": show, "inspect": show, "diff": diff, "rm": rm, "ls": list_, "list": list_}
    if words and words[0] in verbs:
        return verbs[words[0]](words[1:])
    return list_(words)


def list_(words: list[str]) -> int:
    """List recorded runs."""
    parser = Parser(
        "runs [OPTIONS]\n       carboy runs show RUN | diff RUN RUN | rm RUN [RUN ...]",
        "List recorded runs (`carboy run --record`), the newest first. Of RUN its beginning is enough; latest is the newest.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print ids only")
    parser.add_argument("-n", "--last", type=int, default=0, metavar="N", help="show the last N")
    parser.add_argument("--no-trunc", action="store_true", help="show whole ids and commands")
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="NAME=VALUE", help=", ".join(TESTS))
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(words)
    views, problems = list_runs(open_own_home(os.environ), options.filter)
    views = views[: options.last] if options.last > 0 else views
    for problem in problems:
        print(render_error(problem), file=sys.stderr)
    if options.quiet:
        for view in views:
            print(view.record.id if options.no_trunc else view.record.id[:SHORT_ID])
    elif options.json:
        print(json.dumps([_describe(view) for view in views], indent=2))
    else:
        header = ("RUN", "IMAGE", "COMMAND", "STARTED", "TOOK", "STATUS", "SEED", "OUTPUTS")
        print(render_table(header, [_row(view, whole=options.no_trunc) for view in views]))
    return 1 if problems else 0


def _row(view: RunView, *, whole: bool) -> tuple[str, ...]:
    record = view.record
    command = " ".join(record.command)
    if not whole and len(command) > MAX_COMMAND:
        command = f"{command[: MAX_COMMAND - 1]}…"
    return (
        record.id if whole else record.id[:SHORT_ID],
        os.path.basename(record.folder) if record.folder and not whole else record.shown_image,
        command,
        render_age(time.time() - record.started_at_s),
        _took(view),
        _status(view),
        str(record.seed),
        str(len(record.outputs)),
    )


def _took(view: RunView) -> str:
    return f"{view.record.ended_at_s - view.record.started_at_s:.1f} s" if view.status == "ended" else ""


def _status(view: RunView) -> str:
    if view.status != "ended":
        return view.status
    return "interrupted" if view.record.exit_status is None else f"exited ({view.record.exit_status})"


def _describe(view: RunView) -> dict[str, object]:
    value: dict[str, object] = json.loads(encode_record(view.record))
    return {**value, "state": view.status}


def show(words: list[str]) -> int:
    """Show all that is recorded of runs."""
    parser = Parser("runs show [OPTIONS] RUN [RUN ...]", "Show all that is recorded of runs.")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    views = [open_run(home, name) for name in options.runs]
    if options.json:
        print(json.dumps([_describe(view) for view in views], indent=2))
    else:
        print("\n\n".join(printable(_render(view)) for view in views))
    return 0


def _render(view: RunView) -> str:
    record = view.record
    about = [
        ("run", record.id),
        ("rerun of", record.rerun_of[:SHORT_ID]),
        ("image", f"{record.shown_image} {record.manifest}"),
        ("command", " ".join(record.command)),
        ("workdir", record.workdir),
        ("seed", str(record.seed)),
        ("status", _status(view)),
        ("started", render_time(record.started_at_s)),
        ("ended", render_time(record.ended_at_s) if view.status == "ended" else ""),
        ("took", _took(view)),
        ("cpu time", f"{record.usage.cpu_s:.2f} s" if view.status == "ended" else ""),
        ("memory", _memory(record)),
        ("platform", record.platform),
        ("carboy", record.version),
    ]
    lines = [f"{name + ':':<10}{text}" for name, text in about if text]
    lines += _section("env", [f"{v.name}={HIDDEN if v.value is None else v.value}" for v in record.env])
    lines += _section("secrets", list(record.secrets))
    lines += _section("options", [f"{name}: {text}" for name, text in record.settings])
    lines += _section("inputs", [line for mount in record.mounts for line in _render_mount(mount)])
    lines += _section("outputs", [f"{show_digest(item.digest)}  {item.path}" for item in record.outputs])
    return "\n".join(lines + _section("notes", list(record.notes)))


def _memory(record: RunRecord) -> str:
    usage = record.usage
    if not usage.peak_memory_bytes:
        return ""
    whose = "at most, all processes" if usage.memory_from == "cgroup" else "at most, the largest process"
    return f"{render_size(usage.peak_memory_bytes)} {whose}"


def _render_mount(mount: Mount) -> list[str]:
    way = "read-only" if mount.read_only else "read-write"
    head = f"{mount.target}  {mount.kind} {mount.source}".rstrip() + f", {way}"
    if mount.tree is None:
        return [head]
    size = f"{mount.tree.count} files, {render_size(mount.tree.size_bytes)}"
    return [f"{head}, {show_digest(mount.tree.digest)} ({size})"]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def diff(words: list[str]) -> int:
    """Show how two runs differ; 0 when they do not, 1 when they do."""
    parser = Parser("runs diff [OPTIONS] RUN RUN", "Show how two runs differ. Ends with 0 when they do not, else 1.")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("first", metavar="RUN")
    parser.add_argument("second", metavar="RUN")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    found = compare_runs(open_run(home, options.first).record, open_run(home, options.second).record)
    if options.json:
        print(json.dumps([asdict(difference) for difference in found], indent=2))
    elif not found:
        print("the runs do not differ")
    else:
        print(render_table(("WHAT", "WHICH", options.first, options.second), [cells(item) for item in found]))
    return 1 if found else 0


def cells(difference: Difference) -> tuple[str, ...]:
    """Return a difference as the cells of a row."""
    return difference.kind, difference.name, difference.before, difference.after


def rm(words: list[str]) -> int:
    """Remove records."""
    parser = Parser("runs rm [OPTIONS] RUN [RUN ...]", "Remove records of runs; what the runs wrote stays where it is.")
    parser.add_argument("-f", "--force", action="store_true", help="those of runs that go on, too")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    return each(options.runs, lambda name: remove_run(home, name, force=options.force))
