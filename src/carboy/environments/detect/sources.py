"""Packages that lie in the folder itself: where the installing step finds each, as an archive that it builds as any source. Pure.

A folder becomes an archive, and a file is taken as it is; both lie below :data:`PLACE` in the sandbox, at a name that tells
where they are in the project. So a requirement says all there is to know, and nothing else needs to be carried along.
"""

from __future__ import annotations

import posixpath
import re

from carboy.errors import CarboyError

PLACE = "/run/carboy/work/sources"
ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz")
_FOLDER = ".folder.tar.gz"
_ADDRESS = re.compile(rf"file://{PLACE}/([^\s;\"'\[\]]+)")
_PLAIN = re.compile(r"[\w./~-]", re.ASCII)
_HINT = "copy it into the folder, or name a released version"


def name_source(path: str, where: str) -> str:
    """Return the address of what lies at ``path``, seen from the folder's top; ``where`` names it. Raises ``CarboyError``."""
    inner = posixpath.normpath(path)
    if posixpath.isabs(inner) or inner == ".." or inner.startswith("../"):
        raise CarboyError(f"{where} asks for a package outside of the folder", details=path, hint=_HINT)
    return f"file://{PLACE}/{_quote(inner)}{'' if inner.endswith(ARCHIVES) else _FOLDER}"


def _quote(path: str) -> str:
    """Return a path as an address has it (RFC 3986)."""
    data = path.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in data)


def _unquote(text: str) -> str:
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found.group(1), 16)]), text.encode())
    return data.decode("utf-8", "surrogateescape")


def find_sources(text: str) -> tuple[tuple[str, str], ...]:
    """Return, for requirements that name sources, (place below :data:`PLACE`, path below the folder's top) of each, sorted."""
    places = sorted({_unquote(place) for place in _ADDRESS.findall(text)})
    return tuple((place, place.removesuffix(_FOLDER)) for place in places)


def show_sources(line: str) -> str:
    """Return a requirement as people write it: ``./libs/own`` for the address of that in the sandbox."""
    return _ADDRESS.sub(lambda found: f"./{_unquote(found.group(1)).removesuffix(_FOLDER).removeprefix('.')}", line)
