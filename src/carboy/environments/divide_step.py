"""Runs inside the sandbox, by the image's own Python: divides what uv installed into the trees of layers, and compiles them.

    divide_step.py ENVIRONMENT LAYERS UV LIMIT

``groups.json`` in the working folder has the groups, each a list of lines of requirements. Group N becomes ``LAYERS/N``, whose
paths are those below ENVIRONMENT; one of more than LIMIT bytes is cut, and goes on in ``LAYERS/N.1``, ``LAYERS/N.2``.

A file belongs to the package whose RECORD names it. Where two packages name one file, each is installed once more by itself,
so that a layer never depends on what else was installed beside it; and so is each where a RECORD is incomplete.

What `marshal` writes depends on the reference counts of shared constants, thus on what a process did before. So each
top-level package is compiled by a process of its own, forked from one state, its files in order; hash-based files that are never
checked (PEP 552) hold no time and cost no stat at import. PYTHONHASHSEED is set by the caller: it orders constant sets.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# What uv leaves beside the packages, and what it notes for itself.
_NOTES = frozenset({".lock", ".gitignore", "CACHEDIR.TAG", "uv_cache.json"})


def normalise(name: str) -> str:
    """Return a package's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_packages(environment: str) -> dict[str, set[str]]:
    """Return, by normalised name, the paths below ``environment`` that each installed package names in its RECORD."""
    found: dict[str, set[str]] = {}
    for site in find_sites(environment):
        for info in sorted(n for n in os.listdir(site) if n.endswith(".dist-info")):
            with open(os.path.join(site, info, "METADATA"), encoding="utf-8", errors="replace") as file:
                name = next(line[5:].strip() for line in file if line.lower().startswith("name:"))
            paths = found.setdefault(normalise(name), set())
            forget_notes(os.path.join(site, info, "RECORD"))
            with open(os.path.join(site, info, "RECORD"), encoding="utf-8", newline="") as file:
                for row in csv.reader(file):
                    path = os.path.normpath(os.path.join(site, row[0])) if row else ""
                    if not path.startswith(environment + "/"):
                        sys.exit(f"{name} names a file outside of the environment: {path}")
                    if os.path.lexists(path):
                        paths.add(os.path.relpath(path, environment))
    return found


def forget_notes(record: str) -> None:
    """Take uv's notes out of a RECORD: it has one where a wheel was in a folder, and the same wheel makes the same layer."""
    with open(record, encoding="utf-8", newline="") as file:
        lines = file.readlines()
    kept = [line for line in lines if os.path.basename(line.partition(",")[0]) not in _NOTES]
    if kept != lines:
        with open(record, "w", encoding="utf-8", newline="") as file:
            file.writelines(kept)


def find_sites(root: str) -> list[str]:
    """Return the folders of packages below a tree."""
    lib = os.path.join(root, "lib")
    names = sorted(os.listdir(lib)) if os.path.isdir(lib) else []
    places = [os.path.join(lib, name, "site-packages") for name in names]
    return [place for place in places if os.path.isdir(place)]


def move(paths: Iterable[str], source: str, target: str) -> None:
    """Move files from one tree to another, which gets plain folders for them."""
    for path in sorted(paths):
        place = os.path.join(target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.replace(os.path.join(source, path), place)


def divide(environment: str, layers: str, uv: str, groups: list[list[str]]) -> None:
    """Give each group its files."""
    packages = read_packages(environment)
    claims: dict[str, list[str]] = {}
    for name, paths in packages.items():
        for path in paths:
            claims.setdefault(path, []).append(name)
    disputed = {name for names in claims.values() if len(names) > 1 for name in names}
    for number, lines in enumerate(groups):
        target = os.path.join(layers, str(number))
        os.makedirs(target)
        for line in lines:
            name = normalise(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0])
            if name not in packages:
                sys.exit(f"{name} was not installed")
            source = install_alone(line, environment, uv) if name in disputed else environment
            move(read_packages(source)[name] if name in disputed else packages[name], source, target)
    for path in {path for name in disputed for path in packages[name]}:
        os.unlink(os.path.join(environment, path))


def install_alone(line: str, environment: str, uv: str) -> str:
    """Install one package into a place of its own, from what uv has, and return that place."""
    place = tempfile.mkdtemp()
    with open("missing.txt", encoding="utf-8") as file:
        options = [option for option in file if option.startswith("-")]
    with open(place + ".txt", "w", encoding="utf-8") as file:
        file.writelines([*options, line + "\n"])
    command = [uv, "pip", "install", "--python", environment + "/bin/python", "--prefix", place, "--no-deps"]
    command += ["--require-hashes", "--link-mode", "copy", "--quiet", "-r", place + ".txt"]
    if subprocess.call([*command, "--offline"], stderr=subprocess.DEVNULL) != 0:
        subprocess.check_call(command)
    return place


def find_rest(environment: str, own: set[str]) -> set[str]:
    """Return what was installed and no RECORD names; ``own`` are the paths that were there before."""
    return {
        path
        for path in list_files(environment) - own
        if os.path.basename(path) not in _NOTES and "__pycache__" not in path.split(os.sep)
    }


def settle_rest(environment: str, layers: str, uv: str, groups: list[list[str]], rest: set[str]) -> None:
    """Give the files of incomplete RECORDs to the packages that bring them, which is seen when each is installed by itself."""
    for number, lines in enumerate(groups):
        for line in lines:
            place = install_alone(line, environment, uv)
            found = {path for path in rest if os.path.lexists(os.path.join(place, path))}
            move(found, place, os.path.join(layers, str(number)))
            rest = rest - found
            if not rest:
                return
    sys.exit(f"the file {min(rest)} was installed, and no package brings it")


def cut(layers: str, limit: int) -> None:
    """Cut trees with more than ``limit`` bytes, between files and in the order of their names, so that it is always the same."""
    for tree in sorted(os.listdir(layers)):
        root = os.path.join(layers, tree)
        part, size_bytes = 0, 0
        for path in sorted(list_files(root)):
            file_bytes = os.lstat(os.path.join(root, path)).st_size
            if size_bytes and size_bytes + file_bytes > limit:
                part, size_bytes = part + 1, 0
            size_bytes += file_bytes
            if part:
                move([path], root, f"{root}.{part}")


def list_files(root: str) -> set[str]:
    """Return the paths of all that is no folder."""
    found: set[str] = set()
    for above, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]
        found.update(os.path.relpath(os.path.join(above, name), root) for name in names + links)
    return found


def compile_unit(site: str, name: str, shown: str) -> None:
    """Compile one module, or all modules below one package, in order; ``shown`` is where they will lie."""
    path = os.path.join(site, name)
    files = [path] if name.endswith(".py") else []
    for above, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        files += [os.path.join(above, n) for n in sorted(names) if n.endswith(".py")]
    for file in files:
        try:
            py_compile.compile(
                file,
                cfile=importlib.util.cache_from_source(file),
                dfile=os.path.join(shown, os.path.relpath(file, site)),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, OSError):
            continue  # templates, and tests of syntax errors: importing them fails as it would anywhere


def compile_trees(layers: str, environment: str) -> None:
    """Compile every unit of every tree, as many at once as there are processors, those that are long first."""
    units = []
    for tree in sorted(os.listdir(layers)):
        root = os.path.join(layers, tree)
        for site in find_sites(root):
            shown = os.path.join(environment, os.path.relpath(site, root))
            for name in os.listdir(site):
                if name != "__pycache__" and (name.endswith(".py") or "." not in name):
                    units.append((-weigh(os.path.join(site, name)), site, name, shown))
    running = 0
    failed = False
    for _, site, name, shown in sorted(units):
        if running >= len(os.sched_getaffinity(0)):
            failed |= os.wait()[1] != 0
            running -= 1
        if os.fork() == 0:
            compile_unit(site, name, shown)
            os._exit(0)
        running += 1
    while running:
        failed |= os.wait()[1] != 0
        running -= 1
    if failed:
        sys.exit("a process that compiles modules was ended")


def weigh(path: str) -> int:
    """Return how many files a unit has: about how long it takes."""
    return sum(len(names) for _, _, names in os.walk(path))


def main() -> None:
    """Install what is missing, divide it, and compile it."""
    environment, layers, uv, limit = sys.argv[1:]
    with open("groups.json", encoding="utf-8") as file:
        groups = json.load(file)
    own = list_files(environment)
    os.makedirs(layers)
    shutil.copytree(environment, os.path.join(layers, "venv"), symlinks=True)
    if any(groups):
        command = [uv, "pip", "install", "--python", environment + "/bin/python", "--no-deps", "--require-hashes"]
        status = subprocess.call([*command, "--link-mode", "copy", "-r", "missing.txt"])
        if status != 0:
            sys.exit(status)
        divide(environment, layers, uv, groups)
        rest = find_rest(environment, own)
        if rest:
            settle_rest(environment, layers, uv, groups, rest)
    compile_trees(layers, environment)
    cut(layers, int(limit))


if __name__ == "__main__":
    main()
