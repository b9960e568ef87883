"""What a resolved environment is: its packages, each with the hash of the one file that is installed. Pure.

uv writes ``pylock.toml`` (PEP 751) for one interpreter; what is kept of it is pip's form, because that holds no address
(docs/adr/0004) and is what people read::

    numpy==2.4.6 --hash=sha256:89cd...
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from carboy.environments.detect.sources import PLACE, find_sources
from carboy.errors import CarboyError

# As the resolver writes it: who works in the folder above, and says by itself whether paths begin there.
_OWN = (f"{PLACE.rpartition('/')[2]}/", f"{PLACE}/")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+", re.ASCII)
_HASH = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package at one version. ``requirement`` is its line in pip's form, with every hash that may be installed.

    ``size_bytes`` is that of the file, 0 where the index does not say. ``built`` says that there is no wheel for this
    interpreter, or none that counts: the source is built. ``origin`` is the line of what it was built of before, where its
    wheel stands in for that.
    """

    name: str
    version: str
    requirement: str
    size_bytes: int = 0
    built: bool = False
    origin: str = ""

    @property
    def line(self) -> str:
        """The package as a lock has it."""
        return self.origin or self.requirement

    @property
    def is_source(self) -> bool:
        """Whether it is the source distribution of an index, or a source in the folder itself; else an address has it."""
        return self.built and ("==" in self.requirement.partition(" ")[0] or bool(find_sources(self.requirement)))


def normalise(name: str) -> str:
    """Return a package's name as it is compared (PEP 503): ``Flask_Login`` is ``flask-login``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_pylock(
    text: str,
    *,
    allowed: str = "",
    measure: Callable[[str], int] = lambda _: 0,
    provided: Collection[str] = (),
) -> tuple[Package, ...]:
    """Return the packages of a ``pylock.toml``, sorted by name.

    ``allowed`` is a lock in pip's form that was given: the hashes that it has for a package are the ones that count. ``measure``
    gives the size in bytes of a file whose address has none in the lock; ``provided`` are normalised names of what the
    interpreter has already, which is left out. Raises ``CarboyError`` for what cannot be installed by its hash, and for what
    the given lock does not name.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CarboyError("the resolver wrote a lock that is not valid TOML", details=str(error)) from error
    given = parse_hashes(allowed)
    found = [
        _package(item, given, measure)
        for item in value.get("packages", [])
        if normalise(str(item.get("name", ""))) not in provided
    ]
    return tuple(sorted(found, key=lambda package: package.name))


def _package(item: dict[str, Any], given: dict[str, tuple[str, ...]], measure: Callable[[str], int]) -> Package:
    name, version = str(item.get("name", "")), str(item.get("version", ""))
    for kind, hint in (("vcs", "a repository has no hash"), ("directory", "a folder has no hash")):
        if kind in item:
            raise CarboyError(
                f"{name} cannot be locked: {hint}",
                details=_address(item[kind]),
                hint="name a released version, or the address of an archive",
            )
    wheels = item.get("wheels") or []
    archive = item.get("archive")
    if _is_source(item, given.get(normalise(name), ())):
        wheels = []
    chosen = archive or (wheels[0] if wheels else item.get("sdist")) or {}
    digest = str(chosen.get("hashes", {}).get("sha256", ""))
    if not _NAME.fullmatch(name) or not (archive or _VERSION.fullmatch(version)) or not _HEX.fullmatch(digest):
        raise CarboyError(
            f"{name or 'a package'} {version} cannot be locked: the index has no SHA-256 of it",
            hint="use an index that gives hashes, or another version",
        )
    hashes: tuple[str, ...] = (digest,)
    # What lies in the folder itself is what it is there: no lock has a hash of it.
    own = find_sources(_address(archive)) if archive else ()
    if given and not own:
        listed = given.get(normalise(name), ())
        if not listed:
            raise CarboyError(
                f"the lock does not name {name}, which another package in it needs", hint="lock the requirements anew"
            )
        # Else the installer looks for another file of that version: one that the lock does allow.
        hashes = hashes if digest in listed else listed
    pin = f"{name} @ {_address(archive)}{_inside(archive)}" if archive else f"{name}=={version}"
    marks = "".join(f" --hash=sha256:{mark}" for mark in sorted(hashes))
    return Package(
        name=normalise(name),
        version=version or digest[:12],
        requirement=f"{pin}{marks}",
        size_bytes=int(chosen.get("size") or measure(_address(chosen))),
        built=not wheels and not _address(archive or {}).endswith(".whl"),
    )


def _is_source(item: dict[str, Any], listed: tuple[str, ...]) -> bool:
    """Return whether a lock that was given, with the hashes ``listed``, allows the source of a package alone."""
    return listed == (str((item.get("sdist") or {}).get("hashes", {}).get("sha256", "")),)


def settle_chosen(chosen: tuple[Package, ...], found: tuple[Package, ...], *, allowed: str) -> tuple[Package, ...]:
    """Return what is to be installed: ``chosen``, and those of ``found`` that lie in the folder itself, sorted by name.

    Raises ``CarboyError`` unless ``chosen`` are what the requirements come to: ``found`` of the same files. ``allowed`` is a
    lock that was given, and nobody may allow more hashes than that.
    """
    given = parse_hashes(allowed)
    own = tuple(package for package in found if find_sources(package.requirement))
    before, now = ({p.name: p for p in packages if p not in own} for packages in (chosen, found))
    wrong = []
    for name in sorted({*before, *now}):
        ours, theirs = before.get(name), now.get(name)
        if ours is None or theirs is None or not _are_same(ours, theirs, given.get(name) if given else None):
            has, wants = ("none" if package is None else package.version for package in (ours, theirs))
            wrong.append(f"{name}: the bundle has {has}, the requirements come to {wants} of its files")
    if wrong:
        raise CarboyError(
            "the bundle is not what the requirements come to",
            details="\n".join(wrong[:20]),
            hint="make it again: carboy fetch FOLDER -o bundle.tar",
        )
    return tuple(sorted((*chosen, *own), key=lambda package: package.name))


def _are_same(ours: Package, theirs: Package, allowed: tuple[str, ...] | None) -> bool:
    mine, other = (set(_HASH.findall(package.requirement)) for package in (ours, theirs))
    return ours.version == theirs.version and bool(mine & other) and (allowed is None or mine <= set(allowed))


def _address(item: dict[str, Any]) -> str:
    address = str(item.get("url") or item.get("path") or "")
    for start in _OWN:
        if address.startswith(start):
            return f"file://{PLACE}/{address.removeprefix(start)}"
    return address


def _inside(item: dict[str, Any]) -> str:
    """Return what an address says at its end of the folder of the archive that the package is in."""
    folder = str(item.get("subdirectory") or "")
    return f"#subdirectory={folder}" if re.fullmatch(r"[\w./~-]+", folder, re.ASCII) else ""


def parse_pin(line: str) -> Package:
    """Return the package that a line of a lock names. Raises ``CarboyError`` for one that an index does not have."""
    name, mark, rest = line.partition("==")
    if not mark or " " in name:
        raise CarboyError(
            f"what a package is built with is no release of an index: {line}", hint="build it with one that is"
        )
    return Package(name=normalise(name), version=rest.partition(" ")[0], requirement=line)


def parse_hashes(text: str) -> dict[str, tuple[str, ...]]:
    """Return the SHA-256 hashes of each package, by its normalised name, in a lock of pip's form."""
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
        if match is not None:
            marks = re.findall(r"--hash[=\s]+sha256:([0-9a-f]{64})", line)
            found.setdefault(normalise(match.group(1)), []).extend(marks)
    return {name: tuple(sorted(set(marks))) for name, marks in found.items()}


def render_lock(packages: tuple[Package, ...]) -> str:
    """Return the lock in pip's form, a line for each package."""
    return "".join(f"{package.line}\n" for package in packages)
