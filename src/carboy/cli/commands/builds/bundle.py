"""``carboy fetch``."""

from __future__ import annotations

import json
import os
import sys

from carboy.cli.options import Parser
from carboy.cli.progress import open_progress
from carboy.cli.render import printable
from carboy.engine.builds.offline import fetch_folder
from carboy.engine.context import Engine


def fetch(words: list[str]) -> int:
    """Write all that a build of a folder needs into one file, for a build without a network."""
    parser = Parser(
        "fetch [OPTIONS] FOLDER -o FILE",
        "Fetch all that a build of a folder needs, and write it to one file: `carboy build --offline --bundle FILE FOLDER`"
        " builds the same image of it where there is no network.",
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the bundle, a tar archive")
    parser.add_argument("--pull", action="store_true", help="ask the archive for a newer base")
    parser.add_argument(
        "--notebook", action="store_true", help="and what `carboy notebook` and notebooks need beside it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    parser.add_argument("--progress", metavar="auto|plain|tty|quiet", default="auto", help="how the steps are shown")
    options = parser.parse_args(words)
    engine = Engine.open(os.environ)
    with open_progress(sys.stderr, mode="quiet" if options.quiet else options.progress) as progress:
        done = fetch_folder(
            engine,
            options.folder,
            path=options.output,
            progress=progress,
            refresh=options.pull,
            notebook=options.notebook,
        )
    if options.json:
        print(json.dumps({"bundle": done.path, "size_bytes": done.size_bytes, "sources": done.sources}, indent=2))
    elif not options.quiet:
        for line in done.sources:
            print(printable(line))
        print(printable(f"{done.path}: {done.size_bytes / 1e6:.1f} MB"))
    return 0
