"""``carboy build``, at first: what was built before is told again; all else is the business of ``commands.build``."""

from __future__ import annotations

import os

from carboy.engine.builds.replay import find_record


def build(arguments: list[str]) -> int:
    """Build an image from a folder, by its Dockerfile or as a folder of Python, and print its digest."""
    record = find_record(arguments, os.environ)
    if record is None:
        from carboy.cli.commands.build import build as build_anew

        return build_anew(arguments)
    from carboy.cli.report import print_cached, print_result, print_warnings

    quiet = record.mode == "quiet"
    if not quiet:
        print_cached(record.titles, mode=record.mode)
        print_warnings(record.warnings)
    print_result(record.digest, tags=record.tags, size_bytes=record.size_bytes, quiet=quiet)
    return 0
