"""``carboy images``, ``tag`` and ``rmi``."""

from __future__ import annotations

import json
import os
import time

from carboy.cli.options import Parser
from carboy.cli.render import render_age, render_size, render_table
from carboy.engine.context import Engine
from carboy.engine.images import SHORT_ID, list_images, remove_image, tag_image
from carboy.errors import CarboyError


def images(arguments: list[str]) -> int:
    """List the named images."""
    parser = Parser("images [OPTIONS]", "List images, newest first.")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("-q", "--quiet", action="store_true", help="print digests only")
    options = parser.parse_args(arguments)
    rows = list_images(Engine.open(os.environ))
    if options.quiet:
        print("\n".join(str(row.digest) for row in rows), end="\n" if rows else "")
    elif options.json:
        values = [
            {
                "name": r.name,
                "tag": r.tag,
                "digest": str(r.digest),
                "created_at_s": r.created_at_s,
                "size_bytes": r.size_bytes,
            }
            for r in rows
        ]
        print(json.dumps(values, indent=2))
    else:
        now = time.time()
        table = [
            (r.name, r.tag, r.digest.hex[:SHORT_ID], render_age(now - r.created_at_s), render_size(r.size_bytes))
            for r in rows
        ]
        print(render_table(("REPOSITORY", "TAG", "DIGEST", "BUILT", "SIZE"), table))
    return 0


def tag(arguments: list[str]) -> int:
    """Give an image another name."""
    parser = Parser("tag IMAGE NAME[:TAG]", "Give an image another name.")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("name", metavar="NAME[:TAG]")
    options = parser.parse_args(arguments)
    tag_image(Engine.open(os.environ), options.image, options.name)
    return 0


def rmi(arguments: list[str]) -> int:
    """Remove images by name; carries on after a name that is not there and ends with 1."""
    parser = Parser("rmi [OPTIONS] IMAGE...", "Remove the names of images; `carboy system prune` frees the space.")
    parser.add_argument(
        "-f", "--force", action="store_true", help="also when containers use it, which keep what they need"
    )
    parser.add_argument("image", nargs="+", metavar="IMAGE")
    options = parser.parse_args(arguments)
    engine = Engine.open(os.environ)
    failed: CarboyError | None = None
    for name in options.image:
        try:
            print("\n".join(f"Untagged: {removed}" for removed in remove_image(engine, name, force=options.force)))
        except CarboyError as error:
            failed = failed or error
    if failed is not None:
        raise CarboyError(failed.brief, details=failed.details, hint=failed.hint, code=1)
    return 0
