"""``carboy detect``: which files of a folder count, and what they ask for."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from carboy.build.detected import Detected, detect_folder, write_requirements
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_table


def detect(words: list[str]) -> int:
    """Show what is found in a folder; with --write, write the requirements.txt or install.R that its code offers."""
    parser = Parser(
        "detect [OPTIONS] FOLDER", "Show what a folder's files ask for, and which of them count; runs nothing."
    )
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--write",
        action="store_true",
        help="where nothing names packages, write a requirements.txt (for R an install.R) of what the code imports",
    )
    options = parser.parse_args(words)
    if options.write:
        path = write_requirements(options.folder)
        print(f"wrote {printable(path)}; look at it, and add versions where they matter")
        return 0
    found = detect_folder(options.folder)
    print(json.dumps(asdict(found), indent=2) if options.json else _render(found))
    return 0


def _describe_conda(found: Detected) -> str:
    if not found.conda:
        return ""
    where = f"from {', '.join(found.channels)}" if found.channels else "locked, each with its hash"
    return f"{len(found.conda)} package{'' if len(found.conda) == 1 else 's'}, {where}"


def _render(found: Detected) -> str:
    rows = [(item.file, item.meaning, "yes" if item.used else "no") for item in found.files]
    parts = (
        [render_table(("FILE", "WHAT IT HAS", "COUNTS"), [tuple(map(printable, row)) for row in rows])] if rows else []
    )
    about = [
        ("kind", f"{found.kind}: {found.front_reason}"),
        ("python", found.python),
        ("conda", _describe_conda(found)),
        ("packages", f"{len(found.packages)} from {found.source}" if found.source else "none are asked for"),
        ("versions", found.versions),
        ("r", found.r),
        ("r packages", f"{len(found.r_packages)} from {found.r_source}" if found.r_source else ""),
        ("system", ", ".join(found.system)),
        ("command", f"{' '.join(found.command)}: {found.command_reason}" if found.command else found.command_reason),
        ("offered", f"{', '.join(found.offered)}: the code imports them (--write)" if found.offered else ""),
        ("r offered", f"{', '.join(found.r_offered)}: the code names them (--write)" if found.r_offered else ""),
        ("problem", found.problem),
    ]
    parts.append("\n".join(f"{name + ':':<12}{printable(text)}" for name, text in about if text))
    return f"{os.linesep}{os.linesep}".join(parts)
