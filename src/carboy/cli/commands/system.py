"""``carboy system df``, ``prune``, ``check`` and ``resume``."""

from __future__ import annotations

import json
import os
import sys

from carboy.base.home import open_own_home
from carboy.cli.options import Parser
from carboy.cli.render import render_size, render_table
from carboy.engine import system as use_case
from carboy.engine.context import Engine
from carboy.errors import CarboyError

_USAGE = """Usage: carboy system COMMAND

  df                what the store holds, and how much of it can be freed
  prune [--all]     remove what nothing needs (--all: the build cache and downloads, too)
  check [--repair]  read every byte again and name what is damaged
  resume [--unit]   start the containers that a restart of the machine ended (--unit: print what makes systemd do it)"""


def system(arguments: list[str]) -> int:
    """Carry out one of the store's commands."""
    commands = {"df": _df, "prune": _prune, "check": _check, "resume": _resume}
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if not arguments or arguments[0] not in commands:
        raise CarboyError("say which: df, prune, check or resume", details=_USAGE, code=2)
    return commands[arguments[0]](arguments[1:])


def _df(arguments: list[str]) -> int:
    parser = Parser(
        "system df [--json]", "Show what the store holds, and how much of it `system prune --all` can free."
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(arguments)
    rows = use_case.disk_usage(Engine.open(os.environ))
    if options.json:
        fields = ("kind", "count", "size_bytes", "reclaimable_bytes")
        print(json.dumps([{name: getattr(row, name) for name in fields} for row in rows], indent=2))
        return 0
    table = [(r.kind, str(r.count), render_size(r.size_bytes), render_size(r.reclaimable_bytes)) for r in rows]
    print(render_table(("KIND", "COUNT", "SIZE", "RECLAIMABLE"), table))
    return 0


def _prune(arguments: list[str]) -> int:
    parser = Parser("system prune [OPTIONS]", "Remove what no image, no running container and no next build needs.")
    parser.add_argument("-a", "--all", action="store_true", help="remove the build cache and downloads, too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "-f", "--force", action="store_true", help="accepted for Docker's users; nothing is asked anyway"
    )
    options = parser.parse_args(arguments)
    pruned = use_case.prune(Engine.open(os.environ), everything=options.all, dry_run=options.dry_run)
    report, pieces = pruned.report, pruned.pieces
    verb = "would free" if options.dry_run else "freed"
    freed_bytes = report.freed_bytes + sum(piece.size_bytes for piece in pieces)
    others = f", {len(pieces)} folders of the build cache and downloads" if options.all else ""
    print(f"{verb} {render_size(freed_bytes)}: {report.blobs} blobs, {report.layers} unpacked layers{others}")
    if pruned.kept_bytes:
        kept = f"{render_size(pruned.kept_bytes)} more are kept for the next build"
        print(f"{kept}: `carboy builder du` lists them, `carboy builder prune` removes them", file=sys.stderr)
    return 0


def _check(arguments: list[str]) -> int:
    parser = Parser("system check [--repair]", "Read every blob and layer again and name what is damaged.")
    parser.add_argument("--repair", action="store_true", help="set aside what is damaged, and what depends on it")
    options = parser.parse_args(arguments)
    problems = use_case.check_store(Engine.open(os.environ), repair=options.repair)
    if not problems:
        print("the store is intact")
        return 0
    rows = [(p.kind, p.name, p.detail, "repaired" if p.repaired else "damaged") for p in problems]
    print(render_table(("KIND", "NAME", "WHAT", "STATE"), rows))
    if all(p.repaired for p in problems):
        return 0
    raise CarboyError(
        f"{len(problems)} problems found", hint="`carboy system check --repair` sets aside what is damaged"
    )


def _resume(arguments: list[str]) -> int:
    parser = Parser(
        "system resume [--unit]",
        "Start again the containers that ended with the machine and whose restart policy is always or unless-stopped.",
    )
    parser.add_argument("--unit", action="store_true", help="print a unit for systemd that does it at each boot")
    options = parser.parse_args(arguments)
    from carboy.cli.commands.containers import each
    from carboy.engine.containers.resume import list_resumable, render_unit, resume

    if options.unit:
        print(render_unit(open_own_home(os.environ).path, root=os.geteuid() == 0), end="")
        return 0
    engine = Engine.open(os.environ)
    return each([view.name or view.id for view in list_resumable(engine)], lambda name: resume(engine, name))
