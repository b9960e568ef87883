"""``pyproject.toml``: PEP 621 with extras and dependency groups (PEP 735), and Poetry's own tables; ``setup.cfg``; PEP 723."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carboy.environments.detect.repositories import RepositoryLine, from_table
from carboy.environments.detect.sources import name_source
from carboy.errors import CarboyError

_SCRIPT = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)*)^# ///$")
MAX_EXTRAS = 1000
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_CLAUSE = re.compile(r"(?:[<>=!~]=|===|[<>])\d[\w.*+!]*", re.ASCII)
_ITSELF = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*\[([^\]]*)\]\s*(?:;(.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a project declares: ``requirements`` in pip's format, and ``python``, the interpreters that it is for.

    ``members`` are those of its requirements that uv's workspace has, at a place which its lock names; ``bound`` those that uv
    takes from one index of several, or from one of several places.
    """

    requirements: tuple[str, ...]
    python: str = ""
    members: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Return a TOML file's tables. Raises ``CarboyError``."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CarboyError(f"{name} is not valid TOML", details=str(error), hint="correct that line") from error


def parse_pyproject(text: str, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> Declared | None:
    """Return what a ``pyproject.toml`` declares, None when it declares nothing: a file for tools only.

    Raises ``CarboyError`` for an extra or a group that it does not have.
    """
    value = parse_toml(text, "pyproject.toml")
    project = _table(value.get("project"))
    poetry = _table(_table(value.get("tool")).get("poetry"))
    old = _table(poetry.get("dependencies"))
    found: list[str] = []
    if "dependencies" in project or not old:
        found += _strings(project.get("dependencies", []), "project.dependencies")
        for extra in extras:
            found += _strings(_pick(_table(project.get("optional-dependencies")), extra, "extra"), f"the extra {extra}")
    else:
        offered = _table(poetry.get("extras"))
        wanted = {_find_name(name) for extra in extras for name in _strings(_pick(offered, extra, "extra"), extra)}
        found += [line for name, item in old.items() for line in _from_poetry(name, item, wanted=wanted)]
    own = _list_groups(value)
    for group in groups:
        found += _group(own, group)
    found = _replace_itself(found, project)
    python = str(project.get("requires-python", ""))
    if not python and "python" in old:
        python = ",".join(_from_constraint(str(old["python"])))
    if "dependencies" in _strings(project.get("dynamic", []), "project.dynamic"):
        found.append(name_source(".", "pyproject.toml"))  # only its own code knows them
    if not project and not old and not found:
        return None
    uv = _table(_table(value.get("tool")).get("uv"))
    sources = {_normalise(name): place for name, place in _table(uv.get("sources")).items()}
    bound = {name: sources[name] for name in map(_find_name, found) if _is_bound(sources.get(name))}
    places = {name: _table(place) for name, place in sources.items()}
    members = tuple(name for name in map(_find_name, found) if places.get(name, {}).get("workspace") is True)
    lines = (*_read_indexes(uv, bound), *(_from_place(line, places) for line in found))
    return Declared(requirements=lines, python=python, members=members, bound=tuple(bound))


def _is_bound(place: object) -> bool:
    """Return whether a source of uv's is what no requirement can say: an index for one package, or one of several places."""
    return isinstance(place, list) or (isinstance(place, dict) and "index" in place)


def _read_indexes(uv: Mapping[str, Any], bound: Mapping[str, Any]) -> list[str]:
    """Return the indexes of ``[[tool.uv.index]]`` as pip's options; one that is explicit where a source of ``bound`` names it.

    Raises ``CarboyError``.
    """
    tables = uv.get("index", [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) and isinstance(t.get("url"), str) for t in tables):
        raise CarboyError(
            "pyproject.toml: tool.uv.index is no list of tables with a url",
            hint='write [[tool.uv.index]], and below it url = "https://..."',
        )
    wrong = next((str(table["url"]) for table in tables if not re.fullmatch(r"https?://\S+", table["url"])), "")
    if wrong:
        raise CarboyError(
            f"pyproject.toml: the index {wrong!r} is no address", hint="PIP_FIND_LINKS names a folder of this machine"
        )
    places = [place for source in bound.values() for place in (source if isinstance(source, list) else [source])]
    named = {_table(place).get("index") for place in places}
    return [
        f"--index-url {table['url']}" if table.get("default") is True else f"--extra-index-url {table['url']}"
        for table in tables
        if table.get("explicit") is not True or table.get("name") in named
    ]


def _list_groups(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the groups that a project has (PEP 735), and those that Poetry, PDM and uv had before, by their names."""
    tool = _table(value.get("tool"))
    poetry = _table(tool.get("poetry"))
    groups: dict[str, Any] = {}
    if "dev-dependencies" in poetry:
        groups["dev"] = _table(poetry["dev-dependencies"])
    for name, group in _table(poetry.get("group")).items():
        groups[name] = _table(_table(group).get("dependencies"))
    groups |= _table(_table(tool.get("pdm")).get("dev-dependencies"))
    if "dev-dependencies" in _table(tool.get("uv")):
        groups["dev"] = tool["uv"]["dev-dependencies"]
    return groups | _table(value.get("dependency-groups"))


def _replace_itself(lines: Sequence[str], project: Mapping[str, Any]) -> list[str]:
    """Return requirements with those of its extras in place of the project's own name: ``all = ["own[plots]"]``.

    No index has them: what it has by that name is another project's, or an older one.
    """
    name = _normalise(str(project.get("name", "")))
    optional = _table(project.get("optional-dependencies"))
    found: list[str] = []
    # Each with the markers that it stands below; a set of them, so that extras that name each other come to an end.
    waiting: list[tuple[str, frozenset[str]]] = [(line, frozenset()) for line in reversed(lines)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        line, above = waiting.pop()
        match = _ITSELF.fullmatch(line)
        if match is None or not name or _normalise(match[1]) != name:
            found.append(_add_marker(line, " and ".join(f"({marker})" for marker in sorted(above))))
            continue
        below = above | {match[3].strip()} if match[3] else above
        for extra in reversed([part.strip() for part in match[2].split(",") if part.strip()]):
            if (_normalise(extra), below) not in seen:
                seen.add((_normalise(extra), below))
                inner = _strings(_pick(optional, extra, "extra"), f"the extra {extra}")
                waiting += [(item, below) for item in reversed(inner)]
        if len(seen) > MAX_EXTRAS:
            raise CarboyError("pyproject.toml: its extras name each other too often", hint="name packages in them")
    return found


def _add_marker(line: str, marker: str) -> str:
    if not marker:
        return line
    bare, semicolon, own = line.partition(" ;" if "@" in line else ";")
    return f"{bare.strip()} ; {f'({own.strip()}) and ' if semicolon else ''}{marker}"


def _find_name(line: str) -> str:
    """Return the normalised name of a requirement."""
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)", line)
    return _normalise(match.group(1)) if match is not None else ""


def _from_place(line: str, places: Mapping[str, dict[str, Any]]) -> str:
    """Return a requirement with the place that ``[tool.uv.sources]`` gives: in the folder, a repository, an address."""
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?[^;]*(;.*)?$", line)
    name = _find_name(line)
    place = places.get(name)
    if match is None or not place:
        return line
    if not place.keys() & {"git", "path", "url"}:
        return line  # an index, or a member of the workspace, whose place the lock knows
    extras, marker = match.group(2) or "", match.group(3) or ""
    return place_line(place, name=match.group(1), extras=extras, marker=marker, where="pyproject.toml") or line


def place_line(table: Mapping[str, Any], *, name: str, extras: str, marker: str, where: str) -> str | None:
    """Return the requirement for a package whose table in ``where`` says where it lies, None for one of an index.

    ``marker`` begins with ";" ("": none). Raises ``CarboyError`` for places that cannot be had.
    """
    if "git" in table:
        repository = from_table(table, where=where, name=name)
        return str(RepositoryLine(repository=repository, name=name, extras=extras, marker=marker))
    place = str(table.get("path") or table.get("file") or table.get("url") or "")
    if not place:
        return None
    address = _name_archive(place, table, where) if "://" in place else name_source(place, where)
    return f"{name}{extras} @ {address}{f' {marker}' if marker else ''}"


def _name_archive(address: str, table: Mapping[str, Any], where: str) -> str:
    """Return the address of an archive with the folder in it that is the package, where its table names one."""
    if re.search(r"\s", address):
        raise CarboyError(f"{where}: {address!r} is no address", hint="write its spaces as %20")
    folder = str(table.get("subdirectory") or "").strip("/")
    if not folder:
        return address
    if ".." in folder.split("/") or not re.fullmatch(r"[\w./~-]+", folder, re.ASCII):
        raise CarboyError(f"{where}: {folder!r} is no folder of an archive", hint="name one that lies in it: libs/name")
    return f"{address}{'&' if '#' in address else '#'}subdirectory={folder}"


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any, what: str, *, where: str = "pyproject.toml") -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CarboyError(f"{where}: {what} is not a list of strings", hint='write it as ["NAME>=1", "OTHER"]')
    return value


def _pick(tables: Mapping[str, Any], name: str, kind: str) -> Any:
    for known, value in tables.items():
        if _normalise(known) == _normalise(name):
            return value
    names = ", ".join(sorted(tables)) or "none"
    raise CarboyError(f"pyproject.toml has no {kind} {name}", hint=f"it has: {names}")


def _group(groups: Mapping[str, Any], name: str, above: tuple[str, ...] = ()) -> list[str]:
    if _normalise(name) in above:
        raise CarboyError(f"pyproject.toml: the group {name} includes itself", hint="take one of the includes out")
    items = _pick(groups, name, "group")
    if isinstance(items, dict):  # one of Poetry's
        return [line for package, item in items.items() for line in _from_poetry(package, item)]
    if not isinstance(items, list):
        return _strings(items, f"the group {name}")
    found: list[str] = []
    for item in items:
        if isinstance(item, dict) and "include-group" in item:
            found += _group(groups, str(item["include-group"]), (*above, _normalise(name)))
        else:
            found += _strings([item], f"the group {name}")
    return found


def _from_poetry(name: str, item: Any, *, wanted: Collection[str] = ()) -> Iterator[str]:
    """Yield a dependency of Poetry's form as requirements of pip's; an optional one is left out unless it is ``wanted``."""
    if name.lower() == "python":
        return
    for one in item if isinstance(item, list) else [item]:
        table = one if isinstance(one, dict) else {"version": one}
        if table.get("optional") and _normalise(name) not in wanted:
            continue
        extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
        marks = [str(table["markers"])] if table.get("markers") else []
        if table.get("python"):
            marks += [_python_marker(clause) for clause in _from_constraint(str(table["python"]))]
        marker = f"; {' and '.join(f'({m})' for m in marks)}" if marks else ""
        line = place_line(table, name=name, extras=extras, marker=marker, where="pyproject.toml")
        if line is None:
            version = ",".join(_from_constraint(str(table.get("version", "*"))))
            line = f"{name}{extras}{version}{f' {marker}' if marker else ''}"
        yield line


def _python_marker(clause: str) -> str:
    match = re.fullmatch(r"(\W+)(.+)", clause)
    assert match is not None
    variable = "python_full_version" if match.group(2).count(".") > 1 else "python_version"
    return f"{variable} {match.group(1)} '{match.group(2)}'"


def _from_constraint(text: str) -> list[str]:
    """Return Poetry's ``^1.2``, ``~1.2``, ``1.*``, ``>=1,<2`` as clauses of PEP 440. ``||`` has no such form."""
    if "||" in text or " | " in text:
        raise CarboyError(f"pyproject.toml: {text!r} has no form that pip knows", hint="write it without ||")
    clauses: list[str] = []
    joined = re.sub(r"(?<=[\^~<>=!])\s+", "", text)
    for clause in (part.strip() for part in re.sub(r"\s+", ",", joined).split(",")):
        operator = re.match(r"[\^~<>=!]*", clause)
        sign, number = (operator.group(), clause[operator.end() :].strip()) if operator else ("", clause)
        if not clause or clause == "*":
            continue
        if sign == "^":
            parts = [int(part) for part in _NUMBER.findall(number)[0].split(".")] if _NUMBER.search(number) else [0]
            place = next((i for i, part in enumerate(parts) if part), len(parts) - 1)
            clauses += [f">={number}", f"<{'.'.join(map(str, [*parts[:place], parts[place] + 1]))}"]
        elif sign == "~":
            parts = [int(part) for part in _NUMBER.findall(number)[0].split(".")] if _NUMBER.search(number) else [0]
            place = min(1, len(parts) - 1)
            clauses += [f">={number}", f"<{'.'.join(map(str, [*parts[:place], parts[place] + 1]))}"]
        elif not sign or sign == "=":
            clauses.append(f"=={number}")
        else:
            clauses.append(f"{sign}{number}")
    if any(_CLAUSE.fullmatch(clause) is None for clause in clauses):
        raise CarboyError(
            f"pyproject.toml: {text!r} is no version that is read", hint='write "^1.2", ">=1.2,<2" or "*"'
        )
    return clauses


def parse_setup_cfg(text: str) -> Declared | None:
    """Return what a ``setup.cfg`` declares, None when it declares no requirements."""
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise CarboyError("setup.cfg cannot be read", details=str(error), hint="correct it") from error
    wanted = parser.get("options", "install_requires", fallback="").strip()
    lines = wanted.splitlines()
    if not lines:
        return None
    if wanted.startswith(("file:", "attr:")):  # setuptools reads them, when the folder is built
        lines = [name_source(".", "setup.cfg")]
    python = parser.get("options", "python_requires", fallback="").strip()
    return Declared(requirements=tuple(line.strip() for line in lines if line.strip()), python=python)


def parse_script(text: str, name: str) -> Declared | None:
    """Return what a script declares in a block of PEP 723, None without one. Raises ``CarboyError``."""
    text = text.replace("\r\n", "\n")
    blocks = list(_SCRIPT.finditer(text))
    if not blocks and re.search(r"(?m)^# /// script$", text):
        raise CarboyError(
            f"{name} has a script block that is not whole",
            hint="begin each of its lines with #, and end it with a line `# ///`",
        )
    if not blocks:
        return None
    if len(blocks) > 1:
        raise CarboyError(f"{name} has two script blocks", hint="keep one `# /// script`")
    lines = blocks[0].group("content").splitlines()
    value = parse_toml("\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines), name)
    return Declared(
        requirements=tuple(
            _strings(value.get("dependencies", []), "dependencies", where=f"the script block of {name}")
        ),
        python=str(value.get("requires-python", "")),
    )
