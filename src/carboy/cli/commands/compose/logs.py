"""``carboy compose logs``, and how lines of several containers look."""

from __future__ import annotations

import os
import sys

from carboy.base.home import open_own_home
from carboy.cli.commands.compose.project import Globals, check_services, open_project
from carboy.cli.commands.containers import parse_time
from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.compose.execution.logs import LogOptions, ProjectLine, ProjectLog
from carboy.compose.planning.container import SEPARATOR
from carboy.errors import CarboyError

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class LinePrinter:
    """Prints lines with the container's name in front; the colour of the name only repeats what the name says."""

    def __init__(self, *, prefix: bool = True, timestamps: bool = False, colour: bool = True) -> None:
        self._prefix = prefix
        self._timestamps = timestamps
        self._colour = colour and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._width = 0
        self._numbers: dict[str, int] = {}

    def print(self, line: ProjectLine) -> None:
        """Print one line."""
        text = line.text
        if sys.stdout.isatty():
            text = printable(text.decode(errors="replace")).encode()
        stamp = f"{line.time} ".encode() if self._timestamps else b""
        sys.stdout.buffer.write(self._front(line).encode() + stamp + text + b"\n")

    def _front(self, line: ProjectLine) -> str:
        if not self._prefix:
            return ""
        name = f"{line.service}{SEPARATOR}{line.number}"
        self._width = max(self._width, len(name))
        number = self._numbers.setdefault(name, len(self._numbers))
        front = f"{name:<{self._width}}  | "
        return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{front}\x1b[0m" if self._colour else front

    def flush(self) -> None:
        """Let what was printed be seen."""
        sys.stdout.flush()


def logs(options: Globals, words: list[str]) -> int:
    """Show what containers wrote."""
    parser = Parser("compose logs [OPTIONS] [SERVICE ...]", "Show what the containers of services wrote.")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until all have ended")
    parser.add_argument("-n", "--tail", default="all", metavar="N", help="only the last N lines of each (default: all)")
    parser.add_argument("-t", "--timestamps", action="store_true", help="show when each line was written")
    parser.add_argument("--since", default="", metavar="TIME", help="2026-11-25T12:00:00Z, or an age: 10m, 1h30m")
    parser.add_argument("--until", default="", metavar="TIME", help="as --since")
    parser.add_argument("--no-color", action="store_true", help="no colours")
    parser.add_argument("--no-log-prefix", action="store_true", help="no names in front")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="only the N-th container of each service")
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    given = parser.parse_args(words)
    if given.tail != "all" and not given.tail.isdigit():
        raise CarboyError("--tail takes a number of lines, or all", code=2)
    project = open_project(options)
    wanted = LogOptions(
        services=check_services(project, given.services),
        tail=None if given.tail == "all" else int(given.tail),
        since=parse_time(given.since),
        until=parse_time(given.until),
    )
    colour = not given.no_color and options.ansi != "never"
    printer = LinePrinter(prefix=not given.no_log_prefix, timestamps=given.timestamps, colour=colour)
    with ProjectLog(open_own_home(os.environ), project.name, wanted) as log:
        for batch in log.follow() if given.follow else [log.read_to_end()]:
            for line in batch:
                if not given.index or line.number == str(given.index):
                    printer.print(line)
            printer.flush()
    return 0
