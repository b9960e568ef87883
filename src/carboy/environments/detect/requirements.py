"""pip's requirements files: lines that go on, files that name others, options."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from carboy.environments.detect.repositories import is_repository, parse_line
from carboy.environments.detect.sources import name_source
from carboy.errors import CarboyError

MAX_DEPTH = 10
# Options for uv, which takes them in a file as pip does. What names a place of the host has no meaning in a sandbox.
_KEPT = ("-i", "--index-url", "--extra-index-url", "--no-index", "--no-binary", "--only-binary", "--pre")
_INCLUDES = re.compile(r"(?:-r|--requirement)[\s=]*(\S+)")
_CONSTRAINTS = re.compile(r"(?:-c|--constraint)[\s=]*(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)[\s=]*(\S+)")
_LOCAL = re.compile(r"(?:\.{1,2}(?:/|$|\[)|file:|[\w./-]+\.(?:whl|tar\.gz|zip)\s*(?:$|--hash|;))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A file with all that it includes: ``lines`` of requirements and options, ``constraints``, and whether the
    folder itself is one of the requirements (``-e .``), with which extras.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    itself: bool = False
    extras: tuple[str, ...] = ()


def iter_lines(text: str) -> Iterator[str]:
    """Yield the logical lines of a requirements file, without comments."""
    for line in re.sub(r"\s*\\\r?\n\s*", " ", text).splitlines():
        bare = re.sub(r"(^|\s+)#.*$", "", line).strip()
        if bare:
            yield bare


def find_includes(text: str, name: str) -> tuple[str, ...]:
    """Return the paths, from the folder's top, of the files that the file ``name`` includes; addresses are left out."""
    found = []
    for line in iter_lines(text):
        match = _INCLUDES.fullmatch(line) or _CONSTRAINTS.fullmatch(line)
        if match is not None and "://" not in match.group(1):
            found.append(_join(name, match.group(1)))
    return tuple(found)


def _join(name: str, other: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), other))


def parse_requirements(name: str, texts: Mapping[str, str], *, above: tuple[str, ...] = ()) -> Requirements:
    """Return what the file ``name`` asks for; ``texts`` are the folder's files by their paths, ``above`` those that include it.

    Raises ``CarboyError`` that names file and line for what cannot be had in an image.
    """
    lines: list[str] = []
    constraints: list[str] = []
    itself = False
    extras: tuple[str, ...] = ()
    for line in iter_lines(_read(name, texts, above)):
        include, constraint = _INCLUDES.fullmatch(line), _CONSTRAINTS.fullmatch(line)
        if include is not None:
            inner = parse_requirements(_join(name, include.group(1)), texts, above=(*above, name))
            lines += inner.lines
            constraints += inner.constraints
            itself, extras = itself or inner.itself, extras or inner.extras
        elif constraint is not None:
            inner = parse_requirements(_join(name, constraint.group(1)), texts, above=(*above, name))
            constraints += (*inner.lines, *inner.constraints)
        elif (own := re.fullmatch(r"(?:(?:-e|--editable)[\s=]*)?\./?(?:\[([\w,\s.-]+)\])?", line)) is not None:
            itself, extras = True, tuple(word.strip() for word in (own.group(1) or "").split(",") if word.strip())
        elif (local := _parse_local(line, name)) is not None:
            lines.append(local)
        elif not line.startswith("-") or line.startswith(_KEPT):
            lines.append(line)
        elif not line.startswith(("--require-hashes", "--trusted-host", "-f", "--find-links", "--prefer-binary")):
            raise CarboyError(f"{name} has an option that is not known here", details=line, hint="leave it out")
    return Requirements(lines=tuple(lines), constraints=tuple(constraints), itself=itself, extras=extras)


def _parse_local(line: str, name: str) -> str | None:
    """Return a line that asks for what lies in the folder with the address that this has in the sandbox, None for others.

    Paths are seen from the folder's top, as pip sees them, whatever file names them. Raises ``CarboyError`` for what lies
    elsewhere, and for repositories that are not git's.
    """
    editable = _EDITABLE.match(line)
    bare = re.sub(r"^(?:-e|--editable)[\s=]*", "", line)
    if is_repository(bare):
        return str(parse_line(bare, name))
    if editable and "://" in bare and not bare.startswith("file:"):
        raise CarboyError(
            f"{name} asks for a package at an address, to be edited",
            details=line,
            hint="write NAME @ ADDRESS, without -e",
        )
    named = re.match(r"([A-Za-z0-9][\w.-]*\s*(?:\[[\w,\s.-]*\])?)\s*@\s*(?=\.{0,2}/|file:)", bare)
    place = bare[named.end() :] if named is not None else bare
    if not editable and named is None and not _LOCAL.match(bare):
        return None
    parts = re.match(
        r"(?:file:(?://(?:localhost)?(?=/))?)?([^\[;\s#]+)(?:#\S*)?\s*(\[[\w,\s.-]*\])?\s*(;.*|--hash.*)?$", place
    )
    if parts is None:
        raise CarboyError(f"{name} asks for a package of a local place", details=line, hint="write it as ./libs/NAME")
    path, extras, rest = parts.group(1), parts.group(2) or "", parts.group(3) or ""
    address = name_source(path, name)
    return f"{f'{named.group(1).strip()} @ ' if named else ''}{address}{extras}{f' {rest}' if rest else ''}"


def _read(name: str, texts: Mapping[str, str], above: tuple[str, ...]) -> str:
    if name in above:
        first, *rest = (*above[above.index(name) :], name)
        brief = f"{first} includes {', which includes '.join(rest)}"
        raise CarboyError(brief, hint="take one of the -r or -c lines out")
    if len(above) > MAX_DEPTH:
        raise CarboyError(f"{name} is included by {MAX_DEPTH} files, each by the next", hint="put them together")
    if name.startswith("../") or posixpath.isabs(name) or "://" in name:
        raise CarboyError(f"{name} is outside of the folder", hint="copy the file into the folder")
    if name not in texts:
        raise CarboyError(f"there is no file {name}, which another one includes", hint="correct the -r or -c line")
    return texts[name]


def strip_hashes(text: str) -> str:
    """Return requirements without the hashes: what is left says which versions, not which files."""
    return re.sub(r"\s+--hash[=\s]\S+", "", text)
