"""Where the files of chosen packages are: what a bundle is fetched from. Pure.

A lock names no addresses (docs/adr/0004), so they are asked for again, for these versions and hashes alone.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from carboy.base.credentials import redact
from carboy.environments.lock import Package, normalise
from carboy.errors import CarboyError

ADDRESS_SCRIPT = """set -eu
umask 022
cd /run/carboy/work
/run/carboy/uv pip compile pins.txt --no-deps --generate-hashes --format pylock.toml --no-header --no-annotate --quiet \\
    --python "$1" --output-file pylock.toml >/dev/null
"""
STAND_INS = "/run/carboy/packages"
"""Where the installing step has files that stand in for what addresses lead to."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,200}\.(whl|zip|tar\.(gz|bz2|xz))", re.ASCII)
_BY_ADDRESS = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*) @ (?P<address>https?://[^\s#]+)")
# In files: NAME[extras] @ ADDRESS#...; ADDRESS alone is pip's older form. What follows is markers and hashes.
_REQUIREMENT = re.compile(
    r"\s*(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\]]*\])?\s*@\s*)?(?P<address>https?://[^\s#;]+)"
    r"(?:#[^\s;]*)?(?P<rest>.*)"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of a package: its name, its hash, where it is (an address, or a path of this host), its size where that is known."""

    name: str
    sha256: str
    address: str
    size_bytes: int | None

    @property
    def is_wheel(self) -> bool:
        """Whether it is installed as it is; else it is built."""
        return self.name.endswith(".whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """Files in place of what packages' addresses lead to: what is installed is the same, and notes the same address.

    ``folder`` is the host's, with ``<sha256>/<name>``; ``places`` are (address, its place in the sandbox), ``overrides``
    requirements that count in place of what packages ask for by themselves.
    """

    folder: str = ""
    places: tuple[tuple[str, str], ...] = ()
    overrides: str = ""

    def replace(self, requirement: str) -> str:
        """Return the line of a package that was chosen, with the place of its file."""
        match = _BY_ADDRESS.match(requirement)
        place = dict(self.places).get(match["address"]) if match is not None else None
        return (
            requirement if match is None or place is None else f"{match['name']} @ {place}{requirement[match.end() :]}"
        )


NO_STAND_INS = StandIns()


def find_address(requirement: str) -> str:
    """Return the address that the line of a package that was chosen has, "" where an index has the package."""
    match = _BY_ADDRESS.match(requirement)
    return match["address"] if match is not None else ""


def name_place(sha256: str, name: str) -> str:
    """Return the address that a file standing in for another one has in the sandbox."""
    return f"file://{STAND_INS}/{sha256}/{name}"


def point_elsewhere(text: str, places: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Return requirements with other addresses, and those of them alone, as overrides.

    ``places`` are (address, place) by the normalised names of packages: what has that name, or none, and that address gets
    that place.
    """
    lines, overrides = [], []
    by_address = {address: (name, place) for name, (address, place) in places.items()}
    for line in text.splitlines():
        match = _REQUIREMENT.match(line)
        name, place = by_address.get(match["address"], ("", "")) if match is not None else ("", "")
        if match is None or not place or normalise(match["name"] or name) != name:
            lines.append(line)
            continue
        pointed = f"{name}{match['extras'] or ''} @ {place}"
        lines.append(f"{pointed}{match['rest']}")
        overrides.append(pointed)
    return "".join(f"{line}\n" for line in lines), "".join(f"{line}\n" for line in overrides)


def is_file_name(name: str) -> bool:
    """Return whether ``name`` can be that of a wheel or of a source distribution."""
    return _FILE_NAME.fullmatch(name) is not None


def plan_pins(requirements: str, packages: tuple[Package, ...]) -> str:
    """Return the requirements that stand for these packages alone, with the options (indexes) of ``requirements``."""
    options = [line for line in requirements.splitlines() if line.startswith("-")]
    return "".join(f"{line}\n" for line in (*options, *(package.requirement for package in packages)))


def parse_addresses(text: str, *, packages: tuple[Package, ...] | None, work: str) -> tuple[SourceFile, ...]:
    """Return the file of each package of a ``pylock.toml``, which was written in the folder ``work``.

    Of ``packages`` each has the file that its hashes allow; None: as uv chose. Raises ``CarboyError`` for what has no file.
    """
    allowed = None if packages is None else {p.name: frozenset(_HASH.findall(p.requirement)) for p in packages}
    try:
        items = tomllib.loads(text).get("packages", [])
    except tomllib.TOMLDecodeError as error:
        raise CarboyError("the resolver wrote a lock that is not valid TOML", details=str(error)) from error
    found = {normalise(str(item.get("name", ""))): _choose(item, allowed, work) for item in items}
    if allowed is not None and (lost := sorted(set(allowed) - set(found))):
        raise CarboyError(
            "no index has these packages any more", details="\n".join(lost), hint="`carboy lock --upgrade`"
        )
    return tuple(found[name] for name in sorted(found))


def _choose(item: dict[str, Any], allowed: Mapping[str, frozenset[str]] | None, work: str) -> SourceFile:
    name, version = normalise(str(item.get("name", ""))), str(item.get("version", ""))
    archive = item.get("archive")
    if "vcs" in item or "directory" in item or (archive and (allowed is None or not _can_be_stood_in_for(archive))):
        place = item.get("vcs") or item.get("directory") or archive or {}
        raise CarboyError(
            f"{name} is named by an address that cannot go into a bundle",
            details=redact(str(place.get("url") or place.get("path") or "")),
            hint="name a released version, or in the requirements the address of an archive that is the package, without a login",
        )
    files = [archive] if archive else [*(item.get("wheels") or []), *([item["sdist"]] if "sdist" in item else [])]
    for one in files:
        sha256 = str(one.get("hashes", {}).get("sha256", ""))
        if re.fullmatch("[0-9a-f]{64}", sha256) and (allowed is None or sha256 in allowed.get(name, ())):
            return _read(one, sha256, work)
    raise CarboyError(
        f"no index has a file of {name} {version} with the hash that was locked",
        hint="`carboy lock --upgrade` chooses anew, of what there is",
    )


def _can_be_stood_in_for(archive: Mapping[str, Any]) -> bool:
    """Return whether a file does in place of an address: the resolver takes no folder out of a file, and logins stay out."""
    return "subdirectory" not in archive and "@" not in urlsplit(str(archive.get("url") or "")).netloc


def _read(one: dict[str, Any], sha256: str, work: str) -> SourceFile:
    address = str(one.get("url") or "")
    path = str(one.get("path") or "")
    if address.startswith("file://"):
        path = unquote(urlsplit(address).path)
    place = os.path.normpath(os.path.join(work, path)) if path else address
    name = str(one.get("name") or "") or unquote(place.partition("#")[0].partition("?")[0].rpartition("/")[2])
    if not is_file_name(name):
        raise CarboyError(f"{name!r} is no name of a package's file", details=place)
    size = one.get("size")
    return SourceFile(name=name, sha256=sha256, address=place, size_bytes=size if isinstance(size, int) else None)


def add_credentials(address: str, env: Mapping[str, str], requirements: str) -> str:
    """Return an address with the user and password that an index on the same host is named with, where it has none."""
    parts = urlsplit(address)
    if not parts.hostname or parts.username is not None:
        return address
    texts = [value for name, value in env.items() if name.startswith("UV_")]
    for match in re.finditer(r"https?://[^\s'\",]+", " ".join([*texts, requirements])):
        index = urlsplit(match.group())
        same = (index.scheme, index.hostname, index.port) == (parts.scheme, parts.hostname, parts.port)
        if same and index.username is not None:
            words = [quote(unquote(word), safe="") for word in (index.username, index.password) if word]
            return parts._replace(netloc=f"{':'.join(words)}@{parts.netloc}").geturl()
    return address
