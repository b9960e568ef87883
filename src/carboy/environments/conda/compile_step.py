"""Runs inside the sandbox, by the environment's own Python: compiles the modules of new packages, and cuts trees that are large.

    compile_step.py PREFIX LAYERS LIMIT

The trees are ``LAYERS/0``, ``LAYERS/1`` and so on, each what a layer adds to PREFIX, where everything lies already. One with
more than LIMIT bytes goes on in ``LAYERS/0.1``, ``LAYERS/0.2``.

What `marshal` writes depends on what a process did before, so each top-level package is compiled by a process of its own,
forked from one state; hash-based files that are never checked (PEP 552) hold no time. PYTHONHASHSEED is set by the caller.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys


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
    """Compile every unit, as many at once as there are processors."""
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


def compile_unit(folder: str, name: str, shown: str) -> None:
    """Compile one module, or all modules below one package, in order; ``shown`` is where they will lie."""
    path = os.path.join(folder, name)
    files = [path] if name.endswith(".py") else []
    for above, folders, names in os.walk(path):
        folders[:] = sorted(inner for inner in folders if inner != "__pycache__")
        files += [os.path.join(above, n) for n in sorted(names) if n.endswith(".py")]
    for file in files:
        try:
            py_compile.compile(
                file,
                cfile=importlib.util.cache_from_source(file),
                dfile=os.path.join(shown, os.path.relpath(file, folder)),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, OSError):
            continue  # templates, and tests of syntax errors: importing them fails as it would anywhere


def list_files(root: str) -> list[str]:
    """Return the paths of all that is no folder, sorted."""
    found = []
    for above, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]
        found += [os.path.relpath(os.path.join(above, name), root) for name in names + links]
    return sorted(found)


def cut(layers: str, limit: int) -> None:
    """Cut trees with more than ``limit`` bytes, between files and in the order of their names, so that it is always the same."""
    for tree in sorted(os.listdir(layers)):
        root = os.path.join(layers, tree)
        part, size_bytes = 0, 0
        for path in list_files(root):
            file_bytes = os.lstat(os.path.join(root, path)).st_size
            if size_bytes and size_bytes + file_bytes > limit:
                part, size_bytes = part + 1, 0
            size_bytes += file_bytes
            if part:
                place = os.path.join(f"{root}.{part}", path)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                os.replace(os.path.join(root, path), place)


def main() -> None:
    """Compile, then cut."""
    prefix, layers, limit = sys.argv[1:]
    compile_all(layers, prefix)
    cut(layers, int(limit))


if __name__ == "__main__":
    main()
