"""``carboy diff``: what a container changed of its image's files."""

from __future__ import annotations

import json
import os
import sys

from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.engine.containers.manage import open_view
from carboy.engine.context import Engine


def diff(words: list[str]) -> int:
    """Show what was added (A), changed (C) and deleted (D)."""
    parser = Parser(
        "diff [OPTIONS] CONTAINER", "Show which files a container has added (A), changed (C) and deleted (D)."
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("container", metavar="CONTAINER")
    options = parser.parse_args(words)
    from carboy.engine.containers.files.changes import diff_container

    engine = Engine.open(os.environ)
    found = diff_container(engine, open_view(engine.home, options.container))
    if options.json:
        print(json.dumps([{"Kind": change.kind, "Path": os.fsdecode(change.path)} for change in found], indent=2))
        return 0
    for change in found:
        text = str(change)
        # A name may hold anything: on a terminal it is shown, to a program it is given as it is.
        shown = printable(text).replace("\n", "\\n").replace("\t", "\\t") if sys.stdout.isatty() else text
        sys.stdout.buffer.write(os.fsencode(shown) + b"\n")
    return 0
