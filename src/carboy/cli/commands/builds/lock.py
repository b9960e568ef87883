"""``carboy lock`` and ``carboy outdated``."""

from __future__ import annotations

import json
import os
import sys

from carboy.cli.options import Parser
from carboy.cli.progress import open_progress
from carboy.cli.render import printable, render_table
from carboy.engine.builds.lock import Locked, find_outdated, lock_folder
from carboy.engine.context import Engine


def lock(words: list[str]) -> int:
    """Write a folder's carboy.lock, and say what has changed in it."""
    parser = Parser(
        "lock [--upgrade [PACKAGE]] FOLDER",
        "Choose the versions of all packages of a folder and write them, with their hashes, to its carboy.lock.",
    )
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER")
    parser.add_argument(
        "-U",
        "--upgrade",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="take the newest versions: of one, or of all",
    )
    options = parser.parse_args(_join_upgrade(words))
    names = [name for name in options.upgrade if name]
    with open_progress(sys.stderr) as progress:
        done = lock_folder(
            Engine.open(os.environ), options.folder, upgrade="" in options.upgrade, packages=names, progress=progress
        )
    print(_render(done))
    return 0


def _join_upgrade(words: list[str]) -> list[str]:
    """Return the words with ``--upgrade`` and its package in one; alone it means all, and a folder is no package."""
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in {"-U", "--upgrade"}:
            is_package = (
                bool(rest) and not rest[0].startswith("-") and "/" not in rest[0] and not os.path.isdir(rest[0])
            )
            result.append(f"--upgrade={rest.pop(0) if is_package else ''}")
        else:
            result.append(word)
    return result


def _render(done: Locked) -> str:
    lock = done.lock
    r = f"{len(lock.r) + len(lock.r_sources)} packages for R" if lock.r or lock.r_sources else ""
    conda = f"{len(lock.conda)} packages of conda's" if lock.conda else ""
    python = f"{len(lock.python)} Python packages" if lock.python or not (r or conda) else ""
    packages = " and ".join(filter(None, (conda, python, r)))
    about = f"carboy.lock: {packages} on {lock.base} with {len(lock.base_packages)}"
    if not done.written:
        return f"{about}; unchanged"
    lines = [f"{name} {before or 'new'} -> {now or 'gone'}" for name, before, now in done.changes]
    return "\n".join(map(printable, [about, *lines, *done.base_changes]))


def outdated(words: list[str]) -> int:
    """Show which locked Python packages have newer versions that the requirements allow."""
    parser = Parser("outdated [--json] FOLDER", "Show which packages of a carboy.lock would be others in a new one.")
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(words)
    with open_progress(sys.stderr) as progress:
        found = find_outdated(Engine.open(os.environ), options.folder, progress=progress)
    if options.json:
        rows = [{"package": name, "locked": old, "latest": new} for name, old, new in found.packages]
        print(json.dumps(rows, indent=2))
    elif found.packages:
        print(render_table(("PACKAGE", "LOCKED", "LATEST"), [tuple(map(printable, row)) for row in found.packages]))
    else:
        print("all packages are the newest that the requirements allow")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
