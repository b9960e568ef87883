"""``carboy builder du`` and ``prune``: what builds keep for the next one."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING

from carboy.cli.options import Parser
from carboy.cli.render import printable, render_age, render_size, render_table
from carboy.engine.builds.cache import RECORDS, TYPES, PruneRequest, list_pieces, plan_prune, prune_pieces
from carboy.engine.context import Engine
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.engine.builds.cache import CachePiece

_USAGE = """Usage: carboy builder COMMAND

  build             the same as carboy build
  du                show what builds keep for the next one, and how much of it can be freed
  prune [OPTIONS]   remove it, the least recently used first"""
_AGES = ("until", "unused-for")


def builder(arguments: list[str]) -> int:
    """Carry out one of the commands on the build cache."""
    commands = {"du": _du, "prune": _prune, "build": _build}
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if not arguments or arguments[0] not in commands:
        raise CarboyError("say which: du, prune or build", details=_USAGE, code=2)
    return commands[arguments[0]](arguments[1:])


def _build(arguments: list[str]) -> int:
    from carboy.cli.commands.build import build

    return build(arguments)


def _du(arguments: list[str]) -> int:
    parser = Parser("builder du [OPTIONS]", "Show what builds keep for the next one, the least recently used first.")
    _add_filter(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(arguments)
    request = read_request(options.filter, everything=True)
    pieces = [
        piece
        for piece in list_pieces(Engine.open(os.environ))
        if (not request.types or piece.type in request.types)
        and (request.until_s is None or piece.used_s < request.until_s)
    ]
    if options.json:
        print(json.dumps([_describe(piece) for piece in pieces], indent=2))
        return 0
    shown = [piece for piece in pieces if piece.type != RECORDS]
    rows = [
        (
            p.id,
            p.type,
            render_size(p.size_bytes),
            _state(p),
            render_age(time.time() - p.used_s),
            printable(p.description),
        )
        for p in shown
    ]
    print(render_table(("ID", "TYPE", "SIZE", "STATE", "LAST USED", "WHAT"), rows))
    free = sum(piece.size_bytes for piece in pieces if not piece.in_use)
    print(f"Reclaimable: {render_size(free)}\nTotal: {render_size(sum(piece.size_bytes for piece in pieces))}")
    return 0


def _prune(arguments: list[str]) -> int:
    parser = Parser(
        "builder prune [OPTIONS]",
        "Remove what builds keep and no image needs: steps, cache mounts, repositories, downloads; oldest first.",
    )
    parser.add_argument("-a", "--all", action="store_true", help="forget the steps of images that are there, too")
    parser.add_argument("--keep-storage", metavar="SIZE", default="", help="leave that much: 10g")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "-f", "--force", action="store_true", help="accepted for Docker's users; nothing is asked anyway"
    )
    _add_filter(parser)
    options = parser.parse_args(arguments)
    request = read_request(options.filter, everything=options.all, keep_storage=options.keep_storage)
    engine = Engine.open(os.environ)
    pieces = plan_prune(list_pieces(engine), request)
    gone = pieces if options.dry_run else prune_pieces(engine, pieces)
    for piece in gone:
        if piece.type != RECORDS:
            print(printable(f"{piece.id}  {piece.type}  {render_size(piece.size_bytes)}  {piece.description}"))
    verb = "would free" if options.dry_run else "freed"
    print(f"{verb} {render_size(sum(piece.size_bytes for piece in gone))}")
    return 0


def _add_filter(parser: Parser) -> None:
    parser.add_argument(
        "--filter", metavar="NAME=VALUE", action="append", default=[], help=f"until=24h, type={'|'.join(TYPES)}"
    )


def read_request(filters: Sequence[str], *, everything: bool, keep_storage: str = "") -> PruneRequest:
    """Return what is asked for. Raises ``CarboyError`` (2) for a filter, a time or a size that is none."""
    from carboy.base.filters import parse_filters
    from carboy.cli.commands.container_options import parse_size
    from carboy.cli.commands.containers import parse_time

    wanted = parse_filters(filters, dict.fromkeys((*_AGES, "type")))
    types = frozenset(wanted.get("type", ()))
    if types - set(TYPES):
        brief = f"there is no type {min(types - set(TYPES))!r} of what builds keep"
        raise CarboyError(brief, hint=f"these are there: {', '.join(TYPES)}", code=2)
    moments = [datetime.fromisoformat(parse_time(text)).timestamp() for name in _AGES for text in wanted.get(name, ())]
    return PruneRequest(
        everything=everything,
        until_s=min(moments) if moments else None,
        keep_bytes=parse_size(keep_storage) if keep_storage else 0,
        types=types,
    )


def _state(piece: CachePiece) -> str:
    return "in use" if piece.in_use else "shared" if piece.shared else "free"


def _describe(piece: CachePiece) -> dict[str, object]:
    return {
        "id": piece.id,
        "type": piece.type,
        "description": piece.description,
        "size_bytes": piece.size_bytes,
        "used_s": round(piece.used_s, 3),
        "in_use": piece.in_use,
        "shared": piece.shared,
    }
