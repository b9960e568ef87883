"""``carboy diff``: what a container changed of its image's files, and what differs between two images."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.engine.containers.manage import open_view
from carboy.engine.context import Engine

if TYPE_CHECKING:
    from carboy.engine.verification.diff import ImageDiff


def diff(words: list[str]) -> int:
    """Show what was added (A), changed (C) and deleted (D); of two images, what differs."""
    parser = Parser(
        "diff [OPTIONS] CONTAINER | IMAGE IMAGE",
        "Show which files a container has added (A), changed (C) and deleted (D); or what differs between two images, by "
        "package, setting and file.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array; of two images an object")
    parser.add_argument("names", nargs="+", metavar="NAME", help="a container, or two images")
    options = parser.parse_args(words)
    if len(options.names) > 2:
        parser.error("one container, or two images")
    if len(options.names) == 2:
        return _diff_images(*options.names, as_json=options.json)
    from carboy.engine.containers.files.changes import diff_container

    engine = Engine.open(os.environ)
    found = diff_container(engine, open_view(engine.home, options.names[0]))
    if options.json:
        print(json.dumps([{"Kind": change.kind, "Path": os.fsdecode(change.path)} for change in found], indent=2))
        return 0
    for change in found:
        text = str(change)
        # A name may hold anything: on a terminal it is shown, to a program it is given as it is.
        shown = printable(text).replace("\n", "\\n").replace("\t", "\\t") if sys.stdout.isatty() else text
        sys.stdout.buffer.write(os.fsencode(shown) + b"\n")
    return 0


def _diff_images(left: str, right: str, *, as_json: bool) -> int:
    from carboy.cli.commands.files.differences import list_files, list_settings
    from carboy.engine.verification.diff import diff_images

    found = diff_images(Engine.open(os.environ), left, right)
    if not as_json:
        print(_render_images(found))
        return 0
    packages = [
        {"kind": p.kind, "name": p.name, "what": p.what, "left": p.left, "right": p.right} for p in found.packages
    ]
    value = {
        "left": str(found.left),
        "right": str(found.right),
        "shared_layers": found.shared,
        "packages": packages,
        "settings": list_settings(found.settings),
        "files": list_files(found.files),
    }
    print(json.dumps(value, indent=2, ensure_ascii=False))
    return 0


def _render_images(found: ImageDiff) -> str:
    from carboy.cli.commands.files.differences import render_files, render_settings

    lines = [
        f"{found.left}",
        f"{found.right}",
        f"layers: {found.layers[0]} and {found.layers[1]}, {found.shared} of them shared",
    ]
    if found.is_equal:
        return "\n".join([*lines, "nothing differs"])
    signs = {"added": "+", "removed": "-", "changed": "~"}
    lines.append(f"packages: {_count(len(found.packages))}")
    for one in found.packages:
        versions = " -> ".join(version for version in (one.left, one.right) if version)
        lines.append(printable(f"  {signs[one.what]} {one.name} {versions} ({one.kind})"))
    lines += [f"settings: {_count(len(found.settings))}", *render_settings(found.settings)]
    lines += [f"files: {_count(len(found.files))}", *render_files(found.files)]
    return "\n".join(lines)


def _count(number: int) -> str:
    return f"{number} differ{'s' if number == 1 else ''}" if number else "the same"
