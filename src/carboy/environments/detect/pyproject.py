"""``pyproject.toml``: PEP 621 with extras and dependency groups (PEP 735), and Poetry's own tables; ``setup.cfg``; PEP 723."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carboy.environments.detect.repositories import RepositoryLine, from_table
from carboy.environments.detect.sources import name_source
from carboy.errors import CarboyError

_SCRIPT = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a project declares: ``requirements`` in pip's format, and ``python``, the interpreters that it is for.

    ``members`` are those of its requirements that uv's workspace has, at a place which its lock names.
    """

    requirements: tuple[str, ...]
    python: str = ""
    members: tuple[str, ...] = ()


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
    found: list[str] = []
    if "dependencies" in project or not poetry.get("dependencies"):
        found += _strings(project.get("dependencies", []), "project.dependencies")
        optional = _table(project.get("optional-dependencies"))
        for extra in extras:
            found += _strings(_pick(optional, extra, "extra"), f"the extra {extra}")
    else:
        found += [line for name, item in poetry["dependencies"].items() for line in _from_poetry(name, item)]
    own = _table(value.get("dependency-groups"))
    for group in groups:
        if group not in own and group in _table(poetry.get("group")):
            items = _table(_table(poetry["group"][group]).get("dependencies"))
            found += [line for name, item in items.items() for line in _from_poetry(name, item)]
        else:
            found += _group(own, group)
    python = str(project.get("requires-python", ""))
    if not python and "python" in _table(poetry.get("dependencies")):
        python = ",".join(_from_constraint(str(poetry["dependencies"]["python"])))
    if "dependencies" in project.get("dynamic", []):
        found.append(name_source(".", "pyproject.toml"))  # only its own code knows them
    if not project and not poetry.get("dependencies") and not found:
        return None
    sources = _table(_table(_table(value.get("tool")).get("uv")).get("sources"))
    places = {_normalise(name): _table(place) for name, place in sources.items()}
    members = tuple(name for name in map(_find_name, found) if places.get(name, {}).get("workspace") is True)
    return Declared(requirements=tuple(_from_place(line, places) for line in found), python=python, members=members)


def _find_name(line: str) -> str:
    """Return the normalised name of a requirement."""
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)", line)
    return _normalise(match.group(1)) if match is not None else ""


def _from_place(line: str, places: Mapping[str, dict[str, Any]]) -> str:
    """Return a requirement with the place that ``[tool.uv.sources]`` gives for its package: in the folder, or a repository."""
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?[^;]*(;.*)?$", line)
    name = _find_name(line)
    place = places.get(name)
    if match is None or not place:
        return line
    if "git" not in place and "path" not in place:
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
    address = place if "://" in place else name_source(place, where)
    return f"{name}{extras} @ {address}{f' {marker}' if marker else ''}"


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CarboyError(f"pyproject.toml: {what} is not a list of strings", hint="correct it")
    return value


def _pick(tables: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise CarboyError(f"pyproject.toml has no {kind} {name}", hint=f"it has: {known}")
    return tables[name]


def _group(groups: Mapping[str, Any], name: str, above: tuple[str, ...] = ()) -> list[str]:
    if name in above:
        raise CarboyError(f"pyproject.toml: the group {name} includes itself", hint="take one of the includes out")
    items = _pick(groups, name, "group")
    found: list[str] = []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and "include-group" in item:
            found += _group(groups, str(item["include-group"]), (*above, name))
        else:
            found += _strings([item], f"the group {name}")
    return found


def _from_poetry(name: str, item: Any) -> Iterator[str]:
    """Yield a dependency of Poetry's form as requirements of pip's."""
    if name.lower() == "python":
        return
    for one in item if isinstance(item, list) else [item]:
        table = one if isinstance(one, dict) else {"version": one}
        if table.get("optional"):
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
    return f"python_version {match.group(1)} '{match.group(2)}'"


def _from_constraint(text: str) -> list[str]:
    """Return Poetry's ``^1.2``, ``~1.2``, ``1.*``, ``>=1,<2`` as clauses of PEP 440. ``||`` has no such form."""
    if "||" in text or " | " in text:
        raise CarboyError(f"pyproject.toml: {text!r} has no form that pip knows", hint="write it without ||")
    clauses = []
    for clause in (part.strip() for part in text.replace(" ", ",").split(",")):
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
    return clauses


def parse_setup_cfg(text: str) -> Declared | None:
    """Return what a ``setup.cfg`` declares, None when it declares no requirements."""
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise CarboyError("setup.cfg cannot be read", details=str(error), hint="correct it") from error
    lines = parser.get("options", "install_requires", fallback="").strip().splitlines()
    if not lines:
        return None
    python = parser.get("options", "python_requires", fallback="").strip()
    return Declared(requirements=tuple(line.strip() for line in lines if line.strip()), python=python)


def parse_script(text: str, name: str) -> Declared | None:
    """Return what a script declares in a block of PEP 723, None without one. Raises ``CarboyError``."""
    blocks = list(_SCRIPT.finditer(text))
    if not blocks:
        return None
    if len(blocks) > 1:
        raise CarboyError(f"{name} has two script blocks", hint="keep one `# /// script`")
    lines = blocks[0].group("content").splitlines()
    value = parse_toml("\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines), name)
    return Declared(
        requirements=tuple(_strings(value.get("dependencies", []), f"the script block of {name}")),
        python=str(value.get("requires-python", "")),
    )
