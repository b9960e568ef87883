"""Looking at what runs and what happens (``top``, ``stats``, ``port``, ``events``), and changing what it may use (``update``)."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from os import environ
from typing import TYPE_CHECKING, Any

from carboy.base.home import open_own_home
from carboy.cli.commands.container_options import LIMITS
from carboy.cli.commands.containers import each, parse_time
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_size, render_table
from carboy.engine.containers.manage import list_containers, open_view, view_container
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.base.home import Home
    from carboy.containers.watch.journal import HomeEvent
    from carboy.engine.containers.usage import ContainerUsage, Observer

INTERVAL_S = 1.0
# What control groups hold; the rest of a container's limits is fixed when it is made.
UPDATABLE = {option: name for option, name in LIMITS.items() if name not in {"ulimit", "shm-size", "oom-score-adj"}}


def top(words: list[str]) -> int:
    """Show the processes of a container."""
    parser = Parser("top [OPTIONS] CONTAINER", "Show the processes of a running container.")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("container", metavar="CONTAINER")
    options = parser.parse_args(words)
    from carboy.engine.containers.usage import list_processes

    rows = list_processes(open_view(open_own_home(environ), options.container))
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = [
        (
            str(row["pid"]),
            str(row["inner_pid"]),
            str(row["uid"]),
            render_clock(row["cpu_s"]),
            datetime.fromtimestamp(row["started_at_s"], UTC).astimezone().strftime("%b %d %H:%M"),
            row["command"],
        )
        for row in rows
    ]
    print(render_table(("PID", "INNER PID", "UID", "TIME", "START", "COMMAND"), table))
    return 0


def render_clock(seconds: float) -> str:
    """Return a CPU time as ps(1) has it: 00:01:02."""
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def stats(words: list[str]) -> int:
    """Show what containers use: once, or every second until Ctrl-C."""
    parser = Parser("stats [OPTIONS] [CONTAINER ...]", "Show what containers use, every second until Ctrl-C.")
    parser.add_argument("--no-stream", action="store_true", help="show it once")
    parser.add_argument("-a", "--all", action="store_true", help="show those that do not run, too")
    parser.add_argument("--no-trunc", action="store_true", help="show whole ids")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("containers", nargs="*", metavar="CONTAINER")
    options = parser.parse_args(words)
    rounds = _measure(open_own_home(environ), options.containers, everything=options.all)
    next(rounds)  # CPU time is the difference of two looks
    try:
        if options.no_stream:
            time.sleep(INTERVAL_S / 2)
            _print_usage(next(rounds), as_json=options.json, whole=options.no_trunc)
        elif options.json or not sys.stdout.isatty():
            while True:
                time.sleep(INTERVAL_S)
                _print_usage(next(rounds), as_json=options.json, whole=options.no_trunc)
        else:
            _draw_usage(rounds, whole=options.no_trunc)
    except KeyboardInterrupt:
        return 0
    except StopIteration:
        pass  # all that were named have ended
    return 0


def _measure(home: Home, names: Sequence[str], *, everything: bool) -> Iterator[list[ContainerUsage]]:
    """Yield what the containers use, at each turn; ends when all that are named have ended."""
    from carboy.engine.containers.usage import ContainerUsage, Observer, read_total_memory

    total_bytes = read_total_memory()
    observers: dict[str, Observer] = {}
    named = {view.id: view for view in (open_view(home, name) for name in names)}
    while True:
        named = {key: view_container(home, key) or view for key, view in named.items()}
        views = list(named.values()) or list_containers(home, everything=everything)
        found = []
        for view in views:
            try:
                if view.state.status not in {"running", "paused"}:
                    raise CarboyError("not running")
                observer = observers.get(view.id)
                if observer is None or observer.view.state.pid != view.state.pid:
                    observer = observers[view.id] = Observer(view)
                found.append(observer.measure(total_bytes=total_bytes))
            except CarboyError:
                gone = observers.pop(view.id, None)
                if gone is not None:
                    gone.close()
                if names or everything:
                    found.append(ContainerUsage(id=view.id, name=view.name, running=False))
        yield found
        if names and not observers:
            return


_HEADER = ("CONTAINER", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")


def _usage_row(usage: ContainerUsage, *, whole: bool) -> tuple[str, ...]:
    short = usage.id if whole else usage.id[:12]
    if not usage.running:
        return (short, usage.name, "--", "--", "--", "--", "--", "--")
    return (
        short,
        usage.name,
        f"{usage.cpu_percent:.2f}%",
        f"{render_size(usage.memory_bytes)} / {render_size(usage.memory_limit_bytes)}",
        f"{usage.memory_percent:.2f}%",
        f"{render_size(usage.received_bytes)} / {render_size(usage.sent_bytes)}",
        f"{render_size(usage.read_bytes)} / {render_size(usage.write_bytes)}",
        str(usage.pids),
    )


def _print_usage(usages: Sequence[ContainerUsage], *, as_json: bool, whole: bool) -> None:
    if as_json:
        for usage in usages:
            print(json.dumps(_usage_json(usage)))
    else:
        print(render_table(_HEADER, [_usage_row(usage, whole=whole) for usage in usages]))
    sys.stdout.flush()


def _usage_json(usage: ContainerUsage) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(usage),
        "memory_percent": round(usage.memory_percent, 2),
        "cpu_percent": round(usage.cpu_percent, 2),
    }


def _draw_usage(rounds: Iterator[list[ContainerUsage]], *, whole: bool) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False, transient=False) as view:
        while True:
            time.sleep(INTERVAL_S)
            rows = [_usage_row(usage, whole=whole) for usage in next(rounds)]
            view.update(Text(render_table(_HEADER, rows), no_wrap=True, overflow="ellipsis"), refresh=True)


def port(words: list[str]) -> int:
    """Show where a container's ports are published."""
    parser = Parser("port CONTAINER [PORT[/PROTOCOL]]", "Show where a running container's ports are published.")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("port", nargs="?", default="", metavar="PORT[/PROTOCOL]")
    options = parser.parse_args(words)
    view = open_view(open_own_home(environ), options.container)
    from carboy.engine.containers.describe import describe_ports

    found = describe_ports(view.config, view.state)
    wanted = options.port if "/" in options.port else f"{options.port}/tcp"
    lines = []
    for name, ends in found.items():
        if options.port and name != wanted:
            continue
        for end in ends or ():
            address = f"[{end['HostIp']}]" if ":" in end["HostIp"] else end["HostIp"]
            text = f"{address}:{end['HostPort']}"
            lines.append(text if options.port else f"{name} -> {text}")
    if options.port and not lines:
        raise CarboyError(
            f"the port {wanted} of {view.name} is not published", hint=f"`carboy port {view.name}` lists those that are"
        )
    print("".join(f"{line}\n" for line in lines), end="")
    return 0


def update(words: list[str]) -> int:
    """Change limits and restart policies."""
    parser = Parser(
        "update [OPTIONS] CONTAINER [CONTAINER ...]",
        "Change what containers may use, running or not, and when they start again.",
    )
    names: dict[str, list[str]] = {}
    for option, name in UPDATABLE.items():
        names.setdefault(name, []).append(option)
    for name, spellings in names.items():
        parser.add_argument(*spellings, dest=name, metavar="VALUE")
    parser.add_argument("--restart", metavar="POLICY", help="no, always, unless-stopped, on-failure[:TIMES]")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    options = vars(parser.parse_args(words))
    limits = [(name, options[name]) for name in names if options[name] is not None]
    if not limits and options["restart"] is None:
        raise CarboyError("say what to change", hint="for example: carboy update --memory 1g NAME", code=2)
    from carboy.engine.containers.update import update_container

    home = open_own_home(environ)
    return each(
        options["containers"],
        lambda name: update_container(home, open_view(home, name), limits=limits, restart=options["restart"]),
    )


def events(words: list[str]) -> int:
    """Show events: those since a moment, and then those that come."""
    parser = Parser("events [OPTIONS]", "Show what happens to containers and images, as it happens, until Ctrl-C.")
    parser.add_argument("--since", default="", metavar="TIME", help="begin with the past: 10m, 2026-11-25T12:00:00Z")
    parser.add_argument("--until", default="", metavar="TIME", help="end there; `now` shows the past only")
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="NAME=VALUE",
                        help="type, event, container, image, volume, network")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args(words)
    from carboy.containers.watch.journal import is_wanted, parse_filters, read_events

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
