"""Runs inside the sandbox, by the image's own Python: uv installs, and its files become the trees of layers, compiled.

    divide_step.py ENVIRONMENT LAYERS UV LIMIT FIRST PLATFORM

``groups.json`` in the working folder has the groups, each a list of lines of requirements. Group N becomes ``LAYERS/N``, whose
paths are those below ENVIRONMENT; one of more than LIMIT bytes is cut, and goes on in ``LAYERS/N.1``, ``LAYERS/N.2``. FIRST is
an option that is tried before it is done without, "" for none: with ``--offline`` uv does not ask an index for what it has.
PLATFORM is uv's name of the platform that packages are for, "" for this one.

uv makes links into its cache, and each file is copied once, to where it stays; as many processes as there are processors do
that, and compile what they have just read.

A file belongs to the package whose RECORD names it. Where two packages name one file, each is installed once more by itself,
so that a layer never depends on what else was installed beside it; and so is each where a RECORD is incomplete.

What `marshal` writes depends on the reference counts of shared constants, thus on what a process did before. So each
top-level package is compiled by a process of its own, forked from one state, its files in order; hash-based files that are never
checked (PEP 552) hold no time and cost no stat at import. PYTHONHASHSEED is set by the caller: it orders constant sets.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import json
import marshal
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings

# What uv leaves beside the packages, and what it notes for itself.
_NOTES = frozenset({".lock", ".gitignore", "CACHEDIR.TAG", "uv_cache.json"})
# The tests that packages bring of themselves are more than half of pandas, scipy and numpy, and no import needs them.
_NOT_COMPILED = "tests"
# The flags of PEP 552: by hash, and never checked.
_UNCHECKED = (1).to_bytes(4, "little")
# uv's options for another platform than this one.
PLATFORM: list[str] = []
# Of how long a file takes: what is compiled takes about that many times as long as what is only copied.
_COMPILING = 100


def normalise(name: str) -> str:
    """Return a package's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_packages(environment: str) -> dict[str, set[str]]:
    """Return, by normalised name, the paths below ``environment`` that each installed package names in its RECORD."""
    found: dict[str, set[str]] = {}
    present = list_files(environment)
    for site in find_sites(environment):
        below = os.path.relpath(site, environment)
        for info in sorted(n for n in os.listdir(site) if n.endswith(".dist-info")):
            with open(os.path.join(site, info, "METADATA"), encoding="utf-8", errors="replace") as file:
                name = next(line[5:].strip() for line in file if line.lower().startswith("name:"))
            paths = found.setdefault(normalise(name), set())
            forget_notes(os.path.join(site, info, "RECORD"))
            if os.stat("addresses.json").st_size > len("{}"):
                restore_apart(os.path.join(site, info))
            with open(os.path.join(site, info, "RECORD"), encoding="utf-8", newline="") as file:
                for row in csv.reader(file):
                    path = os.path.normpath(os.path.join(below, row[0])) if row else ""
                    if path.startswith(("/", "../")):
                        sys.exit(f"{name} names a file outside of the environment: {path}")
                    if path in present and not is_compiled_form(path):
                        paths.add(path)
    return found


def forget_notes(record: str) -> None:
    """Take uv's notes out of a RECORD: it has one where a wheel was in a folder, and the same wheel makes the same layer."""
    with open(record, encoding="utf-8", newline="") as file:
        lines = file.readlines()
    kept = [line for line in lines if os.path.basename(line.partition(",")[0]) not in _NOTES]
    if kept != lines:
        os.unlink(record)  # never through a link into the cache
        with open(record, "w", encoding="utf-8", newline="") as file:
            file.writelines(kept)


def restore_apart(info: str) -> None:
    """Do as :func:`restore_address` in a process of its own: so what is compiled later begins with the same state always."""
    child = os.fork()
    if child == 0:
        restore_address(info)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the address of a package cannot be noted")


def restore_address(info: str) -> None:
    """Note of a package the address that it is from, or the note itself, where a file stood in for that; its RECORD with it."""
    note, record = os.path.join(info, "direct_url.json"), os.path.join(info, "RECORD")
    with open("addresses.json", encoding="utf-8") as file:
        addresses = json.load(file)
    if not os.path.exists(note):
        return
    with open(note, encoding="utf-8") as file:
        value = json.load(file)
    if value["url"] not in addresses:
        return
    known = addresses[value["url"]]
    if known is None:
        forget_note(note, record)
        return
    value = known if isinstance(known, dict) else {**value, "url": known}
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    with open(record, encoding="utf-8", newline="") as file:
        lines = file.readlines()
    start = f"{os.path.basename(info)}/direct_url.json,"
    lines = [f"{start}sha256={digest},{len(data)}\n" if line.startswith(start) else line for line in lines]
    for path, content in ((note, data), (record, "".join(lines).encode())):
        os.unlink(path)  # never through a link into the cache
        with open(path, "wb") as target:
            target.write(content)


def forget_note(note: str, record: str) -> None:
    """Remove the note of an address, and its row of the RECORD: an index has the source that this wheel was made of."""
    start = f"{os.path.basename(os.path.dirname(note))}/{os.path.basename(note)},"
    with open(record, encoding="utf-8", newline="") as file:
        lines = [line for line in file if not line.startswith(start)]
    for path in (note, record):
        os.unlink(path)  # never through a link into the cache
    with open(record, "w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def is_compiled_form(path: str) -> bool:
    """Return whether a file was compiled by a package's author, for another time of its module: what counts is compiled here."""
    return "__pycache__" in path.split("/")


def find_sites(root: str) -> list[str]:
    """Return the folders of packages below a tree."""
    lib = os.path.join(root, "lib")
    names = sorted(os.listdir(lib)) if os.path.isdir(lib) else []
    places = [os.path.join(lib, name, "site-packages") for name in names]
    return [place for place in places if os.path.isdir(place)]


def divide(environment: str, uv: str, groups: list[list[str]], own: set[str]) -> list[dict[str, str]]:
    """Return each group's files: by their paths, the place that has them. ``own`` are the paths from before the packages."""
    packages = read_packages(environment)
    claims: dict[str, list[str]] = {}
    for name, paths in packages.items():
        for path in paths:
            claims.setdefault(path, []).append(name)
    disputed = {name for names in claims.values() if len(names) > 1 for name in names}
    trees: list[dict[str, str]] = []
    for lines in groups:
        tree: dict[str, str] = {}
        for line in lines:
            name = normalise(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0])
            if name not in packages:
                sys.exit(f"{name} was not installed")
            source, paths = environment, packages[name]
            if name in disputed:
                source = install_alone(line, environment, uv)
                paths = read_packages(source)[name]
            tree.update(dict.fromkeys(paths, source))
        trees.append(tree)
    rest = find_rest(environment, own.union(*packages.values()))
    if rest:
        settle_rest(environment, uv, groups, trees, rest)
    return trees


def install(uv: str, environment: str, file: str, *options: str) -> list[str]:
    """Return the command that installs the packages of a file."""
    command = [uv, "pip", "install", "--python", environment + "/bin/python", "--no-deps", "--require-hashes"]
    return [*command, "--link-mode", "symlink", *PLATFORM, *options, "-r", file]


def install_missing(uv: str, environment: str, first: str) -> None:
    """Install what is missing, with the option ``first`` if that will do, and end with uv's status where nothing does."""
    command = install(uv, environment, "missing.txt")
    if first:
        done = subprocess.run([*command, first], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode == 0:
            sys.stdout.buffer.write(done.stdout)
            return
    status = subprocess.call(command)
    if status != 0:
        sys.exit(status)


def install_alone(line: str, environment: str, uv: str) -> str:
    """Install one package into a place of its own, from what uv has, and return that place."""
    place = tempfile.mkdtemp()
    with open("missing.txt", encoding="utf-8") as file:
        options = [option for option in file if option.startswith("-")]
    with open(place + ".txt", "w", encoding="utf-8") as file:
        file.writelines([*options, line + "\n"])
    command = install(uv, environment, place + ".txt", "--prefix", place, "--quiet")
    if subprocess.call([*command, "--offline"], stderr=subprocess.DEVNULL) != 0:
        subprocess.check_call(command)
    return place


def find_rest(environment: str, known: set[str]) -> set[str]:
    """Return what was installed and no RECORD names."""
    return {
        path
        for path in list_files(environment) - known
        if os.path.basename(path) not in _NOTES and not is_compiled_form(path)
    }


def settle_rest(
    environment: str, uv: str, groups: list[list[str]], trees: list[dict[str, str]], rest: set[str]
) -> None:
    """Give the files of incomplete RECORDs to the packages that bring them, which is seen when each is installed by itself."""
    for number, lines in enumerate(groups):
        for line in lines:
            place = install_alone(line, environment, uv)
            found = {path for path in rest if os.path.lexists(os.path.join(place, path))}
            trees[number].update(dict.fromkeys(found, place))
            rest = rest - found
            if not rest:
                return
    sys.exit(f"the file {min(rest)} was installed, and no package brings it")


def list_files(root: str) -> set[str]:
    """Return the paths of all that is no folder."""
    found: set[str] = set()
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(os.path.join(root, above)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{above}{entry.name}/")
                else:
                    found.add(above + entry.name)
    return found


def cut(layers: str, limit: int) -> None:
    """Cut trees with more than ``limit`` bytes, between files and in the order of their names, so that it is always the same."""
    for tree in sorted(os.listdir(layers)):
        root = os.path.join(layers, tree)
        sizes = {path: os.lstat(os.path.join(root, path)).st_size for path in list_files(root)}
        if sum(sizes.values()) <= limit:
            continue
        part, size_bytes = 0, 0
        for path in sorted(sizes):
            if size_bytes and size_bytes + sizes[path] > limit:
                part, size_bytes = part + 1, 0
            size_bytes += sizes[path]
            if part:
                place = os.path.join(f"{root}.{part}", path)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                os.replace(os.path.join(root, path), place)


def plan_units(trees: list[dict[str, str]], layers: str) -> list[tuple[int, str, list[tuple[str, str]]]]:
    """Return what one process does at a time, what takes long first: (weight, tree, its paths with the places that have them).

    That is a top-level package or module, or what lies elsewhere.
    """
    units = []
    for number, tree in enumerate(trees):
        found: dict[str, list[tuple[str, str]]] = {}
        for path in sorted(tree):
            found.setdefault(find_top(path), []).append((path, tree[path]))
        units += [(-weigh(files), os.path.join(layers, str(number)), files) for files in found.values()]
    return sorted(units)


def find_top(path: str) -> str:
    """Return the top-level package or module that a path belongs to, "" for none, as notes of installed packages have none."""
    parts = path.split("/")
    top = parts[3] if len(parts) > 3 and parts[0] == "lib" and parts[2] == "site-packages" else ""
    return top if "." not in top or top.endswith(".py") else ""


def is_compiled(path: str) -> bool:
    """Return whether a path is a module that is compiled beforehand."""
    return path.endswith(".py") and find_top(path) != "" and _NOT_COMPILED not in path.split("/")


def weigh(files: list[tuple[str, str]]) -> int:
    """Return about how long files take, in no unit."""
    weight = 0
    for path, source in files:
        try:
            size_bytes = os.stat(os.path.join(source, path)).st_size
        except OSError:
            continue  # a link to nothing
        weight += size_bytes * (_COMPILING if is_compiled(path) else 1)
    return weight


def make_trees(trees: list[dict[str, str]], layers: str, environment: str) -> None:
    """Make the layers' trees of files, as many units at once as there are processors."""
    running = 0
    failed = False
    for _, tree, files in plan_units(trees, layers):
        if running >= len(os.sched_getaffinity(0)):
            failed |= os.wait()[1] != 0
            running -= 1
        if os.fork() == 0:
            make_unit(tree, files, environment)
            os._exit(0)
        running += 1
    while running:
        failed |= os.wait()[1] != 0
        running -= 1
    if failed:
        sys.exit("a process that makes layers was ended")


def make_unit(tree: str, files: list[tuple[str, str]], environment: str) -> None:
    """Copy files into a tree, and compile the modules among them; they will lie below ``environment``."""
    folders: set[str] = set()
    for path, source in files:
        place = os.path.join(tree, path)
        make_folder(os.path.dirname(place), folders)
        if not is_compiled(path):
            copy(os.path.join(source, path), place)
            continue
        text, mode = copy_text(os.path.join(source, path), place)
        data = compile_module(text, os.path.join(environment, path))
        if data:
            target = importlib.util.cache_from_source(place)
            make_folder(os.path.dirname(target), folders)
            # Owners can write it, whatever its source is: as py_compile has it.
            write(target, data, mode & 0o644 | 0o200)


def make_folder(path: str, made: set[str]) -> None:
    """Make a folder and those above it, but for those that were made before."""
    if path not in made:
        os.makedirs(path, exist_ok=True)
        made.add(path)


def copy(source: str, target: str) -> None:
    """Copy a file that uv installed, or that a link of uv's names; a link to something else stays one."""
    try:
        read = os.open(source, os.O_RDONLY)
        status = os.fstat(read)
    except OSError:
        os.symlink(os.readlink(source), target)
        return
    try:
        if not stat.S_ISREG(status.st_mode):
            os.symlink(os.readlink(source), target)
            return
        written = create(target, status.st_mode)
        try:
            while os.sendfile(written, read, None, 2**30):
                pass
        finally:
            os.close(written)
    finally:
        os.close(read)


def copy_text(source: str, target: str) -> tuple[bytes, int]:
    """Copy a module, and return its text and mode."""
    with open(source, "rb") as file:
        text, mode = file.read(), os.fstat(file.fileno()).st_mode
    write(target, text, mode)
    return text, mode


def create(path: str, mode: int) -> int:
    """Make a new file with this very mode, whatever the umask, and return it open."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchmod(fd, mode & 0o777)
    return fd


def write(path: str, data: bytes, mode: int) -> None:
    """Write a file at once."""
    fd = create(path, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def compile_module(text: bytes, shown: str) -> bytes:
    """Return what Python writes for a module that lies at ``shown``, b"" for one with an error.

    Such are templates and tests of errors: importing them fails as it would anywhere.
    """
    try:
        code = compile(text, shown, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, SystemError):
        return b""
    return importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(text) + marshal.dumps(code)


def main() -> None:
    """Install what is missing, divide it, and make trees of it."""
    warnings.simplefilter("ignore")  # of what others wrote, one for each escape that is none
    environment, layers, uv, limit, first, platform = sys.argv[1:]
    if platform:
        PLATFORM[:] = ["--python-platform", platform]
    with open("groups.json", encoding="utf-8") as file:
        groups = json.load(file)
    own = list_files(environment)
    os.makedirs(layers)
    shutil.copytree(environment, os.path.join(layers, "venv"), symlinks=True)
    if any(groups):
        install_missing(uv, environment, first)
        make_trees(divide(environment, uv, groups, own), layers, environment)
    cut(layers, int(limit))


if __name__ == "__main__":
    main()
