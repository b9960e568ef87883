"""``carboy.lock``: what an environment stands on and is made of, to be reviewed and kept beside the code. Pure.

One line for each package, in a stable order; no address, no time, nothing of the host::

    version = 1
    inputs = "sha256:..."       what was asked for: a lock of something else is out of date

    [base]
    name = "debian:bookworm"
    packages = ["adduser 3.134 sha256:...", ...]

    [python]
    packages = ["numpy==2.1.3 --hash=sha256:...", ...]

    [built]                     where something is built of a source: package by package, with what
    "own" = ["setuptools==80.9.0 --hash=sha256:...", ...]
    "own/setuptools" = [...]    where that is built of its source as well

    [r]                         where a folder asks for R packages
    packages = ["r-cran-mass 7.3-58.2-1 sha256:...", ...]       the distribution's, and the libraries that they need
    sources = ["abind 1.4-5 sha256:...", ...]

    [conda]                     where a folder asks for any of conda's
    packages = ["zlib 1.3.1 conda-forge/linux-64/zlib-1.3.1-hb9d3cd8_2.conda sha256:...", ...]
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from carboy.errors import CarboyError, list_first

NAME = "carboy.lock"
# The same in an image: labels of its configuration.
ARCHIVE_LABEL, LOCK_LABEL = "io.carboy.archive", "io.carboy.lock"
R_LABEL, CONDA_LABEL = "io.carboy.r", "io.carboy.conda"
BUILT_LABEL = "io.carboy.built"
_VERSION = 1
_BASE_LINE = re.compile(r"(\S+) (\S+) sha256:[0-9a-f]{64}", re.ASCII)
_PYTHON_LINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*( @ \S+|==\S+)( --hash=sha256:[0-9a-f]{64})+", re.ASCII)

_CONDA_LINE = re.compile(r"\S+ \S+ \S+/[\w-]+/[^/\s]+(\.conda|\.tar\.bz2) sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """A lock: ``inputs`` is the digest of what was asked for, ``base`` the distribution and suite, ``base_packages`` lines of
    name, version and hash, ``python`` requirements in pip's form with their hashes, ``r`` and ``r_sources`` lines as the base's,
    ``conda`` lines of conda's packages; ``tools``, by package, lines as Python's of what it is built with.
    """

    inputs: str
    base: str
    base_packages: tuple[str, ...]
    python: tuple[str, ...]
    r: tuple[str, ...] = ()
    r_sources: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    tools: tuple[tuple[str, tuple[str, ...]], ...] = ()


def render_lockfile(lock: LockFile) -> str:
    """Return the file's text."""
    parts = [
        "# Written by `carboy lock`, read by `carboy build`. To change it, change the requirements and lock again.\n",
        f"version = {_VERSION}\ninputs = {_quote(lock.inputs)}\n",
        f"[base]\nname = {_quote(lock.base)}\npackages = {_list(lock.base_packages)}\n",
        f"[python]\npackages = {_list(lock.python)}\n",
    ]
    if lock.tools:
        parts.append("[built]\n" + "".join(f"{_quote(name)} = {_list(lines)}\n" for name, lines in lock.tools))
    if lock.r or lock.r_sources:
        parts.append(f"[r]\npackages = {_list(lock.r)}\nsources = {_list(lock.r_sources)}\n")
    if lock.conda:
        parts.append(f"[conda]\npackages = {_list(lock.conda)}\n")
    return "\n".join(parts)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a basic string of TOML, for what has no control characters


def _list(lines: Sequence[str]) -> str:
    return "[\n" + "".join(f"    {_quote(line)},\n" for line in lines) + "]"


def parse_lockfile(text: str) -> LockFile:
    """Return the lock. Raises ``CarboyError`` for what this version has not written."""
    import tomllib  # a base that is there is found without it

    hint = "take it from your history, or remove it: `carboy lock` writes it anew then"
    try:
        value = tomllib.loads(text)
        version, inputs = value["version"], value["inputs"]
        base, python, r = value["base"], value["python"], value.get("r", {"packages": (), "sources": ()})
        lock = LockFile(
            inputs=inputs,
            base=base["name"],
            base_packages=tuple(base["packages"]),
            python=tuple(python["packages"]),
            r=tuple(r["packages"]),
            r_sources=tuple(r["sources"]),
            conda=tuple(value.get("conda", {"packages": ()})["packages"]),
            tools=tuple((name, tuple(lines)) for name, lines in value.get("built", {}).items()),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CarboyError(f"{NAME} cannot be read", details=str(error), hint=hint) from error
    if version != _VERSION:
        raise CarboyError(f"{NAME} is of version {version}, which this carboy does not know", hint=hint)
    own = (lock.base_packages, lock.r, lock.r_sources)
    tools = tuple(line for _, lines in lock.tools for line in lines)
    others = ((lock.python, _PYTHON_LINE), (lock.conda, _CONDA_LINE), (tools, _PYTHON_LINE))
    for lines, form in (*((lines, _BASE_LINE) for lines in own), *others):
        for line in lines:
            if not isinstance(line, str) or not form.fullmatch(line):
                raise CarboyError(f"{NAME} has a line that names no package", details=str(line), hint=hint)
    return lock


def render_tools(tools: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """Return what packages are built with as an image's label has it: a line for each tool, the package first."""
    return "".join(f"{name}: {line}\n" for name, lines in tools for line in lines)


def parse_tools(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return what an image's label says that packages were built with; lines that name nothing are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for name, colon, line in (line.partition(": ") for line in text.splitlines()):
        if colon and _PYTHON_LINE.fullmatch(line):
            found[name] = (*found.get(name, ()), line)
    return tuple(found.items())


def explain_drift(locked: Sequence[str], now: Sequence[str], *, limit: int = 10) -> list[str]:
    """Return, for people, how the lines of packages differ: ``jq 1.6 is 1.7 now``; [] when they are the same."""
    before, after = ({line.split(" ", 1)[0]: line for line in lines} for lines in (locked, now))
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is None or new is None:
            found.append(f"{name} {'is new' if old is None else 'is gone'}")
        else:
            versions = [line.split(" ")[1] for line in (old, new)]
            same = versions[0] == versions[1]
            found.append(f"{name} {versions[0]} {'has other bytes' if same else f'is {versions[1]} now'}")
    return list_first(found, limit)


def keep_versions(lock: LockFile, *, upgrade: Sequence[str]) -> str:
    """Return the lock's versions as constraints, without those of the packages that are to be newer."""
    from carboy.environments.detect.requirements import strip_hashes
    from carboy.environments.lock import normalise

    free = {normalise(name) for name in upgrade}
    lines = (strip_hashes(line) for line in lock.python if " @ " not in line or " @ git+" in line)
    return "".join(f"{line}\n" for line in lines if normalise(re.split("==| @ ", line)[0]) not in free)


def keep_tools(lock: LockFile, *, upgrade: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return what packages are built with, without those that are to be newer."""
    from carboy.environments.lock import normalise

    free = {normalise(name) for name in upgrade}
    return tuple((name, lines) for name, lines in lock.tools if not free & set(name.split("/")))


def keep_conda_versions(lock: LockFile, *, upgrade: Sequence[str]) -> tuple[str, ...]:
    """Return the lock's packages of conda's as specs, without those that are to be newer."""
    found = []
    for line in lock.conda:
        name, version, place, _ = line.split(" ")
        build = place.removesuffix(".conda").removesuffix(".tar.bz2").rpartition("-")[2]
        if name not in upgrade:
            found.append(f"{name} =={version} {build}")
    return tuple(found)


def list_pins(lock: LockFile) -> tuple[str, ...]:
    """Return all packages of languages that are chosen by their versions as NAME==VERSION: Python's and conda's."""
    pairs = (line.split(" ")[:2] for line in lock.conda)
    return (*lock.python, *(f"{name}=={version}" for name, version in pairs))


def compare_versions(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (package, version, other version) where two lists of pins differ; "" for a package that one does not have.

    The version of a repository's package is the beginning of its commit's name.
    """

    def versions(lines: Sequence[str]) -> dict[str, str]:
        found = {}
        for line in lines:
            name, mark, version = line.split(" --hash", 1)[0].partition(" @ git+" if " @ git+" in line else "==")
            if version:
                found[name] = version if mark == "==" else version.partition("#")[0].rpartition("@")[2][:12]
        return found

    before, after = versions(old), versions(new)
    names = sorted({*before, *after})
    return [(n, before.get(n, ""), after.get(n, "")) for n in names if before.get(n) != after.get(n)]
