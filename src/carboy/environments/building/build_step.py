"""Runs inside the sandbox, by the Python that has what a package is built with: makes a wheel of its source (PEP 517).

    build_step.py SOURCE FOLDER

SOURCE is an archive of one folder, FOLDER the place of the package in that. ``system.json`` in the working folder has its build
system, and what its backend asked for before. The folder ``out`` gets the wheel and its METADATA, or ``needs.json``: what the
backend asks for beside that.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from typing import Any

OUT = os.path.abspath("out")
# Compilers note where they work, so that is the same place each time.
TREE = os.path.abspath("tree")


def unpack(archive: str, folder: str) -> str:
    """Unpack the source and return the folder of the package in it."""
    shutil.unpack_archive(archive, TREE)
    names = os.listdir(TREE)
    top = os.path.realpath(os.path.join(TREE, names[0]) if len(names) == 1 else TREE)
    found = os.path.realpath(os.path.join(top, folder))
    if not os.path.isdir(found) or os.path.commonpath([top, found]) != top:
        sys.exit(f"the source has no folder {folder}")
    return found


def find_backend(system: dict[str, Any]) -> Any:
    """Return the backend that a build system names."""
    sys.path[:0] = [os.path.abspath(path) for path in system["backend-path"]]
    module, _, attribute = system["build-backend"].partition(":")
    found = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        found = getattr(found, name)
    return found


def make(system: dict[str, Any]) -> None:
    """Make the wheel, or say what is missing for that."""
    backend = find_backend(system)
    ask = getattr(backend, "get_requires_for_build_wheel", None)
    needs = sorted(set(ask()) - set(system["known"])) if ask else []
    if needs:
        with open(os.path.join(OUT, "needs.json"), "w", encoding="utf-8") as file:
            json.dump(needs, file)
        return
    wheel = os.path.join(OUT, backend.build_wheel(OUT))
    place = tempfile.mkdtemp()
    shutil.unpack_archive(wheel, place, "zip")
    info = next(name for name in sorted(os.listdir(place)) if name.endswith(".dist-info"))
    shutil.copyfile(os.path.join(place, info, "METADATA"), os.path.join(OUT, "METADATA"))


def main() -> None:
    """Build, and say so where that fails."""
    archive, folder = (os.path.abspath(sys.argv[1]), sys.argv[2])
    with open("system.json", encoding="utf-8") as file:
        system = json.load(file)
    os.makedirs(OUT)
    os.environ["PATH"] = f"{os.path.join(sys.prefix, 'bin')}:{os.environ['PATH']}"
    os.environ["VIRTUAL_ENV"] = sys.prefix
    os.chdir(unpack(archive, folder))
    try:
        make(system)
    except Exception:  # noqa: BLE001  whatever a package raises, it is shown as Python shows it
        traceback.print_exc()
        sys.exit("Failed to build a wheel of the source")


if __name__ == "__main__":
    main()
