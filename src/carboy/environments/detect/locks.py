"""Locks of other tools, as versions with hashes in pip's form: what was chosen there is what may be installed here.

Sources: uv's, Poetry's and PDM's own files as their current versions write them; ``Pipfile.lock`` version 6; PEP 751.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from carboy.environments.detect.pipfile import read_requires
from carboy.environments.detect.pyproject import parse_toml
from carboy.environments.detect.repositories import RepositoryLine, from_lock, refuse_foreign
from carboy.environments.detect.sources import name_source
from carboy.errors import CarboyError

LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock")
# PEP 751's lock under a name of its own, which carboy.toml may name.
NAMED_PYLOCK = re.compile(r"pylock\.[^./]+\.toml")
# Those that are installed as a whole, with their markers; the others stand beside a project that says what it asks for.
WHOLE = ("pylock.toml", "Pipfile.lock")


def parse_lock(name: str, text: str) -> str:
    """Return the lock's versions with hashes, a line for each, in pip's form. Raises ``CarboyError``."""
    readers = {"uv.lock": _uv, "poetry.lock": _poetry, "pdm.lock": _pdm, "Pipfile.lock": _pipfile}
    try:
        lines = readers[name](text) if name in readers else _pylock(text, name)
    except (AttributeError, TypeError, KeyError) as error:  # a table where a text should be, and the like
        raise CarboyError(
            f"{name} has an entry that is not as its tool writes it", details=str(error), hint="write the lock anew"
        ) from error
    return "".join(f"{line}\n" for line in sorted(set(lines)))


def find_python(name: str, text: str) -> str:
    """Return what a lock of :data:`WHOLE` asks of the interpreter, "" for nothing."""
    if name == "pylock.toml" or NAMED_PYLOCK.fullmatch(name):
        return str(parse_toml(text, name).get("requires-python", ""))
    return read_requires(_read_pipfile(text, "_meta")) if name == "Pipfile.lock" else ""


def _line(name: Any, version: Any, marker: str, hashes: Iterable[Any], lock: str) -> str:
    marks = sorted({str(mark) for mark in hashes if str(mark).startswith("sha256:")})
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        raise CarboyError(f"{lock} has a package without a name or a version", hint="write the lock anew")
    if not marks:
        raise CarboyError(
            f"{lock} has no SHA-256 for {name} {version}",
            hint="lock it with a version of the tool that writes hashes, or name a released version",
        )
    mark = f" ; {marker}" if marker else ""
    return f"{name}=={version}{mark}{''.join(f' --hash={item}' for item in marks)}"


def _elsewhere(name: Any, source: Any, marker: str, lock: str) -> str | None:
    """Return the line of a package that lies in the folder or in a repository of code, None for one of an index.

    ``source`` is what the lock says of its place. Raises ``CarboyError`` for a repository that is not git's, or has no commit.
    """
    table = source if isinstance(source, dict) else {}
    table = table["vcs"] if isinstance(table.get("vcs"), dict) else table
    refuse_foreign(table, name=str(name), where=lock)
    if table.get("type") == "git" or "git" in table:
        repository = from_lock(table, where=lock, name=str(name))
        mark = f"; {marker}" if marker else ""
        return str(RepositoryLine(repository=repository, name=str(name), marker=mark))
    path = next((table[key] for key in ("directory", "editable", "path") if isinstance(table.get(key), str)), None)
    if path is None and table.get("type") in {"directory", "file"}:
        path = str(table.get("url", ""))
    if path is None:
        return None
    return f"{name} @ {name_source(path, lock)}{f' ; {marker}' if marker else ''}"


def _packages(value: Mapping[str, Any], key: str, lock: str) -> list[dict[str, Any]]:
    found = value.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise CarboyError(f"{lock} has no list of packages", hint="write the lock anew")
    return found


def _any(markers: Iterable[Any]) -> str:
    return " or ".join(f"({marker})" for marker in markers)


def _uv(text: str) -> list[str]:
    lines = []
    for item in _packages(parse_toml(text, "uv.lock"), "package", "uv.lock"):
        source = item.get("source", {})
        if "virtual" in source or "." in {source.get("editable"), source.get("directory")}:
            continue  # the project itself, or a member that is no package
        marker = _any(item.get("resolution-markers", []))
        if (local := _elsewhere(item.get("name"), source, marker, "uv.lock")) is not None:
            lines.append(local)
            continue
        files = [*item.get("wheels", []), *([item["sdist"]] if "sdist" in item else [])]
        lines.append(_line(item.get("name"), item.get("version"), marker, (f.get("hash") for f in files), "uv.lock"))
    return lines


def _pylock(text: str, lock: str) -> list[str]:
    lines = []
    for item in _packages(parse_toml(text, lock), "packages", lock):
        if item.get("directory", {}).get("path") == ".":
            continue
        place = item.get("directory") or {key: item[key] for key in ("vcs",) if key in item} or item.get("archive")
        if (local := _elsewhere(item.get("name"), place, str(item.get("marker", "")), lock)) is not None:
            lines.append(local)
            continue
        files = [*item.get("wheels", []), *([item["sdist"]] if "sdist" in item else [])]
        hashes = (f"sha256:{f['hashes']['sha256']}" for f in files if f.get("hashes", {}).get("sha256"))
        marker = str(item.get("marker", ""))
        lines.append(_line(item.get("name"), item.get("version"), marker, hashes, lock))
    return lines


def _poetry(text: str) -> list[str]:
    value = parse_toml(text, "poetry.lock")
    old = value.get("metadata", {}).get("files", {})  # before Poetry 1.3
    lines = []
    for item in _packages(value, "package", "poetry.lock"):
        files = item.get("files") or old.get(item.get("name"), [])
        marks = item.get("markers", "")
        marker = _any(marks.values()) if isinstance(marks, dict) else str(marks)
        if (local := _elsewhere(item.get("name"), item.get("source"), marker, "poetry.lock")) is not None:
            lines.append(local)
            continue
        hashes = (f.get("hash") for f in files)
        lines.append(_line(item.get("name"), item.get("version"), marker, hashes, "poetry.lock"))
    return lines


def _pdm(text: str) -> list[str]:
    value = parse_toml(text, "pdm.lock")
    old = value.get("metadata", {}).get("files", {})  # before PDM 2.8
    lines: dict[tuple[str, str], str] = {}
    for item in _packages(value, "package", "pdm.lock"):
        name, version = str(item.get("name", "")), str(item.get("version", ""))
        if item.get("path") in {".", "./."}:
            continue
        files = item.get("files") or old.get(f"{name} {version}", [])
        marker = str(item.get("marker", ""))
        if (local := _elsewhere(name, item, marker, "pdm.lock")) is not None:
            lines[name, version] = local
            continue
        # An entry with extras repeats the package itself.
        lines[name, version] = _line(name, version, marker, (f.get("hash") for f in files), "pdm.lock")
    return list(lines.values())


def _read_pipfile(text: str, section: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(text).get(section, {})
    except (ValueError, AttributeError) as error:
        raise CarboyError("Pipfile.lock is not valid JSON", details=str(error), hint="write the lock anew") from error
    if not isinstance(found, dict):
        raise CarboyError(f"Pipfile.lock: {section} is not a table", hint="write the lock anew")
    return found


def _pipfile(text: str) -> list[str]:
    lines = []
    for name, item in _read_pipfile(text, "default").items():
        version = str(item.get("version", ""))
        if item.get("path") == ".":
            continue
        if (local := _elsewhere(name, item, str(item.get("markers", "")), "Pipfile.lock")) is not None:
            lines.append(local)
            continue
        if not version.startswith("=="):
            raise CarboyError(f"Pipfile.lock has no version of {name}", hint="name a released version in the Pipfile")
        hashes = item.get("hashes", [])
        lines.append(_line(name, version.removeprefix("=="), str(item.get("markers", "")), hashes, "Pipfile.lock"))
    return lines
