"""Runs inside the sandbox, by the environment's own Python: compiles the modules of new packages, and cuts trees that are large.

    compile_step.py PREFIX LAYERS LIMIT

The trees are ``LAYERS/0``, ``LAYERS/1`` and so on, each what a layer adds to PREFIX, where everything lies already.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from divide_step import compile_unit, cut, list_files


def find_units(tree: str) -> list[tuple[str, str]]:
    """Return (folder, name) of all modules and packages of a tree: Python's own, and those in site-packages."""
    units = []
    lib = os.path.join(tree, "lib")
    for name in sorted(os.listdir(lib)) if os.path.isdir(lib) else []:
        own = os.path.join(lib, name)
        if not name.startswith("python") or os.path.islink(own) or not os.path.isdir(own):
            continue
        for folder in (own, os.path.join(own, "site-packages")):
            if os.path.isdir(folder) and not os.path.islink(folder):
                units += [(folder, unit) for unit in sorted(os.listdir(folder)) if is_unit(folder, unit)]
    return units


def is_unit(folder: str, name: str) -> bool:
    """Return whether a name is a module or may be a package."""
    path = os.path.join(folder, name)
    if os.path.islink(path) or name in ("site-packages", "__pycache__"):
        return False
    return name.endswith(".py") or ("." not in name and os.path.isdir(path))


def compile_all(layers: str, prefix: str) -> None:
    """Compile every unit in a process forked from this one's state, as many at once as there are processors."""
    running, failed = 0, False
    for tree in sorted(os.listdir(layers)):
        root = os.path.join(layers, tree)
        for folder, name in find_units(root):
            if running >= len(os.sched_getaffinity(0)):
                failed |= os.wait()[1] != 0
                running -= 1
            if os.fork() == 0:
                compile_unit(folder, name, os.path.join(prefix, os.path.relpath(folder, root)))
                os._exit(0)
            running += 1
    while running:
        failed |= os.wait()[1] != 0
        running -= 1
    if failed:
        sys.exit("a process that compiles modules was ended")


def main() -> None:
    """Compile, then cut."""
    prefix, layers, limit = sys.argv[1:]
    compile_all(layers, prefix)
    if any(list_files(os.path.join(layers, tree)) for tree in os.listdir(layers)):
        cut(layers, int(limit))


if __name__ == "__main__":
    main()
