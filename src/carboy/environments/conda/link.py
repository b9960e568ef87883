"""What a package's files become in an environment: which path, which bytes. Pure, member by member.

Every path stays below the prefix, owners and times are no package's business, and compiled Python is left out, because it would
hold times: it is compiled anew. Sources: conda-build's ``paths.json`` version 1, ``has_prefix`` and ``link.json``; CEP 20 and 34.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carboy.environments.conda.wants import PREFIX
from carboy.errors import CarboyError
from carboy.layers import tarread
from carboy.layers.tarread import Member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carboy.layers.extract import Members

MAX_REPLACED_BYTES = 1 << 30
_OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"
_ENTRY = re.compile(r"\s*([\w.-]+)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*", re.ASCII)
_SCRIPT = """#!{prefix}/bin/python
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({function}())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a package is linked: ``placeholders`` are (bytes to replace, whether in a binary) by path, ``site`` is where a package
    without a platform has its modules ("": it is for one), ``entries`` its (script, module, function).
    """

    placeholders: Mapping[bytes, tuple[bytes, bool]] = field(default_factory=dict)
    site: str = ""
    entries: tuple[tuple[str, str, str], ...] = ()


def parse_layout(info: Mapping[str, bytes], *, python: str, package: str) -> Layout:
    """Return the layout from the files of a package's ``info``; ``python`` is the environment's version ("": it has none).

    Raises ``CarboyError`` for what cannot be read, and for a package for any Python where there is none.
    """
    index, paths = _json(info, "index.json", package), _json(info, "paths.json", package)
    link = _json(info, "link.json", package).get("noarch", {})
    noarch = isinstance(link, dict) and (link.get("type") == "python" or index.get("noarch") == "python")
    if noarch and not python:
        raise CarboyError(
            f"{package} needs Python, and the environment has none", hint="add python to the dependencies"
        )
    entries = []
    for text in link.get("entry_points", ()) if noarch else ():
        match = _ENTRY.fullmatch(str(text))
        if match is None:
            raise CarboyError(f"{package} has an entry point that cannot be read: {str(text)[:100]!r}")
        name, module, function = match.groups()
        entries.append((name, module, function))
    site = f"lib/python{'.'.join(python.split('.')[:2])}/site-packages" if noarch else ""
    placeholders = _placeholders(paths, package) if paths else _old_placeholders(info.get("has_prefix", b""))
    return Layout(placeholders=placeholders, site=site, entries=tuple(entries))


def find_script(names: Mapping[str, bytes] | set[str], name: str) -> str:
    """Return the script among a package's paths that is to run once it is linked, "" for none."""
    path = f"bin/.{name}-post-link.sh"
    return path if path in names else ""


def _json(info: Mapping[str, bytes], name: str, package: str) -> dict[str, Any]:
    try:
        value = json.loads(info.get(name, b"{}"))
    except (ValueError, RecursionError) as error:
        raise CarboyError(f"{package}: its {name} cannot be read", details=str(error)[:200]) from error
    return value if isinstance(value, dict) else {}


def _placeholders(paths: Mapping[str, Any], package: str) -> dict[bytes, tuple[bytes, bool]]:
    found = {}
    for item in paths.get("paths", ()):
        if not isinstance(item, dict) or not isinstance(item.get("_path"), str):
            raise CarboyError(f"{package}: its paths.json cannot be read")
        placeholder = item.get("prefix_placeholder")
        if isinstance(placeholder, str) and placeholder:
            path = item["_path"].encode("utf-8", "surrogateescape")
            found[path] = _replacement(placeholder, binary=item.get("file_mode") == "binary")
    return found


def _old_placeholders(text: bytes) -> dict[bytes, tuple[bytes, bool]]:
    """Read ``has_prefix``: PLACEHOLDER MODE PATH in each line, or a path alone."""
    found = {}
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        match = re.fullmatch(r'\s*"?([^"\s]+)"?\s+(text|binary)\s+"?(.+?)"?\s*', line)
        placeholder, mode, path = match.groups() if match else (_OLD_PLACEHOLDER, "text", line.strip().strip('"'))
        if path:
            found[path.encode("utf-8", "surrogateescape")] = _replacement(placeholder, binary=mode == "binary")
    return found


def _replacement(placeholder: str, *, binary: bool) -> tuple[bytes, bool]:
    return placeholder.encode("utf-8", "surrogateescape"), binary


def replace_prefix(data: bytes, placeholder: bytes, *, binary: bool) -> bytes:
    """Return ``data`` with the prefix in place of the placeholder; a binary keeps its length, zeros make up for it.

    Raises ``CarboyError`` where the placeholder is shorter than the prefix in a binary.
    """
    prefix = PREFIX.encode()
    if not binary:
        return data.replace(placeholder, prefix)
    if len(placeholder) < len(prefix):
        raise CarboyError("a package was built for a prefix that is too short to be replaced in its programs")

    def fill(match: re.Match[bytes]) -> bytes:
        text = match.group().replace(placeholder, prefix)
        return text + bytes(len(match.group()) - len(text))

    # Up to the end of the string that it is in: what follows the prefix there moves along.
    return re.sub(re.escape(placeholder) + rb"[^\0]*(?=\0)", fill, data)


def find_target(name: bytes, layout: Layout) -> bytes:
    """Return where a member of a package goes, below the prefix; b"" for what is left out.

    Raises ``CarboyError`` for a name that leads out, or has another meaning in a layer.
    """
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts or name.startswith(b"/"):
        raise CarboyError(f"a package holds the name {name[:200]!r}, which leads out of it")
    if any(part.startswith(b".wh.") for part in parts):
        raise CarboyError(f"a package holds the name {name[:200]!r}, which means a removal in a layer")
    if not parts or parts[0] == b"info" or b"__pycache__" in parts:
        return b""
    if layout.site and parts[0] == b"site-packages":
        return b"/".join([layout.site.encode(), *parts[1:]])
    if layout.site and parts[0] == b"python-scripts":
        return b"/".join([b"bin", *parts[1:]])
    return b"/".join(parts)


class LinkedMembers:
    """The members of a package as they lie in the environment, with its entry points and ``notes`` (path, bytes).

    ``time_s`` is the time of all of them. ``names`` are the paths of files that went by.
    """

    def __init__(
        self, members: Members, layout: Layout, *, notes: tuple[tuple[str, bytes], ...] = (), time_s: int
    ) -> None:
        self._members = members
        self._layout = layout
        self._notes = notes
        self._time_s = time_s
        self._data: memoryview | None = None
        self.names: set[str] = set()

    def __iter__(self) -> Iterator[Member]:
        """Yield them in the package's order. Raises ``CarboyError``."""
        for member in self._members:
            target = find_target(member.name, self._layout)
            if not target:
                continue
            linked = self._link(member, target)
            if linked.kind != tarread.DIRECTORY:
                self.names.add(target.decode("utf-8", "surrogateescape"))
            yield linked
        for path, data, mode in (*self._scripts(), *((path, data, 0o644) for path, data in self._notes)):
            self.names.add(path)
            self._data = memoryview(data)
            yield Member(name=path.encode(), kind=tarread.REGULAR, mode=mode, size=len(data), mtime=self._time_s)

    def _link(self, member: Member, target: bytes) -> Member:
        linkname = member.linkname
        if member.kind == tarread.HARDLINK:
            linkname = find_target(linkname, self._layout)
        elif member.kind not in {tarread.REGULAR, tarread.DIRECTORY, tarread.SYMLINK}:
            raise CarboyError(f"a package holds {target[:200]!r}, which is no file, folder or link")
        executable = member.kind == tarread.DIRECTORY or member.mode & 0o111
        self._data = None
        size = member.size
        placeholder = self._layout.placeholders.get(member.name.removeprefix(b"./"))
        if placeholder is not None and member.kind == tarread.REGULAR:
            self._data = memoryview(replace_prefix(self._read(member), placeholder[0], binary=placeholder[1]))
            size = len(self._data)
        return Member(
            name=target,
            kind=member.kind,
            mode=0o755 if executable else 0o644,
            size=size,
            mtime=self._time_s,
            linkname=linkname,
        )

    def _read(self, member: Member) -> bytes:
        if member.size > MAX_REPLACED_BYTES:
            raise CarboyError(f"a package holds {member.name[:200]!r}, which is too large to have its prefix replaced")
        pieces = []
        while piece := self._members.read_data(2**20):
            pieces.append(bytes(piece))
        return b"".join(pieces)

    def _scripts(self) -> Iterator[tuple[str, bytes, int]]:
        for name, module, function in self._layout.entries:
            text = _SCRIPT.format(prefix=PREFIX, module=module, first=function.partition(".")[0], function=function)
            yield f"bin/{name}", text.encode(), 0o755

    def read_data(self, size: int) -> bytes | memoryview:
        """Return up to ``size`` bytes of the current member, empty at its end."""
        if self._data is None:
            return self._members.read_data(size)
        data, self._data = self._data[:size], self._data[size:]
        return data

    def drain(self) -> None:
        """Read the package to its end."""
        self._members.drain()
