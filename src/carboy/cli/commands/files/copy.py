"""``carboy cp``: between a container and the host, or as an archive on standard input or output."""

from __future__ import annotations

import os
import sys

from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.engine.containers.manage import open_view
from carboy.engine.context import Engine
from carboy.errors import CarboyError

_DESCRIPTION = """Copy files between a container, running or not, and the host. "-" is an archive (tar) on standard input
or output. What is copied in belongs to root of the container, what is copied out to you."""


class Stream:
    """A descriptor as the archives' reader and writer want it. Raises ``OSError``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        return os.read(self._fd, size if size >= 0 else 2**20)

    def write(self, data: bytes, /) -> None:
        """Write all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def check_no_terminal(fd: int, hint: str) -> None:
    """Raise ``CarboyError`` when an archive would go to a terminal."""
    if os.isatty(fd):
        raise CarboyError("refusing to write an archive to a terminal", hint=hint)


def parse_place(text: str) -> tuple[str, str]:
    """Return (container, path) of "CONTAINER:PATH"; no container for a path of the host, which may hold a ":". Pure.

    A path of the host begins with "/" or "." where it might be taken for the other. Source: docker/cli, splitCpArg.
    """
    container, colon, path = text.partition(":")
    if not colon or container == "" or text.startswith(("/", ".")) or "/" in container:
        return "", text
    return container, path or "/"


def cp(words: list[str]) -> int:
    """Copy files into a container, or out of one."""
    parser = Parser("cp [OPTIONS] CONTAINER:PATH DEST|-  or  cp [OPTIONS] SOURCE|- CONTAINER:PATH", _DESCRIPTION)
    parser.add_argument("-a", "--archive", action="store_true", help="keep the owners' ids")
    parser.add_argument("-L", "--follow-link", action="store_true", help="copy what a link in SOURCE points to")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say how much was copied")
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("destination", metavar="DEST")
    options = parser.parse_args(words)
    source, destination = parse_place(options.source), parse_place(options.destination)
    if bool(source[0]) == bool(destination[0]):
        brief = "copying between containers is not possible" if source[0] else "one of the two must be in a container"
        raise CarboyError(brief, hint="write carboy cp CONTAINER:PATH DEST, or carboy cp SOURCE CONTAINER:PATH", code=2)
    if destination == ("", "-"):
        check_no_terminal(1, "redirect it: carboy cp CONTAINER:PATH - > FILE")
    from carboy.engine.containers.files import copy

    engine = Engine.open(os.environ)
    view = open_view(engine.home, source[0] or destination[0])
    if destination == ("", "-"):
        copy.write_tar(engine, view, source[1], Stream(1), follow=options.follow_link)
        return 0
    if source == ("", "-"):
        count = copy.read_tar(engine, view, Stream(0), destination[1], archive=options.archive)
    else:
        use_case = copy.copy_out if source[0] else copy.copy_in
        ways = {"follow": options.follow_link, "archive": options.archive}
        count = use_case(engine, view, source[1], destination[1], **ways)
    if not options.quiet:
        entries = "1 entry" if count == 1 else f"{count} entries"
        print(printable(f"copied {entries} to {options.destination}"), file=sys.stderr)
    return 0
