"""The verbs on containers by name: start, ps, logs, stop, restart, kill, pause, unpause, wait, rm, rename."""

from __future__ import annotations

import os
import sys
import time

from carboy.base.home import open_own_home
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_age, render_ports, render_table
from carboy.engine.containers.manage import (
    ContainerView,
    delete_container,
    kill_container,
    list_containers,
    open_view,
    pause_container,
    read_log,
    rename_container,
    stop_container,
    wait_container,
)
from carboy.engine.context import Engine
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.base.home import Home

SHORT_ID = 12


def each(names: Sequence[str], call: Callable[[str], object]) -> int:
    """Call ``call`` for each name, print the names that it worked for, and return 1 when it failed for some."""
    from carboy.cli.render import render_error

    status = 0
    for name in names:
        try:
            answer = call(name)
        except CarboyError as error:
            sys.stdout.flush()
            print(render_error(error), file=sys.stderr)
            status = 1
        else:
            print(name if answer is None else answer)
    return status


def parse_signal(text: str) -> int:
    """Return the number of a signal: TERM, SIGTERM, 15. Raises ``CarboyError`` (2)."""
    import signal

    if text.isdigit() and 0 < int(text) <= 64:
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise CarboyError(f"there is no signal {text}", hint="write a name (TERM) or a number (15)", code=2) from None


def ps(words: list[str]) -> int:
    """List containers."""
    parser = Parser("ps [OPTIONS]", "List containers: those that run, or all of them.")
    parser.add_argument("-a", "--all", action="store_true", help="show those that have ended, too")
    parser.add_argument("-q", "--quiet", action="store_true", help="print ids only")
    parser.add_argument("-n", "--last", type=int, default=0, metavar="N", help="show the last N, whatever they do")
    parser.add_argument("-l", "--latest", action="store_true", help="show the last one")
    parser.add_argument("--no-trunc", action="store_true", help="show whole ids and commands")
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="NAME=VALUE",
                        help="status, name, id, label, ancestor, exited, health, network, volume")  # fmt: skip
    parser.add_argument(
        "--format", default="", help="json, table, or fields: {{.Names}}, 'table {{.ID}}\\t{{.Status}}'"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(words)
    last = 1 if options.latest else options.last
    from carboy.engine.containers.filters import filter_containers

    wants_ended = any(text.split("=")[0] in {"status", "exited"} for text in options.filter)
    home = open_own_home(os.environ)
    views = filter_containers(list_containers(home, everything=options.all or last > 0 or wants_ended), options.filter)
    views = views[:last] if last else views
    if options.quiet:
        for view in views:
            print(view.id if options.no_trunc else view.id[:SHORT_ID])
    elif options.json:
        import json

        from carboy.engine.containers.describe import describe_row

        print(json.dumps([describe_row(view) for view in views], indent=2))
    elif options.format not in {"", "table"}:
        print_formatted(options.format, [_fields(view, whole=options.no_trunc) for view in views], _HEADINGS)
    else:
        header = ("CONTAINER", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS")
        print(render_table(header, [_row(view, whole=options.no_trunc) for view in views]))
    return 0


def _row(view: ContainerView, *, whole: bool) -> tuple[str, ...]:
    config, state = view.config, view.state
    command = " ".join(config.args)
    if not whole and len(command) > 24:
        command = f"{command[:23]}…"
    image = config.image.removeprefix("docker.io/library/").removeprefix("docker.io/")
    return (
        view.id if whole else view.id[:SHORT_ID],
        view.name,
        image,
        command,
        render_age(time.time() - config.created_at_s),
        render_status(view),
        render_ports(state.ports),
    )


_HEADINGS = {
    "ID": "CONTAINER", "Names": "NAME", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Status": "STATUS", "State": "STATE", "Ports": "PORTS", "Labels": "LABELS",
    "Networks": "NETWORKS", "Mounts": "MOUNTS",
}  # fmt: skip


def _fields(view: ContainerView, *, whole: bool) -> dict[str, str]:
    """Return what a format may show of a container, by Docker's names."""
    from carboy.engine.containers.describe import describe_mounts, render_time

    short, name, image, command, age, status, ports = _row(view, whole=whole)
    mounts = describe_mounts(view.config)
    return {
        "ID": short,
        "Names": name,
        "Image": image,
        "Command": command,
        "CreatedAt": render_time(view.config.created_at_s),
        "RunningFor": age,
        "Status": status,
        "State": view.state.status,
        "Ports": ports,
        "Labels": ",".join(f"{key}={value}" for key, value in view.config.labels),
        "Networks": view.config.network,
        "Mounts": ",".join(mount["Source"] or mount["Destination"] for mount in mounts),
    }


def print_formatted(text: str, rows: Sequence[Mapping[str, str]], headings: Mapping[str, str]) -> None:
    """Print rows as ``--format`` says: "json" one object a line, "table ..." with headings, else the template's text."""
    from carboy.cli.template import parse_template, render_template

    if text == "json":
        import json

        for row in rows:
            print(json.dumps(dict(row)))
        return
    template = parse_template(text.removeprefix("table "))
    lines = [printable(render_template(template, dict(row))) for row in rows]
    if not text.startswith("table "):
        for line in lines:
            print(line)
        return
    header = render_template(template, dict(headings)).split("\t")
    print(render_table(header, [(line.split("\t") + [""] * len(header))[: len(header)] for line in lines]))


def render_status(view: ContainerView) -> str:
    """Return what a container does, as ``docker ps`` says it."""
    state = view.state
    if state.status in {"running", "paused"}:
        age = render_age(time.time() - state.started_at_s).removesuffix(" ago")
        note = " (Paused)" if state.status == "paused" else f" ({state.health})" if state.health else ""
        return f"Up {'a moment' if age == 'just now' else age}{note}"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code})"
    if state.status == "created":
        return "Created"
    oom = " out of memory," if state.oom_killed else ""
    age = f" {render_age(time.time() - state.finished_at_s)}" if state.finished_at_s else ""
    return f"Exited ({state.exit_code}){oom}{age}"


def start(words: list[str]) -> int:
    """Start containers that do not run."""
    parser = Parser("start [OPTIONS] CONTAINER [CONTAINER ...]", "Start containers that do not run.")
    parser.add_argument("-a", "--attach", action="store_true", help="show what it writes, and end with its exit status")
    parser.add_argument("-i", "--interactive", action="store_true", help="pass standard input on")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    options = parser.parse_args(words)
    engine = Engine.open(os.environ)
    from carboy.engine.containers.create import start_container

    if options.attach or options.interactive:
        if len(options.containers) > 1:
            raise CarboyError("only one container can be attached", hint="start the others without -a", code=2)
        from carboy.runtime.stdio import Stdio

        view = open_view(engine.home, options.containers[0])
        stdin = 0 if options.interactive and view.config.interactive else None
        stdio = Stdio(stdin=stdin, stdout=1, stderr=2, terminal=view.config.tty)
        return start_container(engine, view.id, stdio=stdio) or 0

    def begin(name: str) -> None:
        view = open_view(engine.home, name)
        if not view.running:
            start_container(engine, view.id)

    return each(options.containers, begin)


def stop(words: list[str]) -> int:
    """Stop containers."""
    options = _parse_stop("stop", "Ask containers to end; end them when they do not.", words)
    home = open_own_home(os.environ)
    return each(options.containers, lambda name: _stop(home, name, options))


def _parse_stop(verb: str, description: str, words: list[str]) -> _StopOptions:
    parser = Parser(f"{verb} [OPTIONS] CONTAINER [CONTAINER ...]", description)
    parser.add_argument(
        "-t", "--time", type=int, default=None, metavar="SECONDS", help="how long to wait (default: 10)"
    )
    parser.add_argument("-s", "--signal", default=None, help="how to ask (default: the image's, else TERM)")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    return parser.parse_args(words, _StopOptions())


class _StopOptions:
    time: int | None
    signal: str | None
    containers: list[str]


def _stop(home: Home, name: str, options: _StopOptions) -> None:
    view = open_view(home, name)
    stop_container(view, timeout_s=options.time, signal=parse_signal(options.signal or view.config.stop_signal))


def restart(words: list[str]) -> int:
    """Stop containers, where they run, and start them."""
    options = _parse_stop("restart", "Stop containers, and start them again.", words)
    engine = Engine.open(os.environ)
    from carboy.engine.containers.create import restart_container

    def again(name: str) -> None:
        _stop(engine.home, name, options)
        restart_container(engine, open_view(engine.home, name))

    return each(options.containers, again)


def kill(words: list[str]) -> int:
    """Send a signal to containers."""
    parser = Parser("kill [OPTIONS] CONTAINER [CONTAINER ...]", "Send a signal to containers; KILL ends them at once.")
    parser.add_argument("-s", "--signal", default="KILL", help="the signal (default: KILL)")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    options = parser.parse_args(words)
    number = parse_signal(options.signal)
    home = open_own_home(os.environ)
    return each(options.containers, lambda name: kill_container(open_view(home, name), signal=number))


def pause(words: list[str]) -> int:
    """Hold containers."""
    return _freeze("pause", "Hold all processes of containers where they are.", words, resume=False)


def unpause(words: list[str]) -> int:
    """Let containers go on."""
    return _freeze("unpause", "Let the processes of paused containers go on.", words, resume=True)


def _freeze(verb: str, description: str, words: list[str], *, resume: bool) -> int:
    parser = Parser(f"{verb} CONTAINER [CONTAINER ...]", description)
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    return each(options.containers, lambda name: pause_container(open_view(home, name), resume=resume))


def wait(words: list[str]) -> int:
    """Wait for the end of containers and print their exit statuses."""
    parser = Parser("wait CONTAINER [CONTAINER ...]", "Wait for containers to end, and print their exit statuses.")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    return each(options.containers, lambda name: wait_container(home, open_view(home, name)))


def rm(words: list[str]) -> int:
    """Remove containers."""
    parser = Parser("rm [OPTIONS] CONTAINER [CONTAINER ...]", "Remove containers that do not run, and what they wrote.")
    parser.add_argument("-f", "--force", action="store_true", help="end running ones; one that is not there is fine")
    parser.add_argument("-v", "--volumes", action="store_true", help="remove their unnamed volumes, too")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    options = parser.parse_args(words)
    home = Engine.open(os.environ).home

    def remove(name: str) -> None:
        try:
            view = open_view(home, name)
        except CarboyError:
            if options.force:
                return
            raise
        delete_container(home, view, force=options.force, remove_anonymous=options.volumes)

    return each(options.containers, remove)


def rename(words: list[str]) -> int:
    """Give a container another name."""
    parser = Parser("rename CONTAINER NAME", "Give a container another name.")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("name", metavar="NAME")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    rename_container(home, open_view(home, options.container), options.name)
    return 0


def logs(words: list[str]) -> int:
    """Show what a container wrote: its output on ours, its error output on ours."""
    parser = Parser("logs [OPTIONS] CONTAINER", "Show what a container has written.")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    parser.add_argument("-n", "--tail", default="all", metavar="N", help="only the last N lines (default: all)")
    parser.add_argument("-t", "--timestamps", action="store_true", help="show when each line was written")
    parser.add_argument("--since", default="", metavar="TIME", help="2026-11-25T12:00:00Z, or an age: 10m, 1h30m")
    parser.add_argument("--until", default="", metavar="TIME", help="as --since")
    parser.add_argument("container", metavar="CONTAINER")
    options = parser.parse_args(words)
    if options.tail != "all" and not options.tail.isdigit():
        raise CarboyError("--tail takes a number of lines, or all", code=2)
    view = open_view(open_own_home(os.environ), options.container)
    lines = read_log(
        view,
        follow=options.follow,
        tail=None if options.tail == "all" else int(options.tail),
        since=parse_time(options.since),
        until=parse_time(options.until),
    )
    whole = {"stdout": True, "stderr": True}
    for line in lines:
        fd = 2 if line.stream == "stderr" else 1
        stamp = f"{line.time} ".encode() if options.timestamps and whole.get(line.stream, True) else b""
        whole[line.stream] = line.full
        content = stamp + line.content()
        if os.isatty(fd) and not view.config.tty:
            content = printable(content.decode(errors="replace")).encode()
        _write(fd, content)
    return 0


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def parse_time(text: str) -> str:
    """Return a moment as the log writes it: RFC 3339 in UTC; ``text`` is such a moment, seconds since 1970, or an age."""
    from datetime import UTC, datetime

    from carboy.cli.commands.container_options import parse_duration

    if not text:
        return ""
    try:
        if text == "now":
            moment = datetime.now(UTC)
        elif text.replace(".", "", 1).isdigit():
            moment = datetime.fromtimestamp(float(text), UTC)
        elif "-" in text:
            moment = datetime.fromisoformat(text)
        else:
            moment = datetime.fromtimestamp(time.time() - parse_duration(text), UTC)
    except ValueError:
        raise CarboyError(f"{text!r} is no time", hint="write 2026-11-25T12:00:00Z, or an age: 10m", code=2) from None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
