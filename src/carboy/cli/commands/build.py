"""``carboy build`` and ``carboy plan``."""

from __future__ import annotations

import json
import os
import sys

from carboy.cli.options import Parser
from carboy.cli.progress import open_progress
from carboy.cli.render import printable, render_size, render_table
from carboy.engine.build import build_folder, plan_folder
from carboy.engine.context import Engine


def build(arguments: list[str]) -> int:
    """Build a folder into an image and print its digest."""
    parser = Parser("build [OPTIONS] FOLDER", "Build an image from a folder of Python.")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("-t", "--tag", metavar="NAME[:TAG]", help="the image's name")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the digest only")
    parser.add_argument("--pull", action="store_true", help="ask the archive for a newer base")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    options = parser.parse_args(arguments)
    engine = Engine.open(os.environ)
    with open_progress(sys.stderr, quiet=options.quiet) as progress:
        result = build_folder(engine, options.folder, name=options.tag, progress=progress, refresh=options.pull)
    digest = str(result.descriptor.digest)
    if options.json:
        steps = [{"title": s.title, "cached": s.cached, "seconds": round(s.seconds, 3)} for s in result.steps]
        print(
            json.dumps(
                {"digest": digest, "name": options.tag, "size_bytes": result.size_bytes, "steps": steps}, indent=2
            )
        )
    else:
        print(digest)
        if options.tag and not options.quiet:
            print(f"built {options.tag}, {render_size(result.size_bytes)}", file=sys.stderr)
    return 0


def plan(arguments: list[str]) -> int:
    """Show the steps that a build would take, with the reason for each."""
    parser = Parser("plan [--json] FOLDER", "Show the steps that a build of FOLDER takes, and why; runs nothing.")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(arguments)
    steps = plan_folder(options.folder).describe()
    if options.json:
        print(
            json.dumps(
                [{"step": i + 1, "what": s.what, "reason": s.reason, "key": s.key} for i, s in enumerate(steps)],
                indent=2,
            )
        )
        return 0
    rows = [(str(i + 1), printable(s.what), printable(s.reason)) for i, s in enumerate(steps)]
    print(render_table(("STEP", "WHAT", "WHY"), rows))
    return 0
