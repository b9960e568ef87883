"""pip's requirements files: lines that go on, files that name others, options."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from carboy.environments.detect.repositories import is_repository, parse_line
from carboy.environments.detect.sources import PLACE, name_source
from carboy.errors import CarboyError

MAX_DEPTH = 10
# Options for uv, which takes them in a file as pip does. What names a place of the host has no meaning in a sandbox.
_KEPT = ("-i", "--index-url", "--extra-index-url", "--no-index", "--no-binary", "--only-binary", "--pre")
# What changes nothing here, or is so by itself.
_DROPPED = ("--require-hashes", "--trusted-host", "--prefer-binary")
_PATH = r"""[\s=]*("[^"]+"|'[^']+'|\S+)"""
_INCLUDES = re.compile(rf"(?:-r|--requirement){_PATH}")
_CONSTRAINTS = re.compile(rf"(?:-c|--constraint){_PATH}")
_LINKS = re.compile(rf"(?:-f|--find-links){_PATH}")
# A dependency of conda's file that is pip's, as far as it names another file.
_ENTRY = re.compile(r"^\s*-\s+(?=-)")
_EDITABLE = re.compile(r"(?:-e|--editable)[\s=]*(\S+)")
_LOCAL = re.compile(r"(?:\.{1,2}(?:/|$|\[)|file:|[\w./-]+\.(?:whl|tar\.gz|zip)\s*(?:$|--hash|;))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A file with all that it includes: ``lines`` of requirements and options, ``constraints``, and whether the
    folder itself is one of the requirements (``-e .``), with which extras. ``hashed``: each is to have its hashes.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    itself: bool = False
    extras: tuple[str, ...] = ()
    hashed: bool = False


def iter_lines(text: str) -> Iterator[str]:
    """Yield the logical lines of a requirements file, without comments."""
    for line in _join_lines(text):
        bare = re.sub(r"(^|\s+)#.*$", "", line).strip()
        if bare:
            yield bare


def _join_lines(text: str) -> Iterator[str]:
    """Yield lines with those that a backslash at their end continues; a comment ends there, as pip has it."""
    waiting = ""
    for line in text.splitlines():
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            waiting += f"{line[:-1].strip()} "
            continue
        yield f"{waiting}{line.strip()}"
        waiting = ""
    yield waiting


def find_includes(text: str, name: str) -> tuple[str, ...]:
    """Return the paths, from the folder's top, of the files that the file ``name`` includes; addresses are left out.

    In a file of conda's they are entries of pip's list.
    """
    found = []
    for line in iter_lines(text):
        bare = _ENTRY.sub("", line)
        match = _INCLUDES.fullmatch(bare) or _CONSTRAINTS.fullmatch(bare)
        if match is not None and "://" not in match.group(1):
            found.append(_join(name, match.group(1)))
    return tuple(found)


def _join(name: str, quoted: str) -> str:
    other = quoted.strip("\"'")
    if "://" in other:
        return other
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), other))


def parse_requirements(name: str, texts: Mapping[str, str], *, above: tuple[str, ...] = ()) -> Requirements:
    """Return what the file ``name`` asks for; ``texts`` are the folder's files by their paths, ``above`` those that include it.

    Raises ``CarboyError`` that names file and line for what cannot be had in an image.
    """
    lines: list[str] = []
    constraints: list[str] = []
    itself = False
    extras: tuple[str, ...] = ()
    hashed = False
    for line in iter_lines(_read(name, texts, above)):
        include, constraint = _INCLUDES.fullmatch(line), _CONSTRAINTS.fullmatch(line)
        if include is not None:
            inner = parse_requirements(_join(name, include.group(1)), texts, above=(*above, name))
            lines += inner.lines
            constraints += inner.constraints
            itself, extras, hashed = itself or inner.itself, extras or inner.extras, hashed or inner.hashed
        elif constraint is not None:
            inner = parse_requirements(_join(name, constraint.group(1)), texts, above=(*above, name))
            constraints += (*inner.lines, *inner.constraints)
        elif (own := re.fullmatch(r"(?:(?:-e|--editable)[\s=]*)?\./?(?:\[([\w,\s.-]+)\])?", line)) is not None:
            itself, extras = True, tuple(word.strip() for word in (own.group(1) or "").split(",") if word.strip())
        elif (local := _parse_local(line, name)) is not None:
            lines.append(local)
        elif (links := _LINKS.fullmatch(line)) is not None:
            lines.append(_parse_links(links.group(1).strip("\"'"), name))
        elif not line.startswith("-") or line.startswith(_KEPT):
            lines.append(line)
        elif not line.startswith(_DROPPED):
            raise CarboyError(f"{name} has an option that is not known here", details=line, hint="leave it out")
        hashed = hashed or line.startswith("--require-hashes")
    return Requirements(lines=tuple(lines), constraints=tuple(constraints), itself=itself, extras=extras, hashed=hashed)


def _parse_links(place: str, name: str) -> str:
    """Return the option for a page of links. Raises ``CarboyError`` for a folder, which the sandbox has not."""
    if "://" in place and not place.startswith("file:"):
        return f"--find-links {place}"
    raise CarboyError(
        f"{name} looks for packages in a folder: {place}",
        hint=f"name the files that are meant, each in a line: ./{posixpath.normpath(place)}/NAME-1.0-py3-none-any.whl; "
        "or name the folder in PIP_FIND_LINKS",
    )


def check_hashes(requirements: Requirements, name: str) -> None:
    """Raise ``CarboyError`` where some requirements have hashes and others have none, which pip refuses as well.

    What lies in the folder and what is of a repository has none.
    """
    lines = [line for line in requirements.lines if not line.startswith("-")]
    known = {_find_name(line) for line in (*lines, *requirements.constraints) if "--hash" in line}
    if not known and not requirements.hashed:
        return
    for line in lines:
        if _find_name(line) not in known and f"file://{PLACE}" not in line and "git+" not in line:
            raise CarboyError(
                f"{name} has hashes, and none for one of its packages",
                details=line,
                hint="`uv pip compile --generate-hashes` and `pip-compile --generate-hashes` write those of all",
            )


def _find_name(line: str) -> str:
    match = re.match(r"[A-Za-z0-9][\w.-]*", line)
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match is not None else line


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
    if name in texts:
        return texts[name]
    if name.startswith("../") or posixpath.isabs(name) or "://" in name:
        raise CarboyError(f"{name} is outside of the folder", hint="copy the file into the folder")
    by = f"{above[-1]} includes" if above else "another one includes"
    raise CarboyError(f"there is no file {name}, which {by}", hint="correct the -r or -c line")


def strip_hashes(text: str) -> str:
    """Return requirements without the hashes: what is left says which versions, not which files."""
    return re.sub(r"\s+--hash[=\s]\S+", "", text)
