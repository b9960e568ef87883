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

from carboy.environments.lock import Package, normalise
from carboy.errors import CarboyError

ADDRESS_SCRIPT = """set -eu
umask 022
cd /run/carboy/work
/run/carboy/uv pip compile pins.txt --no-deps --generate-hashes --format pylock.toml --no-header --no-annotate --quiet \\
    --python /usr/bin/python3 --output-file pylock.toml >/dev/null
"""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,200}\.(whl|zip|tar\.(gz|bz2|xz))", re.ASCII)
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
    if "archive" in item or "vcs" in item or "directory" in item:
        raise CarboyError(
            f"{name} is named by an address, which cannot go into a bundle",
            details="what is installed notes where it is from, and that would be another place",
            hint="name a released version of it",
        )
    files = [*(item.get("wheels") or []), *([item["sdist"]] if "sdist" in item else [])]
    for one in files:
        sha256 = str(one.get("hashes", {}).get("sha256", ""))
        if re.fullmatch("[0-9a-f]{64}", sha256) and (allowed is None or sha256 in allowed.get(name, ())):
            return _read(one, sha256, work)
    raise CarboyError(
        f"no index has a file of {name} {version} with the hash that was locked",
        hint="`carboy lock --upgrade` chooses anew, of what there is",
    )


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
