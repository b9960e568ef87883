"""``carboy bootstrap``."""

from __future__ import annotations

import os
import sys

from carboy.cli.options import Parser
from carboy.cli.progress import open_progress
from carboy.cli.render import render_size
from carboy.engine.bootstrap import BootstrapRequest, bootstrap_image
from carboy.engine.context import Engine


def bootstrap(arguments: list[str]) -> int:
    """Make a base image from a signed archive and name it."""
    parser = Parser(
        "bootstrap [OPTIONS] [DISTRIBUTION:SUITE]",
        "Make a base image from the signed archive of debian, ubuntu or alpine: what is essential, and what --include names.",
    )
    parser.add_argument(
        "base",
        nargs="?",
        default="debian:bookworm",
        metavar="DISTRIBUTION:SUITE",
        help="ubuntu:24.04, alpine:3.20, ... (default: debian:bookworm)",
    )
    parser.add_argument(
        "--include", action="append", default=[], metavar="PACKAGE", help="one more package; may be repeated"
    )
    parser.add_argument(
        "--mirror",
        metavar="URL",
        help="the archive's address (default: config.toml, the host's apt)",
    )
    parser.add_argument("--no-security", action="store_true", help="leave the security and updates suites out")
    parser.add_argument("--refresh", action="store_true", help="ask the archive again, though the base is here")
    parser.add_argument("-t", "--tag", metavar="NAME", help="the image's name (default: the base's)")
    options = parser.parse_args(arguments)
    request = BootstrapRequest(
        base=options.base,
        packages=tuple(options.include),
        mirror=options.mirror,
        security=not options.no_security,
        refresh=options.refresh,
        name=options.tag,
    )
    engine = Engine.open(os.environ)
    with open_progress(sys.stderr) as progress:
        image = bootstrap_image(engine, request, progress=progress)
    print(f"{image.name}  {image.digest}  {image.packages} packages, {render_size(image.size_bytes)}")
    return 0
