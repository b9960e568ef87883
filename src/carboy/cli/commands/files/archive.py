"""``carboy export`` and ``import``: all files of a container as an archive, and an archive as an image."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.base.unnamed import open_unnamed
from carboy.cli.commands.files.copy import Stream, check_no_terminal
from carboy.cli.options import Parser
from carboy.engine.containers.manage import open_view
from carboy.engine.context import Engine
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.layers.tarwrite import Writable


def export(words: list[str]) -> int:
    """Write a container's files as a tar, to a file or to standard output."""
    parser = Parser(
        "export [OPTIONS] CONTAINER",
        "Write all files of a container, running or not, as an archive (tar); what is mounted in it is left out.",
    )
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write to a file, not to standard output")
    parser.add_argument("container", metavar="CONTAINER")
    options = parser.parse_args(words)
    if not options.output:
        check_no_terminal(1, "name a file with -o, or redirect it")
    from carboy.engine.containers.files.changes import export_container

    engine = Engine.open(os.environ)
    view = open_view(engine.home, options.container)
    with open_output(options.output) as out:
        export_container(engine, view, out)
    return 0


@contextmanager
def open_output(name: str) -> Iterator[Writable]:
    """Give what an archive is written to: a file that is there as a whole or not at all, or standard output for "".

    A pipe or a device is written to, not replaced. Raises ``CarboyError``.
    """
    if not name:
        yield Stream(1)
        return
    path = os.path.realpath(name)
    with translate_os_errors(f"write {name}"):
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            if os.path.isdir(path):
                raise CarboyError(f"{name} is a folder", hint=f"name a file in it: -o {name}/FILE")
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                yield Stream(fd)
            finally:
                os.close(fd)
            return
        # Its owner's alone, as it may hold what nobody else can read in the container.
        with open_unnamed(path) as file:
            yield file


def import_(words: list[str]) -> int:
    """Make an image of an archive of all its files, and print its digest."""
    parser = Parser(
        "import [OPTIONS] FILE|- [NAME[:TAG]]",
        "Make an image of an archive (tar, compressed or not) that holds all of its files.",
    )
    parser.add_argument("-m", "--message", default="", help="a note in the image's history")
    parser.add_argument("-c", "--change", action="append", default=[], metavar="INSTRUCTION",
                        help="how a container of it starts, as in a Dockerfile: CMD, ENV, USER, WORKDIR ...")  # fmt: skip
    parser.add_argument("source", metavar="FILE|-")
    parser.add_argument("name", nargs="?", default=None, metavar="NAME[:TAG]")
    options = parser.parse_args(words)
    if options.source.startswith(("http://", "https://")):
        raise CarboyError("an archive is not fetched", hint="fetch it and give it as -", code=2)
    from carboy.engine.imports import ImportRequest, import_image

    message = options.message or f"imported from {options.source}"
    request = ImportRequest(name=options.name, changes=tuple(options.change), message=message)
    with translate_os_errors(f"read {options.source}"):
        fd = 0 if options.source == "-" else os.open(options.source, os.O_RDONLY | os.O_CLOEXEC)
    engine = Engine.open(os.environ)
    print(import_image(engine, Stream(fd), request).digest)
    return 0
