"""Looking at what runs and what happens: ``events``."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from os import environ
from typing import TYPE_CHECKING

from carboy.base.home import open_own_home
from carboy.cli.commands.containers import parse_time
from carboy.cli.options import Parser
from carboy.cli.render import printable

if TYPE_CHECKING:
    from carboy.containers.journal import HomeEvent


def events(words: list[str]) -> int:
    """Show events: those since a moment, and then those that come."""
    parser = Parser("events [OPTIONS]", "Show what happens to containers and images, as it happens, until Ctrl-C.")
    parser.add_argument("--since", default="", metavar="TIME", help="begin with the past: 10m, 2026-11-25T12:00:00Z")
    parser.add_argument("--until", default="", metavar="TIME", help="end there; `now` shows the past only")
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="NAME=VALUE",
                        help="type, event, container, image, volume, network")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args(words)
    from carboy.containers.journal import is_wanted, parse_filters, read_events

    filters = parse_filters(options.filter)
    until_s = _moment_s(options.until) if options.until else None
    home = open_own_home(environ)
    for event in read_events(home.path, since_s=_moment_s(options.since or "now"), until_s=until_s, follow=True):
        if is_wanted(event, filters):
            print(json.dumps(event.to_json()) if options.json else _line(event))
            sys.stdout.flush()
    return 0


def _moment_s(text: str) -> float:
    return datetime.fromisoformat(parse_time(text)).timestamp()


def _line(event: HomeEvent) -> str:
    from carboy.engine.containers.describe import render_time

    attributes = {**({"name": event.name} if event.name else {}), **dict(event.attributes)}
    details = ", ".join(f"{key}={value}" for key, value in attributes.items())
    return printable(f"{render_time(event.time_s)} {event.kind} {event.action} {event.id} ({details})").replace(
        "\n", " "
    )
