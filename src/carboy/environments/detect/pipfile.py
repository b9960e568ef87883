"""A ``Pipfile`` without its lock, as requirements of pip's. Pure.

Its ``[packages]`` count, ``[dev-packages]`` do not, as in the lock. Source: pipenv's documentation of the Pipfile.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carboy.environments.detect.pyproject import Declared, parse_toml, place_line
from carboy.environments.detect.repositories import refuse_foreign
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping

PIPFILE = "Pipfile"
# Keys of a package that are markers by themselves (PEP 508): sys_platform = "== 'win32'".
_MARKS = (
    "implementation_name", "os_name", "platform_machine", "platform_python_implementation", "platform_release",
    "platform_system", "platform_version", "python_full_version", "python_version", "sys_platform",
)  # fmt: skip
_CLAUSE = r"\s*(?:(?:===|~=|[=!<>]=|[<>])\s*)?[\w.*+!-]+\s*"
_VERSION = re.compile(rf"\*|{_CLAUSE}(?:,{_CLAUSE})*(?:,\s*)?", re.ASCII)
_URL = re.compile(r"[a-z]+://\S+")
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", re.ASCII)
# What pipenv calls the public index in each file that it writes; what stands in its place this machine's configuration says.
_PUBLIC = "pypi"


def parse_pipfile(text: str) -> Declared | None:
    """Return what a ``Pipfile`` asks for, None where it names no package. Raises ``CarboyError``."""
    value = parse_toml(text, PIPFILE)
    packages = _read_table(value, "packages")
    if not packages:
        return None
    lines = (_read_package(name, item) for name, item in packages.items())
    return Declared(requirements=(*_read_sources(value), *lines), python=read_requires(value))


def read_requires(value: Mapping[str, Any]) -> str:
    """Return the Python that ``[requires]`` asks for, in a ``Pipfile`` or in the notes of its lock, "" for any."""
    requires = _read_table(value, "requires")
    python = str(requires.get("python_full_version") or requires.get("python_version") or "").strip()
    return "" if python == "*" else python


def _read_table(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = value.get(name, {})
    if not isinstance(table, dict):
        raise CarboyError(f"Pipfile: {name} is not a table", hint=f"write it as [{name}]")
    return table


def _read_sources(value: Mapping[str, Any]) -> list[str]:
    """Return pip's options for indexes other than the public one."""
    sources = value.get("source", [])
    if not isinstance(sources, list) or not all(
        isinstance(s, dict) and _URL.fullmatch(str(s.get("url"))) for s in sources
    ):
        raise CarboyError("Pipfile: a source has no url", hint='write [[source]] with url = "https://HOST/simple"')
    return [
        f"{'--index-url' if place == 0 else '--extra-index-url'} {source['url']}"
        for place, source in enumerate(sources)
        if source.get("name") != _PUBLIC
    ]


def _read_package(name: str, item: Any) -> str:
    """Return one package as a requirement."""
    table = item if isinstance(item, dict) else {"version": item}
    if _NAME.fullmatch(name) is None:
        raise CarboyError(f"Pipfile: {name!r} is no name of a package", hint="correct it")
    extras = f"[{','.join(map(str, table['extras']))}]" if table.get("extras") else ""
    marks = [f"({table['markers']})"] if table.get("markers") else []
    marks += [f"{mark} {table[mark]}" for mark in _MARKS if table.get(mark)]
    marker = f"; {' and '.join(marks)}" if marks else ""
    refuse_foreign(table, name=name, where=PIPFILE)
    if (line := place_line(table, name=name, extras=extras, marker=marker, where=PIPFILE)) is not None:
        return line
    version = str(table.get("version", "*")).strip()
    if _VERSION.fullmatch(version) is None:
        raise CarboyError(
            f"Pipfile: {name} has no version that pip knows: {version!r}", hint='write "*", "==1.2" or ">=1.2,<2"'
        )
    clauses = "" if version == "*" else version if version[0] in "=!<>~" else f"=={version}"
    return f"{name}{extras}{clauses}{f' {marker}' if marker else ''}"
